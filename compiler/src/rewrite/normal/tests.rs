//! Spellings of one function have one form; near misses have another.

use crate::rewrite::reader::{Forms, Reader};
use crate::rewrite::spelling::graph;
use evenkeel_ir::op::{Attrs, Composite, EpsKind, Unary};
use evenkeel_ir::{Axes, GraphBuilder};

const INPUTS: &[(&str, &[usize])] = &[("x", &[32, 768]), ("g", &[768]), ("b", &[768])];

fn equal(x: &str, y: &str) -> bool {
    let text = format!("(add (mul 0 {x}) (mul 0 {y}))");
    let mut reader = Reader::new();
    let text = text.replace("(sum @", "(reduce_sum @");
    let graph = graph(INPUTS, &text).expect("a spelling");
    let root = graph.node(graph.outputs()[0].1.node);
    let mut known = Forms::default();
    let forms: Vec<_> = root
        .inputs
        .iter()
        .map(|v| graph.node(v.node).inputs[1])
        .map(|v| reader.read(&graph, &mut known, v))
        .collect();
    assert!(reader.is_reliable());
    forms[0] == forms[1]
}

#[test]
fn ring_and_powers() {
    assert!(equal("(square (add x 1))", "(add (add (mul x x) (mul 2 x)) 1)"));
    assert!(equal("(div x (sqrt (add (square x) 1)))", "(mul x (rsqrt (add 1 (mul x x))))"));
    assert!(equal("(recip (sqrt (add 4 (square x))))", "(mul 0.5 (rsqrt (add 1 (mul 0.25 (square x)))))"));
    assert!(equal("(sqrt (square x))", "(abs x)"));
    assert!(!equal("(sqrt (square x))", "x"));
    assert!(!equal("(sqrt (mul x g))", "(mul (sqrt x) (sqrt g))"));
    assert!(equal("(abs (mul -2 x))", "(mul (abs x) 2)"));
    assert!(equal("(square (abs x))", "(square x)"));
}

#[test]
fn sums() {
    assert!(equal("(sum @1 (mul x (sum @1 x)))", "(square (sum @1 x))"));
    assert!(equal("(sum @0 (sum @1 x))", "(sum @0,1 x)"));
    assert!(!equal("(sum @1 (sum @1 x))", "(sum @0,1 x)"));
    assert!(equal("(mean @1 (sub x (mean @1 x)))", "(mul 0 x)"));
    assert!(equal("(var @1 x)", "(sub (mean @1 (mul x x)) (square (mean @1 x)))"));
    assert!(!equal("(var @1 x)", "(sub (mean @1 (mul x x)) (mean @1 x))"));
}

#[test]
fn exponentials() {
    assert!(equal("(tanh x)", "(sub (mul 2 (sigmoid (mul 2 x))) 1)"));
    assert!(equal("(div (exp x) (add 1 (exp x)))", "(recip (add 1 (exp (neg x))))"));
    assert!(equal("(log (sigmoid x))", "(neg (log (add 1 (exp (neg x)))))"));
    assert!(equal("(log (sigmoid x))", "(sub x (softplus x))"));
    assert!(!equal("(exp (mul x x))", "(mul (exp x) (exp x))"));
    assert!(equal("(mul (sigmoid x) (sub 1 (sigmoid x)))", "(div (exp x) (square (add 1 (exp x))))"));
}

#[test]
fn clamps() {
    assert!(equal("(min 6 (max 0 x))", "(max 0 (min 6 x))"));
    assert!(equal(
        "(div (min 6 (max 0 (add x 3))) 6)",
        "(max 0 (min 1 (add 0.5 (mul x 0.16666666666666666))))"
    ));
    assert!(equal("(relu (relu x))", "(max x 0)"));
    assert!(!equal("(min 6 (max 0 x))", "(min 5 (max 0 x))"));
    assert!(equal("(add (max x 0) (min x 0))", "x"));
}

#[test]
fn many_terms_stay_apart() {
    let long = (1..12).fold("x".to_string(), |text, i| format!("(add {text} (mul {i} (pow g {i})))"));
    let other = (1..12).fold("x".to_string(), |text, i| format!("(add {text} (mul {i} (pow b {i})))"));
    assert!(!equal(&format!("(mul {long} {long})"), &format!("(mul {long} {other})")));
    assert!(equal(&format!("(mul {long} {other})"), &format!("(mul {other} {long})")));
}

#[test]
fn definitions_of_rows_differ_from_each_other() {
    let named: Vec<Unary> = Unary::ALL.iter().copied().filter(|op| op.def().definition.is_some()).collect();
    let mut reader = Reader::new();
    let mut forms = Vec::new();
    let mut b = GraphBuilder::new();
    let x = b.input("x", evenkeel_ir::TensorType::scalar(evenkeel_ir::DType::F32));
    let values: Vec<_> = named.iter().map(|op| b.unary(*op, x)).collect();
    let graph = b.finish([]);
    let mut known = Forms::default();
    for (op, value) in named.iter().zip(values) {
        let form = reader.read(&graph, &mut known, value);
        assert!(!forms.contains(&form), "{} equals another row", op.name());
        forms.push(form);
    }
}

#[test]
fn kinds_of_eps_and_divisors_differ() {
    let mut b = GraphBuilder::new();
    let x =
        b.input("x", evenkeel_ir::TensorType::new(evenkeel_ir::DType::F32, evenkeel_ir::Shape::of(&[4, 8])));
    let attrs = Attrs::over(Axes::new([1]));
    let all = [
        attrs.eps(1e-5, EpsKind::Inside),
        attrs.eps(1e-5, EpsKind::Outside),
        attrs.eps(1e-5, EpsKind::Clamp),
        attrs.eps(1.01e-5, EpsKind::Inside),
        attrs.eps(1e-5, EpsKind::Inside).correction(1),
        Attrs::over(Axes::new([0])).eps(1e-5, EpsKind::Inside),
    ];
    let values: Vec<_> = all.iter().map(|attrs| b.composite(Composite::Standardize, &[x], *attrs)).collect();
    let graph = b.finish([]);
    let (mut reader, mut known) = (Reader::new(), Forms::default());
    let forms: std::collections::HashSet<_> =
        values.into_iter().map(|v| reader.read(&graph, &mut known, v)).collect();
    assert_eq!(forms.len(), all.len());
}
