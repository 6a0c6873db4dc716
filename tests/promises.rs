//! What the documentation of an op says about NaN, infinities and empty axes, on every target: the
//! graph as written, with its named ops, and compiled at every width of vectors; values and gradients.
//!
//! Start at [`check`].

use crate::oracle::{run_on, widths};
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::Options;
use evenkeel_compiler::rewrite::recognize;
use evenkeel_ir::{Literal, eval, parse};
use evenkeel_runtime::Tensor;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// The one door: rows of `x` and what the body gives for them, and for a cotangent of 1, 2, ...
/// as the gradient; a row that has only to be finite there holds numbers.
#[track_caller]
fn check(declared: &str, body: &str, x: (&[usize], &[f32]), want: &[f32], gradient: &[f32]) {
    let text = format!("x = input f32[{declared}]\nreturn y={body}");
    let written = parse(&text, "promise.ek").unwrap_or_else(|error| panic!("{error}"));
    let named = recognize(&written).expect("it is sound").graph;
    let [written, named] =
        [written, named].map(|graph| vjp_graph(&graph, &float_inputs(&graph)).expect("it has a derivative"));
    let x = Tensor::from_vec(x.0, x.1).expect("sizes fit");
    let rows = x.sizes()[0] as u64;
    let sizes = written.ty(written.outputs()[0].1).shape.at(rows);
    let ramp = (0..want.len()).map(|i| 1.0 + i as f32).collect::<Vec<_>>();
    let inputs = [x, Tensor::from_vec(&sizes, ramp).expect("sizes fit")];
    let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
    let interpreted =
        |graph| eval(graph, &literals).expect("it runs").iter().map(Literal::to_floats).collect();
    let mut results: Vec<(String, Vec<Vec<f64>>)> =
        vec![("written".into(), interpreted(&written)), ("named".into(), interpreted(&named))];
    for target in widths() {
        let found = run_on(&target, &named, &inputs, &Options::default());
        results.push((format!("{} bits", 8 * target.widest()), found.iter().map(Tensor::to_f64s).collect()));
    }
    let same = |found: &f64, want: f64| {
        (found.is_nan() && want.is_nan()) || *found == want || (found - want).abs() < 1e-6
    };
    for (target, found) in results {
        let fine =
            found[0].len() == want.len() && found[0].iter().zip(want).all(|(f, w)| same(f, f64::from(*w)));
        assert!(fine, "{body}, {target}: {:?}, promised {want:?}", found[0]);
        let alike = |(f, w): (&f64, &f32)| if w.is_nan() { f.is_nan() } else { same(f, f64::from(*w)) };
        let fine = found[1].len() == gradient.len() && found[1].iter().zip(gradient).all(alike);
        assert!(fine, "{body}, {target}, gradient: {:?}, promised {gradient:?}", found[1]);
    }
}

#[test]
fn variances_of_few_elements() {
    let single = (&[3, 1][..], &[1f32, -2.0, 1e20][..]);
    check("N,1", "var @1 correction=1 x", single, &[NAN; 3], &[NAN; 3]);
    check("N,1", "var @1 x", single, &[0.0; 3], &[0.0; 3]);
    check("N,1", "rstd @1 correction=1 eps=0.01 x", single, &[NAN; 3], &[NAN; 3]);
    check("N,2", "var @0 correction=1 x", (&[1, 2], &[1.0, 2.0]), &[NAN; 2], &[NAN; 2]);
    check("N,2", "var @0 correction=1 x", (&[0, 2], &[]), &[0.0; 2], &[]);
    check("N,2", "rstd @0 correction=1 eps=0.01 x", (&[0, 2], &[]), &[10.0; 2], &[]);
    check("N,2", "var @0 x", (&[0, 2], &[]), &[NAN; 2], &[]);
    check("N,0", "var @1 correction=1 x", (&[2, 0], &[]), &[0.0; 2], &[]);
    check("N,0", "var @1 x", (&[2, 0], &[]), &[NAN; 2], &[]);
}

#[test]
fn norms_of_rows_with_an_infinity() {
    let x = (&[3, 3][..], &[INF, 1.0, -2.0, 0.0, -INF, 3e38, 0.0, NAN, 1.0][..]);
    let want = [NAN, 0.0, 0.0, 0.0, NAN, 0.0, NAN, NAN, NAN];
    for op in ["rms_unit", "l2_norm"] {
        for eps in ["eps=0.00001", "eps=0.00001 kind=outside", "eps=0.00001 kind=clamp"] {
            check("N,3", &format!("{op} @1 {eps} x"), x, &want, &[NAN; 9]);
        }
    }
    check("N,3", "div x (sqrt (add (mean @1 (mul x x)) 0.00001))", x, &want, &[NAN; 9]);
    check("N,3", "rrms @1 eps=0.01 x", (&[1, 3], &[INF, 1.0, 2.0]), &[0.0], &[NAN, 0.0, 0.0]);
    check("N,3", "standardize @1 eps=0.01 x", x, &[NAN; 9], &[NAN; 9]);
}

#[test]
fn softmaxes_of_rows_with_infinities() {
    let x = (&[4, 2][..], &[INF, 1.0, -INF, -INF, -INF, 0.0, NAN, 0.0][..]);
    let gradient = [NAN, NAN, NAN, NAN, 0.0, 0.0, NAN, NAN];
    check("N,2", "softmax @1 x", x, &[NAN, NAN, NAN, NAN, 0.0, 1.0, NAN, NAN], &gradient);
    let gradient = [NAN, NAN, NAN, NAN, 5.0, -5.0, NAN, NAN];
    check("N,2", "log_softmax @1 x", x, &[NAN, NAN, NAN, NAN, -INF, 0.0, NAN, NAN], &gradient);
}
