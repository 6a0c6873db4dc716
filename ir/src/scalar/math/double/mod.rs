//! Recipes for f64 registers.

mod erf;
mod exp;
mod log;
mod trig;

pub(super) use erf::{erf, gelu, gelu_derivative};
pub(super) use exp::{exp, expm1, gelu_tanh, gelu_tanh_derivative, mish, sigmoid, silu, softplus, tanh};
pub(super) use log::{log, log1p};
pub(super) use trig::{cos, sin};

/// Where accuracy is cheap there is nothing to gain from a smaller range.
pub(super) use exp::exp as exp_nonpositive;

use super::polynomial;
use crate::scalar::{Reg, ScalarFn, ScalarType};

/// Rounds `x` (below 2^51) to the nearest integer; gives it as a float and as an integer.
fn nearest_integer(k: &mut ScalarFn, x: Reg) -> (Reg, Reg) {
    let magic = k.float(ScalarType::F64, 6_755_399_441_055_744.0);
    let t = k.add(x, magic);
    let rounded = k.sub(t, magic);
    let (bits, zero) = (k.bitcast(t, ScalarType::I64), k.bitcast(magic, ScalarType::I64));
    (rounded, k.int_sub(bits, zero))
}
