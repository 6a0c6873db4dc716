//! What an evenkeel program is and means.
//!
//! Read in this order: [`DType`], [`Shape`], [`scalar`] (straight-line code of one element),
//! [`op`] (tables of operations), [`Graph`]. Everything here is pure: no I/O, no unsafe code, no
//! code generation.

mod dtype;
mod error;
pub mod eval;
mod graph;
mod half;
pub mod kernel;
mod literal;
pub mod op;
pub mod program;
pub mod random;
pub mod scalar;
mod shape;
mod target;
pub mod text;

pub use dtype::DType;
pub use error::{IrError, Place};
pub use eval::{EvalError, bind_batch, eval};
pub use graph::{Graph, GraphBuilder, Input, Node, NodeId, Provenance, Value};
pub use half::Half;
pub use kernel::Kernel;
pub use literal::{Data, Literal};
pub use op::{Attrs, Binary, Composite, EpsKind, Op, Real, Reduce, Unary};
pub use program::Program;
pub use shape::{Axes, Extent, Shape, TensorType};
pub use target::{Arch, Target};
pub use text::{ParseError, parse};
