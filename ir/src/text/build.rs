//! Builds an op from its attributes and the types of its operands.

use super::error::ParseError;
use super::ops::{Head, Positional};
use crate::dtype::DType;
use crate::error::Place;
use crate::op::{Attr, Attrs, Composite, CustomVjp, EpsKind, Op, RandomKind, Real};
use crate::shape::{Axes, Extent, TensorType};
use std::collections::VecDeque;

/// Attributes as they were written; building an op takes them out.
#[derive(Default)]
pub(super) struct Parts {
    /// Groups of axes: `@0,1`.
    pub(super) axes: VecDeque<(Place, Vec<i64>)>,
    /// `key=value`.
    pub(super) keys: VecDeque<(Place, String, String)>,
    /// What the op asked for.
    asked: Vec<&'static str>,
}

impl Parts {
    fn take(&mut self, key: &'static str) -> Option<(Place, String)> {
        self.asked.push(key);
        let at = self.keys.iter().position(|(_, found, _)| found == key)?;
        let (place, _, value) = self.keys.remove(at)?;
        Some((place, value))
    }
}

/// Builds ops: the attributes, and who asks for them.
pub(super) struct Build<'p> {
    place: Place,
    op: &'static str,
    parts: &'p mut Parts,
}

/// The value of an attribute that must be there.
pub(super) fn need(
    parts: &mut Parts,
    place: Place,
    op: &'static str,
    key: &'static str,
) -> Result<(Place, String), ParseError> {
    parts.take(key).ok_or(ParseError::MissingAttribute { place, op, expected: key })
}

