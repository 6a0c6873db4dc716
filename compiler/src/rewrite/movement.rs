//! Lets reshapes that add or drop axes of size 1, and broadcasts, meet and cancel.
//!
//! Frontends drop the axes of a reduction, compute on what is left and add them again, and
//! stretch operands before ops that would stretch them. A dropped axis moves behind the op that
//! reads it, an added axis moves in front of what it is added to where a dropped one is found
//! there, and a broadcast goes where its reader stretches by itself. Invariant: every value keeps
//! its type and its elements. Start at [`settle`].

use evenkeel_ir::op::infer;
use evenkeel_ir::{Axes, Extent, Graph, GraphBuilder, IrError, Op, Reduce, Shape, TensorType, Value};

/// The most nodes that an added axis moves in front of.
const DEPTH: usize = 24;

/// The graph with its moves settled; none where it has no moves.
///
/// # Errors
/// Bugs of this pass.
pub(crate) fn settle(graph: &Graph) -> Result<Option<Graph>, IrError> {
    if !graph.nodes().iter().any(|node| matches!(node.op, Op::Reshape(_) | Op::Broadcast(_))) {
        return Ok(None);
    }
    graph.rebuilt(apply).map(Some)
}

/// Applies an op, with the moves of its operands behind it.
fn apply(b: &mut GraphBuilder, op: &Op, operands: &[Value]) -> Result<Value, IrError> {
    match op {
        Op::Reshape(shape) => reshape(b, operands[0], shape),
        Op::Broadcast(shape) => broadcast(b, operands[0], shape),
        Op::Reduce(op, axes) => reduce(b, *op, *axes, operands[0]),
        // reductions to positions keep the type that the user sees
        _ if op.is_pointwise() && operands.iter().all(|v| !b.ty(*v).dtype.is_int()) => {
            pointwise(b, op, operands)
        }
        _ => b.apply(op.clone(), operands),
    }
}

/// What a reshape reads, if the value is one.
fn reshaped(b: &GraphBuilder, value: Value) -> Option<Value> {
    let node = b.graph().node(value.node);
    matches!(node.op, Op::Reshape(_)).then(|| node.inputs[0])
}

/// What a broadcast reads, if the value is one.
fn stretched(b: &GraphBuilder, value: Value) -> Option<Value> {
    let node = b.graph().node(value.node);
    matches!(node.op, Op::Broadcast(_)).then(|| node.inputs[0])
}

/// Extents other than 1, in order.
fn significant(shape: &Shape) -> impl Iterator<Item = Extent> {
    shape.0.iter().copied().filter(|extent| !extent.is_one())
}

/// What a value was before axes of size 1 were dropped from it.
fn before_drop(b: &GraphBuilder, value: Value) -> Option<Value> {
    let source = reshaped(b, value)?;
    let (from, to) = (&b.ty(source).shape, &b.ty(value).shape);
    (from.rank() > to.rank() && significant(from).eq(significant(to))).then_some(source)
}

fn reshape(b: &mut GraphBuilder, x: Value, shape: &Shape) -> Result<Value, IrError> {
    if b.ty(x).shape == *shape {
        return Ok(x);
    }
    let source = reshaped(b, x).unwrap_or(x);
    if b.ty(source).shape == *shape {
        return Ok(source);
    }
    let adds_axes = shape.rank() > b.ty(x).rank() && significant(shape).eq(significant(&b.ty(x).shape));
    if adds_axes && source == x && cancels(b, x, shape, &mut DEPTH.clone()) {
        return pull(b, x, shape);
    }
    b.apply(Op::Reshape(shape.clone()), &[source])
}

/// True when a value is computed, pointwise, from one whose dropped axes are those of `shape`.
fn cancels(b: &GraphBuilder, x: Value, shape: &Shape, budget: &mut usize) -> bool {
    if before_drop(b, x).is_some_and(|source| b.ty(source).shape == *shape) {
        return true;
    }
    let node = b.graph().node(x.node);
    if !node.op.is_pointwise() || *budget == 0 {
        return false;
    }
    *budget -= 1;
    let alike = |v: &&Value| b.ty(**v).shape == b.ty(x).shape;
    let operands: Vec<Value> = node.inputs.iter().filter(alike).copied().collect();
    operands.into_iter().any(|v| cancels(b, v, shape, budget))
}

