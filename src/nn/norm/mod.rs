//! Normalization layers, one file each.

mod batch_norm;
mod group_norm;
mod layer_norm;
mod rms_norm;

pub use batch_norm::BatchNorm;
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use rms_norm::RmsNorm;

use super::Param;
use crate::trace::Var;
use evenkeel_ir::Shape;

/// `y * gain + bias`, each if there is one, seen as `shape` if that is given. No closures: they
/// would hide the caller's place.
#[track_caller]
fn affine(y: Var, gain: Option<&Param>, bias: Option<&Param>, shape: Option<&Shape>) -> Var {
    let y = match gain {
        Some(gain) => y * shaped(gain.value(), shape),
        None => y,
    };
    match bias {
        Some(bias) => y + shaped(bias.value(), shape),
        None => y,
    }
}

#[track_caller]
fn shaped(value: Var, shape: Option<&Shape>) -> Var {
    match shape {
        Some(shape) => value.with_shape(shape.clone()),
        None => value,
    }
}
