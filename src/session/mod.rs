//! From closures to compiled functions: [`jit`], derivatives, folded models, devices.
//!
//! Start at [`jit`] and [`grad`]; [`Model`] is what compiled functions share.
//!
//! Not here: training (`train`), how closures become graphs (`trace`).

mod check;
mod custom;
mod derive;
mod device;
pub(crate) mod engine;
mod functional;
mod inference;
mod jit;
pub(crate) mod memo;
pub(crate) mod model;
mod native;
pub(crate) mod origin;
pub(crate) mod traced;
mod tree;

pub use self::check::{GradientMismatch, check_gradients};
pub use self::custom::{custom_vjp, custom_vjp_with_state};
pub(crate) use self::derive::select_outputs;
pub use self::derive::{float_inputs, grad_graph, jvp_graph, vjp_graph};
pub use self::device::Device;
pub use self::functional::{Derivative, Function, grad, jvp, value_and_grad, vjp};
pub use self::inference::{FlatModel, InferenceBuilder, Optimized, optimize_for_inference};
pub use self::jit::{Jit, JitBuilder, jit};
pub use self::memo::forget_programs;
pub use self::model::{IntoModel, Model};
pub use self::tree::{Leaf, Tensors, Tree};
pub use evenkeel_compiler::fold::{Derived, FOLDS, Fold, Folded, Refused};
