//! Functions of `1 + e^-x` in f32.
//!
//! `e^-x` may reach infinity: a sigmoid below 2^-127 is 0.

use super::exp::{exp_factors, exp2_factors};
use super::{BIAS, float, polynomial};
use crate::scalar::math::clamp;
use crate::scalar::{Reg, ScalarFn};
use std::f64::consts::LN_2;

// log(1 + u) / u for 0 <= u <= 1
const LOG1P: [f64; 10] = [
    -0.00436119921505,
    0.0248575974256,
    -0.0662587806582,
    0.115286812186,
    -0.158366918564,
    0.198526114225,
    -0.249864935875,
    0.333328455687,
    -0.499999970198,
    1.0,
];
// -2 sqrt(2/pi) log2(e), and 0.044715 times that; each is one unit off, so that their errors
// cancel near x = -6
const LINEAR: f64 = -2.302208423614502;
const CUBIC: f64 = -0.10294323414564133;

/// `x / (1 + a b)`
fn over_one_plus(k: &mut ScalarFn, x: Reg, [a, b]: [Reg; 2]) -> Reg {
    let one = float(k, 1.0);
    let d = k.fma(a, b, one);
    k.div(x, d)
}

/// `max(low, x)`, and that limited from above; NaN passes.
fn limited(k: &mut ScalarFn, x: Reg, low: f64, high: f64) -> (Reg, Reg) {
    let (low, high) = (float(k, low), float(k, high));
    let above = k.max(low, x);
    (above, k.min(high, above))
}

/// `1 / (1 + e^-x)`
pub(crate) fn sigmoid(k: &mut ScalarFn, x: Reg) -> Reg {
    let x = clamp(k, x, -89.0, 88.0);
    let (factors, one) = (exp_factors(k, x, -1.0), float(k, 1.0));
    over_one_plus(k, one, factors)
}

/// `x / (1 + e^-x)`
pub(crate) fn silu(k: &mut ScalarFn, x: Reg) -> Reg {
    let (above, x) = limited(k, x, -89.0, 88.0);
    let factors = exp_factors(k, x, -1.0);
    over_one_plus(k, above, factors)
}

/// What [`gelu_tanh`] and its derivative share.
struct Gate {
    /// The argument, limited from below.
    above: Reg,
    /// That limited from above.
    x: Reg,
    /// The cubic term of the exponent over `x^2`.
    scaled: Reg,
    /// `1 + e^-v`
    denominator: Reg,
}

fn gate(k: &mut ScalarFn, x: Reg) -> Gate {
    let (above, x) = limited(k, x, -10.06, 10.03);
    let (linear, cubic) = (float(k, LINEAR), float(k, CUBIC));
    let scaled = k.mul(x, cubic);
    let slope = k.fma(x, scaled, linear);
    let [p, scale] = exp2_factors(k, x, slope, BIAS);
    let one = float(k, 1.0);
    Gate { above, x, scaled, denominator: k.fma(p, scale, one) }
}

/// `x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`
pub(crate) fn gelu_tanh(k: &mut ScalarFn, x: Reg) -> Reg {
    let gate = gate(k, x);
    k.div(gate.above, gate.denominator)
}

/// `s + s x v' (1 - s)` with `s = sigmoid(v)`, `v' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2)`.
pub(crate) fn gelu_tanh_derivative(k: &mut ScalarFn, x: Reg) -> Reg {
    let Gate { x, scaled, denominator, .. } = gate(k, x);
    let one = float(k, 1.0);
    let s = k.div(one, denominator);
    let (c0, c1) = (float(k, -LINEAR * LN_2), float(k, -3.0 * LN_2));
    let square = k.mul(x, scaled);
    let slope = k.fma(square, c1, c0);
    let t = k.mul(x, slope);
    let rest = k.sub(one, s);
    let t = k.mul(t, rest);
    k.fma(t, s, s)
}

/// `max(x, 0) + log(1 + e^-|x|)`
pub(crate) fn softplus(k: &mut ScalarFn, x: Reg) -> Reg {
    let (size, zero, far) = (k.abs(x), float(k, 0.0), float(k, 88.0));
    let size = k.min(far, size);
    let [p, scale] = exp_factors(k, size, -1.0);
    let e = k.mul(p, scale);
    let r = polynomial(k, &LOG1P, e);
    let positive = k.max(zero, x);
    k.fma(e, r, positive)
}

/// `x tanh(log(1 + e^x))` as `x w / (w + 2)` with `w = e^x (e^x + 2)`.
pub(crate) fn mish(k: &mut ScalarFn, x: Reg) -> Reg {
    let (above, x) = limited(k, x, -88.0, 20.0);
    let [p, scale] = exp_factors(k, x, 1.0);
    let e = k.mul(p, scale);
    let two = float(k, 2.0);
    let more = k.add(e, two);
    let w = k.mul(e, more);
    let d = k.add(w, two);
    let t = k.div(w, d);
    k.mul(above, t)
}
