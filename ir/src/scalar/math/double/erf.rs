//! The error function and the normal distribution, in f64.

use super::{exp::exp, polynomial};
use crate::scalar::math::copy_sign;
use crate::scalar::{Compare, Reg, ScalarFn};

// erf(x)/x - 1 in x^2, for |x| <= 1
const ERF: [f64; 12] = [
    -7.79589882700214224e-10,
    1.37200645467776856e-8,
    -1.62084838018717059e-7,
    1.64474247033173624e-6,
    -0.0000149247369074196603,
    0.000120552949048397079,
    -0.000854832597538969208,
    0.00522397760711642273,
    -0.0268661706432377704,
    0.112837916709450063,
    -0.376126389031835404,
    0.128379167095512567,
];
// e^(x^2) erfc(x) (1 + 2x) in (x - 2)/(x + 2), for 0.9 <= x <= 27
const ERFCX: [f64; 24] = [
    -2.77424097873057362e-8,
    -2.2660101094079826e-7,
    1.25504544307543169e-6,
    -1.32569469607553812e-6,
    -7.3386873637070099e-7,
    -1.50139669011649341e-7,
    1.17424938842019753e-6,
    5.16737027091690118e-6,
    3.82151609388209825e-6,
    -0.0000135078240356349491,
    -0.0000364409276892248143,
    -1.50500735978245035e-6,
    0.000151040780726157219,
    0.000206366616325771618,
    -0.000454340924480554552,
    -0.00145681390794885239,
    0.00127133896978838937,
    0.00872265387430943183,
    -0.00803401508253748997,
    -0.0542200009920123207,
    0.164051280033443955,
    -0.166030397615289544,
    -0.0927638265857460166,
    1.27697838155252872,
];

/// `erfc(t)` for `t >= 0.9`, where `t^2` is the product of `factors`;
/// 0 beyond the fitted range.
fn erfc_tail(k: &mut ScalarFn, t: Reg, factors: [Reg; 2]) -> Reg {
    let ty = k.ty(t);
    let (one, two) = (k.float(ty, 1.0), k.float(ty, 2.0));
    let last = k.float(ty, 26.5);
    let (above, below) = (k.sub(t, two), k.add(t, two));
    let y = k.div(above, below);
    let p = polynomial(k, &ERFCX, y);
    let square = k.mul(factors[0], factors[1]);
    // what squaring lost: e^-(square + lost) = e^-square (1 - lost)
    let negated = k.neg(square);
    let lost = k.fma(factors[0], factors[1], negated);
    let e = exp(k, negated);
    let fine = k.mul(e, lost);
    let e = k.sub(e, fine);
    let product = k.mul(p, e);
    let d = k.fma(two, t, one);
    let c = k.div(product, d);
    let zero = k.zero(ty);
    let beyond = k.compare(Compare::Gt, t, last);
    k.select(beyond, zero, c)
}

/// `erf(x)` near 0, given `x`.
fn erf_center(k: &mut ScalarFn, x: Reg) -> Reg {
    let square = k.mul(x, x);
    let p = polynomial(k, &ERF, square);
    k.fma(p, x, x)
}

/// The error function.
pub(crate) fn erf(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let size = k.abs(x);
    let center = erf_center(k, x);
    let tail = erfc_tail(k, size, [x, x]);
    let one = k.float(ty, 1.0);
    let outer = k.sub(one, tail);
    let outer = copy_sign(k, outer, x);
    let border = k.float(ty, 1.0);
    let inside = k.compare(Compare::Le, size, border);
    k.select(inside, center, outer)
}

/// `x/2 erfc(-x / sqrt(2))`: the negative side keeps its relative accuracy.
pub(crate) fn gelu(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (half, one, two) = (k.float(ty, 0.5), k.float(ty, 1.0), k.float(ty, 2.0));
    let root = k.float(ty, std::f64::consts::FRAC_1_SQRT_2);
    let z = k.mul(x, root);
    let size = k.abs(z);
    let halved = k.mul(half, x);
    let tail = erfc_tail(k, size, [x, halved]);
    let zero = k.zero(ty);
    let rest = k.sub(two, tail);
    let positive = k.compare(Compare::Gt, x, zero);
    let c = k.select(positive, rest, tail);
    // the fit of the tail starts at 0.9
    let center = erf_center(k, z);
    let near = k.add(one, center);
    let inside = k.compare(Compare::Le, size, one);
    let c = k.select(inside, near, c);
    let h = k.mul(half, x);
    let y = k.mul(h, c);
    // far on the left 0 times infinity must not appear
    let left = k.compare(Compare::Eq, c, zero);
    k.select(left, zero, y)
}

/// `Phi(x) + x phi(x)`
pub(crate) fn gelu_derivative(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (half, minus_half) = (k.float(ty, 0.5), k.float(ty, -0.5));
    let (root, norm) = (k.float(ty, std::f64::consts::FRAC_1_SQRT_2), k.float(ty, 0.398_942_280_401_432_7));
    let z = k.mul(x, root);
    let e = erf(k, z);
    let cdf = k.fma(half, e, half);
    let square = k.mul(x, x);
    let exponent = k.mul(minus_half, square);
    let bell = exp(k, exponent);
    let density = k.mul(norm, bell);
    k.fma(x, density, cdf)
}
