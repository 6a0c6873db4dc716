//! Chains of additions and multiplications by parameters: `y -> scale * y + shift`.

use super::context::Context;
use super::rebuild::{Rebuild, to_rank, trimmed_shape};
use evenkeel_ir::{Binary, NodeId, Op, Unary, Value};

/// One op of a chain; values are parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// `y + p`
    Add(Value),
    /// `y - p`
    Sub(Value),
    /// `p - y`
    SubFrom(Value),
    /// `p y`
    Mul(Value),
    /// `y / p`
    Div(Value),
    /// `-y`
    Neg,
}

impl Step {
    /// The step that a node makes from one of its operands; the result has the operand's type.
    pub(crate) fn of(cx: &Context<'_>, id: NodeId, from: Value) -> Option<Step> {
        let node = cx.node(id);
        if node.types[0] != *cx.graph.ty(from) {
            return None;
        }
        let parameter = |place: usize| cx.fixed(node.inputs[place]);
        match (&node.op, node.inputs.iter().position(|v| *v == from)?) {
            (Op::Unary(Unary::Neg), _) => Some(Step::Neg),
            (Op::Binary(Binary::Add), place) => parameter(1 - place).map(Step::Add),
            (Op::Binary(Binary::Mul), place) => parameter(1 - place).map(Step::Mul),
            (Op::Binary(Binary::Sub), 0) => parameter(1).map(Step::Sub),
            (Op::Binary(Binary::Sub), _) => parameter(0).map(Step::SubFrom),
            (Op::Binary(Binary::Div), 0) => parameter(1).map(Step::Div),
            _ => None,
        }
    }

    /// The step that a node makes from whichever operand is data.
    pub(crate) fn back(cx: &Context<'_>, id: NodeId) -> Option<(Step, Value)> {
        let node = cx.node(id);
        node.inputs.iter().filter(|v| !cx.is_fixed(**v)).find_map(|v| Some((Step::of(cx, id, *v)?, *v)))
    }

    /// The parameter of the step.
    fn parameter(self) -> Option<Value> {
        match self {
            Step::Add(p) | Step::Sub(p) | Step::SubFrom(p) | Step::Mul(p) | Step::Div(p) => Some(p),
            Step::Neg => None,
        }
    }

    /// The factor of the step, if it is one that a parameter gives.
    pub(crate) fn factor(self) -> Option<Value> {
        match self {
            Step::Mul(p) | Step::Div(p) => Some(p),
            _ => None,
        }
    }

    /// True for steps that only add.
    pub(crate) fn is_shift(self) -> bool {
        matches!(self, Step::Add(_) | Step::Sub(_))
    }
}

/// `scale * y + shift` over values of one rank, the least that holds them; nothing stands for 1
/// and 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Affine {
    pub(crate) scale: Option<Value>,
    pub(crate) shift: Option<Value>,
}

impl Affine {
    /// The chain of these steps, for values of the type of `like`.
    pub(crate) fn of(r: &mut Rebuild<'_>, steps: &[Step], like: Value) -> Affine {
        let parameters = steps.iter().filter_map(|step| step.parameter());
        let rank = |p: Value| trimmed_shape(&r.b.ty(r.at(p)).shape).rank();
        let rank = parameters.map(rank).max().unwrap_or(0);
        steps.iter().fold(Affine::default(), |affine, &step| affine.then(r, step, rank, like))
    }

    /// The same followed by a step.
    fn then(self, r: &mut Rebuild<'_>, step: Step, rank: usize, like: Value) -> Affine {
        let Affine { scale, shift } = self;
        match step {
            Step::Add(p) => {
                let p = r.padded(p, rank);
                Affine { scale, shift: Some(shift.map_or(p, |c| r.b.add(c, p))) }
            }
            Step::Sub(p) => {
                let p = r.padded(p, rank);
                let shift = if let Some(c) = shift { r.b.sub(c, p) } else { r.b.neg(p) };
                Affine { scale, shift: Some(shift) }
            }
            Step::SubFrom(p) => self.then(r, Step::Neg, rank, like).then(r, Step::Add(p), rank, like),
            Step::Mul(p) => {
                let p = r.padded(p, rank);
                let scale = scale.map_or(p, |a| r.b.mul(a, p));
                Affine { scale: Some(scale), shift: shift.map(|c| r.b.mul(c, p)) }
            }
            Step::Div(p) => {
                let p = r.padded(p, rank);
                let scale = if let Some(a) = scale { r.b.div(a, p) } else { r.b.recip(p) };
                Affine { scale: Some(scale), shift: shift.map(|c| r.b.div(c, p)) }
            }
            Step::Neg => {
                let scale = if let Some(a) = scale { r.b.neg(a) } else { minus_one(r, like, rank) };
                Affine { scale: Some(scale), shift: shift.map(|c| r.b.neg(c)) }
            }
        }
    }
}

/// -1 as a value of this rank.
fn minus_one(r: &mut Rebuild<'_>, like: Value, rank: usize) -> Value {
    let like = r.at(like);
    let number = r.b.number(like, -1.0);
    to_rank(&mut r.b, number, rank)
}
