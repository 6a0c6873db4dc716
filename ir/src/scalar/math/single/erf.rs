//! The error function and the normal distribution in f32.

use super::exp::{NEGATIVE, exp2_factors, one_minus_exp2};
use super::{float, polynomial};
use crate::scalar::math::copy_sign;
use crate::scalar::{Compare, Reg, ScalarFn};
use std::f64::consts::LOG2_E;

// log2(erfc(a)) / a for 0 <= a <= 4
const LOG2_ERFC: [f64; 9] = [
    1.25710303109e-05,
    -0.000163506250829,
    0.00089353491785,
    -0.00237427023239,
    0.00020536838565,
    0.0276435948908,
    -0.148279502988,
    -0.918447434902,
    -1.62790703773,
];
// Phi(-a) e^(a^2/2) for 0 <= a <= 6: above, below
const TAIL_ABOVE: [f64; 4] = [0.0135668898001, 0.104208916426, 0.334127575159, 0.5];
const TAIL_BELOW: [f64; 5] = [0.0340279005468, 0.260656058788, 0.87825512886, 1.46613717079, 1.0];
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// `1 - 2^(log2 erfc|x|)`, and the sign of x.
pub(crate) fn erf(k: &mut ScalarFn, x: Reg) -> Reg {
    let (size, far) = (k.abs(x), float(k, 4.0));
    let size = k.min(far, size);
    let slope = polynomial(k, &LOG2_ERFC, size);
    let y = one_minus_exp2(k, size, slope);
    copy_sign(k, y, x)
}

/// The left half of the normal distribution, at `-a = -|x|`.
struct LeftHalf {
    /// `a`, limited where the rest is 0.
    size: Reg,
    /// `-e^(-a^2/2)`
    minus_bell: Reg,
    /// `-Phi(-a)`
    minus_tail: Reg,
}

fn left_half(k: &mut ScalarFn, x: Reg) -> LeftHalf {
    let (size, far) = (k.abs(x), float(k, 13.27));
    let size = k.min(far, size);
    let (square, slope) = (k.mul(size, size), float(k, -0.5 * LOG2_E));
    let [p, minus_scale] = exp2_factors(k, square, slope, NEGATIVE);
    let minus_bell = k.mul(p, minus_scale);
    let above = polynomial(k, &TAIL_ABOVE, size);
    let below = polynomial(k, &TAIL_BELOW, size);
    let above = k.mul(above, minus_bell);
    LeftHalf { size, minus_bell, minus_tail: k.div(above, below) }
}

/// `x Phi(x)` as `max(x, 0) - a Phi(-a)`: the negative side keeps its relative accuracy.
pub(crate) fn gelu(k: &mut ScalarFn, x: Reg) -> Reg {
    let LeftHalf { size, minus_tail, .. } = left_half(k, x);
    let zero = float(k, 0.0);
    let positive = k.max(zero, x);
    k.fma(size, minus_tail, positive)
}

/// `Phi(x) + x phi(x)`: on the right 1 less what it is on the left.
pub(crate) fn gelu_derivative(k: &mut ScalarFn, x: Reg) -> Reg {
    let LeftHalf { size, minus_bell, minus_tail } = left_half(k, x);
    let (zero, one, minus_norm) = (float(k, 0.0), float(k, 1.0), float(k, -FRAC_1_SQRT_2PI));
    let slope = k.mul(size, minus_norm);
    let minus_left = k.fma(slope, minus_bell, minus_tail);
    let (left, right) = (k.neg(minus_left), k.add(one, minus_left));
    let positive = k.compare(Compare::Gt, x, zero);
    k.select(positive, right, left)
}
