//! Derivatives of whole graphs: a graph with outputs becomes one that also gives derivatives.
//!
//! Inputs and outputs keep their places; new ones follow: `cotangent.OUTPUT` or `tangent.INPUT`
//! as inputs, `grad.INPUT` or `tangent.OUTPUT` as outputs; after those `new.state.K`, the new state
//! that backward passes of `custom_vjp` give, in the order of their nodes.

use evenkeel_compiler::grad::{Backward, GradError, backward, forward, inline};
use evenkeel_ir::{Graph, GraphBuilder, Value};
use std::collections::HashSet;

/// A copy of a graph in a builder.
struct Copied<'a> {
    b: GraphBuilder,
    graph: &'a Graph,
    map: Vec<Vec<Value>>,
}

impl<'a> Copied<'a> {
    fn new(graph: &'a Graph) -> Copied<'a> {
        let mut b = GraphBuilder::new();
        let inputs: Vec<Value> =
            graph.inputs().iter().map(|input| b.input(input.name.clone(), input.ty.clone())).collect();
        let map = inline(&mut b, graph, &inputs);
        Copied { b, graph, map }
    }

    fn value(&self, v: Value) -> Value {
        self.map[v.node.0 as usize][v.result as usize]
    }

    fn outputs(&self) -> Vec<(String, Value)> {
        self.graph.outputs().iter().map(|(name, v)| (name.clone(), self.value(*v))).collect()
    }
}

/// Positions of the inputs that can have a derivative.
pub fn float_inputs(graph: &Graph) -> Vec<usize> {
    (0..graph.inputs().len()).filter(|&i| graph.inputs()[i].ty.dtype.is_float()).collect()
}

/// Adds an input `cotangent.NAME` per float output and an output `grad.NAME` per input of `wrt`:
/// the sum over outputs of cotangent times derivative.
///
/// # Errors
/// An op without a derivative on the way; an input that is not a float; no float input or output;
/// a name of these that the graph uses already.
pub fn vjp_graph(graph: &Graph, wrt: &[usize]) -> Result<Graph, GradError> {
    let mut copied = Copied::new(graph);
    let (mut seeds, names) = (Vec::new(), Names::new(graph));
    for (name, output) in graph.outputs().iter().filter(|(_, v)| graph.ty(*v).dtype.is_float()) {
        let name = names.free(format!("cotangent.{name}"))?;
        seeds.push((*output, copied.b.input(name, graph.ty(*output).clone())));
    }
    some_floats("output", seeds.len())?;
    finish_reverse(copied, &seeds, wrt)
}

/// Adds an output `grad.NAME` per input of `wrt`: the derivative of the first output, a scalar.
///
/// # Errors
/// An op without a derivative on the way; an input or a first output that is not a float.
pub fn grad_graph(graph: &Graph, wrt: &[usize]) -> Result<Graph, GradError> {
    let mut copied = Copied::new(graph);
    let output = graph.outputs()[0].1;
    let value = copied.value(output);
    let one = copied.b.number(value, 1.0);
    finish_reverse(copied, &[(output, one)], wrt)
}

/// Names of inputs and outputs of a graph.
struct Names<'a>(HashSet<&'a str>);

impl Names<'_> {
    fn new(graph: &Graph) -> Names<'_> {
        let inputs = graph.inputs().iter().map(|input| input.name.as_str());
        Names(inputs.chain(graph.outputs().iter().map(|(name, _)| name.as_str())).collect())
    }

    /// The name of a derivative, if nothing in the graph has it.
    fn free(&self, name: String) -> Result<String, GradError> {
        if self.0.contains(name.as_str()) { Err(GradError::NameTaken { name }) } else { Ok(name) }
    }
}

/// A derivative of nothing would be a silent zero.
fn some_floats(what: &'static str, count: usize) -> Result<(), GradError> {
    if count == 0 { Err(GradError::NoFloat { what }) } else { Ok(()) }
}

fn finish_reverse(
    mut copied: Copied<'_>,
    seeds: &[(Value, Value)],
    wrt: &[usize],
) -> Result<Graph, GradError> {
    let (graph, names) = (copied.graph, Names::new(copied.graph));
    some_floats("input", wrt.len())?;
    let inputs = graph.input_values();
    let values: Vec<Value> = wrt.iter().map(|&input| inputs[input]).collect();
    let Backward { gradients, states, .. } = backward(&mut copied.b, graph, &copied.map, seeds, &values)?;
    let gradients = wrt.iter().map(|&input| format!("grad.{}", graph.inputs()[input].name)).zip(gradients);
    let states = states.into_iter().flat_map(|(_, new)| new).enumerate();
    let states = states.map(|(i, new)| (format!("new.state.{i}"), new));
    let derived = gradients.chain(states).map(|(name, value)| Ok((names.free(name)?, value)));
    let derived = derived.collect::<Result<Vec<_>, GradError>>()?;
    let outputs = copied.outputs().into_iter().chain(derived).collect::<Vec<_>>();
    Ok(copied.b.finish(outputs))
}

/// Adds an input `tangent.NAME` per input of `wrt` and an output `tangent.NAME` per float output:
/// the derivative in the direction of the tangents.
///
/// # Errors
/// An op without a derivative on the way; a function with a reverse of its own; no float input or
/// output; a name of these that the graph uses already.
pub fn jvp_graph(graph: &Graph, wrt: &[usize]) -> Result<Graph, GradError> {
    let mut copied = Copied::new(graph);
    let (mut seeds, inputs, taken) = (Vec::new(), graph.input_values(), Names::new(graph));
    for &input in wrt {
        let declared = &graph.inputs()[input];
        if !declared.ty.dtype.is_float() {
            return Err(GradError::NotFloat {
                what: format!("input {}", declared.name),
                ty: declared.ty.clone(),
            });
        }
        let name = taken.free(format!("tangent.{}", declared.name))?;
        let tangent = copied.b.input(name, declared.ty.clone());
        seeds.push((inputs[input], tangent));
    }
    let floats: Vec<&(String, Value)> =
        graph.outputs().iter().filter(|(_, v)| graph.ty(*v).dtype.is_float()).collect();
    some_floats("input", seeds.len())?;
    some_floats("output", floats.len())?;
    let wanted: Vec<Value> = floats.iter().map(|(_, v)| *v).collect();
    let tangents = forward(&mut copied.b, graph, &copied.map, &seeds, &wanted)?;
    let name = |(name, _): &&(String, Value)| taken.free(format!("tangent.{name}"));
    let names = floats.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let outputs = copied.outputs().into_iter().chain(names.into_iter().zip(tangents)).collect::<Vec<_>>();
    Ok(copied.b.finish(outputs))
}

/// The graph with some of its outputs, in the given order.
pub(crate) fn select_outputs(graph: &Graph, outputs: &[usize]) -> Graph {
    let copied = Copied::new(graph);
    let all = copied.outputs();
    copied.b.finish(outputs.iter().map(|&output| all[output].clone()))
}
