//! The one error of the library: what went wrong, with where in the user's code.

use crate::checkpoint::CheckpointError;
use crate::rewrite::RuleError;
use crate::session::GradientMismatch;
use crate::train::SavedAt;
use evenkeel_compiler::CompileError;
use evenkeel_compiler::grad::GradError;
use evenkeel_ir::{EvalError, Place, TensorType};
use evenkeel_runtime::RuntimeError;
use std::sync::Arc;

/// What can go wrong between a closure and its numbers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The closure could not be traced.
    #[error(transparent)]
    Trace(#[from] crate::trace::TraceError),
    /// The graph could not be differentiated.
    #[error(transparent)]
    Grad(#[from] GradError),
    /// The graph could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The program could not be loaded or run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A rewrite rule that is not what it claims.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Tensors that do not fit what was compiled.
    #[error(transparent)]
    Arguments(#[from] EvalError),
    /// A file of tensors could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A gradient is not the slope of its function.
    #[error(transparent)]
    Gradient(#[from] GradientMismatch),
    /// A loss that is not one number.
    #[error("the loss is {found}: expected one float; use mean_all() or sum_all()")]
    Loss {
        /// What the closure returned.
        found: TensorType,
    },
    /// A step whose loss, gradients or new state are not finite; it changed nothing.
    #[error("step {step}: {what} is not finite{}; parameters are unchanged{}", origin(.place, .path), last(.checkpoint))]
    NonFinite {
        /// The step, counted from 0.
        step: u64,
        /// What is not finite.
        what: String,
        /// Where the user wrote it.
        place: Option<Place>,
        /// The module it belongs to.
        path: Option<Arc<str>>,
        /// The last checkpoint of this run, if there is one.
        checkpoint: Option<SavedAt>,
    },
    /// A number that training cannot work with.
    #[error("{what}: expected a finite number{}, found {found}", if *positive { " above 0" } else { ", not negative" })]
    Setting {
        /// What it is.
        what: &'static str,
        /// Must it be above 0?
        positive: bool,
        /// The number.
        found: f64,
    },
    /// A name that the step does not report.
    #[error("nothing named {name}; there is {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// An argument that does not exist.
    #[error("argument {index} does not exist: the function has {count}")]
    Argument {
        /// The position asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

fn last(checkpoint: &Option<SavedAt>) -> String {
    let text = |at: &SavedAt| format!("; last checkpoint: {}, after {} steps", at.path.display(), at.step);
    checkpoint.as_ref().map(text).unwrap_or_default()
}

fn origin(place: &Option<Place>, path: &Option<Arc<str>>) -> String {
    let place = place.map(|place| format!(", at {place}")).unwrap_or_default();
    path.as_ref().map(|path| format!("{place} (in {path})")).unwrap_or(place)
}
