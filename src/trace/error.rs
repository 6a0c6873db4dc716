//! Errors of a trace, all reported together.

use evenkeel_ir::{IrError, Place};
use std::fmt;

/// What went wrong at one place of the user's code.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Types or shapes that do not fit.
    #[error(transparent)]
    Type(#[from] IrError),
    /// Axes that a value does not have, or named twice.
    #[error("{op}: axes {axes:?} do not fit {operand}")]
    Axes {
        /// The method.
        op: &'static str,
        /// The axes as given.
        axes: Vec<i64>,
        /// The operand.
        operand: evenkeel_ir::TensorType,
    },
    /// A value of another trace, of one that has ended, or made outside any.
    #[error("{op}: a value was used outside the trace that made it")]
    Foreign {
        /// The method.
        op: &'static str,
    },
    /// A parameter that is not in the traced model.
    #[error("a parameter or state of {ty} is not part of the traced model: pass the module that holds it")]
    Unbound {
        /// Its type.
        ty: evenkeel_ir::TensorType,
    },
    /// A number that the element type cannot hold.
    #[error("{op}: {number:?} is not a value of {dtype}")]
    Number {
        /// The method.
        op: &'static str,
        /// The number.
        number: f64,
        /// The element type.
        dtype: evenkeel_ir::DType,
    },
    /// Inputs or results of one name.
    #[error("two {what} are named {name}")]
    Name {
        /// `inputs`, `results` or what else has names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A requirement of a method.
    #[error("{op}: expected {expected}, found {found}")]
    Expected {
        /// The method.
        op: &'static str,
        /// What it needs.
        expected: String,
        /// What it got.
        found: String,
    },
}

/// A fault with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// What went wrong.
    pub fault: Fault,
    /// The line of the user's code.
    pub place: Place,
    /// The module that was running, if any.
    pub path: Option<String>,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at {}", self.fault, self.place)?;
        self.path.as_ref().map_or(Ok(()), |path| write!(f, " (in {path})"))
    }
}

/// Everything that went wrong in a trace.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct TraceError {
    /// The faults, in the order in which the code ran.
    pub faults: Vec<Located>,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}
