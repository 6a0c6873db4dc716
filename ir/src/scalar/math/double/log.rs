//! Logarithms in f64.

use super::polynomial;
use crate::scalar::{Compare, Reg, ScalarFn, ScalarType};

// (log((1+s)/(1-s)) - 2s) / s^3 in s^2, for (1+s)/(1-s) in [sqrt(1/2), sqrt(2)]
const LOG: [f64; 8] = [
    0.130877147473975417,
    0.132686690051113847,
    0.153862435926652082,
    0.181817955685899374,
    0.22222222392383701,
    0.285714285708006563,
    0.400000000000008818,
    0.666666666666666665,
];

/// Splits a positive normal number into exponent (as a float) and `mantissa - 1`, with the
/// mantissa in `[sqrt(1/2), sqrt(2))`.
fn split(k: &mut ScalarFn, x: Reg) -> (Reg, Reg) {
    let ty = k.ty(x);
    let root = k.i64(0x3fe6_a09e_667f_3bcd);
    let bits = k.bitcast(x, ScalarType::I64);
    let above = k.int_sub(bits, root);
    let e = k.shift_right_signed(above, 52);
    let whole = k.shift_left(e, 52);
    let mantissa = k.int_sub(bits, whole);
    let m = k.bitcast(mantissa, ty);
    let one = k.float(ty, 1.0);
    (small_int_to_float(k, e, ty), k.sub(m, one))
}

/// An integer register of small magnitude as a float, without a conversion instruction.
fn small_int_to_float(k: &mut ScalarFn, n: Reg, ty: ScalarType) -> Reg {
    let magic = k.float(ty, 6_755_399_441_055_744.0);
    let bits = k.bitcast(magic, k.ty(n));
    let t = k.int_add(n, bits);
    let t = k.bitcast(t, ty);
    k.sub(t, magic)
}

/// Natural logarithm: negative infinity at 0, NaN below.
pub(crate) fn log(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (smallest, lift, lift_log2) = (f64::MIN_POSITIVE, 4_503_599_627_370_496.0, 52.0);
    let (smallest, lift, lift_log2) = (k.float(ty, smallest), k.float(ty, lift), k.float(ty, lift_log2));
    let zero = k.zero(ty);
    let tiny = k.compare(Compare::Lt, x, smallest);
    let lifted = k.mul(x, lift);
    let normal = k.select(tiny, lifted, x);
    let (e, f) = split(k, normal);
    let correction = k.select(tiny, lift_log2, zero);
    let e = k.sub(e, correction);
    let y = log_of_parts(k, e, f);
    special_log_values(k, x, y)
}

/// `e ln(2) + log(1 + f)`, as `f - (f^2/2 - s (f^2/2 + s^2 R(s^2)))` with `s = f / (2 + f)`.
fn log_of_parts(k: &mut ScalarFn, e: Reg, f: Reg) -> Reg {
    let ty = k.ty(f);
    let (two, half) = (k.float(ty, 2.0), k.float(ty, 0.5));
    let d = k.add(two, f);
    let s = k.div(f, d);
    let z = k.mul(s, s);
    let r = polynomial(k, &LOG, z);
    let r = k.mul(z, r);
    let square = k.mul(f, f);
    let h = k.mul(half, square);
    let t = k.add(h, r);
    let (high, low) = (6.93147180369123816490e-01, 1.90821492927058770002e-10);
    let (high, low) = (k.float(ty, high), k.float(ty, low));
    // s t + e low, small against the rest
    let tail = k.mul(s, t);
    let tail = k.fma(e, low, tail);
    let small = k.sub(h, tail);
    let y = k.sub(f, small);
    k.fma(e, high, y)
}

fn special_log_values(k: &mut ScalarFn, x: Reg, y: Reg) -> Reg {
    let ty = k.ty(x);
    let (zero, infinity) = (k.zero(ty), k.float(ty, f64::INFINITY));
    let (minus_infinity, nan) = (k.float(ty, f64::NEG_INFINITY), k.float(ty, f64::NAN));
    // x < infinity fails for infinity and NaN: both are their own logarithm
    let finite = k.compare(Compare::Lt, x, infinity);
    let y = k.select(finite, y, x);
    let at_zero = k.compare(Compare::Eq, x, zero);
    let y = k.select(at_zero, minus_infinity, y);
    let negative = k.compare(Compare::Lt, x, zero);
    k.select(negative, nan, y)
}

/// `log(1 + x)`: the logarithm of the rounded sum, corrected by what rounding lost.
pub(crate) fn log1p(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let one = k.float(ty, 1.0);
    let sum = k.add(one, x);
    let back = k.sub(sum, one);
    let lost = k.sub(x, back);
    let correction = k.div(lost, sum);
    let size = k.abs(correction);
    let sane = k.compare(Compare::Lt, size, one);
    let zero = k.zero(ty);
    let correction = k.select(sane, correction, zero);
    let y = log(k, sum);
    let y = k.add(y, correction);
    // below the rounding unit the sum is 1: the answer is x
    let unchanged = k.compare(Compare::Eq, sum, one);
    k.select(unchanged, x, y)
}
