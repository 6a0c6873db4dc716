//! Differentiation: reverse mode ([`backward`]) and forward mode ([`forward`]) over the
//! derivative rows of the IR.
//!
//! Every op has one hand-written derivative: pointwise rows their partials, linear ops their
//! transpose, composites a compact vjp or else the derivative of their decomposition. Both
//! modes append to a [`GraphBuilder`], so they compose to any order.
//!
//! Invariant: no cotangent is dropped. An op that has no derivative is an error as soon as a
//! cotangent would have to pass through it ([`GradError::NotDifferentiable`]).

mod forward;
mod reverse;
mod transpose;

pub use forward::forward;
pub use reverse::{Backward, backward};

use evenkeel_ir::eval::decomposed;
use evenkeel_ir::{Graph, GraphBuilder, Node, Op, Place, TensorType, Value};
use std::sync::Arc;

/// Why a graph could not be differentiated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GradError {
    /// The path from a result to an input crosses an op without a derivative.
    #[error("{op} of {operand} has no derivative{}; use stop_gradient if that is meant", at(.place, .path))]
    NotDifferentiable {
        /// The op.
        op: &'static str,
        /// Type of the operand that the derivative was wanted for.
        operand: TensorType,
        /// Where the user wrote it.
        place: Option<Place>,
        /// The module it belongs to.
        path: Option<Arc<str>>,
    },
    /// A derivative with respect to, or of, something that is not a float.
    #[error("{what} is {ty}: only floats have derivatives")]
    NotFloat {
        /// Its name.
        what: String,
        /// Its type.
        ty: TensorType,
    },
    /// Nothing that could be differentiated.
    #[error("no {what} is a float: only floats have derivatives")]
    NoFloat {
        /// `input` or `output`.
        what: &'static str,
    },
    /// The name of a derivative is that of something else.
    #[error("{name} names a derivative: the graph must not have an input or output of this name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Forward mode met a function whose reverse the user wrote.
    #[error("custom_vjp has no forward-mode derivative{}", at(.place, .path))]
    ForwardOfCustomVjp {
        /// Where the user wrote it.
        place: Option<Place>,
        /// The module it belongs to.
        path: Option<Arc<str>>,
    },
}

fn at(place: &Option<Place>, path: &Option<Arc<str>>) -> String {
    let place = place.map(|p| format!(", at {p}")).unwrap_or_default();
    path.as_ref().map(|p| format!("{place} (in {p})")).unwrap_or(place)
}

fn not_differentiable(graph: &Graph, id: evenkeel_ir::NodeId, operand: &TensorType) -> GradError {
    let from = graph.provenance(id);
    let (place, path) = (from.place, from.path.clone());
    GradError::NotDifferentiable { op: graph.node(id).op.name(), operand: operand.clone(), place, path }
}

/// Copies a graph's nodes into a builder; `inputs` are the values of its inputs.
/// Gives the value of every result of every node.
pub fn inline(b: &mut GraphBuilder, graph: &Graph, inputs: &[Value]) -> Vec<Vec<Value>> {
    let mut map: Vec<Vec<Value>> = Vec::with_capacity(graph.nodes().len());
    b.reserve(graph.nodes().len());
    for (id, node) in graph.iter() {
        if let Op::Input(index) = node.op {
            map.push(vec![inputs[index as usize]]);
            continue;
        }
        let operands: Vec<Value> =
            node.inputs.iter().map(|v| map[v.node.0 as usize][v.result as usize]).collect();
        b.set_provenance(graph.provenance(id).clone());
        let first = b.op(node.op.clone(), &operands);
        map.push((0..node.types.len() as u32).map(|result| Value { node: first.node, result }).collect());
    }
    map
}

/// The graph behind a node that stands for one: a called graph, a custom forward, or the
/// decomposition of a composite.
fn body(graph: &Graph, node: &Node) -> Option<Graph> {
    match &node.op {
        Op::Call(callee) => Some((*callee.0).clone()),
        Op::Composite(..) => Some(decomposed(graph, node)),
        _ => None,
    }
}

/// Is this value the constant `number`?
fn is_number(b: &GraphBuilder, value: Value, number: f64) -> bool {
    matches!(b.graph().op(value), Op::Const(real, _) if real.get() == number)
}

/// `factor * x`, without the multiplication where the factor is 1 or -1.
fn scaled(b: &mut GraphBuilder, factor: Value, x: Value) -> Value {
    match factor {
        f if is_number(b, f, 1.0) => x,
        f if is_number(b, f, -1.0) => b.neg(x),
        f => b.mul(f, x),
    }
}