/// Reshapes what a value is computed from, rather than the value.
fn pull(b: &mut GraphBuilder, x: Value, shape: &Shape) -> Result<Value, IrError> {
    if !cancels(b, x, shape, &mut DEPTH.clone()) || reshaped(b, x).is_some() {
        let source = reshaped(b, x).unwrap_or(x);
        let same = b.ty(source).shape == *shape;
        return if same { Ok(source) } else { b.apply(Op::Reshape(shape.clone()), &[source]) };
    }
    let node = b.graph().node(x.node).clone();
    let plain = b.ty(x).shape.clone();
    let operands: Result<Vec<Value>, IrError> =
        node.inputs.iter().map(|&v| if b.ty(v).shape == plain { pull(b, v, shape) } else { Ok(v) }).collect();
    let operands = operands?;
    if node.inputs.iter().any(|v| b.ty(*v).shape != plain && b.ty(*v).rank() > 0) {
        return b.apply(Op::Reshape(shape.clone()), &[x]);
    }
    b.apply(node.op, &operands)
}

fn broadcast(b: &mut GraphBuilder, x: Value, shape: &Shape) -> Result<Value, IrError> {
    let source = stretched(b, x).unwrap_or(x);
    if b.ty(source).shape == *shape {
        return Ok(source);
    }
    b.apply(Op::Broadcast(shape.clone()), &[source])
}

/// A reduction of what had more axes of size 1.
fn reduce(b: &mut GraphBuilder, op: Reduce, axes: Axes, x: Value) -> Result<Value, IrError> {
    let moved = before_drop(b, x).and_then(|source| {
        let (from, to) = (&b.ty(source).shape, &b.ty(x).shape);
        if axes.iter().any(|axis| to[axis].is_one()) {
            return None;
        }
        let places = |shape: &Shape| {
            let place = |axis: &usize| !shape[*axis].is_one();
            (0..shape.rank()).filter(place).collect::<Vec<usize>>()
        };
        let (wide, narrow) = (places(from), places(to));
        let member = |(wide, narrow): (&usize, &usize)| axes.contains(*narrow).then_some(*wide);
        Some((source, Axes::new(wide.iter().zip(&narrow).filter_map(member))))
    });
    let Some((source, wide)) = moved else { return b.apply(Op::Reduce(op, axes), &[x]) };
    let shape = b.ty(x).shape.reduced(&axes);
    let reduced = b.apply(Op::Reduce(op, wide), &[source])?;
    reshape(b, reduced, &shape)
}

fn pointwise(b: &mut GraphBuilder, op: &Op, operands: &[Value]) -> Result<Value, IrError> {
    let ty = typed(b, op, operands)?;
    if let Some(value) = narrower(b, op, operands, &ty)? {
        return Ok(value);
    }
    let mut operands = operands.to_vec();
    for place in 0..operands.len() {
        let Some(source) = stretched(b, operands[place]) else { continue };
        let old = std::mem::replace(&mut operands[place], source);
        if typed(b, op, &operands).is_ok_and(|found| found == ty) {
            continue;
        }
        operands[place] = old;
    }
    behind_dropped_axes(b, op, &operands, &ty)
}

/// The op before the broadcast, where every operand is broadcast.
fn narrower(
    b: &mut GraphBuilder,
    op: &Op,
    operands: &[Value],
    ty: &TensorType,
) -> Result<Option<Value>, IrError> {
    let sources = operands.iter().map(|&v| if b.ty(v).rank() == 0 { Some(v) } else { stretched(b, v) });
    let Some(sources) = sources.collect::<Option<Vec<Value>>>() else { return Ok(None) };
    if sources == operands || typed(b, op, &sources).is_err() {
        return Ok(None);
    }
    let value = pointwise(b, op, &sources)?;
    broadcast(b, value, &ty.shape).map(Some)
}

/// The op before axes are dropped, where they are dropped from every operand.
fn behind_dropped_axes(
    b: &mut GraphBuilder,
    op: &Op,
    operands: &[Value],
    ty: &TensorType,
) -> Result<Value, IrError> {
    let wide = operands.iter().find_map(|&v| before_drop(b, v)).map(|source| b.ty(source).shape.clone());
    let is_dropped = |b: &GraphBuilder, v: Value| b.ty(v).shape == ty.shape && before_drop(b, v).is_some();
    let fits = |v: &Value| is_dropped(b, *v) || b.ty(*v).rank() == 0;
    let Some(wide) = wide.filter(|_| operands.iter().all(fits)) else { return b.apply(op.clone(), operands) };
    let sources: Result<Vec<Value>, IrError> =
        operands.iter().map(|&v| if is_dropped(b, v) { reshape(b, v, &wide) } else { Ok(v) }).collect();
    let value = b.apply(op.clone(), &sources?)?;
    reshape(b, value, &ty.shape)
}

fn typed(b: &GraphBuilder, op: &Op, operands: &[Value]) -> Result<TensorType, IrError> {
    let types: Vec<&TensorType> = operands.iter().map(|v| b.ty(*v)).collect();
    infer(op, &types).map(|types| types[0].clone())
}
