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
    /// A processor that machine code is not made for.
    #[error("this machine cannot run compiled code, which needs {needed}; the interpreter can")]
    Machine {
        /// The processors that can.
        needed: &'static str,
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
    /// A byte of a bool that is no truth value.
    #[error("element {at}: expected 0 or 1 for bool, found {found}")]
    Bool {
        /// Position of the element, row-major.
        at: usize,
        /// The byte.
        found: u8,
    },
    /// More memory than there is.
    #[error("cannot allocate {bytes} bytes for the values of a program")]
    Memory {
        /// What is needed.
        bytes: u64,
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
    #[error("expected rows within {of}, found {start}..{end}")]
    Rows {
        /// First row.
        start: usize,
        /// One past the last row.
        end: usize,
        /// The type of the tensor.
        of: TensorType,
    },
    /// A range along an axis outside the tensor.
    #[error("expected a range within axis {axis} of {of}, found {start}..{end}")]
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
    #[error("{from}: expected a whole number from 1 to 1024, found `{value}`")]
    Threads {
        /// What asks for it: an option or a variable of the environment.
        from: &'static str,
        /// The value.
        value: String,
    },
}
