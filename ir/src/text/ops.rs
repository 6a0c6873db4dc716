//! What each op of the text form reads: one row each, and the words between attributes and operands.

use super::build::{Parts, need};
use super::error::{ParseError, nearest};
use super::lex::Token;
use super::parse::{Parser, Scope};
use crate::dtype::DType;
use crate::error::Place;
use crate::op::{Binary, Composite, Real, Reduce, Subgraph, Unary, limited};
use crate::shape::{Extent, Shape, TensorType};
use smallvec::SmallVec;

/// What stands between the attributes and the operands.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// `f32`
    DType,
    /// `f32 0.5`
    Number,
    /// `N f32`
    Extent,
    /// `[N,64]`
    Shape,
    /// `f32[N,64]`
    Type,
    /// The name of a graph.
    Graph,
}

/// How an op outside the tables is read; `operands: None` is any number.
pub(super) struct Fixed {
    pub(super) name: &'static str,
    before: Before,
    operands: Option<usize>,
}

#[rustfmt::skip]
const FIXED: &[Fixed] = &[
    Fixed { name: "const",          before: Before::Number,  operands: Some(0) },
    Fixed { name: "size",           before: Before::Extent,  operands: Some(0) },
    Fixed { name: "iota",           before: Before::Nothing, operands: Some(0) },
    Fixed { name: "random_bits",    before: Before::Type,    operands: Some(1) },
    Fixed { name: "random_uniform", before: Before::Type,    operands: Some(1) },
    Fixed { name: "random_normal",  before: Before::Type,    operands: Some(1) },
    Fixed { name: "select",         before: Before::Nothing, operands: Some(3) },
    Fixed { name: "cast",           before: Before::DType,   operands: Some(1) },
    Fixed { name: "stop_gradient",  before: Before::Nothing, operands: Some(1) },
    Fixed { name: "reshape",        before: Before::Shape,   operands: Some(1) },
    Fixed { name: "transpose",      before: Before::Nothing, operands: Some(1) },
    Fixed { name: "broadcast",      before: Before::Shape,   operands: Some(1) },
    Fixed { name: "slice",          before: Before::Nothing, operands: Some(1) },
    Fixed { name: "pad",            before: Before::Nothing, operands: Some(1) },
    Fixed { name: "concat",         before: Before::Nothing, operands: None },
    Fixed { name: "flip",           before: Before::Nothing, operands: Some(1) },
    Fixed { name: "dot",            before: Before::Nothing, operands: Some(2) },
    Fixed { name: "gather",         before: Before::Nothing, operands: Some(2) },
    Fixed { name: "scatter_add",    before: Before::Nothing, operands: Some(2) },
    Fixed { name: "call",           before: Before::Graph,   operands: None },
    Fixed { name: "custom_vjp",     before: Before::Nothing, operands: None },
];

/// What the first word of an expression names.
pub(super) enum Head {
    Fixed(&'static Fixed),
    Unary(Unary),
    Binary(Binary),
    Reduce(Reduce),
    Composite(Composite),
}

/// Every name of an op.
fn names() -> impl Iterator<Item = &'static str> {
    let tables = Unary::ALL.iter().map(|op| op.name()).chain(Binary::ALL.iter().map(|op| op.name()));
    let tables = tables.chain(Reduce::ALL.iter().map(|op| op.name()));
    let tables = tables.chain(Composite::ALL.iter().map(|op| op.name()));
    tables.chain(FIXED.iter().map(|row| row.name)).chain(["input"])
}

impl Head {
    /// The op with a name; `max` and `min` are reductions when axes follow.
    pub(super) fn find(place: Place, name: &str, parts: &Parts) -> Result<Head, ParseError> {
        let reduce = Reduce::from_name(name).map(Head::Reduce);
        let binary = Binary::from_name(name).map(Head::Binary);
        let shared = if parts.axes.is_empty() { binary.or(reduce) } else { reduce.or(binary) };
        shared
            .or_else(|| Unary::from_name(name).map(Head::Unary))
            .or_else(|| Composite::from_name(name).map(Head::Composite))
            .or_else(|| FIXED.iter().find(|row| row.name == name).map(Head::Fixed))
            .ok_or_else(|| ParseError::UnknownOp {
                place,
                found: name.into(),
                nearest: nearest(name, names()),
            })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Head::Fixed(row) => row.name,
            Head::Unary(op) => op.name(),
            Head::Binary(op) => op.name(),
            Head::Reduce(op) => op.name(),
            Head::Composite(op) => op.name(),
        }
    }

    pub(super) fn check_arity(&self, place: Place, found: usize) -> Result<(), ParseError> {
        let expected = match self {
            Head::Fixed(row) => row.operands.unwrap_or(found),
            Head::Unary(_) | Head::Reduce(_) => 1,
            Head::Binary(_) => 2,
            Head::Composite(op) => op.def().inputs.len(),
        };
        let least = if matches!(self, Head::Fixed(row) if row.name == "concat") { 1 } else { 0 };
        let expected = expected.max(least);
        if found == expected {
            return Ok(());
        }
        Err(ParseError::Arity { place, op: self.name(), expected, found })
    }
}

