//! Taking what depends on parameters only out of a graph: computed once, it becomes new parameters.
//!
//! Invariant: the rest applied to the values of [`Hoisted::derive`] is the graph.

use super::context::Context;
use super::formula::formula;
use evenkeel_ir::{Graph, GraphBuilder, NodeId, Op, TensorType, Value};
use rustc_hash::FxHashMap as HashMap;

/// A new parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// Its name: that of the parameter it replaces, as far as there is one.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Its value in terms of the old parameters.
    pub formula: String,
    /// The old parameters that it depends on.
    pub sources: Vec<String>,
}

/// A graph in two parts.
#[derive(Clone, Debug)]
pub struct Hoisted {
    /// From the old parameters, in their order, to the new ones.
    pub derive: Graph,
    /// From the new parameters, then the inputs that are none, to the outputs of the graph.
    pub rest: Graph,
    /// The new parameters, in order.
    pub parameters: Vec<Derived>,
}

/// Splits a graph; `parameters` are the positions of the inputs that are parameters.
pub fn hoist(graph: &Graph, parameters: &[usize]) -> Hoisted {
    let cx = Context::new(graph, parameters);
    let frontier = frontier(&cx);
    let parameters = named(&cx, &frontier, parameters);
    let names: Vec<&str> = parameters.iter().map(|derived| derived.name.as_str()).collect();
    let derive = derive(&cx, &frontier, &names);
    let rest = rest(&cx, &frontier, &names);
    Hoisted { derive, rest, parameters }
}

