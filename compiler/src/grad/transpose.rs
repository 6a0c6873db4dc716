//! Transposes of the linear structural ops.

use evenkeel_ir::{Axes, GraphBuilder, Op, Value};
use smallvec::SmallVec;

/// Cotangents of operands by their place.
pub(super) struct Transposed(pub(super) Vec<(usize, Value)>);

/// The cotangents of an op that is linear in its float operands; `None` if it has no derivative.
pub(super) fn transpose(b: &mut GraphBuilder, op: &Op, operands: &[Value], g: Value) -> Option<Transposed> {
    let one = |value: Value| Some(Transposed(vec![(0, value)]));
    match op {
        Op::Cast(_) => {
            let dtype = b.ty(operands[0]).dtype;
            dtype.is_float().then(|| b.cast(g, dtype)).and_then(one)
        }
        Op::Reshape(_) => {
            let shape = b.ty(operands[0]).shape.clone();
            one(b.reshape(g, &shape))
        }
        Op::Transpose(perm) => one(untranspose(b, perm, g)),
        Op::Broadcast(_) => one(b.unstretch_like(g, operands[0])),
        Op::Slice { axis, start, length, stride } => {
            let size = b.ty(operands[0]).shape[*axis as usize].known().expect("sliced axes are known");
            let span = if *length == 0 { 0 } else { (length - 1) * stride + 1 };
            let (low, high, interior) = (*start, size - start - span, stride - 1);
            one(b.op(Op::Pad { axis: *axis, low, high, interior }, &[g]))
        }
        Op::Pad { axis, low, interior, .. } => {
            let length = b.ty(operands[0]).shape[*axis as usize].known().expect("padded axes are known");
            one(b.op(Op::Slice { axis: *axis, start: *low, length, stride: interior + 1 }, &[g]))
        }
        Op::Concat { axis } => Some(Transposed(unconcat(b, *axis, operands, g))),
        Op::Flip(axes) => one(b.op(Op::Flip(*axes), &[g])),
        Op::Dot { batch, lhs, rhs } => Some(Transposed(dot(b, *batch, *lhs, *rhs, operands, g))),
        Op::Gather { axis } => {
            let size = b.ty(operands[0]).shape[*axis as usize];
            one(b.op(Op::ScatterAdd { axis: *axis, size }, &[g, operands[1]]))
        }
        Op::ScatterAdd { axis, .. } => one(b.op(Op::Gather { axis: *axis }, &[g, operands[1]])),
        _ => None,
    }
}

pub(super) fn untranspose(b: &mut GraphBuilder, perm: &[u8], g: Value) -> Value {
    let mut inverse: SmallVec<[u8; 4]> = SmallVec::from_elem(0, perm.len());
    for (to, &from) in perm.iter().enumerate() {
        inverse[from as usize] = to as u8;
    }
    b.op(Op::Transpose(inverse), &[g])
}

fn unconcat(b: &mut GraphBuilder, axis: u8, operands: &[Value], g: Value) -> Vec<(usize, Value)> {
    let mut start = 0;
    let mut parts = Vec::new();
    for (place, &operand) in operands.iter().enumerate() {
        let length = b.ty(operand).shape[axis as usize].known().expect("concatenated axes are known");
        parts.push((place, b.op(Op::Slice { axis, start, length, stride: 1 }, &[g])));
        start += length;
    }
    parts
}

/// Axes of an operand that a product keeps, after the batch axes.
fn free(rank: usize, batch: usize, contracted: Axes) -> Vec<usize> {
    (batch..rank).filter(|&axis| !contracted.contains(axis)).collect()
}

/// For `z = x . y`: `dx = g . y` over y's free axes, `dy = g . x` over x's free axes, with the
/// axes put back in the operand's order.
fn dot(
    b: &mut GraphBuilder,
    batch: u8,
    lhs: Axes,
    rhs: Axes,
    operands: &[Value],
    g: Value,
) -> Vec<(usize, Value)> {
    let (x, y) = (operands[0], operands[1]);
    let n = batch as usize;
    let (free_x, free_y) = (free(b.ty(x).rank(), n, lhs), free(b.ty(y).rank(), n, rhs));
    let g_x = Axes::new((0..free_x.len()).map(|i| n + i));
    let g_y = Axes::new((0..free_y.len()).map(|i| n + free_x.len() + i));
    let dx = b.op(Op::Dot { batch, lhs: g_y, rhs: Axes::new(free_y.iter().copied()) }, &[g, y]);
    let dy = b.op(Op::Dot { batch, lhs: g_x, rhs: Axes::new(free_x.iter().copied()) }, &[g, x]);
    let order_x: Vec<usize> = free_x.iter().copied().chain(lhs.iter()).collect();
    let order_y: Vec<usize> = free_y.iter().copied().chain(rhs.iter()).collect();
    vec![(0, reorder(b, n, &order_x, dx)), (1, reorder(b, n, &order_y, dy))]
}

/// Moves axis `batch + i` of a value to axis `order[i]`.
fn reorder(b: &mut GraphBuilder, batch: usize, order: &[usize], x: Value) -> Value {
    if order.is_sorted() {
        return x;
    }
    let mut perm: SmallVec<[u8; 4]> = (0..batch as u8).collect();
    perm.resize(batch + order.len(), 0);
    for (from, &to) in order.iter().enumerate() {
        perm[to] = (batch + from) as u8;
    }
    b.op(Op::Transpose(perm), &[x])
}