/// What stood between the attributes and the operands.
#[derive(Default)]
pub(super) struct Positional {
    pub(super) dtype: Option<DType>,
    pub(super) number: Option<Real>,
    pub(super) extent: Option<Extent>,
    pub(super) shape: Shape,
    pub(super) graphs: Vec<Subgraph>,
}

impl<'s> Parser<'s> {
    /// Reads what the head's row puts before the operands.
    pub(super) fn positional(
        &mut self,
        head: &Head,
        parts: &mut Parts,
        scope: &mut Scope,
    ) -> Result<Positional, ParseError> {
        let mut found = Positional::default();
        let Head::Fixed(row) = head else { return Ok(found) };
        if row.name == "custom_vjp" {
            for key in ["forward", "backward"] {
                let (place, name) = need(parts, self.place(), row.name, key)?;
                found.graphs.push(self.callee(place, &name, scope)?);
            }
        }
        if row.before == Before::Extent {
            found.extent = Some(self.extent()?);
        }
        if matches!(row.before, Before::DType | Before::Number | Before::Extent | Before::Type) {
            found.dtype = Some(self.dtype()?);
        }
        let place = self.place();
        match row.before {
            Before::Number => found.number = Some(number(place, self.word("a number")?)?),
            Before::Shape | Before::Type => found.shape = self.shape()?,
            Before::Graph => {
                let name = self.word("the name of a graph")?;
                found.graphs.push(self.callee(place, name, scope)?);
            }
            _ => {}
        }
        Ok(found)
    }

    fn dtype(&mut self) -> Result<DType, ParseError> {
        let place = self.place();
        match *self.peek() {
            Token::Word(word) if DType::from_name(word).is_some() => {
                self.next();
                Ok(DType::from_name(word).unwrap_or(DType::F32))
            }
            ref found => Err(ParseError::BadType { place, found: found.describe() }),
        }
    }

    fn extent(&mut self) -> Result<Extent, ParseError> {
        let place = self.place();
        let found = self.next();
        let read = if let Token::Word(word) = found { extent(word) } else { None };
        read.ok_or_else(|| ParseError::BadExtent { place, found: found.describe() })
    }

    fn shape(&mut self) -> Result<Shape, ParseError> {
        let place = self.place();
        self.mark('[')?;
        let mut extents = SmallVec::new();
        while *self.peek() != Token::Mark(']') {
            if !extents.is_empty() {
                self.mark(',')?;
            }
            extents.push(self.extent()?);
        }
        self.next();
        let shape = Shape(extents);
        limited("shape", &shape).map_err(|source| ParseError::ill_typed(place, source))?;
        Ok(shape)
    }

    /// `f32[N,64]`
    pub(super) fn tensor_type(&mut self) -> Result<TensorType, ParseError> {
        let dtype = self.dtype()?;
        Ok(TensorType::new(dtype, self.shape()?))
    }
}

/// `64`, `N`, `2N`, `N^2`, `3N^2`.
pub(super) fn extent(word: &str) -> Option<Extent> {
    let Some((scale, power)) = word.split_once('N') else {
        return digits(word).map(Extent::fixed);
    };
    let scale = if scale.is_empty() { 1 } else { digits(scale)? };
    let power = match power.strip_prefix('^') {
        Some(power) => digits(power)?.try_into().ok()?,
        None if power.is_empty() => 1,
        None => return None,
    };
    Some(Extent { scale, power })
}

fn digits(word: &str) -> Option<u64> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok())?
}

/// True when a word stands for a number rather than a name.
pub(super) fn is_number(word: &str) -> bool {
    let word = word.strip_prefix('-').unwrap_or(word);
    word == "inf" || word == "nan" || word.starts_with(|c: char| c.is_ascii_digit())
}

/// A decimal number, `inf`, `nan`, or `0x` and the bits of an f64.
pub(super) fn number(place: Place, word: &str) -> Result<Real, ParseError> {
    let bad = || ParseError::BadNumber { place, found: word.into() };
    if !is_number(word) {
        return Err(bad());
    }
    let number = match word.strip_prefix("0x") {
        Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).map_err(|_| bad())?),
        None => word.parse().map_err(|_| bad())?,
    };
    Ok(Real::new(number))
}
