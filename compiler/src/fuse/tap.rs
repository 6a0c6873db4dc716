//! What looking at values costs: which of them exist in memory only because they are outputs.

use super::{Fusion, fuse};
use crate::grad::inline;
use evenkeel_ir::{Graph, GraphBuilder, Value};

/// One line for each of these outputs that fusion would otherwise have kept in registers.
pub fn taps(graph: &Graph, fusion: &Fusion, outputs: &[usize]) -> Vec<String> {
    outputs.iter().filter_map(|&output| line(graph, fusion, output)).collect()
}

fn line(graph: &Graph, fusion: &Fusion, output: usize) -> Option<String> {
    let (name, value) = &graph.outputs()[output];
    let node = value.node.0 as usize;
    let without = fuse(&restricted(graph, output), true);
    let group = fusion.group_of[node].filter(|_| fusion.stored[node] && !without.stored[node])?;
    let place = graph.provenance(value.node).place.map(|place| format!(" at {place}")).unwrap_or_default();
    let ty = graph.ty(*value);
    Some(format!("{name}{place}: kernel g{group} writes this {ty}, which would stay in registers"))
}

/// The same nodes without one output.
fn restricted(graph: &Graph, output: usize) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = inline(&mut b, graph, &inputs);
    let kept = graph.outputs().iter().enumerate().filter(|(i, _)| *i != output);
    b.finish(kept.map(|(_, (name, v))| (name.clone(), map[v.node.0 as usize][v.result as usize])))
}
