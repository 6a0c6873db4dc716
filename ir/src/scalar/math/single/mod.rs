//! Recipes for f32 registers.
//!
//! What they have in common: arguments are clamped rather than cases selected, `2^n` is made by a
//! shift of the bits that rounding leaves behind, and a factor of it (0 and infinity included)
//! takes part in a multiply-add. Coefficients are minimax fits, rounded one after the other with
//! the rest fitted again.

mod erf;
mod exp;
mod log;
mod logistic;
mod trig;

pub(super) use erf::{erf, gelu, gelu_derivative};
pub(super) use exp::{exp, exp_nonpositive, expm1, tanh};
pub(super) use log::{log, log1p};
pub(super) use logistic::{gelu_tanh, gelu_tanh_derivative, mish, sigmoid, silu, softplus};
pub(super) use trig::{cos, sin};

use super::polynomial;
use crate::scalar::{Reg, ScalarFn, ScalarType};

/// Numbers of this size are 1 apart, so adding it rounds to an integer.
const ROUNDING: f64 = 12_582_912.0;

/// Exponent bias: `2^n` has `n + 127` in its exponent field.
const BIAS: i32 = 127;

/// An integer `n` near `x * scale`.
struct Integer {
    /// `-n`
    negated: Reg,
    /// An i32 whose low nine bits are `n + bias`.
    biased: Reg,
}

/// The integer nearest to `x * scale`, for products below 2^22.
fn nearest_integer(k: &mut ScalarFn, x: Reg, scale: Reg, bias: i32) -> Integer {
    let magic = k.float(ScalarType::F32, ROUNDING + f64::from(bias));
    let t = k.fma(x, scale, magic);
    Integer { negated: k.sub(magic, t), biased: k.bitcast(t, ScalarType::I32) }
}

/// `2^n` for an i32 whose low nine bits are `n + 127`: 0 at `n = -127`, infinity at `n = 128`.
fn power_of_two(k: &mut ScalarFn, biased: Reg) -> Reg {
    let bits = k.shift_left(biased, 23);
    k.bitcast(bits, ScalarType::F32)
}

/// The constant as an f32 register.
fn float(k: &mut ScalarFn, x: f64) -> Reg {
    k.float(ScalarType::F32, x)
}
