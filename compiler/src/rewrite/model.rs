//! What expressions cost: the interface of models, and the model of recognition. That of simplification
//! is `simplify::cost`.

use super::language::{Classes, Head, Term};
use egg::Id;
use evenkeel_ir::op::Unary;

/// What an e-node costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Operations, which run while memory does.
    pub(crate) arithmetic: f64,
    /// Everything else.
    pub(crate) rest: f64,
}

impl Cost {
    pub(super) fn add(&mut self, other: Cost) {
        self.arithmetic += other.arithmetic;
        self.rest += other.rest;
    }

    pub(super) fn sum(self) -> f64 {
        self.arithmetic + self.rest
    }
}

/// What an expression costs.
pub(crate) trait Model {
    /// Cost of an e-node of a class without its operands.
    fn cost(&self, classes: &Classes, class: Id, term: &Term) -> Cost;

    /// How many sweeps over the row its value needs after its operands have theirs.
    fn sweeps(&self, _: &Term) -> u32 {
        0
    }

    /// Cost of a sweep.
    fn sweep(&self) -> f64 {
        0.0
    }

    /// Cost of memory, whatever is chosen: arithmetic that takes less time is hidden behind it.
    fn transfers(&self) -> f64 {
        0.0
    }
}

/// How much hidden arithmetic counts still, so that less of it is better.
const HIDDEN: f64 = 0.05;

/// The cost of a sum of e-nodes.
pub(super) fn whole(sum: Cost, transfers: f64) -> f64 {
    sum.sum() + (1.0 - HIDDEN) * (transfers - sum.arithmetic).max(0.0)
}

/// Flops and passes of one element: how recognition compares spellings of one value.
pub(crate) struct PerElement;

/// Functions that cost more than arithmetic.
pub(crate) const TRANSCENDENTAL: [Unary; 9] = [
    Unary::Exp,
    Unary::ExpNonpositive,
    Unary::Expm1,
    Unary::Log,
    Unary::Log1p,
    Unary::Sin,
    Unary::Cos,
    Unary::Tanh,
    Unary::Erf,
];

/// True for named functions that are more than arithmetic.
pub(crate) fn is_function(op: Unary) -> bool {
    op.def().definition.is_some() && op != Unary::Square
}

impl Model for PerElement {
    fn cost(&self, _: &Classes, _: Id, term: &Term) -> Cost {
        let arithmetic = match term {
            Term::Leaf(_) | Term::Number(_) | Term::Size(_) | Term::Axes(_) => 0.0,
            Term::Apply(Head::Unary(op), _) if op.def().definition.is_some() => 0.9,
            Term::Apply(Head::Unary(op), _) if TRANSCENDENTAL.contains(op) => 2.0,
            Term::Apply(Head::Unary(_) | Head::Binary(_) | Head::Select, _) => 1.0,
            Term::Apply(Head::Indicator | Head::StopGradient, _) => 0.5,
            Term::Apply(Head::Reduce(_), _) => 3.0,
            Term::Apply(Head::Composite(..), operands) => 2.0 + 0.25 * operands.len() as f64,
        };
        Cost { arithmetic, rest: 0.0 }
    }
}
