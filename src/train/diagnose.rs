//! Finds where numbers stopped being finite.
//!
//! The graph runs again in the interpreter, which keeps every value. A value is followed back
//! through non-finite operands to the first node that made them out of finite ones. Constants
//! that are infinite on purpose, such as those of masks, are not blamed: only what reaches the
//! followed value through non-finite values counts.

use evenkeel_ir::{DType, Graph, Literal, NodeId, Op, Provenance, Value, eval::eval_nodes};

/// The first non-finite value of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Culprit {
    /// The op that made it, or the input it is.
    pub(crate) what: String,
    /// Where the user wrote it.
    pub(crate) origin: Provenance,
}

/// The node behind the first non-finite value among `roots`. In f64 they may be finite where large
/// numbers cancel; then it is the first value that f32 cannot hold. `None` if there is neither.
pub(crate) fn diagnose(graph: &Graph, inputs: &[Literal], batch: u64, roots: &[Value]) -> Option<Culprit> {
    let values = eval_nodes(graph, inputs, batch);
    let bad: Vec<bool> = values.iter().map(|results| results.iter().any(is_bad)).collect();
    let id = match roots.iter().find(|root| bad[root.node.0 as usize]) {
        Some(root) => {
            let reached = reached_through(graph, &bad, root.node);
            let source = |id: &NodeId| reached[id.0 as usize] && is_source(graph, &bad, *id);
            graph.iter().map(|(id, _)| id).find(source)?
        }
        None => {
            let live = graph.reachable(roots.iter().copied());
            let too_large = |id: &NodeId| live[id.0 as usize] && values[id.0 as usize].iter().any(overflows);
            graph.iter().map(|(id, _)| id).find(too_large)?
        }
    };
    let node = graph.node(id);
    let what = match &node.op {
        Op::Input(index) => format!("input {}", graph.inputs()[*index as usize].name),
        op => op.name().to_string(),
    };
    Some(Culprit { what, origin: graph.provenance(id).clone() })
}

/// Not finite, or too large for the type it stands for.
fn is_bad(value: &Literal) -> bool {
    let limit = if value.dtype == DType::F32 { f64::from(f32::MAX) } else { f64::MAX };
    value.dtype.is_float() && value.to_floats().iter().any(|x| x.is_nan() || x.abs() > limit)
}

/// Finite, but too large for f32.
fn overflows(value: &Literal) -> bool {
    let too_large = |x: &f64| x.is_finite() && x.abs() > f64::from(f32::MAX);
    value.dtype == DType::F32 && value.to_floats().iter().any(too_large)
}

/// Bad nodes that lead to `root` through bad nodes only.
fn reached_through(graph: &Graph, bad: &[bool], root: NodeId) -> Vec<bool> {
    let mut reached = vec![false; bad.len()];
    reached[root.0 as usize] = true;
    for (id, node) in graph.iter().rev().filter(|(id, _)| *id <= root) {
        if reached[id.0 as usize] {
            node.inputs.iter().map(|v| v.node.0 as usize).filter(|&i| bad[i]).for_each(|i| reached[i] = true);
        }
    }
    reached
}

/// A node that is not a constant and whose bad operands, if any, are constants.
fn is_source(graph: &Graph, bad: &[bool], id: NodeId) -> bool {
    let is_constant = |id: NodeId| matches!(graph.node(id).op, Op::Const(..));
    let innocent = |v: &Value| !bad[v.node.0 as usize] || is_constant(v.node);
    !is_constant(id) && graph.node(id).inputs.iter().all(innocent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_ir::{GraphBuilder, Place, TensorType};

    fn at(line: u32) -> Provenance {
        Provenance {
            place: Some(Place { file: "model.rs", line, column: 1 }),
            path: Some("block.norm".into()),
        }
    }

    #[test]
    fn the_first_op_that_breaks_is_named_with_its_origin() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", TensorType::scalar(DType::F32));
        b.set_provenance(at(3));
        let log = b.log(x);
        b.set_provenance(at(4));
        let loss = b.square(log);
        let graph = b.finish([("loss".to_string(), loss)]);
        let x = Literal::floats(DType::F32, &[], vec![-1.0]);
        let found = diagnose(&graph, &[x], 1, &[loss]).unwrap();
        assert_eq!(found, Culprit { what: "log".into(), origin: at(3) });
    }

    #[test]
    fn numbers_too_large_for_f32_count() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", TensorType::scalar(DType::F32));
        let loss = b.exp(x);
        let graph = b.finish([("loss".to_string(), loss)]);
        let at = |x: f64| diagnose(&graph, &[Literal::floats(DType::F32, &[], vec![x])], 1, &[loss]);
        assert_eq!(at(100.0).map(|c| c.what), Some("exp".into()));
        assert_eq!(at(80.0), None);
    }

    #[test]
    fn numbers_that_cancel_are_found() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", TensorType::scalar(DType::F32));
        b.set_provenance(at(3));
        let large = b.exp(x);
        b.set_provenance(at(4));
        let (difference, zero) = (b.sub(large, x), b.sub(large, large));
        let loss = b.mul(zero, difference);
        let graph = b.finish([("loss".to_string(), loss)]);
        let found = diagnose(&graph, &[Literal::floats(DType::F32, &[], vec![100.0])], 1, &[loss]);
        assert_eq!(found, Some(Culprit { what: "exp".into(), origin: at(3) }));
    }

    #[test]
    fn masks_are_not_blamed() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", TensorType::scalar(DType::F32));
        let mask = b.number(x, f64::NEG_INFINITY);
        let masked = b.add(x, mask);
        let weight = b.exp(masked);
        let loss = b.log(weight);
        let graph = b.finish([("loss".to_string(), loss)]);
        let found = diagnose(&graph, &[Literal::floats(DType::F32, &[], vec![1.0])], 1, &[loss]);
        assert_eq!(found.map(|c| c.what), Some("log".into()));
    }
}
