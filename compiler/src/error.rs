//! Errors of the compiler.

use crate::emit::EmitError;
use evenkeel_ir::{DType, IrError, Place, TensorType};

/// Why a graph could not be compiled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// An element type that no target executes yet.
    #[error("{dtype} is a storage type and not executable yet: {ty}{}", .place.map(|p| format!(", at {p}")).unwrap_or_default())]
    NotExecutable {
        /// The element type.
        dtype: DType,
        /// Where it occurred.
        ty: TensorType,
        /// The user's line.
        place: Option<Place>,
    },
    /// Costs of no machine.
    #[error(
        "costs: {what} is {found}: expected a number that is finite and not negative, and above 0 for a speed"
    )]
    Costs {
        /// The field.
        what: &'static str,
        /// Its value.
        found: f64,
    },
    /// A pass left a broken graph: a bug of this library.
    #[error("bug in pass {pass}: {source}")]
    Pass {
        /// The pass.
        pass: &'static str,
        /// What the verifier found.
        source: IrError,
    },
    /// A stage left a broken value that is no graph: a bug of this library.
    #[error("bug in stage {stage}: {reason}")]
    Broken {
        /// The stage.
        stage: &'static str,
        /// What its verifier found.
        reason: String,
    },
    /// Code generation refused a kernel: a bug of this library.
    #[error(transparent)]
    Emit(#[from] EmitError),
}
