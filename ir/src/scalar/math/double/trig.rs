//! Sine and cosine in f64.

use super::{nearest_integer, polynomial};
use crate::scalar::{Compare, Reg, ScalarFn};

// (sin(x) - x) / x^3 and (cos(x) - 1 + x^2/2) / x^4 in x^2, for |x| <= pi/4
const SIN: [f64; 7] = [
    -7.58645594001797296e-13,
    1.60585275194377285e-10,
    -2.50521062065316828e-8,
    2.75573192192644101e-6,
    -0.000198412698412649687,
    0.00833333333333333145,
    -0.166666666666666667,
];
const COS: [f64; 7] = [
    4.74573781142591082e-14,
    -1.14704586083414277e-11,
    2.08767557766717658e-9,
    -2.75573192213612617e-7,
    0.0000248015873015845929,
    -0.00138888888888888878,
    0.0416666666666666667,
];

// pi/2 in three parts
const HALF_PI: [f64; 3] =
    [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_8e-33];

/// The sine.
pub(crate) fn sin(k: &mut ScalarFn, x: Reg) -> Reg {
    quadrant(k, x, 0)
}

/// The cosine.
pub(crate) fn cos(k: &mut ScalarFn, x: Reg) -> Reg {
    quadrant(k, x, 1)
}

/// `sin(x + turns * pi/2)`: reduces to `|r| <= pi/4` and picks by the quadrant.
fn quadrant(k: &mut ScalarFn, x: Reg, turns: i64) -> Reg {
    let ty = k.ty(x);
    let inverse = k.float(ty, std::f64::consts::FRAC_2_PI);
    let t = k.mul(x, inverse);
    let (n, n_int) = nearest_integer(k, t);
    let mut r = x;
    for part in HALF_PI {
        let part = k.float(ty, -part);
        r = k.fma(n, part, r);
    }
    let (s, c) = sin_cos(k, r);
    let shift = k.i64(turns);
    let q = k.int_add(n_int, shift);
    let (one, two, zero) = (k.i64(1), k.i64(2), k.i64(0));
    let odd = k.and(q, one);
    let swapped = k.compare(Compare::Ne, odd, zero);
    let y = k.select(swapped, c, s);
    let upper = k.and(q, two);
    let negative = k.compare(Compare::Ne, upper, zero);
    let minus = k.neg(y);
    k.select(negative, minus, y)
}

fn sin_cos(k: &mut ScalarFn, r: Reg) -> (Reg, Reg) {
    let ty = k.ty(r);
    let z = k.mul(r, r);
    let p = polynomial(k, &SIN, z);
    let cube = k.mul(z, r);
    let s = k.fma(p, cube, r);
    let q = polynomial(k, &COS, z);
    let (half, one) = (k.float(ty, -0.5), k.float(ty, 1.0));
    let t = k.fma(q, z, half);
    let c = k.fma(t, z, one);
    (s, c)
}
