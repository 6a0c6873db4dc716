//! Powers, made from logarithm and exponential.

use super::{exp, log, rsqrt};
use crate::scalar::{Compare, Inst, Reg, Scalar, ScalarFn};

/// `x^y`. Constant integer exponents multiply; otherwise a negative base gives NaN unless
/// the exponent is an integer.
pub fn pow(k: &mut ScalarFn, x: Reg, y: Reg) -> Reg {
    match constant(k, y) {
        Some(n) if n.fract() == 0.0 && n.abs() <= 64.0 => integer_power(k, x, n as i32),
        Some(0.5) => k.sqrt(x),
        Some(-0.5) => rsqrt(k, x),
        _ => general_power(k, x, y),
    }
}

fn constant(k: &ScalarFn, reg: Reg) -> Option<f64> {
    match k.inst(reg) {
        Inst::Const(c) => Some(Scalar::from(c).as_f64()),
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
