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

/// More ways in which frameworks write norms: constant or run-time divisors, powers for roots,
/// gains folded either side, nested sums, clamps.
#[test]
fn spellings_of_norms() {
    let layer_norm = "layer_norm@1:1e-5:inside";
    for (spelling, name) in [
        ("(add (mul (div (sub x (mean @1 x)) (pow (add (var @1 x) 1e-5) 0.5)) g) b)", layer_norm),
        ("(add (mul (mul (sub x (mean @1 x)) (recip (sqrt (add (var @1 x) 1e-5)))) g) b)", layer_norm),
        ("(add (mul (sub x (mean @1 x)) (mul w (rsqrt (add (var @1 x) 1e-5)))) b)", layer_norm),
        (
            "(add (mul (mul x (rsqrt (add (var @1 x) 1e-5))) w) (sub b (mul w (mul (mean @1 x) (rsqrt (add (var @1 x) 1e-5))))))",
            layer_norm,
        ),
        (
            "(add (mul (div (sub x (div (sum @1 x) 768)) (sqrt (add (div (sum @1 (square (sub x (div (sum @1 x) 768)))) 768) 1e-5))) g) b)",
            layer_norm,
        ),
        (
            "(add (mul (div (sub x (mean @1 x)) (sqrt (add (max (sub (mean @1 (square x)) (square (mean @1 x))) 0) 1e-5))) g) b)",
            layer_norm,
        ),
        (
            "(add (mul (div (sub x (mean @1 x)) (sqrt (add (abs (sub (mean @1 (square x)) (square (mean @1 x)))) 1e-5))) g) b)",
            "var",
        ),
        (
            "(div (sub x (mean @1 x)) (sqrt (add (sub (mean @1 (mul x x)) (square (mean @1 x))) 1e-5)))",
            "standardize@1:1e-5:inside",
        ),
        ("(div (sub x (mean @1 x)) (sqrt (var @1 x)))", "standardize@1"),
        ("(div (sub x (mean @0,1 x)) (sqrt (add (var @0,1 x) 1e-5)))", "standardize@0,1:1e-5:inside"),
        (
            "(div (sub x (mean @1 (mean @0 x))) (sqrt (add (mean @1 (mean @0 (square (sub x (mean @1 (mean @0 x)))))) 1e-5)))",
            "standardize@0,1:1e-5:inside",
        ),
        ("(div (sub x (mean @1 x)) (max (sqrt (var @1 x)) 1e-5))", "standardize@1:1e-5:clamp"),
        (
            "(div (sub x (mean @1 x)) (sqrt (add (div (sum @1 (square (sub x (mean @1 x)))) 767) 1e-5)))",
            "standardize@1:1e-5:inside:n-1",
        ),
        ("(div x (sqrt (add (mean @1 (square x)) 1e-6)))", "rms_unit@1:1e-6:inside"),
        ("(div x (sqrt (add (div (sum @1 (mul x x)) 768) 1e-6)))", "rms_unit@1:1e-6:inside"),
        ("(mul x (pow (add (mean @1 (pow x 2)) 1e-6) -0.5))", "rms_unit@1:1e-6:inside"),
        ("(mul g (mul x (rsqrt (add (mean @1 (mul x x)) 1e-6))))", "rms_norm@1:1e-6:inside"),
        ("(mul x (mul w (rsqrt (add (mean @1 (mul x x)) 1e-6))))", "rms_norm@1:1e-6:inside"),
        ("(mul x (div w (sqrt (add (mean @1 (mul x x)) 1e-6))))", "rms_norm@1:1e-6:inside"),
        ("(div x (add (sqrt (mean @1 (square x))) 1e-6))", "rms_unit@1:1e-6:outside"),
        (
            "(div (mul x 27.712812921102035) (sqrt (add (sum @1 (square x)) 7.68e-4)))",
            "rms_unit@1:1e-6:inside",
        ),
        ("(div x (add (sqrt (sum @1 (square x))) 1e-6))", "l2_norm@1:1e-6:outside"),
        ("(div x (sqrt (add (sum @1 (mul x x)) 1e-12)))", "l2_norm@1:1e-12:inside"),
        ("(mul x (rsqrt (sum @1 (mul x x))))", "l2_norm@1"),
        ("(exp (sub x (logsumexp @1 x)))", "softmax@1"),
        ("(mul (exp x) (recip (sum @1 (exp x))))", "softmax@1"),
        ("(exp (sub (sub x (rmax @1 x)) (log (sum @1 (exp (sub x (rmax @1 x)))))))", "softmax@1"),
        ("(sub (sub x (rmax @1 x)) (log (sum @1 (exp (sub x (rmax @1 x))))))", "log_softmax@1"),
        ("(log (div (exp x) (sum @1 (exp x))))", "log_softmax@1"),
        ("(neg (sub (log (sum @1 (exp x))) x))", "log_softmax@1"),
        ("(div (exp (sub x (rmax @0 x))) (sum @0 (exp (sub x (rmax @0 x)))))", "softmax@0"),
    ] {
        let found = becomes(spelling);
        assert!(found == name || (name == "var" && found.contains("layer_norm")), "{spelling}: {found}");
    }
}

