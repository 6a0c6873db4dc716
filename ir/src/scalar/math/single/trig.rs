//! Sine and cosine in f32.

use super::{float, nearest_integer, polynomial};
use crate::scalar::{Reg, ScalarFn, ScalarType};
use std::f64::consts::FRAC_1_PI;

// (sin(r) - r) / r^3 in r^2, for |r| <= pi/2
const SIN: [f64; 4] = [2.60584920397e-06, -0.000198097681277, 0.00833306927234, -0.166666597128];

// pi in three parts of f32
const PI: [f64; 3] = [3.1415927410125732, -8.742277657347586e-08, -3.43024899888577e-15];

/// The sine.
pub(crate) fn sin(k: &mut ScalarFn, x: Reg) -> Reg {
    let turns = float(k, FRAC_1_PI);
    let n = nearest_integer(k, x, turns, 0);
    sin_of_rest(k, x, n.negated, n.biased)
}

/// The cosine: `sin(x + pi/2)`.
pub(crate) fn cos(k: &mut ScalarFn, x: Reg) -> Reg {
    let (turns, half, one) = (float(k, FRAC_1_PI), float(k, 0.5), float(k, 1.0));
    let shifted = k.fma(x, turns, half);
    let n = nearest_integer(k, shifted, one, 0);
    let negated = k.add(n.negated, half);
    sin_of_rest(k, x, negated, n.biased)
}

/// `(-1)^n sin(x - m pi)`, given `-m`, near `-x / pi`, and an integer as odd as n.
fn sin_of_rest(k: &mut ScalarFn, x: Reg, negated: Reg, n: Reg) -> Reg {
    let mut rest = x;
    for part in PI {
        let part = float(k, part);
        rest = k.fma(negated, part, rest);
    }
    let square = k.mul(rest, rest);
    let p = polynomial(k, &SIN, square);
    let cube = k.mul(square, rest);
    let y = k.fma(p, cube, rest);
    let (bits, sign) = (k.bitcast(y, ScalarType::I32), k.shift_left(n, 31));
    let bits = k.xor(bits, sign);
    k.bitcast(bits, ScalarType::F32)
}
