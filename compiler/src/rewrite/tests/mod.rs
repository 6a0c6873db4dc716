//! What spellings become.

use super::check::check;
use super::recognize;
use super::rules::RULES;
use super::spelling;
mod proofs;

use crate::grad::inline;
use evenkeel_ir::eval::decomposed;
use evenkeel_ir::{Composite, Graph, GraphBuilder, Op, Value};

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
    for (spelling, name) in [
        ("(mul x (sigmoid x))", "silu"),
        ("(div x (add 1 (exp (neg x))))", "silu"),
        ("(recip (add 1 (exp (neg x))))", "sigmoid"),
        ("(div (exp x) (add 1 (exp x)))", "sigmoid"),
        ("(mul 0.5 (add 1 (tanh (mul 0.5 x))))", "sigmoid"),
        ("(mul (mul 0.5 x) (add 1 (erf (div x 1.4142135623730951))))", "gelu"),
        ("(mul x (mul 0.5 (add 1 (erf (mul x 0.70710678)))))", "gelu"),
        (
            "(mul (mul 0.5 x) (add 1 (tanh (mul 0.7978845608 (add x (mul 0.044715 (mul x (mul x x))))))))",
            "gelu_tanh",
        ),
        ("(mul x (sigmoid (mul 1.702 x)))", "quick_gelu"),
        ("(log (add 1 (exp x)))", "softplus"),
        ("(log1p (exp x))", "softplus"),
        ("(add (max x 0) (log1p (exp (neg (abs x)))))", "softplus"),
        ("(max x 0)", "relu"),
        ("(select (gt x 0) x 0)", "relu"),
        ("(mul x (step x))", "relu"),
        ("(mul x (tanh (softplus x)))", "mish"),
        ("(mul x (tanh (log (add 1 (exp x)))))", "mish"),
        ("(min 6 (max 0 x))", "relu6"),
        ("(div (min 6 (max 0 (add x 3))) 6)", "hardsigmoid"),
        ("(mul x (div (min 6 (max 0 (add x 3))) 6))", "hardswish"),
        ("(neg (softplus (neg x)))", "log_sigmoid"),
        ("(log (sigmoid x))", "log_sigmoid"),
        ("(select (gt x 0) x (sub (exp x) 1))", "elu"),
        ("(select (gt x 0) x (expm1 x))", "elu"),
    ] {
        assert_eq!(becomes(spelling), name, "{spelling}");
    }
}

#[test]
fn statistics() {
    for (spelling, name) in [
        ("(div (sum @1 x) 768)", "mean@1"),
        ("(mul (sum @1 x) 0.0013020833333333333)", "mean@1"),
        ("(sub x (mean @1 x))", "center@1"),
        ("(mean @1 (square (sub x (mean @1 x))))", "var@1"),
        ("(sub (mean @1 (mul x x)) (square (mean @1 x)))", "var@1"),
        ("(max (sub (mean @1 (mul x x)) (square (mean @1 x))) 0)", "var@1"),
        ("(div (sum @1 (square (sub x (mean @1 x)))) 767)", "var@1:n-1"),
        ("(rsqrt (add (var @1 x) 1e-5))", "rstd@1:1e-5:inside"),
        ("(div (sub x (mean @1 x)) (sqrt (add (var @1 x) 1e-5)))", "standardize@1:1e-5:inside"),
        ("(div (sub x (mean @1 x)) (add (sqrt (var @1 x)) 1e-5))", "standardize@1:1e-5:outside"),
        ("(mul (sub x (mean @1 x)) (pow (add (var @1 x) 1e-5) -0.5))", "standardize@1:1e-5:inside"),
        ("(div (sub x (mean @0 x)) (sqrt (add (var @0 x) 1e-3)))", "standardize@0:1e-3:inside"),
        (
            "(add (mul g (div (sub x (mean @1 x)) (sqrt (add (var @1 x) 1e-5)))) b)",
            "layer_norm@1:1e-5:inside",
        ),
        (
            "(add b (mul (mul w (rsqrt (add (var @1 x) 1e-5))) (sub x (mean @1 x))))",
            "layer_norm@1:1e-5:inside",
        ),
        ("(mul x (rsqrt (add (mean @1 (square x)) 1e-6)))", "rms_unit@1:1e-6:inside"),
        ("(mul (mul x (rsqrt (add (mean @1 (square x)) 1e-6))) g)", "rms_norm@1:1e-6:inside"),
        ("(div x (sqrt (sum @1 (square x))))", "l2_norm@1"),
        ("(div x (max (sqrt (sum @1 (square x))) 1e-12))", "l2_norm@1:1e-12:clamp"),
        ("(div (exp x) (sum @1 (exp x)))", "softmax@1"),
        ("(div (exp (sub x (rmax @1 x))) (sum @1 (exp (sub x (rmax @1 x)))))", "softmax@1"),
        ("(log (softmax @1 x))", "log_softmax@1"),
        ("(sub x (log (sum @1 (exp x))))", "log_softmax@1"),
        ("(log (sum @1 (exp x)))", "logsumexp@1"),
        ("(add (rmax @1 x) (log (sum @1 (exp (sub x (rmax @1 x))))))", "logsumexp@1"),
    ] {
        assert_eq!(becomes(spelling), name, "{spelling}");
    }
}

#[test]
fn every_rule_is_what_it_claims() {
    for rule in RULES {
        let measured = check(rule).unwrap_or_else(|error| panic!("{error}"));
        assert!(measured.samples > 1000, "{}: too few samples", rule.name);
    }
}
