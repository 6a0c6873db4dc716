//! Training: one compiled program per step, the state of a run, saving and resuming.
//!
//! Start at [`train_step`]; the interesting part is `update`, which builds the graph of a step.
//!
//! Not here: optimizers (`optim`), compiled functions without training (`session`).

mod builder;
mod diagnose;
mod output;
mod resume;
mod step;
mod update;

pub use self::builder::{Metrics, Objective, TrainStep, train_step};
pub use self::output::StepOutput;
pub use self::resume::SavedAt;
pub use self::step::Step;
