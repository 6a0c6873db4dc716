//! The exponential and the hyperbolic tangent in f32.

use super::{BIAS, Integer, float, nearest_integer, polynomial, power_of_two};
use crate::scalar::math::{clamp, copy_sign};
use crate::scalar::{Reg, ScalarFn};
use std::f64::consts::{LN_2, LOG2_E};

// e^r for |r| <= ln(2)/2
const EXP: [f64; 6] = [0.0082632265985, 0.0418997034431, 0.166681706905, 0.499991357327, 0.999999463558, 1.0];
// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2
const EXPM1: [f64; 5] = [0.00138980999589, 0.00836616568267, 0.0416668578982, 0.166665479541, 0.5];
// ln(2) in two parts; the first has few digits, so that its small multiples are exact
const LN2: [f64; 2] = [0.693359375, -2.12194440054690583e-4];
// 2^f for |f| <= 1/2
const EXP2: [f64; 6] =
    [0.00132241321262, 0.00967188924551, 0.0555089749396, 0.240222349763, 0.693146824837, 1.0];

// (e^(-2r) - 1) / r for |r| <= ln(2)/4
const TANH: [f64; 6] =
    [0.0887716859579, -0.267726480961, 0.666679024696, -1.33332359791, 1.99999988079, -2.0];
/// Bias of integers whose power of two is to be negative: the bit above the exponent is the sign.
pub(super) const NEGATIVE: i32 = BIAS + 256;

/// `sign x = n ln(2) + r`: n and `sign r`, for a sign of 1 or -1.
fn reduced(k: &mut ScalarFn, x: Reg, sign: f64, bias: i32) -> (Integer, Reg) {
    let scale = float(k, sign * LOG2_E);
    let n = nearest_integer(k, x, scale, bias);
    let mut rest = x;
    for part in LN2 {
        let part = float(k, sign * part);
        rest = k.fma(n.negated, part, rest);
    }
    (n, rest)
}

/// `e^r` of `sign r`.
fn exp_of_rest(k: &mut ScalarFn, rest: Reg, sign: f64) -> Reg {
    let highest = EXP.len() - 1;
    let coefficients: Vec<f64> =
        EXP.iter().enumerate().map(|(i, c)| c * sign.powi((highest - i) as i32)).collect();
    polynomial(k, &coefficients, rest)
}

/// `e^(sign x)` as two factors, for `-88 <= sign x <= 89`.
pub(super) fn exp_factors(k: &mut ScalarFn, x: Reg, sign: f64) -> [Reg; 2] {
    let (n, rest) = reduced(k, x, sign, BIAS);
    [exp_of_rest(k, rest, sign), power_of_two(k, n.biased)]
}

/// `e^x`; infinity above the range, 0 below, gradual underflow.
pub(crate) fn exp(k: &mut ScalarFn, x: Reg) -> Reg {
    let x = clamp(k, x, -104.0, 89.0);
    let (n, rest) = reduced(k, x, 1.0, 2 * BIAS);
    let p = exp_of_rest(k, rest, 1.0);
    // 2^n as two factors, so that results may overflow or become subnormal
    let half = k.shift_right(n.biased, 1);
    let other = k.int_sub(n.biased, half);
    let (half, other) = (power_of_two(k, half), power_of_two(k, other));
    let t = k.mul(p, half);
    k.mul(t, other)
}

/// `e^x` for `x <= 88`, 0 below -87.7.
pub(crate) fn exp_nonpositive(k: &mut ScalarFn, x: Reg) -> Reg {
    let low = float(k, -88.0);
    let x = k.max(low, x);
    let [p, scale] = exp_factors(k, x, 1.0);
    k.mul(p, scale)
}

/// `e^x - 1` as `2 (2^(n-1) (e^r - 1) + (2^(n-1) - 1/2))`.
pub(crate) fn expm1(k: &mut ScalarFn, x: Reg) -> Reg {
    let x = clamp(k, x, -18.0, 89.0);
    let (n, rest) = reduced(k, x, 1.0, BIAS - 1);
    let scale = power_of_two(k, n.biased);
    let q = polynomial(k, &EXPM1, rest);
    let square = k.mul(rest, rest);
    let p = k.fma(q, square, rest);
    let half = float(k, 0.5);
    let offset = k.sub(scale, half);
    let y = k.fma(p, scale, offset);
    k.add(y, y)
}

/// `2^(x slope)` as two factors, for products between -127.4 and 128.4; the second is negative
/// with the bias [`NEGATIVE`].
pub(super) fn exp2_factors(k: &mut ScalarFn, x: Reg, slope: Reg, bias: i32) -> [Reg; 2] {
    let n = nearest_integer(k, x, slope, bias);
    let fraction = k.fma(x, slope, n.negated);
    [polynomial(k, &EXP2, fraction), power_of_two(k, n.biased)]
}

/// `1 - 2^n (1 + r Q(r))`, accurate near 0, for an integer of bias [`NEGATIVE`].
fn one_minus(k: &mut ScalarFn, n: &Integer, rest: Reg) -> Reg {
    let scale = power_of_two(k, n.biased);
    let q = polynomial(k, &TANH, rest);
    let p = k.mul(rest, q);
    let one = float(k, 1.0);
    let offset = k.add(scale, one);
    k.fma(p, scale, offset)
}

/// `t / (2 - t)` with `t = 1 - e^(-2|x|)`, and the sign of x.
pub(crate) fn tanh(k: &mut ScalarFn, x: Reg) -> Reg {
    let (size, far, two) = (k.abs(x), float(k, 10.0), float(k, 2.0));
    let size = k.min(far, size);
    let (slope, half_ln2) = (float(k, -2.0 * LOG2_E), float(k, -0.5 * LN_2));
    let n = nearest_integer(k, size, slope, NEGATIVE);
    let rest = k.fma(n.negated, half_ln2, size);
    let t = one_minus(k, &n, rest);
    let d = k.sub(two, t);
    let y = k.div(t, d);
    copy_sign(k, y, x)
}