impl Build<'_> {
    fn bad<T>(
        &self,
        (place, found): (Place, String),
        key: &str,
        expected: &'static str,
    ) -> Result<T, ParseError> {
        let name = key.to_string();
        Err(ParseError::BadAttribute { place, op: self.op, name, expected, found: format!("`{found}`") })
    }

    /// A whole number; needed when there is no default.
    fn whole(&mut self, key: &'static str, default: Option<u64>) -> Result<u64, ParseError> {
        let found = match (self.parts.take(key), default) {
            (Some(found), _) => found,
            (None, Some(default)) => return Ok(default),
            (None, None) => {
                return Err(ParseError::MissingAttribute { place: self.place, op: self.op, expected: key });
            }
        };
        match found.1.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.bad(found, key, "a whole number"),
        }
    }

    /// A whole number up to a limit.
    fn small(&mut self, key: &'static str, default: Option<u64>, limit: u64) -> Result<u64, ParseError> {
        let place =
            self.parts.keys.iter().find(|(_, found, _)| found == key).map_or(self.place, |(at, ..)| *at);
        match self.whole(key, default)? {
            number if number <= limit => Ok(number),
            number => self.bad((place, number.to_string()), key, "a smaller number"),
        }
    }

    /// An axis, counted from the end when negative.
    fn axis(&mut self, rank: usize) -> Result<u8, ParseError> {
        let (place, found) = need(self.parts, self.place, self.op, "axis")?;
        match found.parse() {
            Ok(axis) => Ok(self.resolved(place, &[axis], rank)?.iter().next().unwrap_or(0) as u8),
            Err(_) => self.bad((place, found), "axis", "a whole number"),
        }
    }

    fn resolved(&self, place: Place, axes: &[i64], rank: usize) -> Result<Axes, ParseError> {
        let axes_fit = axes.iter().all(|axis| axis.unsigned_abs() <= 32) && rank <= 32;
        let resolved = if axes_fit { Axes::resolve(axes, rank) } else { None };
        resolved.ok_or_else(|| ParseError::AxisOutOfRange { place, op: self.op, axes: axes.to_vec(), rank })
    }

    /// The next group of axes as written.
    fn group(&mut self) -> Result<(Place, Vec<i64>), ParseError> {
        self.parts.asked.push("@axes");
        let missing = ParseError::MissingAttribute { place: self.place, op: self.op, expected: "@axes" };
        self.parts.axes.pop_front().ok_or(missing)
    }

    fn axes(&mut self, operand: &TensorType) -> Result<Axes, ParseError> {
        let (place, axes) = self.group()?;
        self.resolved(place, &axes, operand.rank())
    }

    /// An order of axes.
    fn order(&mut self, operand: &TensorType) -> Result<Op, ParseError> {
        let (place, axes) = self.group()?;
        let each =
            |&axis: &i64| Ok(self.resolved(place, &[axis], operand.rank())?.mask().trailing_zeros() as u8);
        Ok(Op::Transpose(axes.iter().map(each).collect::<Result<_, ParseError>>()?))
    }

    fn attrs(&mut self, composite: Composite, x: &TensorType) -> Result<Attrs, ParseError> {
        let reads = composite.def().attrs;
        let mut attrs = Attrs::over(if reads.contains(&Attr::Axes) { self.axes(x)? } else { Axes::NONE });
        if reads.contains(&Attr::Eps) {
            if let Some((place, text)) = self.parts.take("eps") {
                attrs.eps = super::ops::number(place, &text)?;
            }
            if let Some(found) = self.parts.take("kind") {
                attrs.eps_kind = match EpsKind::from_name(&found.1) {
                    Some(kind) => kind,
                    None => return self.bad(found, "kind", "inside, outside or clamp"),
                };
            }
        }
        if reads.contains(&Attr::Correction) {
            attrs.correction = self.small("correction", Some(0), u8::MAX.into())? as u8;
        }
        Ok(attrs)
    }

    /// Reports attributes that nothing asked for.
    fn finish(self) -> Result<(), ParseError> {
        let (place, found) = match (self.parts.axes.front(), self.parts.keys.front()) {
            (Some((place, axes)), _) => (*place, format!("axes {axes:?}")),
            (None, Some((place, key, _))) => (*place, format!("`{key}`")),
            (None, None) => return Ok(()),
        };
        let asked = &self.parts.asked;
        let expected =
            if asked.is_empty() { "no attribute".into() } else { format!("only {}", asked.join(", ")) };
        Err(ParseError::UnknownAttribute { place, op: self.op, expected, found })
    }

    fn fixed(&mut self, positional: Positional, types: &[TensorType]) -> Result<Op, ParseError> {
        let Positional { dtype, number, extent, shape, mut graphs } = positional;
        let dtype = dtype.unwrap_or(DType::F32);
        let rank = types.first().map_or(0, TensorType::rank);
        Ok(match self.op {
            "const" => Op::Const(number.unwrap_or(Real::new(0.0)), dtype),
            "size" => Op::Size(extent.unwrap_or(Extent::ONE), dtype),
            "select" => Op::Select,
            "cast" => Op::Cast(dtype),
            "stop_gradient" => Op::StopGradient,
            "reshape" => Op::Reshape(shape),
            "broadcast" => Op::Broadcast(shape),
            "transpose" => self.order(&types[0])?,
            "flip" => Op::Flip(self.axes(&types[0])?),
            "concat" => Op::Concat { axis: self.axis(rank)? },
            "gather" => Op::Gather { axis: self.axis(rank)? },
            "call" => Op::Call(graphs.remove(0)),
            "iota" => self.iota()?,
            "slice" => self.slice(rank)?,
            "pad" => self.pad(rank)?,
            "dot" => self.dot(types)?,
            "scatter_add" => self.scatter(types)?,
            "custom_vjp" => self.custom(graphs)?,
            _ => self.random(TensorType::new(dtype, shape))?,
        })
    }

    fn iota(&mut self) -> Result<Op, ParseError> {
        let rank = self.small("rank", None, 32)? as u8;
        let axis = self.axis(rank.into())?;
        Ok(Op::Iota { rank, axis, extent: self.extent("extent")? })
    }

    fn slice(&mut self, rank: usize) -> Result<Op, ParseError> {
        Ok(Op::Slice {
            axis: self.axis(rank)?,
            start: self.whole("start", Some(0))?,
            length: self.whole("length", None)?,
            stride: self.whole("stride", Some(1))?,
        })
    }

    fn pad(&mut self, rank: usize) -> Result<Op, ParseError> {
        Ok(Op::Pad {
            axis: self.axis(rank)?,
            low: self.whole("low", Some(0))?,
            high: self.whole("high", Some(0))?,
            interior: self.whole("interior", Some(0))?,
        })
    }

    fn dot(&mut self, types: &[TensorType]) -> Result<Op, ParseError> {
        let (lhs, rhs) = (self.axes(&types[0])?, self.axes(&types[1])?);
        let most = types[0].rank().min(types[1].rank());
        Ok(Op::Dot { batch: self.small("batch", Some(0), most as u64)? as u8, lhs, rhs })
    }

    fn scatter(&mut self, types: &[TensorType]) -> Result<Op, ParseError> {
        let rank = (types[0].rank() + 1).saturating_sub(types[1].rank());
        Ok(Op::ScatterAdd { axis: self.axis(rank)?, size: self.extent("size")? })
    }

    fn extent(&mut self, key: &'static str) -> Result<Extent, ParseError> {
        let (place, found) = need(self.parts, self.place, self.op, key)?;
        super::ops::extent(&found).ok_or(ParseError::BadExtent { place, found: format!("`{found}`") })
    }

    fn custom(&mut self, mut graphs: Vec<crate::op::Subgraph>) -> Result<Op, ParseError> {
        let outputs = graphs[0].0.outputs().len() as u64;
        let inputs = graphs[0].0.inputs().len() as u64;
        let results = self.small("results", None, outputs)? as u32;
        let differentiable = self.small("differentiable", None, inputs)? as u32;
        let (backward, forward) = (graphs.remove(1), graphs.remove(0));
        Ok(Op::CustomVjp(Box::new(CustomVjp { forward, backward, results, differentiable })))
    }

    fn random(&mut self, ty: TensorType) -> Result<Op, ParseError> {
        let kind = RandomKind::NAMES.iter().find(|(_, name)| *name == self.op);
        let kind = kind.map_or(RandomKind::Bits, |(kind, _)| *kind);
        Ok(Op::Random { kind, stream: self.whole("stream", None)?, ty })
    }
}

/// The op that a head, its attributes and the types of its operands name. The number of
/// operands has been checked.
pub(super) fn build(
    place: Place,
    head: Head,
    parts: &mut Parts,
    positional: Positional,
    types: &[TensorType],
) -> Result<Op, ParseError> {
    let mut build = Build { place, op: head.name(), parts };
    let op = match head {
        Head::Unary(op) => Op::Unary(op),
        Head::Binary(op) => Op::Binary(op),
        Head::Reduce(op) => Op::Reduce(op, build.axes(&types[0])?),
        Head::Composite(op) => Op::Composite(op, build.attrs(op, &types[0])?),
        Head::Fixed(_) => build.fixed(positional, types)?,
    };
    build.finish()?;
    Ok(op)
}
