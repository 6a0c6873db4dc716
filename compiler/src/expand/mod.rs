//! Expansion: from named ops to the primitives that kernels are made of.
//!
//! Composites become their stable kernel form (or their decomposition), calls and custom
//! forwards their bodies; stopped gradients disappear; a flipped batch axis, which no constant
//! offset reaches, is gathered. The result holds leaves, pointwise ops,
//! reductions, movement, products and indexed access only. Two passes prepare it for fusion:
//! picked elements come before what is computed from them, and axes that a reduction wants
//! split are split everywhere.

mod pick;
mod split;

pub(crate) use pick::Pick;

use crate::grad::inline;
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, Op, Shape, Value};

/// Expands a verified graph; inputs and outputs keep their names, order and types.
pub fn expand(graph: &Graph) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = expand_into(&mut b, graph, &inputs);
    let value = |v: &Value| map[v.node.0 as usize][v.result as usize];
    let outputs: Vec<_> = graph.outputs().iter().map(|(name, v)| (name.clone(), value(v))).collect();
    split::split(pick::pick(b.finish(outputs)))
}

fn expand_into(b: &mut GraphBuilder, graph: &Graph, inputs: &[Value]) -> Vec<Vec<Value>> {
    let mut map: Vec<Vec<Value>> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.iter() {
        let operands: Vec<Value> =
            node.inputs.iter().map(|v| map[v.node.0 as usize][v.result as usize]).collect();
        b.set_provenance(graph.provenance(id).clone());
        let results = match &node.op {
            Op::Input(index) => vec![inputs[*index as usize]],
            Op::StopGradient => vec![operands[0]],
            Op::Call(callee) => outputs_of(b, &callee.0, &operands),
            Op::CustomVjp(custom) => outputs_of(b, &custom.forward.0, &operands),
            Op::Composite(composite, attrs) => {
                let def = composite.def();
                let form = def.kernel.unwrap_or(def.decompose);
                let mut nested = GraphBuilder::new();
                let arguments: Vec<Value> = operands
                    .iter()
                    .enumerate()
                    .map(|(i, &v)| nested.input(format!("x{i}"), b.ty(v).clone()))
                    .collect();
                let result = form(&mut nested, &arguments, attrs);
                let body = nested.finish([(String::new(), result)]);
                outputs_of(b, &body, &operands)
            }
            Op::Flip(axes) => vec![flip(b, operands[0], *axes)],
            op => vec![b.op(op.clone(), &operands)],
        };
        map.push(results);
    }
    map
}

/// A view where the sizes are known; elsewhere element `n - 1 - i` is gathered.
fn flip(b: &mut GraphBuilder, x: Value, axes: Axes) -> Value {
    let known = |axis: &usize| b.ty(x).shape[*axis].known().is_some();
    let (views, gathers): (Vec<usize>, Vec<usize>) = axes.iter().partition(known);
    let viewed = if views.is_empty() { x } else { b.op(Op::Flip(Axes::new(views)), &[x]) };
    gathers.into_iter().fold(viewed, |x, axis| {
        let extent = b.ty(x).shape[axis];
        let (size, index) = (b.size(extent, DType::I32), b.iota(1, 0, extent));
        let one = b.number(size, 1.0);
        let last = b.sub(size, one);
        let last = b.broadcast(last, &Shape([extent].into_iter().collect()));
        let reversed = b.sub(last, index);
        b.op(Op::Gather { axis: axis as u8 }, &[x, reversed])
    })
}

fn outputs_of(b: &mut GraphBuilder, body: &Graph, operands: &[Value]) -> Vec<Value> {
    let nested = body.nodes().iter().any(|n| {
        matches!(n.op, Op::Call(_) | Op::CustomVjp(_) | Op::Composite(..) | Op::StopGradient | Op::Flip(_))
    });
    let map = if nested { expand_into(b, body, operands) } else { inline(b, body, operands) };
    body.outputs().iter().map(|(_, v)| map[v.node.0 as usize][v.result as usize]).collect()
}
