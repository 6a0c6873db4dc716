//! Logarithms and powers.

use super::super::{Compare, Inst, Reg, ScalarFn, ScalarType};
use super::{exp::exp, is_f32, polynomial};

// (log((1+s)/(1-s)) - 2s) / s^3 in s^2, for (1+s)/(1-s) in [sqrt(1/2), sqrt(2)]
const LOG_F32: [f64; 3] = [0.295807504012850695, 0.399887629105941862, 0.666666850827279767];
const LOG_F64: [f64; 8] = [
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
    let (int, shift) = if is_f32(k, x) { (ScalarType::I32, 23) } else { (ScalarType::I64, 52) };
    let root = if is_f32(k, x) { k.i32(0x3f35_04f3) } else { k.i64(0x3fe6_a09e_667f_3bcd) };
    let bits = k.bitcast(x, int);
    let above = k.int_sub(bits, root);
    let e = k.shift_right_signed(above, shift);
    let whole = k.shift_left(e, shift);
    let mantissa = k.int_sub(bits, whole);
    let m = k.bitcast(mantissa, ty);
    let one = k.float(ty, 1.0);
    (small_int_to_float(k, e, ty), k.sub(m, one))
}

/// An integer register of small magnitude as a float, without a conversion instruction.
fn small_int_to_float(k: &mut ScalarFn, n: Reg, ty: ScalarType) -> Reg {
    let magic = if ty == ScalarType::F32 { 12_582_912.0 } else { 6_755_399_441_055_744.0 };
    let magic = k.float(ty, magic);
    let bits = k.bitcast(magic, k.ty(n));
    let t = k.int_add(n, bits);
    let t = k.bitcast(t, ty);
    k.sub(t, magic)
}

/// Natural logarithm: negative infinity at 0, NaN below.
pub fn log(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (smallest, lift, lift_log2) = if is_f32(k, x) {
        (f64::from(f32::MIN_POSITIVE), 8_388_608.0, 23.0)
    } else {
        (f64::MIN_POSITIVE, 4_503_599_627_370_496.0, 52.0)
    };
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
    let coefficients: &[f64] = if is_f32(k, f) { &LOG_F32 } else { &LOG_F64 };
    let r = polynomial(k, coefficients, z);
    let r = k.mul(z, r);
    let square = k.mul(f, f);
    let h = k.mul(half, square);
    let t = k.add(h, r);
    let (high, low) = if is_f32(k, f) {
        (0.693359375, -2.12194440054690583e-4)
    } else {
        (6.93147180369123816490e-01, 1.90821492927058770002e-10)
    };
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
pub fn log1p(k: &mut ScalarFn, x: Reg) -> Reg {
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

/// `x^y`. Constant integer exponents multiply; otherwise a negative base gives NaN unless
/// the exponent is an integer.
pub fn pow(k: &mut ScalarFn, x: Reg, y: Reg) -> Reg {
    match constant(k, y) {
        Some(n) if n.fract() == 0.0 && n.abs() <= 64.0 => integer_power(k, x, n as i32),
        Some(0.5) => k.sqrt(x),
        Some(-0.5) => super::rsqrt(k, x),
        _ => general_power(k, x, y),
    }
}

fn constant(k: &ScalarFn, reg: Reg) -> Option<f64> {
    match k.inst(reg) {
        Inst::Const(c) => Some(super::super::Scalar::from(c).as_f64()),
        _ => None,
    }
}

fn integer_power(k: &mut ScalarFn, x: Reg, n: i32) -> Reg {
    let one = k.float(k.ty(x), 1.0);
    let (mut result, mut square, mut left) = (None, x, n.unsigned_abs());
    while left > 0 {
        if left & 1 == 1 {
            result = Some(result.map_or(square, |r| k.mul(r, square)));
        }
        left >>= 1;
        if left > 0 {
            square = k.mul(square, square);
        }
    }
    let result = result.unwrap_or(one);
    if n < 0 { k.div(one, result) } else { result }
}

/// `sign * e^(y log|x|)`; the sign is that of an odd integer power.
fn general_power(k: &mut ScalarFn, x: Reg, y: Reg) -> Reg {
    let ty = k.ty(x);
    let (zero, one, two, half) = (k.zero(ty), k.float(ty, 1.0), k.float(ty, 2.0), k.float(ty, 0.5));
    let size = k.abs(x);
    let l = log(k, size);
    let t = k.mul(y, l);
    let p = exp(k, t);
    let whole = k.floor(y);
    let is_integer = k.compare(Compare::Eq, whole, y);
    let halved = k.mul(y, half);
    let floor = k.floor(halved);
    let even = k.mul(floor, two);
    let is_odd = k.compare(Compare::Ne, even, y);
    let negated = k.neg(p);
    let signed = k.select(is_odd, negated, p);
    let nan = k.float(ty, f64::NAN);
    let of_negative = k.select(is_integer, signed, nan);
    let negative = k.compare(Compare::Lt, x, zero);
    let p = k.select(negative, of_negative, p);
    let to_zero = k.compare(Compare::Eq, y, zero);
    let p = k.select(to_zero, one, p);
    let from_one = k.compare(Compare::Eq, x, one);
    k.select(from_one, one, p)
}
