//! Recipes: elementary functions as scalar code, for f32 and f64 registers.
//!
//! The bounds on whole functions are in the op rows, and tests sweep them. All recipes are
//! lane-wise, branch-free and let NaN through. The f32 ones are as cheap as their bounds allow,
//! because they fill the inner loops; see docs/rejected.md for what was not cheaper.

// Coefficients keep all digits of their fits.
#![allow(clippy::excessive_precision)]

mod double;
mod pow;
mod single;

pub use pow::pow;

use super::{Reg, ScalarFn, ScalarType};

/// Declares functions that have a recipe per precision.
macro_rules! per_precision {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])* pub fn $name(k: &mut ScalarFn, x: Reg) -> Reg {
            if k.ty(x) == ScalarType::F32 { single::$name(k, x) } else { double::$name(k, x) }
        })*
    };
}

per_precision! {
    /// `e^x`; infinity above the range, 0 below, gradual underflow.
    exp;
    /// `e^x` for `x <= 88`; in f32 0 below -87.7.
    exp_nonpositive;
    /// `e^x - 1`
    expm1;
    /// Natural logarithm: negative infinity at 0, NaN below.
    log;
    /// `log(1 + x)`
    log1p;
    /// Hyperbolic tangent.
    tanh;
    /// `1 / (1 + e^-x)`
    sigmoid;
    /// `x sigmoid(x)`
    silu;
    /// `log(1 + e^x)`
    softplus;
    /// `x tanh(softplus(x))`
    mish;
    /// `x Phi(x)` with the normal distribution; the negative side keeps its relative accuracy.
    gelu;
    /// The derivative of [`gelu()`].
    gelu_derivative;
    /// `x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`
    gelu_tanh;
    /// The derivative of [`gelu_tanh()`].
    gelu_tanh_derivative;
    /// The error function.
    erf;
    /// The sine.
    sin;
    /// The cosine.
    cos;
}

/// `x sigmoid(1.702 x)`, so that a kernel with the derivative has one exponential.
pub fn quick_gelu(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    // far on the left the sigmoid is 0, and infinity times 0 must not appear
    let (c, far) = (k.float(ty, 1.702), k.float(ty, -1e3));
    let t = k.mul(c, x);
    let s = sigmoid(k, t);
    let limited = k.max(far, x);
    k.mul(limited, s)
}

/// `1 / sqrt(x)`
pub fn rsqrt(k: &mut ScalarFn, x: Reg) -> Reg {
    let one = k.float(k.ty(x), 1.0);
    let root = k.sqrt(x);
    k.div(one, root)
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
pub fn clamp(k: &mut ScalarFn, x: Reg, low: f64, high: f64) -> Reg {
    let ty = k.ty(x);
    let (low, high) = (k.float(ty, low), k.float(ty, high));
    let t = k.max(low, x);
    k.min(high, t)
}

/// `magnitude` with the sign of `sign`; a negative magnitude stays negative.
fn copy_sign(k: &mut ScalarFn, magnitude: Reg, sign: Reg) -> Reg {
    let ty = k.ty(sign);
    let int = if ty == ScalarType::F32 { ScalarType::I32 } else { ScalarType::I64 };
    let top = if ty == ScalarType::F32 { k.i32(i32::MIN) } else { k.i64(i64::MIN) };
    let (m, s) = (k.bitcast(magnitude, int), k.bitcast(sign, int));
    let s = k.and(s, top);
    let joined = k.or(m, s);
    k.bitcast(joined, ty)
}

#[cfg(test)]
mod tests;
