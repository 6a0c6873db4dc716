//! Logarithms in f32.

use super::{float, polynomial};
use crate::scalar::math::copy_sign;
use crate::scalar::{Compare, Reg, ScalarFn, ScalarType};

// (log(1 + f) - f + f^2/2) / f^3 for 1 + f between sqrt(1/2) and sqrt(2)
const LOG: [f64; 7] = [
    0.0871119573712,
    -0.142840340734,
    0.149184510112,
    -0.165758386254,
    0.19962592423,
    -0.250013798475,
    0.333339214325,
];
// ln(2) in two parts; the first has few digits, so that its small multiples are exact
const LN2: [f64; 2] = [0.693359375, -2.12194440054690583e-4];
/// Bits of sqrt(1/2).
const ROOT: i32 = 0x3f35_04f3;
const EXPONENT: i32 = -0x0080_0000;
/// `2^23`: what a number is multiplied with when its exponent field counts as an integer.
const FIELD: f64 = 8_388_608.0;

/// Splits a positive normal number into `2^e` and a mantissa in `[sqrt(1/2), sqrt(2))`: gives `e`
/// in place of an exponent field, and `mantissa - 1`.
fn split(k: &mut ScalarFn, x: Reg) -> (Reg, Reg) {
    let bits = k.bitcast(x, ScalarType::I32);
    let (root, mask, one) = (k.i32(ROOT), k.i32(EXPONENT), float(k, 1.0));
    let above = k.int_sub(bits, root);
    let field = k.and(above, mask);
    let mantissa = k.int_sub(bits, field);
    let mantissa = k.bitcast(mantissa, ScalarType::F32);
    (field, k.sub(mantissa, one))
}

/// `e ln(2) + log(1 + f)`, given `2^23 e`.
fn log_of_parts(k: &mut ScalarFn, scaled: Reg, f: Reg) -> Reg {
    let [high, low] = LN2.map(|part| float(k, part / FIELD));
    let minus_half = float(k, -0.5);
    let square = k.mul(f, f);
    let p = polynomial(k, &LOG, f);
    let cube = k.mul(square, f);
    let low = k.mul(scaled, low);
    let t = k.fma(p, cube, low);
    let t = k.fma(square, minus_half, t);
    let y = k.add(f, t);
    k.fma(scaled, high, y)
}

/// Where a logarithm of `x` is not `y`: infinity and NaN are their own, 0 has minus infinity,
/// negative numbers NaN.
fn special_values(k: &mut ScalarFn, x: Reg, y: Reg) -> Reg {
    let (zero, infinity) = (float(k, 0.0), float(k, f64::INFINITY));
    let (minus_infinity, nan) = (float(k, f64::NEG_INFINITY), float(k, f64::NAN));
    let finite = k.compare(Compare::Lt, x, infinity);
    let y = k.select(finite, y, infinity);
    let at_zero = k.compare(Compare::Eq, x, zero);
    let other = k.select(at_zero, minus_infinity, nan);
    let positive = k.compare(Compare::Gt, x, zero);
    k.select(positive, y, other)
}

/// Natural logarithm: negative infinity at 0, NaN below.
pub(crate) fn log(k: &mut ScalarFn, x: Reg) -> Reg {
    let (smallest, lift) = (float(k, f32::MIN_POSITIVE.into()), float(k, FIELD));
    let (zero, lifted_by) = (float(k, 0.0), float(k, 23.0 * FIELD));
    let tiny = k.compare(Compare::Lt, x, smallest);
    let lifted = k.mul(x, lift);
    let normal = k.select(tiny, lifted, x);
    let (field, f) = split(k, normal);
    let scaled = k.convert(field, ScalarType::F32);
    let correction = k.select(tiny, lifted_by, zero);
    let scaled = k.sub(scaled, correction);
    let y = log_of_parts(k, scaled, f);
    special_values(k, x, y)
}

/// `log(1 + x)`: what rounding the sum loses is added to the mantissa.
pub(crate) fn log1p(k: &mut ScalarFn, x: Reg) -> Reg {
    let one = float(k, 1.0);
    let sum = k.add(one, x);
    let back = k.sub(sum, one);
    let lost = k.sub(x, back);
    let (field, f) = split(k, sum);
    let scaled = k.convert(field, ScalarType::F32);
    let one = k.bitcast(one, ScalarType::I32);
    let inverse = k.int_sub(one, field);
    // a sum above 2^127 has lost nothing
    let none = k.i32(0);
    let inverse = k.max(none, inverse);
    let inverse = k.bitcast(inverse, ScalarType::F32);
    let f = k.fma(lost, inverse, f);
    let y = log_of_parts(k, scaled, f);
    let y = special_values(k, sum, y);
    copy_sign(k, y, x)
}
