//! Recipes: elementary functions as scalar code, for f32 and f64 registers.
//!
//! Polynomials are Chebyshev fits; the bounds on whole functions are in the op rows, and
//! tests sweep them. All recipes are lane-wise, branch-free and let NaN through.

// Coefficients keep all digits of their fits, for f32 and f64 alike.
#![allow(clippy::excessive_precision)]

mod erf;
mod exp;
mod log;
mod trig;

pub use erf::{erf, gelu};
pub use exp::{exp, expm1, gelu_tanh, sigmoid, silu, softplus, tanh};
pub use log::{log, log1p, pow};
pub use trig::{cos, sin};

use super::{Reg, ScalarFn, ScalarType};

/// `1 / sqrt(x)`
pub fn rsqrt(k: &mut ScalarFn, x: Reg) -> Reg {
    let one = k.float(k.ty(x), 1.0);
    let root = k.sqrt(x);
    k.div(one, root)
}

fn is_f32(k: &ScalarFn, x: Reg) -> bool {
    k.ty(x) == ScalarType::F32
}

/// Polynomial with the highest power first (Horner).
fn polynomial(k: &mut ScalarFn, coefficients: &[f64], x: Reg) -> Reg {
    let ty = k.ty(x);
    let mut p = k.float(ty, coefficients[0]);
    for &c in &coefficients[1..] {
        let c = k.float(ty, c);
        p = k.fma(p, x, c);
    }
    p
}

/// `x` limited to `low..=high`; NaN passes.
fn clamp(k: &mut ScalarFn, x: Reg, low: f64, high: f64) -> Reg {
    let ty = k.ty(x);
    let (low, high) = (k.float(ty, low), k.float(ty, high));
    let t = k.max(low, x);
    k.min(high, t)
}

/// `magnitude` with the sign of `sign`; the magnitude must not be negative.
fn copy_sign(k: &mut ScalarFn, magnitude: Reg, sign: Reg) -> Reg {
    let ty = k.ty(sign);
    let int = if ty == ScalarType::F32 { ScalarType::I32 } else { ScalarType::I64 };
    let top = if ty == ScalarType::F32 { k.i32(i32::MIN) } else { k.i64(i64::MIN) };
    let (m, s) = (k.bitcast(magnitude, int), k.bitcast(sign, int));
    let s = k.and(s, top);
    let joined = k.or(m, s);
    k.bitcast(joined, ty)
}

/// Rounds `x` (below 2^22 in f32, 2^51 in f64) to the nearest integer; gives it as a float and as an integer.
fn nearest_integer(k: &mut ScalarFn, x: Reg) -> (Reg, Reg) {
    let ty = k.ty(x);
    let (int, magic) = if ty == ScalarType::F32 {
        (ScalarType::I32, 12_582_912.0)
    } else {
        (ScalarType::I64, 6_755_399_441_055_744.0)
    };
    let magic = k.float(ty, magic);
    let t = k.add(x, magic);
    let rounded = k.sub(t, magic);
    let (bits, zero) = (k.bitcast(t, int), k.bitcast(magic, int));
    (rounded, k.int_sub(bits, zero))
}

#[cfg(test)]
mod tests;
