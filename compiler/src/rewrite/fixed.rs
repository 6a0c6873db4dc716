//! Recognizes norms with given statistics: BatchNorm in use.
//!
//! The root is a chain over one operand of its own type; what that is added to and multiplied
//! with comes from four smaller values. The one under a root is the variance; the normal form
//! decides which order of the others is right. Start at [`as_fixed_norm`].

use super::cone::{Cone, Constants};
use super::language::{Head, Settings};
use super::reader::has_algebra;
use super::region::Region;
use evenkeel_ir::op::{Attrs, Binary, Composite, EpsKind, Unary};
use evenkeel_ir::{Axes, Graph, NodeId, Op, Value};

/// Orders of mean, gain and bias among the operands that are not the variance.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// The region in which the root is a norm with given statistics.
pub(crate) fn as_fixed_norm(graph: &Graph, constants: &Constants, cone: &Cone) -> Option<Region> {
    let root = Value { node: cone.root, result: 0 };
    let chain = |op: &Op| matches!(op, Op::Binary(Binary::Add | Binary::Sub | Binary::Mul));
    let has_root = cone.nodes.iter().any(|id| under_root(graph, *id).is_some());
    if !chain(graph.op(root)) || !has_root {
        return None;
    }
    let ty = graph.ty(root);
    let alike = |v: &Value| graph.ty(*v) == ty && *v != root && !constants.contains(v.node);
    let inputs = cone.nodes.iter().rev().flat_map(|id| &graph.node(*id).inputs).copied();
    let mut tried: Vec<Value> = Vec::new();
    for x in inputs.filter(alike) {
        if !tried.contains(&x) {
            tried.push(x);
            if let Some(region) = with_operand(graph, constants, cone, x) {
                return Some(region);
            }
        }
    }
    None
}

/// The same for one candidate of `x`.
fn with_operand(graph: &Graph, constants: &Constants, cone: &Cone, x: Value) -> Option<Region> {
    let Spelling { nodes, leaves, variance, eps } = spelling(graph, constants, cone, x)?;
    let root = Value { node: cone.root, result: 0 };
    let mut all = vec![x, variance];
    all.extend(&leaves);
    let mut region = Region::new(graph, constants, &nodes, &[root], all, 0)?;
    let none = region.axes(&graph.ty(x).shape, Axes::NONE);
    let attrs = Attrs::over(Axes::NONE).eps(eps, EpsKind::Inside);
    let head = Head::Composite(Composite::FixedNorm, Settings::of(&attrs));
    let [x, variance] = [region.class(x)?, region.class(variance)?];
    let others: Option<Vec<_>> = leaves.iter().map(|leaf| region.class(*leaf)).collect();
    let others = others?;
    for order in ORDERS {
        let [mean, gain, bias] = order.map(|place| others[place]);
        let proposed = region.add(head, &[none, x, mean, variance, gain, bias]);
        if region.root_is(proposed) {
            return Some(region);
        }
    }
    None
}

/// What a root is made of, given `x`.
struct Spelling {
    nodes: Vec<NodeId>,
    /// Mean, gain and bias, in some order.
    leaves: Vec<Value>,
    variance: Value,
    eps: f64,
}

/// The nodes between `x` and the root, if they are pointwise and read four other values.
fn spelling(graph: &Graph, constants: &Constants, cone: &Cone, x: Value) -> Option<Spelling> {
    let mut nodes: Vec<NodeId> = Vec::new();
    let mut leaves: Vec<Value> = Vec::new();
    let mut pending = vec![cone.root];
    while let Some(id) = pending.pop() {
        if nodes.contains(&id) {
            continue;
        }
        nodes.push(id);
        for &operand in &graph.node(id).inputs {
            let node = graph.node(operand.node);
            let inside = cone.nodes.contains(&operand.node)
                && (node.op.is_pointwise() || matches!(node.op, Op::Broadcast(_) | Op::Reshape(_)));
            if operand == x || constants.contains(operand.node) {
                continue;
            }
            if inside && has_algebra(graph, node) {
                pending.push(operand.node);
            } else if !leaves.contains(&operand) {
                leaves.push(operand);
            }
        }
    }
    let smaller = |v: &Value| graph.ty(*v).shape != graph.ty(x).shape;
    if leaves.len() != 4 || !leaves.iter().all(smaller) || nodes.len() > MOST {
        return None;
    }
    nodes.sort();
    leaves.sort();
    let (variance, eps) = nodes.iter().find_map(|id| under_root(graph, *id))?;
    let place = leaves.iter().position(|leaf| *leaf == variance)?;
    leaves.remove(place);
    Some(Spelling { nodes, leaves, variance, eps })
}

/// The most ops of a spelling.
const MOST: usize = 16;

/// The value and the constant whose sum a root is taken of.
fn under_root(graph: &Graph, id: NodeId) -> Option<(Value, f64)> {
    let node = graph.node(id);
    let root = matches!(node.op, Op::Unary(Unary::Sqrt | Unary::Rsqrt) | Op::Binary(Binary::Pow));
    let sum = graph.node(node.inputs.first()?.node);
    if !root || sum.op != Op::Binary(Binary::Add) {
        return None;
    }
    let number = |v: Value| match graph.op(v) {
        Op::Const(number, _) => Some(number.get()),
        _ => None,
    };
    let [a, b] = [sum.inputs[0], sum.inputs[1]];
    number(b).map(|eps| (a, eps)).or_else(|| number(a).map(|eps| (b, eps)))
}
