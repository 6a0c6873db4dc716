//! Drops what no output needs.

use crate::CompileError;
use evenkeel_ir::{Graph, GraphBuilder, Op, Value};
use rustc_hash::FxHashMap as HashMap;

/// The graph without nodes that no output needs; inputs stay, used or not.
///
/// # Errors
/// Bugs of `pass`, in whose name it runs.
pub(crate) fn prune(graph: &Graph, pass: &'static str) -> Result<Graph, CompileError> {
    let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
    let mut b = GraphBuilder::new();
    let mut values: HashMap<Value, Value> = HashMap::default();
    for (id, node) in graph.iter() {
        if !live[id.0 as usize] && !matches!(node.op, Op::Input(_)) {
            continue;
        }
        b.set_provenance(graph.provenance(id).clone());
        let operands: Vec<Value> = node.inputs.iter().map(|v| values[v]).collect();
        let value = match node.op {
            Op::Input(index) => {
                let input = &graph.inputs()[index as usize];
                b.input(input.name.clone(), input.ty.clone())
            }
            ref op => b.apply(op.clone(), &operands).map_err(|source| CompileError::Pass { pass, source })?,
        };
        for result in 0..node.types.len() as u32 {
            values.insert(Value { node: id, result }, Value { result, ..value });
        }
    }
    let outputs: Vec<_> = graph.outputs().iter().map(|(name, v)| (name.clone(), values[v])).collect();
    Ok(b.finish(outputs))
}
