//! Errors of the runtime.

use evenkeel_ir::{DType, EvalError, TensorType};

/// What can go wrong when a program is loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The operating system refused executable memory.
    #[error("cannot map {bytes} bytes of executable memory: {source}")]
    Code {
        /// Size of the mapping.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// Wrong number of arguments, or arguments of wrong types.
    #[error(transparent)]
    Arguments(#[from] EvalError),
    /// An input that the program updates was passed read-only.
    #[error("input {name} is updated by the program: pass it as InOut")]
    NotWritable {
        /// Name of the input.
        name: String,
    },
    /// Host data that does not fill a shape.
    #[error("expected {expected} elements for sizes {sizes:?}, found {found}")]
    Elements {
        /// Product of the sizes.
        expected: usize,
        /// Elements given.
        found: usize,
        /// The sizes.
        sizes: Vec<usize>,
    },
    /// Host data of another element type than asked for.
    #[error("the tensor is {found}, not {expected}")]
    DType {
        /// The wanted element type.
        expected: DType,
        /// The type of the tensor.
        found: TensorType,
    },
    /// A scalar was expected.
    #[error("expected a tensor of one element, found {found}")]
    NotScalar {
        /// The type of the tensor.
        found: TensorType,
    },
    /// A range of rows outside the tensor.
    #[error("rows {start}..{end} of {of}")]
    Rows {
        /// First row.
        start: usize,
        /// One past the last row.
        end: usize,
        /// The type of the tensor.
        of: TensorType,
    },
    /// A range along an axis outside the tensor.
    #[error("slice {start}..{end} of axis {axis} of {of}")]
    Slice {
        /// The axis as given.
        axis: i64,
        /// First position.
        start: usize,
        /// One past the last position.
        end: usize,
        /// The type of the tensor.
        of: TensorType,
    },
    /// A thread count that makes no sense.
    #[error("EVENKEEL_THREADS={value}: expected a whole number from 1 to 1024")]
    Threads {
        /// What the environment holds.
        value: String,
    },
}
