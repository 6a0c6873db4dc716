//! Optimizers: how a gradient changes a parameter, written as a graph, and how fast.
//!
//! An [`Optimizer`] appends its update to the graph of a training step, so it is fused and
//! compiled with the rest. It keeps arrays of its own (slots), one of each kind per parameter,
//! which start at zero and are saved with the training state.
//!
//! Invariant: an update has the type of what it replaces. The learning rate and the number of
//! the step are run-time inputs, never constants of the graph.
//!
//! Not here: clipping and the guard against non-finite steps (`train::update`).

mod adamw;
mod schedule;
mod sgd;
#[cfg(test)]
mod tests;

pub use self::adamw::AdamW;
pub use self::schedule::Schedule;
pub use self::sgd::Sgd;

use evenkeel_ir::{GraphBuilder, Value};

/// Numbers of one training step as rank-0 f32 values of its graph.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The learning rate of this step.
    pub learning_rate: Value,
    /// The number of this step, from 1.
    pub step: Value,
}

/// A parameter, its gradient and its slots within the graph of a step.
#[derive(Clone, Copy, Debug)]
pub struct Trained<'a> {
    /// The parameter before the step.
    pub parameter: Value,
    /// The derivative of the loss with respect to it, after clipping.
    pub gradient: Value,
    /// The optimizer's arrays for it, in the order of [`Optimizer::slots`].
    pub slots: &'a [Value],
}

/// What a step makes of a parameter and its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The parameter after the step.
    pub parameter: Value,
    /// The slots after the step.
    pub slots: Vec<Value>,
}

/// A rule that turns gradients into new parameters.
pub trait Optimizer {
    /// The learning rate where the schedule is at its full height.
    fn learning_rate(&self) -> f64;

    /// Names of the arrays kept per parameter, such as `m`; each has the parameter's type.
    fn slots(&self) -> &'static [&'static str];

    /// Do parameters shrink by themselves (weight decay)? Lints ask.
    fn decays(&self) -> bool {
        false
    }

    /// Appends the update of one parameter.
    fn update(&self, b: &mut GraphBuilder, progress: Progress, trained: Trained<'_>) -> Updated;
}

/// `number * x`.
fn scale(b: &mut GraphBuilder, number: f64, x: Value) -> Value {
    let number = b.number(x, number);
    b.mul(number, x)
}

/// `decay * average + (1 - decay) * x`: a moving average.
fn average(b: &mut GraphBuilder, decay: f64, average: Value, x: Value) -> Value {
    let (old, new) = (scale(b, decay, average), scale(b, 1.0 - decay, x));
    b.add(old, new)
}

/// `parameter - learning_rate * direction`, in the parameter's type.
fn descend(b: &mut GraphBuilder, learning_rate: Value, parameter: Value, direction: Value) -> Value {
    let dtype = b.ty(parameter).dtype;
    let rate = b.cast(learning_rate, dtype);
    let change = b.mul(rate, direction);
    b.sub(parameter, change)
}
