//! Does rewriting pay? Every program of `bench rewrite`, compiled three ways.

use evenkeel::bench::Costs;
use evenkeel::bench::rewrite::{self, Row, WAYS, programs};
use evenkeel::prelude::*;
use evenkeel::session::vjp_graph;
use evenkeel_compiler::Options;
use evenkeel_compiler::rewrite::{simplify, simplify_with};
use evenkeel_ir::{Graph, parse};
use std::time::Duration;

/// Rounding of two programs that are equally good.
const SLACK: f64 = 2e-6;

/// As written, greedy, rewriter.
fn rows(place: usize) -> [Row; 3] {
    let rows = rewrite::compare(place, 4, 1, Duration::ZERO).expect("the programs compile");
    assert_eq!(rows.iter().map(|row| row.way).collect::<Vec<_>>(), WAYS);
    rows.try_into().expect("three ways")
}

#[test]
fn rewriting_is_as_exact_and_repairs_what_breaks() {
    let mut repaired = Vec::new();
    for (place, (program, _)) in programs().enumerate() {
        let [written, _, rewritten] = rows(place);
        for (before, after) in written.errors.into_iter().zip(rewritten.errors) {
            assert!(after <= (2.0 * before).max(SLACK), "{program}: {before:e} becomes {after:e}");
        }
        assert!(rewritten.errors[1] < 1e-5, "{program}: {:e} at mean 100", rewritten.errors[1]);
        if written.errors[1] > 100.0 * rewritten.errors[1] {
            repaired.push(program);
        }
        assert!(rewritten.kernels <= written.kernels, "{program}: more kernels");
    }
    insta::assert_snapshot!(repaired.join("\n"), @r"
    layer_norm one pass, gelu
    batch_norm one pass, relu
    cross entropy, unshifted
    dynamic tanh by exponentials
    ");
}

#[test]
fn greedy_matching_knows_definitions_only() {
    use evenkeel_compiler::rewrite::greedy;
    let text = |body: &str| format!("x = input f32[N,12]\n{body}");
    let ops = |body: &str| {
        let graph = evenkeel_ir::parse(&text(body), "greedy.ek").expect("a graph");
        let graph = greedy(&graph).expect("it runs");
        graph.op(graph.outputs()[0].1).name()
    };
    assert_eq!(ops("return mul x (sigmoid x)"), "silu");
    assert_eq!(ops("return mul (sigmoid x) x"), "silu");
    assert_eq!(ops("return div x (add 1 (exp (neg x)))"), "div");
    assert_eq!(ops("return sub x (mean @1 x)"), "center");
}

/// Ops whose results are as long as the batch.
fn wide(graph: &Graph) -> usize {
    let is_wide = |ty: &TensorType| ty.shape.elements().known().is_none();
    graph.nodes().iter().filter(|node| !node.inputs.is_empty() && is_wide(&node.types[0])).count()
}

/// The quotient of parameters that each element needs is a step of its own where steps cost nothing,
/// and arithmetic on every element where they do.
#[test]
fn costs_of_a_machine_decide_what_is_computed_once() {
    let text = "x = input f32[N,64]\na = input f32[64]\nb = input f32[64]\nreturn y=div x (mul a b)";
    let graph = parse(text, "costs.ek").unwrap();
    let graph = vjp_graph(&graph, &[0, 1, 2]).unwrap();
    let with = |step_micros: f64| {
        let costs = Costs { step_micros, ..Costs::REFERENCE };
        simplify_with(&graph, &Options { costs, ..Options::default() }).unwrap().graph
    };
    let (free, usual) = (with(0.0), with(Costs::REFERENCE.step_micros));
    assert_eq!(usual, simplify(&graph).unwrap().graph);
    assert!(wide(&free) < wide(&usual), "{free}\n{usual}");
    assert!(free.nodes().len() > usual.nodes().len(), "{free}\n{usual}");
}
