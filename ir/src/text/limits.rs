//! Bounds that keep the reader's own work finite; those of tensors are in `op::infer`.

use super::error::ParseError;
use crate::error::Place;

/// How deep parentheses may nest, and graphs call graphs.
pub(super) const MAX_DEPTH: u64 = 64;
/// How many nodes a graph may have, counting called graphs once for every call of them.
pub(super) const MAX_NODES: u64 = 1 << 20;

/// An error when `found` is over the limit.
pub(super) fn limit(place: Place, what: &'static str, found: u64, limit: u64) -> Result<(), ParseError> {
    if found <= limit { Ok(()) } else { Err(ParseError::TooLarge { place, what, limit }) }
}
