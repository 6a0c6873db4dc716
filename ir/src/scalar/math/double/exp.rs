//! The exponential and functions made from it, in f64.

use super::{log, nearest_integer, polynomial};
use crate::scalar::math::{clamp, copy_sign};
use crate::scalar::{Compare, Reg, ScalarFn, ScalarType};

// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2
const EXP: [f64; 11] = [
    2.09148825634850695e-9,
    2.51054909069866954e-8,
    2.75572731719410277e-7,
    2.75572547404054151e-6,
    0.0000248015873259201617,
    0.000198412698753421422,
    0.00138888888888836415,
    0.00833333333332598557,
    0.0416666666666666698,
    0.166666666666666711,
    0.5,
];
// results beyond are 0 and infinity
const LIMITS: (f64, f64) = (-750.0, 711.0);
// ln(2) in two parts, the first with trailing zeros
const LN2: (f64, f64) = (6.93147180369123816490e-01, 1.90821492927058770002e-10);

/// `x = n ln(2) + r`: gives n as an integer and `e^r - 1`.
fn reduced(k: &mut ScalarFn, x: Reg) -> (Reg, Reg) {
    let ty = k.ty(x);
    let (high, low) = LN2;
    let log2e = k.float(ty, std::f64::consts::LOG2_E);
    let t = k.mul(x, log2e);
    let (n, n_int) = nearest_integer(k, t);
    let (high, low) = (k.float(ty, -high), k.float(ty, -low));
    let r = k.fma(n, high, x);
    let r = k.fma(n, low, r);
    let p = polynomial(k, &EXP, r);
    let square = k.mul(r, r);
    (n_int, k.fma(p, square, r))
}

/// `2^n` for an integer register in the range of normal numbers.
fn power_of_two(k: &mut ScalarFn, n: Reg) -> Reg {
    let bias = k.i64(1023);
    let e = k.int_add(n, bias);
    let bits = k.shift_left(e, 52);
    k.bitcast(bits, ScalarType::F64)
}

/// `2^n` as two factors, so that results may overflow or become subnormal.
fn two_powers(k: &mut ScalarFn, n: Reg) -> (Reg, Reg) {
    let half = k.shift_right_signed(n, 1);
    let rest = k.int_sub(n, half);
    (power_of_two(k, half), power_of_two(k, rest))
}

/// `e^x`; infinity above the range, 0 below, gradual underflow.
pub(crate) fn exp(k: &mut ScalarFn, x: Reg) -> Reg {
    let (low, high) = LIMITS;
    let x = clamp(k, x, low, high);
    let (n, p) = reduced(k, x);
    let one = k.float(k.ty(x), 1.0);
    let p = k.add(p, one);
    let (a, b) = two_powers(k, n);
    let t = k.mul(p, a);
    k.mul(t, b)
}

/// `e^x - 1`
pub(crate) fn expm1(k: &mut ScalarFn, x: Reg) -> Reg {
    let (low, high) = LIMITS;
    let limited = clamp(k, x, low, high);
    let (n, p) = reduced(k, limited);
    let one = k.float(k.ty(x), 1.0);
    let (a, b) = two_powers(k, n);
    // 2^n (p + 1) - 1 = (2^n p) + (2^n - 1)
    let scaled = k.mul(p, a);
    let scale = k.mul(a, b);
    let offset = k.sub(scale, one);
    let y = k.fma(scaled, b, offset);
    // where 2^n itself overflows
    let total = k.add(p, one);
    let total = k.mul(total, a);
    let total = k.mul(total, b);
    let edge = k.float(k.ty(x), 700.0);
    let large = k.compare(Compare::Gt, x, edge);
    k.select(large, total, y)
}

/// `sign(x) * -t / (2 + t)` with `t = e^(-2|x|) - 1`.
pub(crate) fn tanh(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (minus_two, two) = (k.float(ty, -2.0), k.float(ty, 2.0));
    let size = k.abs(x);
    let t = k.mul(size, minus_two);
    let low = k.float(ty, -80.0);
    let t = k.max(low, t);
    let (n, p) = reduced(k, t);
    let scale = power_of_two(k, n);
    let one = k.float(ty, 1.0);
    let offset = k.sub(scale, one);
    let t = k.fma(p, scale, offset);
    let below = k.add(two, t);
    let above = k.neg(t);
    let y = k.div(above, below);
    copy_sign(k, y, x)
}

/// `1 / (1 + e^-x)`
pub(crate) fn sigmoid(k: &mut ScalarFn, x: Reg) -> Reg {
    let one = k.float(k.ty(x), 1.0);
    let d = logistic_denominator(k, x);
    k.div(one, d)
}

/// `x / (1 + e^-x)`
pub(crate) fn silu(k: &mut ScalarFn, x: Reg) -> Reg {
    let d = logistic_denominator(k, x);
    k.div(x, d)
}

fn logistic_denominator(k: &mut ScalarFn, x: Reg) -> Reg {
    let n = k.neg(x);
    let e = exp(k, n);
    let one = k.float(k.ty(x), 1.0);
    k.add(one, e)
}

/// `max(x, 0) + log(1 + e^-|x|)`
pub(crate) fn softplus(k: &mut ScalarFn, x: Reg) -> Reg {
    let size = k.abs(x);
    let n = k.neg(size);
    let e = exp(k, n);
    let l = log::log1p(k, e);
    let zero = k.zero(k.ty(x));
    let positive = k.max(zero, x);
    k.add(positive, l)
}

/// `2 sqrt(2/pi)`, what the linear term of [`gelu_tanh`] is multiplied with.
const LINEAR: f64 = 2.0 * 0.797_884_560_802_865_4;

/// `2 sqrt(2/pi) (x + cubic x^3)`
fn gelu_argument(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (linear, cubic) = (k.float(ty, LINEAR), k.float(ty, LINEAR * 0.044715));
    let square = k.mul(x, x);
    let t = k.fma(square, cubic, linear);
    k.mul(x, t)
}

/// `x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`
pub(crate) fn gelu_tanh(k: &mut ScalarFn, x: Reg) -> Reg {
    let u = gelu_argument(k, x);
    let d = logistic_denominator(k, u);
    k.div(x, d)
}

/// `s + s x v' (1 - s)` with `s = sigmoid(v)`, `v' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2)`.
pub(crate) fn gelu_tanh_derivative(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let v = gelu_argument(k, x);
    let s = sigmoid(k, v);
    let (one, c0, c1) = (k.float(ty, 1.0), k.float(ty, LINEAR), k.float(ty, 3.0 * LINEAR * 0.044715));
    let square = k.mul(x, x);
    let slope = k.fma(square, c1, c0);
    let t = k.mul(x, slope);
    let rest = k.sub(one, s);
    let t = k.mul(t, rest);
    k.fma(t, s, s)
}

/// `x tanh(softplus(x))`
pub(crate) fn mish(k: &mut ScalarFn, x: Reg) -> Reg {
    let s = softplus(k, x);
    let t = tanh(k, s);
    k.mul(x, t)
}
