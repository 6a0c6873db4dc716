//! Forward mode: tangents from inputs to results.

use super::reverse::{reduce_cotangent, zeros_like};
use super::{GradError, body, inline, not_differentiable, scaled};
use evenkeel_ir::op::Derivative;
use evenkeel_ir::{Graph, GraphBuilder, NodeId, Op, Value};
use std::collections::HashMap;

/// Tangents of `wanted`, given tangents of inputs (or any values) of a graph.
///
/// `map` holds the value in `b` of every result of every node of `graph`. A wanted value that
/// depends on no tangent gets zeros.
///
/// # Errors
/// A tangent that would have to pass through an op without a derivative, or a `custom_vjp`.
pub fn forward(
    b: &mut GraphBuilder,
    graph: &Graph,
    map: &[Vec<Value>],
    seeds: &[(Value, Value)],
    wanted: &[Value],
) -> Result<Vec<Value>, GradError> {
    let mut tangents: HashMap<Value, Value> = seeds.iter().copied().collect();
    let needed = graph.reachable(wanted.iter().copied());
    for (id, node) in graph.iter() {
        let reached = node.inputs.iter().any(|v| tangents.contains_key(v));
        if needed[id.0 as usize] && reached && node.op != Op::StopGradient {
            b.set_provenance(graph.provenance(id).clone());
            push(b, graph, map, &mut tangents, id)?;
        }
    }
    let value = |v: &Value| map[v.node.0 as usize][v.result as usize];
    Ok(wanted.iter().map(|v| tangents.get(v).copied().unwrap_or_else(|| zeros_like(b, value(v)))).collect())
}

type Tangents = HashMap<Value, Value>;

fn push(
    b: &mut GraphBuilder,
    graph: &Graph,
    map: &[Vec<Value>],
    tangents: &mut Tangents,
    id: NodeId,
) -> Result<(), GradError> {
    let node = graph.node(id);
    let value = |v: Value| map[v.node.0 as usize][v.result as usize];
    let operands: Vec<Value> = node.inputs.iter().map(|&v| value(v)).collect();
    let given: Vec<Option<Value>> = node.inputs.iter().map(|v| tangents.get(v).copied()).collect();
    if let Op::CustomVjp(_) = node.op {
        let from = graph.provenance(id);
        return Err(GradError::ForwardOfCustomVjp { place: from.place, path: from.path.clone() });
    }
    if let Some(body) = body(graph, node) {
        let inner = inline(b, &body, &operands);
        let inputs = (0..operands.len()).map(|i| super::reverse::input_value(&body, i));
        let seeds: Vec<_> = inputs.zip(&given).filter_map(|(v, t)| t.map(|t| (v, t))).collect();
        let outputs: Vec<Value> = body.outputs().iter().map(|(_, v)| *v).collect();
        let results = forward(b, &body, &inner, &seeds, &outputs)?;
        tangents
            .extend(results.into_iter().enumerate().map(|(i, t)| (Value { node: id, result: i as u32 }, t)));
        return Ok(());
    }
    let result = Value { node: id, result: 0 };
    if let Some(tangent) = tangent(b, graph, id, &operands, value(result), &given)? {
        let tangent = b.stretch_like(tangent, value(result));
        tangents.insert(result, tangent);
    }
    Ok(())
}

fn tangent(
    b: &mut GraphBuilder,
    graph: &Graph,
    id: NodeId,
    operands: &[Value],
    result: Value,
    given: &[Option<Value>],
) -> Result<Option<Value>, GradError> {
    let op = &graph.node(id).op;
    let dense = |b: &mut GraphBuilder, i: usize| given[i].unwrap_or_else(|| zeros_like(b, operands[i]));
    let blocked = || not_differentiable(graph, id, graph.ty(graph.node(id).inputs[0]));
    Ok(Some(match op {
        Op::Unary(f) => {
            let Derivative::Rule(rule) = f.def().derivative else {
                return Err(blocked());
            };
            let d = rule(b, operands[0], result);
            let t = dense(b, 0);
            scaled(b, d, t)
        }
        Op::Binary(f) if f.def().gives_bool => return Ok(None),
        Op::Binary(f) => {
            let Derivative::Rule(partials) = f.def().partials else {
                return Err(blocked());
            };
            let mut terms = Vec::new();
            for (place, partial) in partials.iter().enumerate() {
                if let Some(t) = given[place] {
                    let d = partial(b, operands[0], operands[1], result);
                    terms.push(scaled(b, d, t));
                }
            }
            terms.into_iter().reduce(|x, y| b.add(x, y)).expect("a reached op has a tangent")
        }
        Op::Select => {
            let (x, y) = (dense(b, 1), dense(b, 2));
            b.select(operands[0], x, y)
        }
        Op::Reduce(..) | Op::Dot { .. } => contraction(b, op, operands, result, given),
        Op::Cast(dtype) if dtype.is_float() && b.ty(operands[0]).dtype.is_float() => {
            let t = dense(b, 0);
            b.cast(t, *dtype)
        }
        Op::Cast(dtype) if dtype.is_float() => return Err(blocked()),
        Op::Gather { .. } | Op::ScatterAdd { .. } => {
            let t = dense(b, 0);
            b.op(op.clone(), &[t, operands[1]])
        }
        Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Concat { .. }
        | Op::Flip(_) => {
            let parts: Vec<Value> = (0..operands.len()).map(|i| dense(b, i)).collect();
            b.op(op.clone(), &parts)
        }
        _ => return Ok(None),
    }))
}

/// Reductions and products: linear in each operand, or weighted by the reduction's rule.
fn contraction(
    b: &mut GraphBuilder,
    op: &Op,
    operands: &[Value],
    result: Value,
    given: &[Option<Value>],
) -> Value {
    if let Op::Reduce(f, axes) = op {
        let t = given[0].expect("a reached op has a tangent");
        let linear = f.def().weight.is_none();
        let weighted = if linear { t } else { reduce_cotangent(b, *f, *axes, operands[0], result, t) };
        return b.sum(weighted, *axes);
    }
    let sides = [given[0].map(|t| [t, operands[1]]), given[1].map(|t| [operands[0], t])];
    let terms: Vec<Value> = sides.into_iter().flatten().map(|pair| b.op(op.clone(), &pair)).collect();
    terms.into_iter().reduce(|x, y| b.add(x, y)).expect("a reached op has a tangent")
}
