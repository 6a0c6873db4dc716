//! What spellings become.

use super::check::check;
use super::recognize;
use super::rules::RULES;
use super::spelling;
use spellings::{ACTIVATIONS, NEAR_MISSES, NORMS, STATISTICS};
mod accuracy;
mod derived;
mod fuzz;
mod proofs;
mod rows;
mod spellings;

use crate::grad::inline;
use evenkeel_ir::eval::decomposed;
use evenkeel_ir::{Composite, DType, Graph, GraphBuilder, Op, Shape, TensorType, Unary, Value};

const INPUTS: &[(&str, &[usize])] = &[("x", &[32, 768]), ("g", &[768]), ("b", &[768]), ("w", &[1, 768])];

/// The graph of an expression, in which `(mean ...)` and `(var ...)` are written out, so that
/// nothing is recognized before the compiler looks.
#[track_caller]
fn spelled(expression: &str) -> Graph {
    let text = expression.replace("(sum @", "(reduce_sum @").replace("(rmax @", "(reduce_max @");
    let graph = spelling::graph(INPUTS, &text).expect("a spelling");
    written_out(&graph)
}

/// Every composite replaced by its meaning, down to primitives.
fn written_out(graph: &Graph) -> Graph {
    let mut b = GraphBuilder::new();
    let mut map: Vec<Vec<Value>> = Vec::new();
    for node in graph.nodes() {
        let operands: Vec<Value> = node.inputs.iter().map(|v| map[v.node.0 as usize][0]).collect();
        let value = match &node.op {
            Op::Input(i) => b.input(graph.inputs()[*i as usize].name.clone(), node.types[0].clone()),
            Op::Composite(op, _) if *op != Composite::ArgMax => {
                let body = written_out(&decomposed(graph, node));
                let root = body.outputs()[0].1.node.0 as usize;
                inline(&mut b, &body, &operands)[root][0]
            }
            op => b.op(op.clone(), &operands),
        };
        map.push(vec![value]);
    }
    let outputs: Vec<_> =
        graph.outputs().iter().map(|(name, v)| (name.clone(), map[v.node.0 as usize][0])).collect();
    b.finish(outputs)
}

/// The named ops left in the graph, in order.
#[track_caller]
fn becomes(expression: &str) -> String {
    let recognized = recognize(&spelled(expression)).expect("recognition succeeds");
    let named = |op: &Op| match op {
        Op::Const(number, _) => Some(format!("{}", number.get())),
        Op::Size(..) | Op::Broadcast(_) | Op::Reshape(_) => None,
        Op::Input(_) => None,
        Op::Composite(op, attrs) => {
            let axes: Vec<String> = attrs.axes.iter().map(|a| a.to_string()).collect();
            let mut text = format!("{}@{}", op.name(), axes.join(","));
            if attrs.eps.get() != 0.0 {
                text += &format!(":{:e}:{}", attrs.eps.get(), attrs.eps_kind.name());
            }
            if attrs.correction != 0 {
                text += ":n-1";
            }
            Some(text)
        }
        op => Some(op.name().to_string()),
    };
    let graph = recognized.graph;
    graph.nodes().iter().filter_map(|node| named(&node.op)).collect::<Vec<_>>().join(" ")
}

#[test]
fn activations() {
    for &(spelling, name) in ACTIVATIONS {
        assert_eq!(becomes(spelling), name, "{spelling}");
    }
}

#[test]
fn statistics() {
    for &(spelling, name) in STATISTICS {
        assert_eq!(becomes(spelling), name, "{spelling}");
    }
}

/// The op of the only output.
fn root_of(graph: &Graph) -> String {
    let recognized = recognize(graph).expect("recognition succeeds").graph;
    format!("{:?}", recognized.op(recognized.outputs()[0].1))
}

#[test]
fn every_named_function_is_recognized_from_its_definition() {
    let mut count = 0;
    for op in Unary::ALL {
        let Some(definition) = op.def().definition else { continue };
        let mut b = GraphBuilder::new();
        let x = b.input("x", TensorType::new(DType::F32, Shape::of(&[4, 6])));
        let y = definition(&mut b, x);
        let graph = b.finish([("y".to_string(), y)]);
        assert_eq!(root_of(&graph), format!("{:?}", Op::Unary(*op)), "{graph}");
        count += 1;
    }
    assert!(count > 12);
}

#[test]
fn every_composite_is_recognized_from_its_definition() {
    for op in Composite::ALL.iter().filter(|op| **op != Composite::ArgMax) {
        for attrs in proofs::attributes(*op) {
            let named = proofs::graph_of(*op, attrs);
            let expected = format!("{:?}", named.op(named.outputs()[0].1));
            assert_eq!(root_of(&written_out(&named)), expected, "{}", written_out(&named));
        }
    }
}

#[test]
fn spellings_of_norms() {
    for &(spelling, name) in NORMS {
        let found = becomes(spelling);
        assert!(found == name || (name == "var" && found.contains("layer_norm")), "{spelling}: {found}");
    }
}

#[test]
fn near_misses_stay_apart() {
    for &(spelling, not) in NEAR_MISSES {
        let found = becomes(spelling);
        let wrong = found.split(' ').next_back().is_some_and(|op| op.split('@').next() == Some(not));
        assert!(!wrong, "{spelling} is not {not}: {found}");
    }
}

#[test]
fn equal_regions_are_solved_alike() {
    let block = |x: &str| format!("(div (sub {x} (mean @1 {x})) (sqrt (add (var @1 {x}) 1e-5)))");
    let two = block(&format!("(tanh {})", block("x")));
    assert_eq!(becomes(&two), "standardize@1:1e-5:inside tanh standardize@1:1e-5:inside");
    // what has mean zero need not be centered again
    assert_eq!(becomes(&block(&block("x"))), "standardize@1:1e-5:inside rms_unit@1:1e-5:inside");
}

#[test]
fn what_an_operand_says_already_vanishes() {
    for (spelling, name) in
        [("(abs (exp x))", "exp"), ("(abs (abs x))", "abs"), ("(relu (softplus x))", "softplus")]
    {
        assert_eq!(becomes(spelling), name, "{spelling}");
    }
    assert_eq!(becomes("(abs (tanh x))"), "tanh abs");
}

#[test]
fn every_rule_is_what_it_claims() {
    for rule in RULES {
        let measured = check(rule).unwrap_or_else(|error| panic!("{error}"));
        assert!(measured.samples > 1000, "{}: too few samples", rule.name);
    }
}
