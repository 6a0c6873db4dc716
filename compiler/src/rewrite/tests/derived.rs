//! From op-by-op gradients of primitive spellings to the compact backward.

use super::super::simplify;
use super::super::spelling;
use super::proofs::gradients_of;
use super::written_out;
use evenkeel_ir::eval::eval;
use evenkeel_ir::op::RandomKind;
use evenkeel_ir::random::fill;
use evenkeel_ir::{Graph, Literal};

/// Layers as people write them, over inputs of these sizes.
pub(super) const LAYERS: &[(&str, spelling::Inputs, &str)] = &[
    (
        "layer_norm",
        &[("x", &[6, 10]), ("g", &[10]), ("b", &[10])],
        "(add (mul (div (sub x (mean @1 x)) (sqrt (add (mean @1 (square (sub x (mean @1 x)))) 1e-5))) g) b)",
    ),
    (
        "layer_norm_one_pass",
        &[("x", &[6, 10])],
        "(mul (sub x (mean @1 x)) (rsqrt (add (sub (mean @1 (square x)) (square (mean @1 x))) 1e-5)))",
    ),
    ("rms_norm", &[("x", &[6, 10]), ("g", &[10])], "(mul (mul x (rsqrt (add (mean @1 (square x)) 1e-6))) g)"),
    (
        "batch_norm",
        &[("x", &[6, 4, 3, 3]), ("g", &[4, 1, 1]), ("b", &[4, 1, 1])],
        "(add (mul (mul (sub x (mean @0,2,3 x)) (rsqrt (add (mean @0,2,3 (square (sub x (mean @0,2,3 x)))) 1e-5))) g) b)",
    ),
    (
        "group_norm",
        &[("x", &[3, 2, 4, 9]), ("g", &[2, 4, 1]), ("b", &[2, 4, 1])],
        "(add (mul (mul (sub x (mean @2,3 x)) (rsqrt (add (mean @2,3 (square (sub x (mean @2,3 x)))) 1e-5))) g) b)",
    ),
    ("l2_norm", &[("x", &[6, 10])], "(div x (sqrt (add (reduce_sum @1 (square x)) 1e-6)))"),
    (
        "softmax",
        &[("x", &[6, 10])],
        "(div (exp (sub x (reduce_max @1 x))) (reduce_sum @1 (exp (sub x (reduce_max @1 x)))))",
    ),
    (
        "log_softmax",
        &[("x", &[6, 10])],
        "(sub (sub x (reduce_max @1 x)) (log (reduce_sum @1 (exp (sub x (reduce_max @1 x))))))",
    ),
    (
        "cross_entropy",
        &[("x", &[6, 10]), ("t", &[6, 10])],
        "(neg (reduce_sum @1 (mul t (sub (sub x (reduce_max @1 x)) (log (reduce_sum @1 (exp (sub x (reduce_max @1 x)))))))))",
    ),
    ("silu", &[("x", &[6, 10])], "(div x (add 1 (exp (neg x))))"),
    ("gelu", &[("x", &[6, 10])], "(mul (mul x 0.5) (add 1 (erf (mul x 0.7071067811865476))))"),
    (
        "evonorm_s0",
        &[("x", &[3, 2, 4, 9]), ("v", &[2, 4, 1]), ("g", &[2, 4, 1]), ("b", &[2, 4, 1])],
        "(add (mul (mul (mul x (sigmoid (mul v x))) (rsqrt (add (mean @2,3 (square (sub x (mean @2,3 x)))) 1e-5))) g) b)",
    ),
    (
        "evonorm_b0",
        &[("x", &[3, 4, 9]), ("v", &[4, 1]), ("g", &[4, 1]), ("b", &[4, 1])],
        "(add (mul (div x (max (sqrt (add (mean @0,2 (square (sub x (mean @0,2 x)))) 1e-5)) (add (mul v x) (sqrt (add (mean @2 (square (sub x (mean @2 x)))) 1e-5))))) g) b)",
    ),
    ("dyt", &[("x", &[6, 10]), ("a", &[1]), ("g", &[10]), ("b", &[10])], "(add (mul (tanh (mul a x)) g) b)"),
    (
        "derf",
        &[("x", &[6, 10]), ("a", &[1]), ("s", &[1]), ("g", &[10]), ("b", &[10])],
        "(add (mul (erf (add (mul a x) s)) g) b)",
    ),
    (
        "frn",
        &[("x", &[3, 4, 9]), ("g", &[4, 1]), ("b", &[4, 1]), ("t", &[4, 1])],
        "(max (add (mul (mul x (rsqrt (add (mean @2 (square x)) 1e-6))) g) b) t)",
    ),
];

/// Forward and gradients, differentiated op by op.
pub(super) fn naive(inputs: spelling::Inputs, text: &str) -> Graph {
    gradients_of(&written_out(&spelling::graph(inputs, text).expect("a spelling")))
}

pub(super) fn operands(graph: &Graph, offset: f64) -> Vec<Literal> {
    let one = |(place, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(1);
        let sample = fill(RandomKind::Normal, 7 + place as u64, 3, evenkeel_ir::DType::F64, &sizes);
        let shift = if place == 0 { offset } else { 0.0 };
        let values = sample.to_floats().iter().map(|x| f64::from((x + shift) as f32)).collect();
        Literal::floats(input.ty.dtype, &sizes, values)
    };
    graph.inputs().iter().enumerate().map(one).collect()
}

/// The largest difference of any output, relative to its largest element.
pub(super) fn difference(a: &[Literal], b: &[Literal]) -> f64 {
    let one = |(a, b): (&Literal, &Literal)| {
        let (a, b) = (a.to_floats(), b.to_floats());
        let scale = a.iter().fold(1e-30f64, |s, x| s.max(x.abs()));
        a.iter().zip(&b).fold(0.0f64, |worst, (x, y)| worst.max((x - y).abs())) / scale
    };
    a.iter().zip(b).map(one).fold(0.0, f64::max)
}

#[test]
fn compact_backward_is_derived() {
    for &(name, inputs, text) in LAYERS {
        let written = naive(inputs, text);
        let simple = simplify(&written).expect("it simplifies");
        let data = operands(&written, 0.0);
        let (want, found) =
            (eval(&written, &data).expect("it runs"), eval(&simple.graph, &data).expect("it runs"));
        let error = difference(&want, &found);
        assert!(error < 1e-12, "{name}: {error:e}\n{}", simple.graph);
        let changes: Vec<String> = simple.scopes.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(
            format!("derived_{name}"),
            format!("{}\n{}", changes.join("\n"), simple.graph)
        );
    }
}
