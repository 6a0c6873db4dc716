//! Reverse mode: cotangents from results back to operands.

use super::transpose::{self, Transposed};
use super::{GradError, body, inline, not_differentiable, scaled};
use evenkeel_ir::op::{Binary, CustomVjp, Derivative, Unary};
use evenkeel_ir::{Axes, Graph, GraphBuilder, NodeId, Op, Reduce, Value};
use std::collections::HashMap;

/// What the reverse pass gives.
#[derive(Clone, Debug, Default)]
pub struct Backward {
    /// One cotangent per requested value; zeros where nothing depends on it.
    pub gradients: Vec<Value>,
    /// Which requested values no seed depends on.
    pub unreached: Vec<bool>,
    /// New state of every `custom_vjp` that ran, by its node in the differentiated graph, in
    /// order.
    pub states: Vec<(NodeId, Vec<Value>)>,
}

/// Cotangents of `wrt`, given cotangents (`seeds`) of values of a graph.
///
/// `map` holds the value in `b` of every result of every node of `graph`; `seeds` and `wrt`
/// are values of `graph`.
///
/// # Errors
/// A path from a seed to `wrt` that crosses an op without a derivative.
pub fn backward(
    b: &mut GraphBuilder,
    graph: &Graph,
    map: &[Vec<Value>],
    seeds: &[(Value, Value)],
    wrt: &[Value],
) -> Result<Backward, GradError> {
    for &value in wrt.iter().chain(seeds.iter().map(|(value, _)| value)) {
        if !graph.ty(value).dtype.is_float() {
            return Err(GradError::NotFloat { what: describe(graph, value), ty: graph.ty(value).clone() });
        }
    }
    let mut pass =
        Pass { graph, map, active: active(graph, wrt), cotangents: HashMap::new(), states: Vec::new() };
    for &(value, cotangent) in seeds {
        pass.add(b, value, cotangent);
    }
    for id in (0..graph.nodes().len() as u32).rev().map(NodeId) {
        pass.visit(b, id)?;
    }
    // the pass runs backwards; within a call the order is that of its body
    pass.states.sort_by_key(|(id, _)| *id);
    let mut result = Backward { states: pass.states, ..Backward::default() };
    for &value in wrt {
        let cotangent = pass.cotangents.get(&value).copied();
        result.unreached.push(cotangent.is_none());
        result.gradients.push(
            cotangent.unwrap_or_else(|| zeros_like(b, map[value.node.0 as usize][value.result as usize])),
        );
    }
    Ok(result)
}

fn describe(graph: &Graph, value: Value) -> String {
    match graph.op(value) {
        Op::Input(index) => format!("input {}", graph.inputs()[*index as usize].name),
        op => format!("a result of {}", op.name()),
    }
}

pub(super) fn zeros_like(b: &mut GraphBuilder, like: Value) -> Value {
    let zero = b.number(like, 0.0);
    b.stretch_like(zero, like)
}

/// Nodes that depend on `wrt`, and those that need their cotangent to update state; a stopped
/// gradient ends the dependence.
fn active(graph: &Graph, wrt: &[Value]) -> Vec<bool> {
    let mut active = vec![false; graph.nodes().len()];
    wrt.iter().for_each(|value| active[value.node.0 as usize] = true);
    for (id, node) in graph.iter() {
        let inherits = node.inputs.iter().any(|v| active[v.node.0 as usize]);
        let inherits = inherits && node.op != Op::StopGradient;
        active[id.0 as usize] |= inherits || updates_state(&node.op);
    }
    active
}

/// Does the reverse of this op give new state?
fn updates_state(op: &Op) -> bool {
    match op {
        Op::CustomVjp(custom) => custom.backward.0.outputs().len() > custom.differentiable as usize,
        Op::Call(callee) => callee.0.nodes().iter().any(|node| updates_state(&node.op)),
        _ => false,
    }
}

struct Pass<'a> {
    graph: &'a Graph,
    map: &'a [Vec<Value>],
    active: Vec<bool>,
    /// Sum of the cotangents of each value so far.
    cotangents: HashMap<Value, Value>,
    states: Vec<(NodeId, Vec<Value>)>,
}

