//! Bounds that keep every computation on sizes of a parsed graph within its integers.

use super::error::ParseError;
use crate::error::Place;
use crate::op::Op;
use crate::shape::{Extent, TensorType};

/// How deep parentheses may nest, and graphs call graphs.
pub(super) const MAX_DEPTH: u64 = 64;
/// How many nodes a graph may have, counting called graphs once for every call of them.
pub(super) const MAX_NODES: u64 = 1 << 20;
/// How many axes a tensor may have.
const MAX_RANK: u64 = 32;
/// How many elements a tensor may have for batch size 1.
const MAX_ELEMENTS: u64 = 1 << 56;
/// How often the batch size may be a factor of a number of elements.
const MAX_POWER: u64 = 64;

/// An error when `found` is over the limit.
pub(super) fn limit(place: Place, what: &'static str, found: u64, limit: u64) -> Result<(), ParseError> {
    if found <= limit { Ok(()) } else { Err(ParseError::TooLarge { place, what, limit }) }
}

/// Checks rank and number of elements, counting empty axes as one element.
pub(super) fn check_extents(place: Place, extents: &[Extent]) -> Result<(), ParseError> {
    let elements = extents.iter().fold(1u64, |product, extent| product.saturating_mul(extent.scale.max(1)));
    let power = extents.iter().map(|extent| u64::from(extent.power)).sum();
    limit(place, "the number of axes", extents.len() as u64, MAX_RANK)?;
    limit(place, "the number of elements", elements, MAX_ELEMENTS)?;
    limit(place, "the power of N in a number of elements", power, MAX_POWER)
}

/// Checks the type of a value.
pub(super) fn check_type(place: Place, ty: &TensorType) -> Result<(), ParseError> {
    check_extents(place, &ty.shape.0)
}

/// Checks that the size of an axis that an op computes is within the limit.
pub(super) fn check_sizes(place: Place, op: &Op, operands: &[&TensorType]) -> Result<(), ParseError> {
    let size = |operand: &TensorType, axis: u8| operand.shape.0.get(usize::from(axis)).map_or(0, |e| e.scale);
    let Some(first) = operands.first() else { return Ok(()) };
    let total = match *op {
        Op::Slice { start, length, stride, .. } => sum([(start, 1), (length, stride)]),
        Op::Pad { axis, low, high, interior } => {
            let size = size(first, axis);
            sum([(low, 1), (high, 1), (size, 1), (size, interior)])
        }
        Op::Concat { axis } => sum(operands.iter().map(|operand| (size(operand, axis), 1))),
        _ => 0,
    };
    limit(place, "the size of an axis", total, MAX_ELEMENTS)
}

/// A saturating sum of products.
fn sum(terms: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    terms.into_iter().fold(0, |total: u64, (a, b)| total.saturating_add(a.saturating_mul(b)))
}