/// The last fixed values that data meets, in order; movement of elements stays with the data.
fn frontier(cx: &Context<'_>) -> Vec<Value> {
    let graph = cx.graph;
    let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
    let mut found: Vec<Value> = Vec::new();
    let readers =
        graph.iter().filter(|(id, _)| live[id.0 as usize] && !cx.is_fixed(Value { node: *id, result: 0 }));
    let read = readers.flat_map(|(_, node)| node.inputs.iter().copied());
    for value in read.chain(graph.outputs().iter().map(|(_, v)| *v)).filter(|v| cx.is_fixed(*v)) {
        let value = source(graph, value);
        if depends_on_input(graph, value) && !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// The value whose elements a value only moves. What is computed may as well be reshaped at once.
fn source(graph: &Graph, value: Value) -> Value {
    let operand = || source(graph, graph.node(value.node).inputs[0]);
    match graph.op(value) {
        Op::Broadcast(_) | Op::Transpose(_) => operand(),
        Op::Reshape(_) if input_index(graph, operand()).is_some() => operand(),
        _ => value,
    }
}

fn depends_on_input(graph: &Graph, value: Value) -> bool {
    !inputs_of(graph, value).is_empty()
}

/// Positions of the inputs that a value depends on.
fn inputs_of(graph: &Graph, value: Value) -> Vec<usize> {
    let live = graph.reachable([value]);
    let input = |(id, node): (NodeId, &evenkeel_ir::Node)| match node.op {
        Op::Input(index) if live[id.0 as usize] => Some(index as usize),
        _ => None,
    };
    let mut found: Vec<usize> = graph.iter().filter_map(input).collect();
    found.sort();
    found
}

/// Names new parameters: a kept one as before, a changed one like the parameter that it stands
/// for, as far as that name is free.
fn named(cx: &Context<'_>, frontier: &[Value], parameters: &[usize]) -> Vec<Derived> {
    let graph = cx.graph;
    let name = |index: usize| graph.inputs()[index].name.clone();
    let mut taken: Vec<String> = frontier.iter().filter_map(|v| input_index(graph, *v)).map(name).collect();
    taken.extend((0..graph.inputs().len()).filter(|index| !parameters.contains(index)).map(name));
    let mut describe = |value: &Value| {
        let ty = graph.ty(*value).clone();
        let sources = inputs_of(graph, *value);
        let like = candidates(graph, *value, &sources).into_iter().map(name);
        let suffixed = sources.iter().map(|index| format!("{}.folded", name(*index)));
        let numbered = (0..).map(|count| format!("folded.{count}"));
        let free = || like.chain(suffixed).chain(numbered).find(|new| !taken.contains(new));
        let new = input_index(graph, *value).map(name).or_else(free).expect("numbers do not end");
        taken.push(new.clone());
        let sources = sources.iter().copied().map(name).collect();
        Derived { name: new, ty, formula: formula(graph, *value), sources }
    };
    frontier.iter().map(&mut describe).collect()
}

fn input_index(graph: &Graph, value: Value) -> Option<usize> {
    match graph.op(value) {
        Op::Input(index) => Some(*index as usize),
        _ => None,
    }
}

/// Parameters of the type of a value, best first: what its arithmetic starts with, what it adds
/// last, the others.
fn candidates(graph: &Graph, value: Value, sources: &[usize]) -> Vec<usize> {
    let operand = |v: Value, place: usize| graph.node(v.node).inputs[place];
    let mut first = value;
    while matches!(graph.op(first), Op::Binary(_) | Op::Reshape(_) | Op::Broadcast(_)) {
        first = operand(first, 0);
    }
    let last = matches!(graph.op(value), Op::Binary(_)).then(|| source(graph, operand(value, 1)));
    let near = [Some(first), last].into_iter().flatten().filter_map(|v| input_index(graph, v));
    let all = near.chain(sources.iter().copied());
    all.filter(|index| graph.inputs()[*index].ty == *graph.ty(value)).collect()
}

/// The graph of the new parameters.
fn derive(cx: &Context<'_>, frontier: &[Value], names: &[&str]) -> Graph {
    let graph = cx.graph;
    let live = graph.reachable(frontier.iter().copied());
    let mut copy = Copy::default();
    copy.declare(cx, true);
    copy.nodes(graph, |id| live[id.0 as usize]);
    let values: Vec<Value> = frontier.iter().map(|v| copy.values[v]).collect();
    copy.b.finish(names.iter().map(|name| (*name).to_string()).zip(values))
}

/// The graph whose new parameters are inputs.
fn rest(cx: &Context<'_>, frontier: &[Value], names: &[&str]) -> Graph {
    let graph = cx.graph;
    let mut copy = Copy::default();
    for (value, name) in frontier.iter().zip(names) {
        let input = copy.b.input(*name, graph.ty(*value).clone());
        copy.values.insert(*value, input);
    }
    copy.declare(cx, false);
    let needed = needed(graph, frontier);
    copy.nodes(graph, |id| needed[id.0 as usize]);
    let outputs: Vec<(String, Value)> =
        graph.outputs().iter().map(|(name, v)| (name.clone(), copy.values[v])).collect();
    copy.b.finish(outputs)
}

/// The values of the inputs, in order of declaration.
fn inputs(graph: &Graph) -> Vec<Value> {
    let index = |value: &Value| match graph.op(*value) {
        Op::Input(index) => Some(*index),
        _ => None,
    };
    let all = graph.iter().map(|(node, _)| Value { node, result: 0 });
    let mut found: Vec<Value> = all.filter(|value| index(value).is_some()).collect();
    found.sort_by_key(index);
    found
}

/// Nodes that the outputs need when the frontier is given.
fn needed(graph: &Graph, frontier: &[Value]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    graph.outputs().iter().for_each(|(_, v)| needed[v.node.0 as usize] = true);
    frontier.iter().for_each(|v| needed[v.node.0 as usize] = false);
    for (id, node) in graph.iter().rev() {
        if needed[id.0 as usize] {
            let inner = node.inputs.iter().filter(|v| !frontier.contains(v));
            inner.for_each(|v| needed[v.node.0 as usize] = true);
        }
    }
    needed
}

/// A graph that is copied node by node.
#[derive(Default)]
struct Copy {
    b: GraphBuilder,
    values: HashMap<Value, Value>,
}

impl Copy {
    /// Declares the inputs that are parameters, or those that are not.
    fn declare(&mut self, cx: &Context<'_>, parameters: bool) {
        for value in inputs(cx.graph) {
            let Op::Input(index) = *cx.graph.op(value) else { unreachable!("inputs are inputs") };
            let input = &cx.graph.inputs()[index as usize];
            if cx.is_fixed(value) == parameters {
                let new = self.b.input(input.name.clone(), input.ty.clone());
                self.values.insert(value, new);
            }
        }
    }

    /// Copies the wanted nodes that are not there yet.
    fn nodes(&mut self, graph: &Graph, wanted: impl Fn(NodeId) -> bool) {
        for (id, node) in graph.iter().filter(|(id, _)| wanted(*id)) {
            if self.values.contains_key(&Value { node: id, result: 0 }) {
                continue;
            }
            self.b.set_provenance(graph.provenance(id).clone());
            let operands: Vec<Value> = node.inputs.iter().map(|v| self.values[v]).collect();
            let first = self.b.op(node.op.clone(), &operands);
            for result in 0..node.types.len() as u32 {
                self.values.insert(Value { node: id, result }, Value { result, ..first });
            }
        }
    }
}