impl Pass<'_> {
    fn value(&self, v: Value) -> Value {
        self.map[v.node.0 as usize][v.result as usize]
    }

    /// Adds a contribution, summed over axes along which the operand was stretched.
    fn add(&mut self, b: &mut GraphBuilder, to: Value, cotangent: Value) {
        if !self.active[to.node.0 as usize] {
            return;
        }
        let cotangent = b.unstretch_like(cotangent, self.value(to));
        let sum = match self.cotangents.get(&to) {
            Some(&sum) => b.add(sum, cotangent),
            None => cotangent,
        };
        self.cotangents.insert(to, sum);
    }

    fn visit(&mut self, b: &mut GraphBuilder, id: NodeId) -> Result<(), GradError> {
        let results = self.graph.node(id).types.len() as u32;
        let cotangents: Vec<Option<Value>> =
            (0..results).map(|result| self.cotangents.get(&Value { node: id, result }).copied()).collect();
        let is_leaf = self.graph.node(id).inputs.is_empty();
        if is_leaf || !self.active[id.0 as usize] || cotangents.iter().all(Option::is_none) {
            return Ok(());
        }
        b.set_provenance(self.graph.provenance(id).clone());
        match &self.graph.node(id).op {
            Op::CustomVjp(custom) => self.custom(b, id, custom, &cotangents),
            Op::Call(_) | Op::Composite(..) => self.nested(b, id, &cotangents),
            _ => self.primitive(b, id, cotangents[0].expect("one result")),
        }
    }

    fn primitive(&mut self, b: &mut GraphBuilder, id: NodeId, g: Value) -> Result<(), GradError> {
        let node = self.graph.node(id);
        let operands: Vec<Value> = node.inputs.iter().map(|&v| self.value(v)).collect();
        let result = self.value(Value { node: id, result: 0 });
        match &node.op {
            Op::Unary(f) => self.unary(b, id, *f, [operands[0], result, g]),
            Op::Binary(f) => self.binary(b, id, *f, &operands, result, g),
            Op::Select => {
                let zero = b.number(g, 0.0);
                let x = b.select(operands[0], g, zero);
                let y = b.select(operands[0], zero, g);
                self.add(b, node.inputs[1], x);
                self.add(b, node.inputs[2], y);
                Ok(())
            }
            Op::Reduce(f, axes) => {
                let d = reduce_cotangent(b, *f, *axes, operands[0], result, g);
                self.add(b, node.inputs[0], d);
                Ok(())
            }
            op => match transpose::transpose(b, op, &operands, g) {
                Some(Transposed(cotangents)) => {
                    for (place, cotangent) in cotangents {
                        self.add(b, node.inputs[place], cotangent);
                    }
                    Ok(())
                }
                None => Err(self.blocked(id)),
            },
        }
    }

    /// The error for an op that blocks the way to its first active operand.
    fn blocked(&self, id: NodeId) -> GradError {
        let node = self.graph.node(id);
        let operand = node.inputs.iter().find(|v| self.active[v.node.0 as usize]).expect("an active operand");
        not_differentiable(self.graph, id, self.graph.ty(*operand))
    }

    fn unary(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        f: Unary,
        [x, y, g]: [Value; 3],
    ) -> Result<(), GradError> {
        let Derivative::Rule(rule) = f.def().derivative else {
            return Err(self.blocked(id));
        };
        let d = rule(b, x, y);
        let d = scaled(b, d, g);
        self.add(b, self.graph.node(id).inputs[0], d);
        Ok(())
    }

    fn binary(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        f: Binary,
        operands: &[Value],
        result: Value,
        g: Value,
    ) -> Result<(), GradError> {
        let Derivative::Rule(partials) = f.def().partials else {
            return Err(self.blocked(id));
        };
        for (place, partial) in partials.iter().enumerate() {
            let operand = self.graph.node(id).inputs[place];
            if self.active[operand.node.0 as usize] {
                let d = partial(b, operands[0], operands[1], result);
                let d = scaled(b, d, g);
                let d = b.stretch_like(d, result);
                self.add(b, operand, d);
            }
        }
        Ok(())
    }

    /// A compact vjp where the row has one, else reverse mode through the body.
    fn nested(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        cotangents: &[Option<Value>],
    ) -> Result<(), GradError> {
        let node = self.graph.node(id);
        let operands: Vec<Value> = node.inputs.iter().map(|&v| self.value(v)).collect();
        if let (Op::Composite(composite, attrs), Some(g)) = (&node.op, cotangents[0]) {
            let result = self.value(Value { node: id, result: 0 });
            if let Some(compact) = composite.def().vjp.and_then(|vjp| vjp(b, &operands, attrs, result, g)) {
                for (&operand, cotangent) in node.inputs.iter().zip(compact) {
                    self.add(b, operand, cotangent);
                }
                return Ok(());
            }
        }
        let body = body(self.graph, node).expect("a node with a body");
        self.through(b, id, &body, cotangents)
    }

    /// Reverse mode through the graph behind a node.
    fn through(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        body: &Graph,
        cotangents: &[Option<Value>],
    ) -> Result<(), GradError> {
        let node = self.graph.node(id);
        let operands: Vec<Value> = node.inputs.iter().map(|&v| self.value(v)).collect();
        let map = inline(b, body, &operands);
        let outputs = body.outputs().iter().map(|(_, value)| *value);
        let seeds: Vec<_> = outputs.zip(cotangents).filter_map(|(v, c)| c.map(|c| (v, c))).collect();
        let places: Vec<usize> =
            (0..operands.len()).filter(|&i| self.active[node.inputs[i].node.0 as usize]).collect();
        let inputs = body.input_values();
        let wrt: Vec<Value> = places.iter().map(|&i| inputs[i]).collect();
        let inner = backward(b, body, &map, &seeds, &wrt).map_err(|error| relocate(error, self.graph, id))?;
        for ((place, gradient), unreached) in places.into_iter().zip(inner.gradients).zip(inner.unreached) {
            if !unreached {
                self.add(b, node.inputs[place], gradient);
            }
        }
        self.states.extend(inner.states.into_iter().map(|(_, state)| (id, state)));
        Ok(())
    }

    /// Calls the user's backward on residuals and cotangents (zeros where none arrived). Residuals,
    /// whose cotangents arrive at higher orders, have the derivative of what computes them.
    fn custom(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        custom: &CustomVjp,
        cotangents: &[Option<Value>],
    ) -> Result<(), GradError> {
        let shown = custom.results as usize;
        if cotangents[shown..].iter().any(Option::is_some) {
            let residuals: Vec<Option<Value>> =
                cotangents.iter().enumerate().map(|(i, c)| c.filter(|_| i >= shown)).collect();
            self.through(b, id, &custom.forward.0, &residuals)?;
        }
        if cotangents[..shown].iter().any(Option::is_some) {
            self.reversed(b, id, custom, &cotangents[..shown]);
        }
        Ok(())
    }

    fn reversed(
        &mut self,
        b: &mut GraphBuilder,
        id: NodeId,
        custom: &CustomVjp,
        cotangents: &[Option<Value>],
    ) {
        let count = self.graph.node(id).types.len() as u32;
        let results: Vec<Value> = (0..count).map(|result| self.value(Value { node: id, result })).collect();
        let (shown, residuals) = results.split_at(cotangents.len());
        let mut arguments: Vec<Value> = residuals.to_vec();
        for (result, cotangent) in shown.iter().zip(cotangents) {
            let cotangent = cotangent.unwrap_or_else(|| zeros_like(b, *result));
            arguments.push(b.stretch_like(cotangent, *result));
        }
        let map = inline(b, &custom.backward.0, &arguments);
        let outputs = custom.backward.0.outputs().iter();
        let values: Vec<Value> = outputs.map(|(_, v)| map[v.node.0 as usize][v.result as usize]).collect();
        let (gradients, state) = values.split_at(custom.differentiable as usize);
        for (place, &gradient) in gradients.iter().enumerate() {
            self.add(b, self.graph.node(id).inputs[place], gradient);
        }
        if !state.is_empty() {
            self.states.push((id, state.to_vec()));
        }
    }
}

/// An error inside a body is reported at the node that stands for it.
pub(super) fn relocate(error: GradError, graph: &Graph, id: NodeId) -> GradError {
    match error {
        GradError::NotDifferentiable { op, operand, place: None, .. } => {
            let from = graph.provenance(id);
            GradError::NotDifferentiable { op, operand, place: from.place, path: from.path.clone() }
        }
        other => other,
    }
}

pub(super) fn reduce_cotangent(
    b: &mut GraphBuilder,
    f: Reduce,
    axes: Axes,
    x: Value,
    y: Value,
    g: Value,
) -> Value {
    match f.def().weight {
        None => b.stretch_like(g, x),
        Some(weight) => {
            let w = weight(b, x, y, axes);
            b.mul(w, g)
        }
    }
}
