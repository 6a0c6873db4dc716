//! Which values are stored, and which are recomputed where they are needed.

use super::{Class, Fusion, ReductionKind};
use evenkeel_ir::{Graph, NodeId, Op, Value};

/// A value that costs more ops than this is stored rather than recomputed.
const MAX_RECOMPUTED_OPS: usize = 24;

pub(super) fn store(graph: &Graph, fusion: &mut Fusion, enabled: bool) {
    mark_required(graph, fusion);
    // users before operands, because recomputing a value reads the operands of its cone
    for id in (0..graph.nodes().len() as u32).rev().map(NodeId) {
        if !fusion.stored[id.0 as usize] && fusion.classes[id.0 as usize].is_compute() {
            visit(graph, fusion, id, enabled);
        }
    }
}

/// Outputs, inputs, results of barriers and accumulations, operands of barriers and bases of views.
fn mark_required(graph: &Graph, fusion: &mut Fusion) {
    for (_, value) in graph.outputs() {
        fusion.stored[value.node.0 as usize] = true;
    }
    for (id, node) in graph.iter() {
        let i = id.0 as usize;
        let own = matches!(fusion.classes[i], Class::Input | Class::Barrier)
            || fusion.reductions[i] == Some(ReductionKind::Accumulated);
        fusion.stored[i] |= own;
        match fusion.classes[i] {
            Class::Barrier | Class::View => node.inputs.iter().for_each(|v| require(graph, fusion, *v)),
            Class::Gather => require(graph, fusion, node.inputs[0]),
            _ => {}
        }
    }
}

/// Marks a value as stored; a view is stored by its base.
fn require(graph: &Graph, fusion: &mut Fusion, value: Value) {
    if fusion.classes[value.node.0 as usize] == Class::View {
        return require(graph, fusion, graph.node(value.node).inputs[0]);
    }
    fusion.stored[value.node.0 as usize] = true;
}

/// Stores a value that another group reads, unless that group can recompute it cheaply.
fn visit(graph: &Graph, fusion: &mut Fusion, id: NodeId, enabled: bool) {
    let group = fusion.group_of[id.0 as usize];
    let crosses = graph.iter().skip(id.0 as usize).any(|(user, node)| {
        let reads = node.inputs.iter().any(|v| v.node == id);
        reads && reader_group(fusion, user) != group
    });
    if !crosses {
        return;
    }
    match enabled.then(|| cone(graph, fusion, id)).flatten() {
        Some(leaves) => leaves.into_iter().for_each(|leaf| require(graph, fusion, leaf)),
        None => fusion.stored[id.0 as usize] = true,
    }
}

fn reader_group(fusion: &Fusion, user: NodeId) -> Option<usize> {
    fusion.group_of[user.0 as usize]
}

/// What a value is cheaply recomputed from: row values and at most one full-size stored value.
/// `None` if recomputing is not worth it.
fn cone(graph: &Graph, fusion: &Fusion, id: NodeId) -> Option<Vec<Value>> {
    let full = graph.node(id).types[0].shape.elements();
    let (mut ops, mut full_leaves) = (0, 0);
    let (mut leaves, mut seen, mut queue) = (Vec::new(), Vec::new(), vec![Value { node: id, result: 0 }]);
    while let Some(value) = queue.pop() {
        if seen.contains(&value) {
            continue;
        }
        seen.push(value);
        let i = value.node.0 as usize;
        let node = graph.node(value.node);
        let stored_leaf = value.node != id && fusion.stored[i];
        match fusion.classes[i] {
            Class::Uniform => {}
            Class::Generated => ops += 8,
            Class::Pointwise if !stored_leaf && cheap(&node.op) => {
                ops += 1;
                queue.extend(node.inputs.iter().copied());
            }
            Class::Pointwise if !stored_leaf => return None,
            Class::Reduction if value.node == id => return None,
            _ => {
                full_leaves += usize::from(graph.ty(value).shape.elements() == full);
                leaves.push(value);
            }
        }
    }
    (ops <= MAX_RECOMPUTED_OPS && full_leaves <= 1).then_some(leaves)
}

/// Arithmetic of a few instructions, no transcendental functions.
fn cheap(op: &Op) -> bool {
    use evenkeel_ir::Unary as U;
    match op {
        Op::Unary(f) => matches!(f, U::Neg | U::Abs | U::Step | U::Square | U::Relu | U::Not | U::Relu6 | U::Sqrt | U::Rsqrt | U::Recip),
        Op::Binary(f) => *f != evenkeel_ir::Binary::Pow,
        Op::Select | Op::Cast(_) | Op::Broadcast(_) => true,
        _ => false,
    }
}
