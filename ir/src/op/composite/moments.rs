//! Decompositions, kernel forms and vjps of the moment and normalization family; what kernels compute
//! of a row is in [`super::statistics`].

use super::root::{inverse_root, root_slope};
use super::statistics::{Statistics, inverse_root_of_squares};
use super::{Attr, Attrs, Composite, GraphBuilder, Value};
use crate::op::attrs::EpsKind;
use crate::op::composite::CompositeDef;

pub(super) fn count(b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Value {
    let ty = b.ty(x);
    let (extent, dtype) = (ty.shape.extent_of(&attrs.axes), ty.dtype);
    b.size(extent, dtype)
}

fn node(b: &mut GraphBuilder, op: Composite, inputs: &[Value], attrs: &Attrs) -> Value {
    let def: &CompositeDef = op.def();
    let mut own = Attrs::over(attrs.axes);
    if def.attrs.contains(&Attr::Eps) {
        own = own.eps(attrs.eps.get(), attrs.eps_kind);
    }
    if def.attrs.contains(&Attr::Correction) {
        own = own.correction(attrs.correction);
    }
    b.composite(op, inputs, own)
}

/// `n - correction`
pub(super) fn divisor(b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Value {
    let n = count(b, x, attrs);
    if attrs.correction == 0 {
        return n;
    }
    let c = b.number(x, attrs.correction.into());
    b.sub(n, c)
}

pub(super) fn mean(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let total = b.sum(inputs[0], attrs.axes);
    let n = count(b, inputs[0], attrs);
    b.div(total, n)
}

/// `sum(x * (1/n))`, which cannot overflow; plus `0 * (1/n)` where n may be 0, so that a mean of
/// nothing is NaN as in the decomposition.
pub(super) fn mean_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let n = count(b, inputs[0], attrs);
    let share = b.recip(n);
    let t = b.mul(inputs[0], share);
    let sum = b.sum(t, attrs.axes);
    if b.ty(inputs[0]).shape.extent_of(&attrs.axes).known().is_some_and(|n| n > 0) {
        return sum;
    }
    let zero = b.number(share, 0.0);
    let nothing = b.mul(zero, share);
    b.add(sum, nothing)
}

pub(super) fn mean_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let n = count(b, inputs[0], attrs);
    let t = b.div(g, n);
    Some(vec![b.stretch_like(t, inputs[0])])
}

pub(super) fn center(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let m = node(b, Composite::Mean, inputs, attrs);
    b.sub(inputs[0], m)
}

pub(super) fn center_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let m = mean_kernel(b, inputs, attrs);
    let c = b.sub(inputs[0], m);
    let m2 = mean_kernel(b, &[c], attrs);
    b.sub(c, m2)
}

pub(super) fn center_vjp(
    b: &mut GraphBuilder,
    _: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    Some(vec![node(b, Composite::Center, &[g], attrs)])
}

pub(super) fn var(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let c = node(b, Composite::Center, inputs, attrs);
    let s = b.square(c);
    let total = b.sum(s, attrs.axes);
    let d = divisor(b, inputs[0], attrs);
    b.div(total, d)
}

pub(super) fn var_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let s = Statistics::of(b, inputs[0], attrs);
    let v = b.div(s.var, s.scale);
    b.div(v, s.scale)
}

/// `2 / (n - correction) * center(x) * g`
pub(super) fn var_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let c = node(b, Composite::Center, inputs, attrs);
    let d = divisor(b, inputs[0], attrs);
    let two = b.number(d, 2.0);
    let w = b.div(two, d);
    let t = b.mul(g, w);
    Some(vec![b.mul(c, t)])
}

pub(super) fn rstd(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let v = node(b, Composite::Var, inputs, attrs);
    inverse_root(b, v, attrs)
}

pub(super) fn fixed_norm(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let &[x, mean, var, gain, bias] = inputs else { unreachable!("five operands") };
    let inverse = inverse_root(b, var, attrs);
    let centered = b.sub(x, mean);
    let unit = b.mul(centered, inverse);
    let scaled = b.mul(unit, gain);
    b.add(scaled, bias)
}

pub(super) fn rstd_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let [_, rstd] = Statistics::of(b, inputs[0], attrs).unit(b, attrs);
    rstd
}

