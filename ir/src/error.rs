//! Errors of the IR: ill-typed uses of ops, with the types that met.

use crate::shape::{Axes, Extent, Shape, TensorType};
use std::fmt;

/// A place in a user's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Path as the Rust compiler saw it, or the name of a text graph.
    pub file: &'static str,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Place {
    /// The caller's place, through functions marked `#[track_caller]`.
    #[track_caller]
    pub fn caller() -> Place {
        let at = std::panic::Location::caller();
        Place { file: at.file(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An ill-typed use of an op. The fields are what the message shows.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IrError {
    /// Wrong number of operands.
    #[error("{op}: expected {expected} operands, found {found}")]
    Arity { op: &'static str, expected: usize, found: usize },
    /// Unsuitable element type.
    #[error("{op}: expected {expected}, found {found}")]
    DType { op: &'static str, expected: &'static str, found: TensorType },
    /// Operands of different element types.
    #[error("{op}: element types differ: {lhs} and {rhs}; cast one of them")]
    DTypes { op: &'static str, lhs: TensorType, rhs: TensorType },
    /// Shapes that cannot be stretched to a common one.
    #[error("{op}: shapes do not fit: {lhs} and {rhs}{hint}")]
    Broadcast { op: &'static str, lhs: TensorType, rhs: TensorType, hint: String },
    /// An axis that the operand does not have.
    #[error("{op}: axis {axis} does not exist in {operand}")]
    Axis { op: &'static str, axis: i64, operand: TensorType },
    /// An op over a single axis got several or none.
    #[error("{op}: expected one axis, found {axes}")]
    OneAxis { op: &'static str, axes: Axes },
    /// A reshape that changes the number of elements.
    #[error("reshape: {from} has {from_elements} elements, {to} has {to_elements}")]
    Reshape { from: TensorType, from_elements: Extent, to: Shape, to_elements: Extent },
    /// Not a permutation of the operand's axes.
    #[error("{op}: {perm:?} is not a permutation of the axes of {operand}")]
    Permutation { op: &'static str, perm: Vec<u8>, operand: TensorType },
    /// An op that needs a size known at compile time met a batch axis.
    #[error("{op}: axis {axis} of {operand} is the batch axis, whose size is known only when running")]
    BatchAxis { op: &'static str, axis: usize, operand: TensorType },
    /// A slice outside its operand.
    #[error("slice: {length} elements from {start} by {stride} do not fit axis {axis} of {operand}")]
    Slice { axis: usize, start: u64, length: u64, stride: u64, operand: TensorType },
    /// Operands that differ outside the concatenated axis.
    #[error("concat: {lhs} and {rhs} differ outside axis {axis}")]
    Concat { axis: usize, lhs: TensorType, rhs: TensorType },
    /// Matrices of a batched product that do not pair up.
    #[error("dot: leading axes differ: {lhs} and {rhs} share the first {batch}")]
    Leading { lhs: TensorType, rhs: TensorType, batch: u8 },
    /// A tensor beyond the limits that keep computations on sizes within their integers.
    #[error("{op}: {what} is larger than the limit of {limit}")]
    TooLarge { op: &'static str, what: &'static str, limit: u64 },
    /// The contracted axes of a product differ in size.
    #[error("dot: inner sizes differ: {lhs} has {lhs_size}, {rhs} has {rhs_size}")]
    InnerSize { lhs: TensorType, rhs: TensorType, lhs_size: Extent, rhs_size: Extent },
    /// Updates whose axes are not those of the indices.
    #[error("scatter_add: {updates} does not have the axes of {indices} at axis {axis}")]
    Scatter { axis: usize, updates: TensorType, indices: TensorType },
    /// An operand that does not have the type of the called graph's input.
    #[error("{op}: {input} expects {expected}, found {found}")]
    CallType { op: &'static str, input: String, expected: TensorType, found: TensorType },
    /// An input op was applied like a function.
    #[error("input: inputs are declared, not applied")]
    MisplacedInput,
    /// A broken graph; always a bug of this library.
    #[error("graph: {0}")]
    Broken(String),
}
