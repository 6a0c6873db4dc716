//! What most programs use: `use evenkeel::prelude::*`.

pub use crate::nn::{
    BatchNorm, Dropout, Embedding, GroupNorm, LayerNorm, Linear, Module, Param, Parameters, RmsNorm, Rng,
    State,
};
pub use crate::trace::{Mode, Var, trace, with_module};
pub use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
pub use evenkeel_ir::{DType, EpsKind, Extent, Shape, TensorType};
pub use evenkeel_runtime::Tensor;
