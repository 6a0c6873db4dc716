//! What most programs use: `use evenkeel::prelude::*`.

pub use crate::checkpoint::Checkpoint;
pub use crate::data::Dataset;
pub use crate::metrics;
pub use crate::nn::{
    BatchNorm, Dropout, Embedding, GroupNorm, LayerNorm, Linear, Module, Param, Parameters, RmsNorm, Rng,
    State,
};
pub use crate::optim::{AdamW, Optimizer, Schedule, Sgd};
pub use crate::session::{
    Device, Fold, Jit, Model, check_gradients, custom_vjp, custom_vjp_with_state, grad, jit, jvp,
    optimize_for_inference, value_and_grad, vjp,
};
pub use crate::trace::{Mode, Var, enter, trace, with_module};
pub use crate::train::{Step, StepOutput, train_step};
pub use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
pub use evenkeel_ir::{DType, EpsKind, Extent, Shape, TensorType};
pub use evenkeel_runtime::Tensor;
