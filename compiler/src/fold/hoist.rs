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
    /// From the inputs of the graph to the new parameters; reads parameters only.
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
    let derive = derive(graph, &frontier, &names);
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

/// The value whose elements a value only moves.
fn source(graph: &Graph, value: Value) -> Value {
    match graph.op(value) {
        Op::Reshape(_) | Op::Broadcast(_) | Op::Transpose(_) => {
            source(graph, graph.node(value.node).inputs[0])
        }
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

/// Names new parameters: a kept one as before, a changed one like its first source of the same
/// type whose name is free.
fn named(cx: &Context<'_>, frontier: &[Value], parameters: &[usize]) -> Vec<Derived> {
    let graph = cx.graph;
    let name = |index: usize| graph.inputs()[index].name.clone();
    let kept = |value: &Value| match graph.op(*value) {
        Op::Input(index) => Some(*index as usize),
        _ => None,
    };
    let mut taken: Vec<String> = frontier.iter().filter_map(kept).map(name).collect();
    let others = (0..graph.inputs().len()).filter(|index| !parameters.contains(index));
    taken.extend(others.map(name));
    let mut describe = |value: &Value| {
        let ty = graph.ty(*value).clone();
        let inputs = inputs_of(graph, *value);
        let like = inputs.iter().copied().filter(|index| graph.inputs()[*index].ty == ty).map(name);
        let any = inputs.iter().copied().map(|index| format!("{}.folded", name(index)));
        let numbered = (0..).map(|count| format!("folded.{count}"));
        let mut candidates = like.chain(any).chain(numbered);
        let new = kept(value).map(name).or_else(|| candidates.find(|candidate| !taken.contains(candidate)));
        let new = new.expect("numbers do not end");
        taken.push(new.clone());
        let sources = inputs.iter().copied().map(name).collect();
        Derived { name: new, ty, formula: formula(graph, *value), sources }
    };
    frontier.iter().map(&mut describe).collect()
}

/// The graph of the new parameters.
fn derive(graph: &Graph, frontier: &[Value], names: &[&str]) -> Graph {
    let live = graph.reachable(frontier.iter().copied());
    let mut copy = Copy::default();
    graph
        .inputs()
        .iter()
        .for_each(|input| copy.inputs.push(copy.b.input(input.name.clone(), input.ty.clone())));
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
    let is_data: Vec<bool> = inputs(graph).map(|v| v.is_none_or(|v| !cx.is_fixed(v))).collect();
    for (input, is_data) in graph.inputs().iter().zip(is_data) {
        let value = if is_data {
            copy.b.input(input.name.clone(), input.ty.clone())
        } else {
            Value { node: NodeId(0), result: 0 }
        };
        copy.inputs.push(value);
    }
    let needed = needed(graph, frontier);
    copy.nodes(graph, |id| needed[id.0 as usize]);
    let outputs: Vec<(String, Value)> =
        graph.outputs().iter().map(|(name, v)| (name.clone(), copy.values[v])).collect();
    copy.b.finish(outputs)
}

/// For every declared input its value.
fn inputs(graph: &Graph) -> impl Iterator<Item = Option<Value>> + '_ {
    let at = |index: usize| graph.iter().find(|(_, node)| node.op == Op::Input(index as u32));
    (0..graph.inputs().len()).map(move |index| at(index).map(|(node, _)| Value { node, result: 0 }))
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
    inputs: Vec<Value>,
    values: HashMap<Value, Value>,
}

impl Copy {
    /// Copies the wanted nodes that are not there yet.
    fn nodes(&mut self, graph: &Graph, wanted: impl Fn(NodeId) -> bool) {
        for (id, node) in graph.iter().filter(|(id, _)| wanted(*id)) {
            self.b.set_provenance(graph.provenance(id).clone());
            let first = match node.op {
                Op::Input(index) => self.inputs[index as usize],
                ref op => {
                    let operands: Vec<Value> = node.inputs.iter().map(|v| self.values[v]).collect();
                    self.b.op(op.clone(), &operands)
                }
            };
            for result in 0..node.types.len() as u32 {
                self.values
                    .entry(Value { node: id, result })
                    .or_insert(Value { result: first.result + result, ..first });
            }
        }
    }
}
