//! Inverse roots of a statistic, with eps as its kind says, and how they move with it.

use super::{Attrs, GraphBuilder, Value};
use crate::op::attrs::EpsKind;

/// `1 / sqrt(v)` with eps as its kind says.
pub(super) fn inverse_root(b: &mut GraphBuilder, v: Value, attrs: &Attrs) -> Value {
    let eps = b.number(v, attrs.eps.get());
    match attrs.eps_kind {
        EpsKind::Inside => {
            let s = b.add(v, eps);
            b.rsqrt(s)
        }
        EpsKind::Outside => {
            let r = b.sqrt(v);
            let s = b.add(r, eps);
            b.recip(s)
        }
        EpsKind::Clamp => {
            let r = b.sqrt(v);
            let s = b.max(r, eps);
            b.recip(s)
        }
    }
}

/// `scale^-1 / sqrt(v / scale^2)` with eps in the scaled unit; scaled rows keep eps above zero.
pub(super) fn scaled_inverse_root(b: &mut GraphBuilder, v: Value, scale: Value, attrs: &Attrs) -> Value {
    let eps = b.number(v, attrs.eps.get());
    let mut e = b.mul(eps, scale);
    if attrs.eps_kind == EpsKind::Inside {
        e = b.mul(e, scale);
    }
    if attrs.eps.get() > 0.0 {
        let tiny = b.number(v, 1e-37);
        let raised = b.max(e, tiny);
        let one = b.number(v, 1.0);
        let small = b.lt(scale, one);
        e = b.select(small, raised, e);
    }
    match attrs.eps_kind {
        EpsKind::Inside => {
            let s = b.add(v, e);
            b.rsqrt(s)
        }
        EpsKind::Outside => {
            let r = b.sqrt(v);
            let s = b.add(r, e);
            b.recip(s)
        }
        EpsKind::Clamp => {
            let r = b.sqrt(v);
            let s = b.max(r, e);
            b.recip(s)
        }
    }
}

/// `1 / sqrt(v)` where the root moves with `v`: above eps if it is clamped, else above 0; 0 elsewhere,
/// where the derivative of a root is infinite and its factors are 0. `r` is the inverse root, which
/// bounds the root of a `v` that has overflowed.
pub(super) fn root_slope(b: &mut GraphBuilder, v: Value, r: Value, attrs: &Attrs) -> Value {
    let (zero, one) = (b.number(v, 0.0), b.number(v, 1.0));
    let limit = if attrs.eps_kind == EpsKind::Clamp { attrs.eps.get() } else { 0.0 };
    let limit = b.number(v, limit);
    let spread = b.gt(v, zero);
    let safe = b.select(spread, v, one);
    let (root, widest) = (b.sqrt(safe), b.recip(r));
    let root = b.min(root, widest);
    let above = b.gt(root, limit);
    let moves = b.and(spread, above);
    let slope = b.recip(root);
    b.select(moves, slope, zero)
}
