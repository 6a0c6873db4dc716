//! Forward mode: tangents from inputs to results.

use super::reverse::{reduce_cotangent, relocate, zeros_like};
use super::{GradError, body, inline, not_differentiable, scaled};
use evenkeel_ir::op::{CustomVjp, Derivative};
use evenkeel_ir::{Graph, GraphBuilder, Node, NodeId, Op, Value};
use std::collections::{HashMap, HashSet};

/// Tangents of `wanted`, given tangents of inputs (or any values) of a graph.
///
/// `map` holds the value in `b` of every result of every node of `graph`. A wanted value that
/// depends on no tangent gets zeros.
///
/// # Errors
/// A tangent that would have to pass through an op without a derivative, through integers or
/// truth values and back to floats, or through a `custom_vjp`.
pub fn forward(
    b: &mut GraphBuilder,
    graph: &Graph,
    map: &[Vec<Value>],
    seeds: &[(Value, Value)],
    wanted: &[Value],
) -> Result<Vec<Value>, GradError> {
    let seeded: Vec<NodeId> = seeds.iter().map(|(v, _)| v.node).collect();
    let mut pass =
        Pass { graph, map, tangents: seeds.iter().copied().collect(), active: active(graph, &seeded) };
    pass.run(b, wanted)?;
    Ok(wanted.iter().map(|&v| pass.tangent_or_zeros(b, v)).collect())
}

/// Nodes that depend on the seeded ones; a stopped gradient ends the dependence.
fn active(graph: &Graph, seeded: &[NodeId]) -> Vec<bool> {
    let mut active = vec![false; graph.nodes().len()];
    for (id, node) in graph.iter() {
        let inherits = node.op != Op::StopGradient && node.inputs.iter().any(|v| active[v.node.0 as usize]);
        active[id.0 as usize] = inherits || seeded.contains(&id);
    }
    active
}

/// Values whose tangent reaches a wanted one: on the way are floats only, and no stopped gradient.
fn needed(graph: &Graph, wanted: &[Value]) -> HashSet<Value> {
    let mut needed: HashSet<Value> = wanted.iter().copied().collect();
    for (id, node) in graph.iter().rev() {
        if node.op != Op::StopGradient && results(node, id).any(|v| needed.contains(&v)) {
            needed.extend(node.inputs.iter().filter(|v| graph.ty(**v).dtype.is_float()));
        }
    }
    needed
}

fn results(node: &Node, id: NodeId) -> impl Iterator<Item = Value> + use<> {
    (0..node.types.len() as u32).map(move |result| Value { node: id, result })
}

struct Pass<'a> {
    graph: &'a Graph,
    map: &'a [Vec<Value>],
    tangents: HashMap<Value, Value>,
    active: Vec<bool>,
}

impl Pass<'_> {
    fn run(&mut self, b: &mut GraphBuilder, wanted: &[Value]) -> Result<(), GradError> {
        let graph = self.graph;
        let needed = needed(graph, wanted);
        for (id, node) in graph.iter() {
            let passes = !node.inputs.is_empty() && node.op != Op::StopGradient && self.active[id.0 as usize];
            if passes && results(node, id).any(|v| needed.contains(&v)) {
                b.set_provenance(graph.provenance(id).clone());
                match &node.op {
                    Op::CustomVjp(custom) => self.custom(b, id, custom, &needed)?,
                    _ => self.push(b, id, &needed)?,
                }
            }
        }
        Ok(())
    }

    fn value(&self, v: Value) -> Value {
        self.map[v.node.0 as usize][v.result as usize]
    }

    fn tangent_or_zeros(&self, b: &mut GraphBuilder, v: Value) -> Value {
        self.tangents.get(&v).copied().unwrap_or_else(|| zeros_like(b, self.value(v)))
    }

    fn push(&mut self, b: &mut GraphBuilder, id: NodeId, needed: &HashSet<Value>) -> Result<(), GradError> {
        let node = self.graph.node(id);
        if let Some(body) = body(self.graph, node) {
            return self.nested(b, id, &body, needed);
        }
        let (result, first) = (Value { node: id, result: 0 }, node.inputs[0]);
        let from_discrete = matches!(node.op, Op::Cast(_)) && !self.graph.ty(first).dtype.is_float();
        if node.types[0].dtype.is_float() && from_discrete {
            return Err(not_differentiable(self.graph, id, self.graph.ty(first)));
        }
        let operands: Vec<Value> = node.inputs.iter().map(|&v| self.value(v)).collect();
        let given: Vec<Option<Value>> = node.inputs.iter().map(|v| self.tangents.get(v).copied()).collect();
        if given.iter().all(Option::is_none) || !node.types[0].dtype.is_float() {
            return Ok(());
        }
        if let Some(tangent) = tangent(b, self.graph, id, &operands, self.value(result), &given)? {
            let tangent = b.stretch_like(tangent, self.value(result));
            self.tangents.insert(result, tangent);
        }
        Ok(())
    }

    /// Refuses results, which have a reverse only; residuals, which a graph of gradients reads,
    /// have the derivative of what computes them.
    fn custom(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        custom: &CustomVjp,
        needed: &HashSet<Value>,
    ) -> Result<(), GradError> {
        if (0..custom.results).any(|result| needed.contains(&Value { node: id, result })) {
            let from = self.graph.provenance(id);
            return Err(GradError::ForwardOfCustomVjp { place: from.place, path: from.path.clone() });
        }
        self.nested(b, id, &custom.forward.0, needed)
    }

    /// Runs through a called graph or the decomposition of a composite.
    fn nested(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        body: &Graph,
        needed: &HashSet<Value>,
    ) -> Result<(), GradError> {
        let inputs = &self.graph.node(id).inputs;
        let operands: Vec<Value> = inputs.iter().map(|&v| self.value(v)).collect();
        let map = inline(b, body, &operands);
        let own = body.input_values();
        let places = || own.iter().copied().zip(inputs);
        let tangents = places().filter_map(|(own, v)| Some((own, *self.tangents.get(v)?))).collect();
        let seeded = places().filter(|(_, v)| self.active[v.node.0 as usize]).map(|(own, _)| own.node);
        let active = active(body, &seeded.collect::<Vec<_>>());
        let mut inner = Pass { graph: body, map: &map, tangents, active };
        let results = (0..).map(|result| Value { node: id, result });
        let outputs = results.zip(body.outputs()).filter(|(own, _)| needed.contains(own));
        let (own, outputs): (Vec<Value>, Vec<Value>) = outputs.map(|(own, (_, v))| (own, *v)).unzip();
        inner.run(b, &outputs).map_err(|error| relocate(error, self.graph, id))?;
        let reached =
            own.into_iter().zip(outputs).filter_map(|(own, v)| Some((own, *inner.tangents.get(&v)?)));
        self.tangents.extend(reached);
        Ok(())
    }
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
        Op::Cast(dtype) => {
            let t = dense(b, 0);
            b.cast(t, *dtype)
        }
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
