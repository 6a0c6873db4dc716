//! The error function and the normal distribution in f32.

use super::exp::{NEGATIVE, exp2_factors};
use super::{float, polynomial};
use crate::scalar::math::copy_sign;
use crate::scalar::{Compare, Reg, ScalarFn};
use std::f64::consts::LOG2_E;

/// Where `erf` passes from one polynomial to the other.
const NEAR: f64 = 1.1;
// erf(a) / a in a^2 for 0 <= a < 1.1; erfc(a)^(1/8) in a for 1.1 <= a <= 3.92
const COEFFICIENTS: [[f64; 2]; 7] = [
    [7.18803647596e-05, 0.000159895157515],
    [-0.000780580609923, -0.00257774877882],
    [0.005164865035, 0.0133991572887],
    [-0.0268414430384, -0.0124558576248],
    [0.112832917769, -0.0600631576958],
    [-0.376126005205, -0.145957953423],
    [1.12837916221, 1.00107611564],
];
// Phi(-a) e^(a^2/2) for 0 <= a <= 6: above, below
const TAIL_ABOVE: [f64; 4] = [0.0135668898001, 0.104208916426, 0.334127575159, 0.5];
const TAIL_BELOW: [f64; 5] = [0.0340279005468, 0.260656058788, 0.87825512886, 1.46613717079, 1.0];
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// `a p(a^2)` near 0, else `1 - q(a)^8`, and the sign of x; one evaluation of a polynomial, whose
/// argument and coefficients are chosen. From 3.92 on it is 1.
pub(crate) fn erf(k: &mut ScalarFn, x: Reg) -> Reg {
    let (size, far, limit) = (k.abs(x), float(k, 3.92), float(k, NEAR));
    let size = k.min(far, size);
    let near = k.compare(Compare::Lt, size, limit);
    let square = k.mul(size, size);
    let argument = k.select(near, square, size);
    let coefficients = COEFFICIENTS.map(|pair| {
        let [below, above] = pair.map(|number| float(k, number));
        k.select(near, below, above)
    });
    let first = coefficients[0];
    let sum = coefficients[1..].iter().fold(first, |sum, &next| k.fma(sum, argument, next));
    let below = k.mul(size, sum);
    let rest = (0..3).fold(sum, |power, _| k.mul(power, power));
    let one = float(k, 1.0);
    let above = k.sub(one, rest);
    let y = k.select(near, below, above);
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
