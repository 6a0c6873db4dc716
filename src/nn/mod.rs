//! Neural network modules and the trees of parameters they form.
//!
//! Start at [`Parameters`]: a module is any struct that derives it. Layers are one file each.
//!
//! Not here: tracing (`trace`), optimizers (`optim`).

mod dropout;
mod embedding;
pub mod init;
mod linear;
pub mod norm;
mod param;
mod parameters;

pub use self::dropout::Dropout;
pub use self::embedding::Embedding;
pub use self::init::Rng;
pub use self::linear::Linear;
pub use self::norm::{BatchNorm, GroupNorm, LayerNorm, RmsNorm};
pub use self::param::{Param, State};
pub use self::parameters::{FieldPath, LeafMut, LeafRef, Parameters};
pub use evenkeel_macros::Parameters;

use crate::trace::Var;

/// A layer from one value to one value.
pub trait Module {
    /// Applies the layer in the running trace.
    fn forward(&self, x: Var) -> Var;
}

impl<M: Module> Module for Vec<M> {
    /// Applies the layers one after another.
    fn forward(&self, x: Var) -> Var {
        self.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl<M: Module> Module for Option<M> {
    /// The identity without a layer.
    fn forward(&self, x: Var) -> Var {
        self.as_ref().map_or(x, |layer| layer.forward(x))
    }
}
