//! Decompositions and vjps of the softmax family.

use super::{Attrs, GraphBuilder, Value};
use crate::DType;

/// `x - max(x)`, without a derivative through the shift: no result depends on it.
fn shifted(b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> (Value, Value) {
    let top = b.reduce(super::super::Reduce::Max, x, attrs.axes);
    let top = b.stop_gradient(top);
    (b.sub(x, top), top)
}

/// The exponential of shifted values; kernels know that they are not positive.
type Exp = fn(&mut GraphBuilder, Value) -> Value;

fn logsumexp_by(exp: Exp, b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Value {
    let (shifted, top) = shifted(b, x, attrs);
    let e = exp(b, shifted);
    let total = b.sum(e, attrs.axes);
    let l = b.log(total);
    b.add(top, l)
}

fn log_softmax_by(exp: Exp, b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Value {
    let (shifted, _) = shifted(b, x, attrs);
    let e = exp(b, shifted);
    let total = b.sum(e, attrs.axes);
    let l = b.log(total);
    b.sub(shifted, l)
}

pub(super) fn softmax(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let (shifted, _) = shifted(b, inputs[0], attrs);
    let e = b.exp(shifted);
    let total = b.sum(e, attrs.axes);
    b.div(e, total)
}

/// One division per row: the total is at least 1.
pub(super) fn softmax_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let (shifted, _) = shifted(b, inputs[0], attrs);
    let e = b.exp_nonpositive(shifted);
    let total = b.sum(e, attrs.axes);
    let share = b.recip(total);
    b.mul(e, share)
}

pub(super) fn logsumexp(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    logsumexp_by(GraphBuilder::exp, b, inputs[0], attrs)
}

pub(super) fn logsumexp_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    logsumexp_by(GraphBuilder::exp_nonpositive, b, inputs[0], attrs)
}

pub(super) fn log_softmax(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    log_softmax_by(GraphBuilder::exp, b, inputs[0], attrs)
}

pub(super) fn log_softmax_kernel(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    log_softmax_by(GraphBuilder::exp_nonpositive, b, inputs[0], attrs)
}

pub(super) fn argmax(b: &mut GraphBuilder, inputs: &[Value], attrs: &Attrs) -> Value {
    let x = inputs[0];
    let axis = attrs.axes.iter().next().expect("argmax has one axis");
    let extent = b.ty(x).shape[axis];
    let top = b.reduce(super::super::Reduce::Max, x, attrs.axes);
    let is_top = b.eq(x, top);
    let index = b.iota(b.ty(x).rank(), axis, extent);
    let size = b.size(extent, DType::I32);
    let one = b.number(size, 1.0);
    let last = b.sub(size, one);
    let candidate = b.select(is_top, index, last);
    b.reduce(super::super::Reduce::Min, candidate, attrs.axes)
}

/// `y * (g - sum(g * y))`
pub(super) fn softmax_vjp(
    b: &mut GraphBuilder,
    _: &[Value],
    attrs: &Attrs,
    y: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let gy = b.mul(g, y);
    let total = b.sum(gy, attrs.axes);
    let d = b.sub(g, total);
    Some(vec![b.mul(y, d)])
}

/// `g - softmax(x) * sum(g)`
pub(super) fn log_softmax_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let p = b.composite(super::Composite::Softmax, inputs, Attrs::over(attrs.axes));
    let total = b.sum(g, attrs.axes);
    let t = b.mul(p, total);
    Some(vec![b.sub(g, t)])
}

/// `g * softmax(x)`
pub(super) fn logsumexp_vjp(
    b: &mut GraphBuilder,
    inputs: &[Value],
    attrs: &Attrs,
    _: Value,
    g: Value,
) -> Option<Vec<Value>> {
    let p = b.composite(super::Composite::Softmax, inputs, Attrs::over(attrs.axes));
    Some(vec![b.mul(g, p)])
}
