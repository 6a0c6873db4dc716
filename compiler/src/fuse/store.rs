//! Which values are stored, and which are recomputed where they are needed.

use super::{Class, Fusion, ReductionKind};
use crate::lower::product::operand;
use crate::lower::view::{dense_base, resolve};
use evenkeel_ir::kernel::Stride;
use evenkeel_ir::{Graph, NodeId, Op, Value};

/// A value that costs more ops than this is stored rather than recomputed.
const MAX_RECOMPUTED_OPS: usize = 24;

pub(super) fn store(graph: &Graph, fusion: &mut Fusion, enabled: bool) {
    mark_required(graph, fusion);
    let users = graph.users();
    // users before operands, because recomputing a value reads the operands of its cone
    for id in (0..graph.nodes().len() as u32).rev().map(NodeId) {
        if !fusion.stored[id.0 as usize] && fusion.classes[id.0 as usize].is_compute() {
            visit(graph, fusion, &users[id.0 as usize], id, enabled);
        }
    }
}

/// Outputs, inputs, results of barriers and accumulations, operands of barriers and bases of
/// views; views that no strided access can follow.
fn mark_required(graph: &Graph, fusion: &mut Fusion) {
    for (_, value) in graph.outputs() {
        fusion.stored[dense_base(graph, *value).0 as usize] = true;
    }
    for (id, node) in graph.iter() {
        let i = id.0 as usize;
        let own = matches!(fusion.classes[i], Class::Input | Class::Barrier)
            || fusion.reductions[i] == Some(ReductionKind::Accumulated);
        fusion.stored[i] |= own;
        if matches!(fusion.classes[i], Class::Barrier | Class::View | Class::Gather) {
            node.inputs.iter().for_each(|&input| require(graph, fusion, input));
            store_unreachable_views(graph, fusion, id);
        }
    }
}

/// Stores the operands that a view, product or gather cannot read through their strides.
fn store_unreachable_views(graph: &Graph, fusion: &mut Fusion, id: NodeId) {
    let node = graph.node(id);
    let (first, stored) = (node.inputs[0], &fusion.stored);
    let unreachable: Vec<Value> = match &node.op {
        Op::Dot { batch, lhs, rhs } => [(first, *lhs), (node.inputs[1], *rhs)]
            .into_iter()
            .filter(|&(value, axes)| operand(graph, stored, value, (*batch).into(), axes).is_none())
            .map(|(value, _)| value)
            .collect(),
        Op::Gather { .. } => {
            let whole =
                resolve(graph, stored, first).is_some_and(|(_, v)| v.is_dense() && v.offset == Stride::ZERO);
            if whole { Vec::new() } else { vec![first] }
        }
        op if fusion.classes[id.0 as usize] == Class::View => {
            let through = resolve(graph, stored, first).and_then(|(_, view)| view.through(op));
            if through.is_some() { Vec::new() } else { vec![first] }
        }
        _ => Vec::new(),
    };
    unreachable.into_iter().for_each(|value| fusion.stored[value.node.0 as usize] = true);
}

/// Marks a value as stored; a view is stored by its base.
fn require(graph: &Graph, fusion: &mut Fusion, value: Value) {
    if fusion.classes[value.node.0 as usize] == Class::View {
        return require(graph, fusion, graph.node(value.node).inputs[0]);
    }
    fusion.stored[value.node.0 as usize] = true;
}

/// Stores a value that another group reads, unless that group can recompute it cheaply.
fn visit(graph: &Graph, fusion: &mut Fusion, users: &[NodeId], id: NodeId, enabled: bool) {
    let group = fusion.group_of[id.0 as usize];
    let crosses = users.iter().any(|user| fusion.group_of[user.0 as usize] != group);
    if !crosses {
        return;
    }
    match enabled.then(|| cone(graph, fusion, id)).flatten() {
        Some(leaves) => leaves.into_iter().for_each(|leaf| require(graph, fusion, leaf)),
        None => fusion.stored[id.0 as usize] = true,
    }
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
        let beside = value.node != id && fusion.group_of[i] == fusion.group_of[id.0 as usize];
        match fusion.classes[i] {
            // the kernel has this value of its rows at hand, and memory for it costs next to nothing
            Class::Pointwise if beside && graph.ty(value).shape.elements() != full => leaves.push(value),
            Class::Uniform => {}
            Class::Generated => ops += 8,
            Class::Pointwise if !stored_leaf && cheap(&node.op) => {
                ops += 1;
                queue.extend(node.inputs.iter().copied());
            }
            Class::Pointwise if !stored_leaf => return None,
            Class::Reduction if value.node == id => return None,
            class => {
                full_leaves += usize::from(graph.ty(value).shape.elements() == full);
                leaves.extend((class != Class::Gather).then_some(value));
            }
        }
    }
    (ops <= MAX_RECOMPUTED_OPS && full_leaves <= 1).then_some(leaves)
}

/// Arithmetic of a few instructions, no transcendental functions.
fn cheap(op: &Op) -> bool {
    use evenkeel_ir::Unary as U;
    match op {
        Op::Unary(f) => matches!(
            f,
            U::Neg
                | U::Abs
                | U::Step
                | U::Square
                | U::Relu
                | U::Not
                | U::Relu6
                | U::Sqrt
                | U::Rsqrt
                | U::Recip
        ),
        Op::Binary(f) => *f != evenkeel_ir::Binary::Pow,
        Op::Select | Op::Cast(_) | Op::Broadcast(_) => true,
        _ => false,
    }
}