/// `-xhat * rstd * slope * g / (n - correction)`, where slope is `1 / sqrt` of the variance.
pub(super) fn rstd_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    y: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let xhat = node(b, Composite::Standardize, inputs, attrs);
    let d = divisor(b, inputs[0], attrs);
    if attrs.eps_kind != EpsKind::Inside {
        let v = node(b, Composite::Var, inputs, attrs);
        return Some(vec![guarded_cotangent(b, xhat, v, y, attrs, g, Some(d))]);
    }
    let y2 = b.square(y);
    let t = b.mul(g, y2);
    let t = b.div(t, d);
    let t = b.neg(t);
    Some(vec![b.mul(xhat, t)])
}

/// `-unit * y * slope(v) * g / n`, in an order that rows of large numbers survive.
fn guarded_cotangent(
    b: &mut GraphBuilder,
    unit: Value,
    v: Value,
    y: Value,
    attrs: &Attrs,
    g: Value,
    n: Option<Value>,
) -> Value {
    let slope = root_slope(b, v, y, attrs);
    let t = b.mul(unit, g);
    let t = b.mul(t, y);
    let mut t = b.mul(t, slope);
    if let Some(n) = n {
        t = b.div(t, n);
    }
    b.neg(t)
}

pub(super) fn standardize(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let c = node(b, Composite::Center, inputs, attrs);
    let r = node(b, Composite::Rstd, inputs, attrs);
    b.mul(c, r)
}

pub(super) fn standardize_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let [unit, _] = Statistics::of(b, inputs[0], attrs).unit(b, attrs);
    unit
}

/// `rstd * (g - mean(g)) - slope * xhat * sum(g * xhat) / (n - correction)`.
fn standardize_cotangent(b: &mut GraphBuilder, x: Value, attrs: &Attrs, g: Value) -> Value {
    let xhat = node(b, Composite::Standardize, &[x], attrs);
    let r = node(b, Composite::Rstd, &[x], attrs);
    let mg = node(b, Composite::Mean, &[g], attrs);
    let gx = b.mul(g, xhat);
    let total = b.sum(gx, attrs.axes);
    let d = divisor(b, x, attrs);
    let share = b.div(total, d);
    let t = b.mul(xhat, share);
    let c = b.sub(g, mg);
    let v = |b: &mut GraphBuilder| node(b, Composite::Var, &[x], attrs);
    joined(b, r, c, t, attrs, v)
}

/// `r * c - slope * t`; slope is r for eps inside the root, else that of the statistic `v`.
fn joined(
    b: &mut GraphBuilder,
    r: Value,
    c: Value,
    t: Value,
    attrs: &Attrs,
    v: impl FnOnce(&mut GraphBuilder) -> Value,
) -> Value {
    if attrs.eps_kind == EpsKind::Inside {
        let c = b.sub(c, t);
        return b.mul(r, c);
    }
    let v = v(b);
    let slope = root_slope(b, v, r, attrs);
    let (c, t) = (b.mul(r, c), b.mul(slope, t));
    b.sub(c, t)
}

pub(super) fn standardize_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    Some(vec![standardize_cotangent(b, inputs[0], attrs, g)])
}

pub(super) fn layer_norm(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let xhat = node(b, Composite::Standardize, &inputs[..1], attrs);
    let t = b.mul(xhat, inputs[1]);
    b.add(t, inputs[2])
}

pub(super) fn layer_norm_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let xhat = standardize_kernel(b, inputs, attrs);
    let t = b.mul(xhat, inputs[1]);
    b.add(t, inputs[2])
}

pub(super) fn layer_norm_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let xhat = node(b, Composite::Standardize, &inputs[..1], attrs);
    let scaled = b.mul(g, inputs[1]);
    let dx = standardize_cotangent(b, inputs[0], attrs, scaled);
    let gx = b.mul(g, xhat);
    let (dgain, dbias) = (b.unstretch_like(gx, inputs[1]), b.unstretch_like(g, inputs[2]));
    Some(vec![dx, dgain, dbias])
}

/// `sum(x^2)`, divided by n when `mean`.
fn moment2(b: &mut GraphBuilder, x: Value, attrs: &Attrs, mean: bool) -> Value {
    let s = b.square(x);
    let total = b.sum(s, attrs.axes);
    if !mean {
        return total;
    }
    let n = count(b, x, attrs);
    b.div(total, n)
}

