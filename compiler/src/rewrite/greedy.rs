//! Greedy pattern matching, to compare the rewriter with: what most compilers do.
//!
//! Every named op is one pattern, its definition, matched literally but for the order of
//! commuting operands. Nodes are visited operands first; the first pattern that matches replaces
//! its root for good. No alternatives, no algebra. Start at [`greedy`].

use super::activation::{self, Function};
use super::cone::{Cone, Constants};
use super::reader::has_algebra;
use super::statistic::{self, Proposal};
use crate::CompileError;
use crate::pipeline::verified;
use evenkeel_ir::op::Composite;
use evenkeel_ir::{Graph, GraphBuilder, Op, Value};

/// How deep two expressions are compared.
const DEPTH: usize = 16;

/// Replaces spellings that are the definition of a named op.
///
/// Takes and leaves a verified graph; inputs and outputs keep their order, names and types.
///
/// # Errors
/// Bugs of this pass.
pub fn greedy(graph: &Graph) -> Result<Graph, CompileError> {
    let mut constants = Constants::default();
    let named = graph.rebuilt(|b, op, operands| {
        let value = b.apply(op.clone(), operands)?;
        Ok(matched(b, &mut constants, value).unwrap_or(value))
    });
    let named = named.map_err(|source| CompileError::Pass { pass: "greedy", source })?;
    verified("greedy", named.pruned())
}

/// The named op whose definition this value is.
fn matched(b: &mut GraphBuilder, constants: &mut Constants, value: Value) -> Option<Value> {
    constants.update(b.graph());
    let graph = b.graph();
    let node = graph.node(value.node);
    let named = matches!(node.op, Op::Composite(..))
        || matches!(node.op, Op::Unary(op) if op.def().definition.is_some());
    if named || constants.contains(value.node) || !has_algebra(graph, node) {
        return None;
    }
    let cone = Cone::above(graph, constants, value.node);
    let ty = graph.ty(value).clone();
    for (function, x) in activation::proposals(graph, constants, &cone) {
        let Function::Row(op) = function else { continue };
        let pattern = op.def().definition.map(|definition| definition(b, x));
        if pattern.is_some_and(|pattern| same(b.graph(), pattern, value, DEPTH)) {
            return Some(b.unary(op, x));
        }
    }
    let graph = b.graph();
    let mut all: Vec<Proposal> = Vec::new();
    for (site, cut) in statistic::sites(graph, constants, &cone) {
        all.extend(statistic::proposals(graph, constants, &cone, (&site, &cut), false));
    }
    all.into_iter().filter(|p| p.gain.is_none() && p.op != Composite::ArgMax).find_map(|proposal| {
        let Proposal { op, attrs, operands, .. } = proposal;
        let pattern = (op.def().decompose)(b, &operands, &attrs);
        let equal = b.ty(pattern) == &ty && same(b.graph(), pattern, value, DEPTH);
        equal.then(|| b.composite(op, &operands, attrs))
    })
}

/// True for equal expressions, but for the order of commuting operands.
fn same(graph: &Graph, a: Value, b: Value, depth: usize) -> bool {
    let (left, right) = (graph.node(a.node), graph.node(b.node));
    if a == b || depth == 0 {
        return a == b;
    }
    if left.op != right.op || left.inputs.len() != right.inputs.len() || left.inputs.is_empty() {
        return false;
    }
    let equal = |order: [usize; 2]| {
        let pair = |(i, j): (usize, usize)| same(graph, left.inputs[i], right.inputs[j], depth - 1);
        pair((0, order[0])) && pair((1, order[1]))
    };
    match left.op {
        Op::Binary(op) if op.def().commutes => equal([0, 1]) || equal([1, 0]),
        _ => left.inputs.iter().zip(&right.inputs).all(|(x, y)| same(graph, *x, *y, depth - 1)),
    }
}