/// Functions that are close to a named one and are not it.
#[test]
fn near_misses_stay_apart() {
    for (spelling, not) in [
        ("(mul x (sigmoid (mul 1.01 x)))", "silu"),
        ("(mul x (sigmoid (mul 1.719 x)))", "quick_gelu"),
        ("(mul x (sigmoid (add x 0.01)))", "silu"),
        ("(mul (mul 0.5 x) (add 1 (erf (div x 1.4283556979968262))))", "gelu"),
        ("(mul (mul 0.505 x) (add 1 (erf (div x 1.4142135623730951))))", "gelu"),
        ("(mul (mul 0.5 x) (add 1.01 (erf (div x 1.4142135623730951))))", "gelu"),
        (
            "(mul (mul 0.5 x) (add 1 (tanh (mul 0.7978845608 (add x (mul 0.0451 (mul x (mul x x))))))))",
            "gelu_tanh",
        ),
        ("(mul (mul 0.5 x) (add 1 (tanh (mul 0.7978845608 (add x (mul 0.044715 (mul x x)))))))", "gelu_tanh"),
        (
            "(mul (mul 0.5 x) (add 1 (tanh (mul 0.8058 (add x (mul 0.044715 (mul x (mul x x))))))))",
            "gelu_tanh",
        ),
        ("(log (add 1.01 (exp x)))", "softplus"),
        ("(add (max x 0) (log1p (exp (abs x))))", "softplus"),
        ("(mul x (tanh (log (add 2 (exp x)))))", "mish"),
        ("(max x 0.01)", "relu"),
        ("(min 6.06 (max 0 x))", "relu6"),
        ("(mul x (div (min 6 (max 0 (add x 3.03))) 6))", "hardswish"),
        ("(select (gt x 0.01) x 0)", "relu"),
        ("(select (gt x 0) x (mul 1.01 (expm1 x)))", "elu"),
        ("(recip (add 1 (exp x)))", "sigmoid"),
        ("(mul 1.0507 (select (gt x 0) x (mul 1.69 (expm1 x))))", "selu"),
        ("(div (sum @1 x) 767)", "mean"),
        ("(div (sum @0 x) 768)", "mean"),
        ("(sub x (mean @0 (mean @1 (mul 2 x))))", "center"),
        ("(mean @1 (square (sub x (mean @0 x))))", "var"),
        ("(sub (mean @1 (mul x x)) (mean @1 x))", "var"),
        ("(sub (mean @1 (mul x x)) (mul 1.01 (square (mean @1 x))))", "var"),
        ("(div (sum @1 (square (sub x (mean @1 x)))) 766)", "var"),
        ("(div (sub x (mean @1 x)) (add (var @1 x) 1e-5))", "standardize"),
        ("(div (sub x (mean @1 x)) (sqrt (add (var @0 x) 1e-5)))", "standardize"),
        ("(div (sub x (mean @0 x)) (sqrt (add (var @1 x) 1e-5)))", "standardize"),
        ("(div x (sqrt (add (var @1 x) 1e-5)))", "standardize"),
        ("(div (sub x (mul 1.01 (mean @1 x))) (sqrt (add (var @1 x) 1e-5)))", "standardize"),
        ("(div (sub x (mean @1 x)) (pow (add (var @1 x) 1e-5) 0.505))", "standardize"),
        ("(div (sub x (mean @1 x)) (sqrt (add (mul 1.01 (var @1 x)) 1e-5)))", "standardize"),
        ("(div (sub x (mean @1 x)) (sqrt (add (mean @1 (square x)) 1e-5)))", "standardize"),
        ("(add (mul g (div (sub x (mean @1 x)) (sqrt (add (var @0 x) 1e-5)))) b)", "layer_norm"),
        ("(mul g (add (div (sub x (mean @1 x)) (sqrt (add (var @1 x) 1e-5))) b))", "layer_norm"),
        ("(mul x (rsqrt (add (mean @0 (square x)) (mean @1 (square x)))))", "rms_unit"),
        ("(mul x (rsqrt (add (mean @1 (abs x)) 1e-6)))", "rms_unit"),
        ("(mul x (recip (add (mean @1 (square x)) 1e-6)))", "rms_unit"),
        ("(mul x (rsqrt (add (mean @1 (square w)) 1e-6)))", "rms_norm"),
        ("(div x (sqrt (sum @1 (mul x (abs x)))))", "l2_norm"),
        ("(div x (min (sqrt (sum @1 (square x))) 1e-12))", "l2_norm"),
        ("(div (exp x) (sum @0 (exp (mul 2 x))))", "softmax"),
        ("(div (exp x) (add 1 (sum @1 (exp x))))", "softmax"),
        ("(div (exp (mul 1.01 x)) (sum @1 (exp x)))", "softmax"),
        ("(div (exp x) (reduce_max @1 (exp x)))", "softmax"),
        ("(sub x (log (sum @0 (exp (mul 2 x)))))", "log_softmax"),
        ("(sub x (log (mean @1 (exp x))))", "log_softmax"),
        ("(log (mean @1 (exp x)))", "logsumexp"),
        ("(log (add 1e-3 (sum @1 (exp x))))", "logsumexp"),
    ] {
        let found = becomes(spelling);
        let wrong = found.split(' ').last().is_some_and(|op| op.split('@').next() == Some(not));
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
fn every_rule_is_what_it_claims() {
    for rule in RULES {
        let measured = check(rule).unwrap_or_else(|error| panic!("{error}"));
        assert!(measured.samples > 1000, "{}: too few samples", rule.name);
    }
}