pub(super) fn rrms(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let q = moment2(b, inputs[0], attrs, true);
    inverse_root(b, q, attrs)
}

pub(super) fn rrms_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    inverse_root_of_squares(b, inputs[0], attrs, true)
}

pub(super) fn rrms_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    y: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let n = count(b, inputs[0], attrs);
    inverse_root_vjp(b, Composite::RmsUnit, inputs, attrs, y, g, Some(n))
}

/// `-y^2 / n * unit(x) * g` for eps inside the root, else guarded where the root stands still.
fn inverse_root_vjp(
    b: &mut GraphBuilder,
    unit: Composite,
    inputs: &[Value],
    attrs: &Attrs,
    y: Value,
    g: Value,
    n: Option<Value>,
) -> Option<Vec<Value>> {
    let u = node(b, unit, inputs, attrs);
    if attrs.eps_kind != EpsKind::Inside {
        let v = moment2(b, inputs[0], attrs, n.is_some());
        return Some(vec![guarded_cotangent(b, u, v, y, attrs, g, n)]);
    }
    let y2 = b.square(y);
    let mut t = b.mul(g, y2);
    if let Some(n) = n {
        t = b.div(t, n);
    }
    let t = b.neg(t);
    Some(vec![b.mul(u, t)])
}

pub(super) fn rms_unit(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let r = node(b, Composite::Rrms, inputs, attrs);
    b.mul(inputs[0], r)
}

pub(super) fn rms_unit_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let r = inverse_root_of_squares(b, inputs[0], attrs, true);
    b.mul(inputs[0], r)
}

/// `r * g - slope * unit * mean(g * unit)`
fn rms_cotangent(b: &mut GraphBuilder, x: Value, attrs: &Attrs, g: Value) -> Value {
    let u = node(b, Composite::RmsUnit, &[x], attrs);
    let r = node(b, Composite::Rrms, &[x], attrs);
    let gu = b.mul(g, u);
    let (total, n) = (b.sum(gu, attrs.axes), count(b, x, attrs));
    let m = b.div(total, n);
    let t = b.mul(u, m);
    joined(b, r, g, t, attrs, |b| moment2(b, x, attrs, true))
}

pub(super) fn rms_unit_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    Some(vec![rms_cotangent(b, inputs[0], attrs, g)])
}

pub(super) fn rms_norm(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let u = node(b, Composite::RmsUnit, &inputs[..1], attrs);
    b.mul(u, inputs[1])
}

pub(super) fn rms_norm_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let u = rms_unit_kernel(b, inputs, attrs);
    b.mul(u, inputs[1])
}

pub(super) fn rms_norm_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let u = node(b, Composite::RmsUnit, &inputs[..1], attrs);
    let scaled = b.mul(g, inputs[1]);
    let dx = rms_cotangent(b, inputs[0], attrs, scaled);
    let gu = b.mul(g, u);
    Some(vec![dx, b.unstretch_like(gu, inputs[1])])
}

pub(super) fn rnorm(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let q = moment2(b, inputs[0], attrs, false);
    inverse_root(b, q, attrs)
}

pub(super) fn rnorm_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    inverse_root_of_squares(b, inputs[0], attrs, false)
}

pub(super) fn rnorm_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    y: Value,
    g: Value,
) -> Option<Vec<Value>> {
    inverse_root_vjp(b, Composite::L2Norm, inputs, attrs, y, g, None)
}

pub(super) fn l2_norm(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let r = node(b, Composite::Rnorm, inputs, attrs);
    b.mul(inputs[0], r)
}

pub(super) fn l2_norm_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let r = inverse_root_of_squares(b, inputs[0], attrs, false);
    b.mul(inputs[0], r)
}

/// `r * g - slope * y * sum(g * y)`
pub(super) fn l2_norm_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    y: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let r = node(b, Composite::Rnorm, inputs, attrs);
    let gy = b.mul(g, y);
    let total = b.sum(gy, attrs.axes);
    let t = b.mul(y, total);
    Some(vec![joined(b, r, g, t, attrs, |b| moment2(b, inputs[0], attrs, false))])
}
