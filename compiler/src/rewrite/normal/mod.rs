//! Normal form of expressions modulo commutative-ring, power, exp/log and linear-reduction laws.
//!
//! Every value denotes a function on one index space; a size-1 axis is an axis that it does not
//! vary along, so broadcasting has no representation. Equal [`Form`]s are equal functions
//! wherever both spellings are defined; the converse is not promised. Functions without algebra
//! are opaque atoms, and what grows too large becomes one. How graphs become forms is in
//! `super::reader`. Start at [`Normalizer`].

mod display;
mod divide;
#[cfg(test)]
mod evaluate;
mod exponential;
mod form;
mod interval;
mod power;
mod rational;
mod reduce;
#[cfg(test)]
mod tests;

pub(super) use display::FormText;
pub(super) use divide::Lead;
#[cfg(test)]
pub(crate) use evaluate::Evaluator;
pub(super) use form::{Atom, AtomId, Product};
pub use form::{AxisMask, Form, Normalizer};
pub use rational::Number;
