//! Rows long enough that maxima and the sums that follow them share a sweep, on what breaks naive
//! formulas: masked, ascending, huge, infinite and missing numbers.
//!
//! Every row is computed at every width of vectors, and compared with the f64 interpreter.
//! Start at [`Row`].

use crate::oracle::{numbers, run_on, widths, with_gradients};
use evenkeel_compiler::Options;
use evenkeel_ir::eval::eval;
use evenkeel_ir::{Graph, Literal, parse};
use evenkeel_runtime::Tensor;

/// Lengths with and without a part that fills no tile or no vector.
const LENGTHS: [usize; 3] = [4096, 4099, 9001];

/// A row: what it shows, and its element `i` of `n`, given a number in -2..2.
type Row = (&'static str, fn(usize, usize, f32) -> f32);

const NONE: f32 = f32::NEG_INFINITY;

const ROWS: &[Row] = &[
    ("random", |_, _, x| x),
    ("ascending", |i, _, x| i as f32 * 0.01 + x),
    ("ascending slowly", |i, _, _| i as f32 * 1e-5),
    ("ascending by leaps", |i, _, x| (i / 300) as f32 * 100.0 + x),
    ("descending", |i, _, x| x - i as f32 * 0.01),
    ("alternating", |i, _, x| if i / 7 % 2 == 0 { x + 60.0 } else { x - 60.0 }),
    ("the first above all", |i, _, x| if i == 0 { 90.0 } else { x }),
    ("the last above all", |i, n, x| if i + 1 == n { 90.0 } else { x }),
    ("masked at random", |_, _, x| if x < 0.5 { NONE } else { x }),
    ("masked at first", |i, n, x| if i < n / 2 { NONE } else { x }),
    ("masked at last", |i, n, x| if i > n / 3 { NONE } else { x }),
    ("masked but the first", |i, _, x| if i == 0 { x } else { NONE }),
    ("masked but one", |i, _, x| if i == 2077 { x } else { NONE }),
    ("masked but the last", |i, n, x| if i + 1 == n { x } else { NONE }),
    ("masked but one lane", |i, _, x| if i % 64 == 5 { x } else { NONE }),
    ("masked", |_, _, _| NONE),
    ("infinite at first", |i, _, x| if i == 0 { f32::INFINITY } else { x }),
    ("infinite", |i, _, x| if i == 3000 { f32::INFINITY } else { x }),
    ("infinite and masked", |i, _, _| if i == 3000 { f32::INFINITY } else { NONE }),
    ("not a number at first", |i, _, x| if i == 0 { f32::NAN } else { x }),
    ("not a number", |i, _, x| if i == 3000 { f32::NAN } else { x }),
    ("not a number at last", |i, n, x| if i + 1 == n { f32::NAN } else { x }),
    ("1e37", |_, _, x| x * 1e37),
    ("lowest", |_, _, _| f32::MIN),
    ("highest", |_, _, _| f32::MAX),
    ("lowest and highest", |i, _, _| if i % 1000 == 999 { f32::MAX } else { f32::MIN }),
    ("lowest and masked", |i, _, _| if i % 3 == 0 { f32::MIN } else { NONE }),
    ("tiny", |_, _, x| x * 1e-38),
];

/// A graph over a row of some length.
fn of_length(text: &str, n: usize) -> Graph {
    parse(&text.replace("LENGTH", &n.to_string()), "row.ek").unwrap_or_else(|error| panic!("{error}"))
}

/// Asks for an error of at most `tolerance` of the largest element of each output.
#[track_caller]
fn check(what: &str, graph: &Graph, inputs: &[Tensor], tolerance: f64) {
    let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
    let want = eval(graph, &literals).unwrap();
    for target in widths() {
        let got = run_on(&target, graph, inputs, &Options::default());
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            let (got, want) = (got.to_f64s(), want.to_floats());
            let scale = want.iter().filter(|x| x.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs()));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let same = got == want || (got.is_nan() && want.is_nan());
                let bits = 8 * target.widest();
                let place = || format!("{what}, {bits} bits, output {k}[{i}]");
                assert!(same || (got - want).abs() <= tolerance * scale, "{}: {got} for {want}", place());
            }
        }
    }
}

#[track_caller]
fn check_rows(text: &str, gradients: bool, tolerance: f64) {
    for n in LENGTHS {
        let forward = of_length(text, n);
        let graph = if gradients { with_gradients(&forward, 1) } else { forward };
        let cotangents: Vec<Tensor> =
            graph.inputs()[1..].iter().map(|input| numbers(&input.ty.shape.at(1), 8)).collect();
        let plain = numbers(&[n], n as u64).to_vec::<f32>().unwrap();
        for (what, element) in ROWS {
            let row: Vec<f32> = plain.iter().enumerate().map(|(i, &x)| element(i, n, x)).collect();
            let row = Tensor::from_vec(&[1, n], row).unwrap();
            let inputs: Vec<Tensor> = std::iter::once(row).chain(cotangents.iter().cloned()).collect();
            check(&format!("{what}, {n}"), &graph, &inputs, tolerance);
        }
    }
}

#[test]
fn logsumexp_of_any_row() {
    check_rows("x = input f32[1,LENGTH]\nreturn logsumexp @1 x", false, 1e-6);
}

#[test]
fn logsumexp_with_gradients_of_any_row() {
    check_rows("x = input f32[1,LENGTH]\nreturn logsumexp @1 x", true, 2e-6);
}

#[test]
fn logsumexp_as_users_spell_it() {
    let text = "x = input f32[1,LENGTH]\nm = max @1 x\nreturn add m (log (sum @1 (exp (sub x m))))";
    check_rows(text, false, 1e-6);
}

#[test]
fn softmax_of_any_row() {
    check_rows("x = input f32[1,LENGTH]\nreturn softmax @1 x", false, 2e-6);
}

#[test]
fn two_sums_that_follow_two_maxima_share_the_sweep() {
    let text = "
        x = input f32[1,LENGTH]
        y = neg x
        return high=logsumexp @1 x, low=logsumexp @1 y, sum=sum @1 x
    ";
    for n in LENGTHS {
        check("two sums", &of_length(text, n), &[numbers(&[1, n], 4)], 1e-5);
    }
}

/// The loss of wide rows of logits, and its gradient.
#[test]
fn cross_entropy_of_wide_rows() {
    let layer = evenkeel::bench::layers().iter().find(|layer| layer.name == "cross_entropy").unwrap();
    for [rows, columns] in [[5, 4096], [3, 5003], [2, 32000]] {
        let forward = layer.case(&[rows, columns], false).unwrap().graph;
        for graph in [with_gradients(&forward, 1), forward] {
            check("cross entropy", &graph, &evenkeel::bench::inputs(&graph, rows), 2e-6);
        }
    }
}
