//! Compact derivatives of composites equal the derivatives of their definitions, by normal form.

use super::written_out;
use crate::grad::{backward, inline};
use crate::rewrite::reader::{Forms, Reader};
use evenkeel_ir::op::{Attr, Attrs, Composite, EpsKind};
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, Op, Shape, TensorType, Value};

fn tensor(b: &mut GraphBuilder, name: &str, sizes: &[usize]) -> Value {
    b.input(name, TensorType::new(DType::F64, Shape::of(sizes)))
}

/// The composite on free operands, and its operands.
pub(super) fn graph_of(op: Composite, attrs: Attrs) -> Graph {
    let mut b = GraphBuilder::new();
    let operands: Vec<Value> = op
        .def()
        .inputs
        .iter()
        .map(|name| tensor(&mut b, name, if *name == "x" { &[6, 10] } else { &[10] }))
        .collect();
    let y = b.composite(op, &operands, attrs);
    b.finish([("y".to_string(), y)])
}

/// A graph's only output and its gradients, after the same inputs and a cotangent.
pub(super) fn gradients_of(graph: &Graph) -> Graph {
    reverse(graph, true)
}

/// The gradients of a graph's only output, after the same inputs and a cotangent.
fn gradients(graph: &Graph) -> Graph {
    reverse(graph, false)
}

fn reverse(graph: &Graph, with_output: bool) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let y = graph.outputs()[0].1;
    let cotangent = b.input("dy", graph.ty(y).clone());
    let map = inline(&mut b, graph, &inputs);
    let wrt: Vec<Value> = graph
        .iter()
        .filter(|(_, node)| matches!(node.op, Op::Input(_)))
        .map(|(node, _)| Value { node, result: 0 })
        .collect();
    let found = backward(&mut b, graph, &map, &[(y, cotangent)], &wrt).expect("it has a derivative");
    let own = with_output.then(|| ("y".to_string(), map[y.node.0 as usize][y.result as usize]));
    let name = |i: usize| if with_output { format!("d{}", graph.inputs()[i].name) } else { i.to_string() };
    let gradients = found.gradients.iter().enumerate().map(|(i, v)| (name(i), *v));
    b.finish(own.into_iter().chain(gradients).collect::<Vec<_>>())
}

pub(super) fn attributes(op: Composite) -> Vec<Attrs> {
    let reads = |attr: Attr| op.def().attrs.contains(&attr);
    let mut all = vec![Attrs::over(Axes::new([1])), Attrs::over(Axes::new([0, 1]))];
    if !reads(Attr::Axes) {
        all = vec![Attrs::over(Axes::NONE)];
    }
    if reads(Attr::Eps) {
        // the other kinds differ from their definitions where a root is 0: they are 0 there, not NaN
        all = all.iter().map(|a| a.eps(1e-5, EpsKind::Inside)).collect();
    }
    if reads(Attr::Correction) {
        all = all.iter().flat_map(|a| [*a, a.correction(1)]).collect();
    }
    all
}

#[test]
fn compact_derivatives_are_those_of_the_definitions() {
    let mut proved = 0;
    for &op in Composite::ALL.iter().filter(|op| op.def().vjp.is_some()) {
        for attrs in attributes(op) {
            let named = graph_of(op, attrs);
            let compact = gradients(&named);
            let derived = gradients(&written_out(&named));
            let mut reader = Reader::new();
            let forms: Vec<_> = compact.inputs().iter().map(|i| reader.symbol(&i.ty, false)).collect();
            let known = |graph: &Graph| -> Forms {
                let input = |(id, node): (_, &evenkeel_ir::Node)| match node.op {
                    Op::Input(i) => Some((Value { node: id, result: 0 }, forms[i as usize])),
                    _ => None,
                };
                graph.iter().filter_map(input).collect()
            };
            let (mut left, mut right) = (known(&compact), known(&derived));
            for ((name, a), (_, b)) in compact.outputs().iter().zip(derived.outputs()) {
                let a = reader.read(&compact, &mut left, *a);
                let b = reader.read(&derived, &mut right, *b);
                assert!(reader.is_reliable());
                assert_eq!(
                    a,
                    b,
                    "{} {attrs:?}: cotangent of operand {name}\n{compact}\n{derived}",
                    op.name()
                );
                proved += 1;
            }
        }
    }
    assert!(proved > 40, "{proved}");
}
