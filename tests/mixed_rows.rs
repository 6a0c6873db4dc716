//! Norms of rows that need different care, side by side: rows that plain sums serve, and rows that
//! are summed again because they are far from 0, too large, or no numbers at all.
//!
//! Rows lie along every axis, so that some are lanes of one vector; every width of vectors is compared
//! with the f64 interpreter, row by row. Not here: one kind of row at a time (`torture`). Start at
//! [`Kind`].

use crate::oracle::{numbers, run_on, widths, with_gradients};
use evenkeel_compiler::Options;
use evenkeel_ir::eval::eval;
use evenkeel_ir::{Graph, Literal, parse};
use evenkeel_runtime::Tensor;

/// What a row shows, and its element `i`, given a number in -2..2.
type Kind = (&'static str, fn(usize, f32) -> f32);

/// Rows whose numbers have nothing to do with each other.
const KINDS: &[Kind] = &[
    ("random", |_, x| x),
    ("mean of 3 deviations", |_, x| x + 3.4),
    ("mean of 4 deviations", |_, x| x + 4.6),
    ("mean of 5 deviations", |_, x| x - 5.8),
    ("far mean", |_, x| x + 4096.0),
    ("far and wide", |_, x| x * 1000.0 - 1e6),
    ("large", |_, x| x * 1e17),
    ("too large", |_, x| x * 1e20),
    ("1e37", |_, x| x * 1e37),
    ("1e37 and far", |_, x| x * 1e36 + 5e37),
    ("one large number", |i, x| if i == 3 { 1e30 } else { x }),
    ("tiny", |_, x| x * 1e-20),
    ("zeros", |_, _| 0.0),
    ("constant", |_, _| 0.7),
];

/// Rows without a norm.
const NONE: &[Kind] = &[
    ("not a number", |i, x| if i == 5 { f32::NAN } else { x }),
    ("infinite", |i, x| if i == 2 { f32::INFINITY } else { x }),
];

/// How large rounding may seem where all should be 0.
const ROUNDING: f64 = 1e-3;

/// Rows of a batch: some vectors of rows hold no other kind than the first, some hold all.
const ROWS: usize = 101;

/// A shape with rows of some length along an axis, and the axes of these.
type Layout = (&'static str, [fn(usize) -> usize; 3], &'static str);

const LAYOUTS: &[Layout] = &[
    ("@1", [|_| ROWS, |n| n, |_| 1], "elements of a row are neighbors"),
    ("@0", [|n| n, |_| ROWS, |_| 1], "rows are neighbors"),
    ("@0,2", [|_| 3, |_| ROWS, |n| n], "rows are channels"),
];

/// The row of each element, by its place in memory.
fn row_of(layout: &Layout, n: usize, place: usize) -> usize {
    let [_, second, third] = layout.1.map(|size| size(n));
    if layout.0 == "@1" { place / second } else { place / third % second }
}

fn graph_of(text: &str, layout: &Layout, n: usize) -> Graph {
    let sizes: Vec<String> =
        layout.1.iter().map(|size| size(n)).filter(|&size| size != 1).map(|size| size.to_string()).collect();
    let text = text.replace("SIZES", &sizes.join(",")).replace("AXES", layout.0);
    parse(&text, "rows.ek").unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers of all kinds: every row of the first 64 is of the first kind.
fn mixed(graph: &Graph, layout: &Layout, n: usize, kinds: &[Kind]) -> Tensor {
    let sizes = graph.inputs()[0].ty.shape.at(1);
    let plain = numbers(&sizes, 7).to_f64s();
    let mut seen = [0; ROWS];
    let values = plain.iter().enumerate().map(|(place, &x)| {
        let row = row_of(layout, n, place);
        let kind = if row < 64 { 0 } else { row % kinds.len() };
        seen[row] += 1;
        kinds[kind].1(seen[row] - 1, x as f32)
    });
    Tensor::from_vec(&sizes, values.collect::<Vec<f32>>()).unwrap()
}

/// Asks for an error of at most `tolerance` of the largest number of each row of each output.
#[track_caller]
fn check(text: &str, kinds: &[Kind], gradients: bool, tolerance: f64) {
    for layout in LAYOUTS {
        for n in [7, 32, 67, 300] {
            let mut graph = graph_of(text, layout, n);
            let mut inputs = vec![mixed(&graph, layout, n, kinds)];
            if gradients {
                inputs.push(numbers(&graph.inputs()[0].ty.shape.at(1), 9));
                graph = with_gradients(&graph, 1);
            }
            let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
            let want: Vec<Vec<f64>> =
                eval(&graph, &literals).unwrap().iter().map(Literal::to_floats).collect();
            for target in widths() {
                let got = run_on(&target, &graph, &inputs, &Options::default());
                for (got, want) in got.iter().zip(&want) {
                    let place = format!("{text}\n{}, {n}, {} bits", layout.2, 8 * target.widest());
                    compare(&place, |place| row_of(layout, n, place), kinds, &got.to_f64s(), want, tolerance);
                }
            }
        }
    }
}

#[track_caller]
fn compare(
    what: &str,
    row_of: impl Fn(usize) -> usize,
    kinds: &[Kind],
    got: &[f64],
    want: &[f64],
    tolerance: f64,
) {
    let mut scale = [0f64; ROWS];
    for (place, want) in want.iter().enumerate().filter(|(_, want)| want.is_finite()) {
        scale[row_of(place)] = scale[row_of(place)].max(want.abs());
    }
    for (place, (got, want)) in got.iter().zip(want).enumerate() {
        let row = row_of(place);
        let same = got == want || (got.is_nan() && want.is_nan());
        let scale = if scale[row] == 0.0 { ROUNDING } else { scale[row] };
        let near = (got - want).abs() <= tolerance * scale + f64::from(f32::MIN_POSITIVE);
        let kind = kinds[if row < 64 { 0 } else { row % kinds.len() }].0;
        assert!(same || near, "{what}, {kind}, row {row}: {got:e} for {want:e}");
    }
}

const STANDARDIZE: &str = "x = input f32[SIZES]\nreturn standardize AXES eps=1e-5 x";
const RMS: &str = "x = input f32[SIZES]\nreturn rms_unit AXES eps=1e-6 x";

#[test]
fn standardize_side_by_side() {
    check(STANDARDIZE, &[KINDS, NONE].concat(), false, 2e-6);
}

#[test]
fn standardize_with_gradients_side_by_side() {
    check(STANDARDIZE, &KINDS[..8], true, 5e-6);
}

#[test]
fn rms_unit_side_by_side() {
    check(RMS, &[KINDS, &NONE[..1]].concat(), false, 1e-6);
}

#[test]
fn rms_unit_with_gradients_side_by_side() {
    check(RMS, KINDS, true, 3e-6);
}

#[test]
fn variance_and_inverse_deviation_side_by_side() {
    check("x = input f32[SIZES]\nreturn var AXES x", &KINDS[..7], false, 3e-6);
    check("x = input f32[SIZES]\nreturn rstd AXES eps=1e-5 x", KINDS, false, 3e-6);
}

#[test]
fn rows_that_all_lanes_share_stand_beside_rows_of_their_own() {
    let orders = ["add (standardize @0 x) (standardize @0 w)", "add (standardize @0 w) (standardize @0 x)"];
    for (order, columns) in orders.iter().flat_map(|order| [64, 67].map(|columns| (order, columns))) {
        let text = format!(
            "x = input f32[37,{columns}]\nv = input f32[37,1]\nw = broadcast [37,{columns}] v\nreturn {order}"
        );
        let graph = parse(&text, "rows.ek").unwrap_or_else(|error| panic!("{error}"));
        for far in [0.0, 1000.0] {
            let moved = |x: &Tensor| x.to_f64s().iter().map(|&x| (x + far) as f32).collect::<Vec<_>>();
            let column = Tensor::from_vec(&[37, 1], moved(&numbers(&[37, 1], 5))).unwrap();
            let inputs = [numbers(&[37, columns], 3), column];
            let literals = inputs.clone().map(|tensor| tensor.to_literal());
            let want = eval(&graph, &literals).unwrap()[0].to_floats();
            for target in widths() {
                let got = run_on(&target, &graph, &inputs, &Options::default())[0].to_f64s();
                for (got, want) in got.iter().zip(&want) {
                    assert!((got - want).abs() < 1e-5, "{text}\nmoved by {far}: {got} for {want}");
                }
            }
        }
    }
}
