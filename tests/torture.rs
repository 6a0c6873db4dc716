//! Normalization composites on inputs that break naive formulas: large means, constant rows,
//! huge magnitudes, odd and empty sizes, NaN and infinity.
//!
//! Every case runs the value and its gradients compiled in f32 against the f64 interpreter on
//! the same numbers. Not here: ordinary numbers (`oracle`). Start at [`Case`].

use crate::oracle::{numbers, run_compiled, with_gradients};
use evenkeel_compiler::Options;
use evenkeel_ir::eval::eval;
use evenkeel_ir::op::Attr;
use evenkeel_ir::{
    Attrs, Axes, Composite, DType, EpsKind, Graph, GraphBuilder, Literal, Op, Shape, TensorType,
};
use evenkeel_runtime::Tensor;

/// A composite over axes of a tensor, with its gradients.
struct Case {
    composite: Composite,
    sizes: Vec<usize>,
    attrs: Attrs,
    graph: Graph,
    cotangent: Vec<usize>,
}

/// An output, elements compiled and elements wanted.
struct Compared {
    name: String,
    got: Vec<f64>,
    want: Vec<f64>,
    /// The largest term that the output is a difference of, at least its largest element.
    scale: f64,
}

impl Case {
    fn new(composite: Composite, sizes: &[usize], axes: &[usize], eps: f64) -> Case {
        Case::of_kind(composite, sizes, axes, eps, EpsKind::Inside)
    }

    /// A case for every kind of eps that the composite has.
    fn every(composite: Composite, sizes: &[usize], axes: &[usize], eps: f64) -> Vec<Case> {
        let kinds = [EpsKind::Inside, EpsKind::Outside, EpsKind::Clamp];
        let count = if composite.def().attrs.contains(&Attr::Eps) { 3 } else { 1 };
        kinds[..count].iter().map(|&kind| Case::of_kind(composite, sizes, axes, eps, kind)).collect()
    }

    fn of_kind(composite: Composite, sizes: &[usize], axes: &[usize], eps: f64, kind: EpsKind) -> Case {
        let def = composite.def();
        let axes = Axes::new(axes.iter().copied());
        let mut attrs = Attrs::over(axes);
        if def.attrs.contains(&Attr::Eps) {
            attrs = attrs.eps(eps, kind);
        }
        let mut b = GraphBuilder::new();
        let ty = |sizes: &[usize]| TensorType::new(DType::F32, Shape::of(sizes));
        let mut inputs = vec![b.input("x", ty(sizes))];
        let last = &sizes[sizes.len() - 1..];
        inputs.extend(def.inputs[1..].iter().map(|&name| b.input(name, ty(last))));
        let y = b.op(Op::Composite(composite, attrs), &inputs);
        let cotangent = b.ty(y).shape.at(1);
        let graph = with_gradients(&b.finish([("y".to_string(), y)]), inputs.len());
        Case { composite, sizes: sizes.to_vec(), attrs, graph, cotangent }
    }

    /// Compiled and interpreted outputs for `x`; the other operands are gains near 1 and biases.
    fn run(&self, x: Tensor) -> Vec<Compared> {
        let last = &self.sizes[self.sizes.len() - 1..];
        let mut inputs = vec![x];
        let others = self.composite.def().inputs[1..].len();
        inputs.extend((0..others).map(|i| numbers(last, 10 + i as u64)));
        inputs.push(numbers(&self.cotangent, 30));
        let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
        let want = eval(&self.graph, &literals).unwrap();
        let got = run_compiled(&self.graph, &inputs, &Options::default());
        let names = self.graph.outputs().iter().map(|(name, _)| name.clone());
        let terms = self.cancelled(&literals[0], literals.last().unwrap());
        let compared = |((name, got), want): ((String, Tensor), Literal)| {
            let term = if name == "grad.x" { terms } else { 0.0 };
            let (got, want) = (got.to_f64s(), want.to_floats());
            Compared { name, got, scale: largest(&want).max(term), want }
        };
        names.zip(got).zip(want).map(compared).collect()
    }

    /// The largest term of the cotangent of `x`, `1 / sqrt(statistic)` times the cotangent: in rows of
    /// one or two elements it cancels nearly, by mathematics and not by a formula.
    fn cancelled(&self, x: &Literal, cotangent: &Literal) -> f64 {
        let root = match self.composite {
            Composite::Standardize | Composite::LayerNorm => Composite::Rstd,
            Composite::RmsUnit | Composite::RmsNorm => Composite::Rrms,
            Composite::L2Norm => Composite::Rnorm,
            _ => return 0.0,
        };
        let mut b = GraphBuilder::new();
        let input = b.input("x", x.ty());
        let y = b.composite(root, &[input], Attrs { correction: 0, ..self.attrs });
        let root = eval(&b.finish([("y".to_string(), y)]), std::slice::from_ref(x)).unwrap();
        largest(&root[0].to_floats()) * largest(&cotangent.to_floats())
    }

    /// Runs and asks for an error of at most `tolerance` of the scale of each output.
    #[track_caller]
    fn check(&self, what: &str, x: Tensor, tolerance: f64) {
        for Compared { name, got, want, scale } in self.run(x) {
            let allowed = (tolerance * scale).max(f64::from(f32::MIN_POSITIVE));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                // An answer beyond f32 is an infinity of f32.
                let rounded = f64::from(*want as f32);
                let same = got == want || *got == rounded || (got.is_nan() && want.is_nan());
                assert!(
                    same || (got - want).abs() <= allowed,
                    "{} {:?} {:?} {what}, {name}[{i}]: got {got:e}, want {want:e}, scale {scale:e}",
                    self.composite.name(),
                    self.sizes,
                    self.attrs.eps_kind,
                );
            }
        }
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().filter(|x| x.is_finite()).fold(0.0, |a, x| a.max(x.abs()))
}

/// Every composite with a derivative.
fn differentiable() -> impl Iterator<Item = Composite> {
    let of_rows = |composite: &Composite| composite.def().attrs.contains(&Attr::Axes);
    Composite::ALL.iter().copied().filter(|&composite| composite != Composite::ArgMax).filter(of_rows)
}

/// A tensor made from ordinary numbers and the row they stand in.
fn shaped(sizes: &[usize], f: impl Fn(usize, f32) -> f32) -> Tensor {
    let columns = sizes[1..].iter().product::<usize>().max(1);
    let plain: Vec<f32> = numbers(sizes, 3).to_vec().unwrap();
    let data: Vec<f32> = plain.iter().enumerate().map(|(i, &x)| f(i / columns, x)).collect();
    Tensor::from_vec(sizes, data).unwrap()
}

#[test]
fn a_large_mean_costs_no_accuracy() {
    for composite in differentiable() {
        for columns in [64, 101, 768] {
            let sizes = [9, columns];
            let x = shaped(&sizes, |_, x| 4096.0 + x / 2.0);
            Case::new(composite, &sizes, &[1], 1e-5).check("mean 4096", x, 1e-5);
        }
    }
}

#[test]
fn layer_norm_at_mean_4096_is_as_good_as_promised() {
    let sizes = [33, 256];
    let x = shaped(&sizes, |_, x| 4096.0 + x / 2.0);
    let results = Case::new(Composite::Standardize, &sizes, &[1], 1e-5).run(x);
    let Compared { got, want, .. } = &results[0];
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    assert!(worst < 2e-6, "worst error {worst:e}");
}

#[test]
fn constant_and_zero_rows_are_handled() {
    for composite in differentiable() {
        for columns in [1, 7, 64] {
            let sizes = [6, columns];
            for case in Case::every(composite, &sizes, &[1], 1e-5) {
                case.check("constant rows", shaped(&sizes, |row, _| row as f32 * 0.25 - 1.0), 1e-5);
                case.check("zero rows", shaped(&sizes, |_, _| 0.0), 1e-5);
                case.check("one zero row", shaped(&sizes, |row, x| if row == 2 { 0.0 } else { x }), 1e-5);
            }
        }
    }
}

#[test]
fn huge_magnitudes_stay_finite_and_right() {
    for composite in differentiable() {
        for columns in [3, 33, 128] {
            let sizes = [5, columns];
            for case in Case::every(composite, &sizes, &[1], 1e-5) {
                case.check("all rows 1e37", shaped(&sizes, |_, x| x * 1e37), 1e-5);
                case.check(
                    "one row 1e37",
                    shaped(&sizes, |row, x| if row == 3 { x * 1e37 } else { x }),
                    1e-5,
                );
                case.check("rows 1e19", shaped(&sizes, |_, x| x * 1e19), 1e-5);
                case.check("rows 1e-15", shaped(&sizes, |_, x| x * 1e-15), 1e-5);
            }
        }
    }
}

#[test]
fn odd_sizes_have_no_remainder_errors() {
    for composite in differentiable() {
        for columns in [1, 3, 5, 7, 17, 33, 101] {
            for rows in [1, 2, 5] {
                let sizes = [rows, columns];
                Case::new(composite, &sizes, &[1], 1e-3).check("rows", numbers(&sizes, 3), 1e-5);
                Case::new(composite, &sizes, &[0], 1e-3).check("columns", numbers(&sizes, 3), 1e-5);
            }
        }
    }
}

#[test]
fn not_a_number_stays_in_its_row() {
    for composite in differentiable() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for columns in [1, 5, 64] {
                let sizes = [6, columns];
                let plain: Vec<f32> = numbers(&sizes, 3).to_vec().unwrap();
                let mut data = plain.clone();
                data[2 * columns + columns / 2] = bad;
                let case = Case::new(composite, &sizes, &[1], 1e-5);
                let clean = case.run(numbers(&sizes, 3));
                let dirty = case.run(Tensor::from_vec(&sizes, data).unwrap());
                for (clean, dirty) in clean.iter().zip(&dirty).filter(|(c, _)| c.got.len() != columns) {
                    let wide = dirty.got.len() / 6;
                    for (i, (got, want)) in dirty.got.iter().zip(&clean.got).enumerate() {
                        let place = || format!("{} {bad} {columns} {}[{i}]", composite.name(), dirty.name);
                        assert!(i / wide == 2 || got == want, "{}: {got} for {want}", place());
                    }
                    let row = 2 * wide..3 * wide;
                    let poisoned = dirty.got[row.clone()].iter().any(|x| x.is_nan());
                    let expected = dirty.want[row].iter().any(|x| x.is_nan());
                    let name = composite.name();
                    assert!(!bad.is_nan() || poisoned || !expected, "{name} hides NaN in {}", dirty.name);
                }
            }
        }
    }
}

#[test]
fn empty_axes_and_empty_batches_have_a_result() {
    for composite in differentiable() {
        for sizes in [[0, 5], [4, 0], [0, 0], [0, 1], [1, 0]] {
            for axes in [&[0][..], &[1], &[0, 1]] {
                let case = Case::new(composite, &sizes, axes, 1e-5);
                for Compared { name, got, want, .. } in case.run(numbers(&sizes, 1)) {
                    // a mean of nothing is NaN, a sum of nothing 0
                    let same =
                        |(g, w): (&f64, &f64)| (g - w).abs() <= 1e-4 || g == w || w.is_nan() && g.is_nan();
                    let fine = got.len() == want.len() && got.iter().zip(&want).all(same);
                    assert!(
                        fine,
                        "{} {sizes:?} {axes:?} {name}: got {got:?}, want {want:?}",
                        composite.name()
                    );
                }
            }
        }
    }
}

/// Means over a batch axis whose length is known at run time only: of nothing NaN, as `0 / 0` in
/// PyTorch and JAX; sums are 0.
#[test]
fn a_mean_of_nothing_is_nan_and_a_sum_0() {
    let text = "
        x = input f32[N,3]
        m = mean @0 x
        a = mean @0,1 x
        v = var @0 x
        s = sum @0 x
        return m=m, a=a, v=v, s=s
    ";
    let graph = evenkeel_ir::parse(text, "empty.ek").unwrap_or_else(|error| panic!("{error}"));
    for rows in [0, 1, 9] {
        let x = numbers(&[rows, 3], 3);
        let want = eval(&graph, &[x.to_literal()]).unwrap();
        let got = run_compiled(&graph, &[x], &Options::default());
        for (got, want) in got.iter().map(Tensor::to_f64s).zip(want.iter().map(Literal::to_floats)) {
            let same = |(g, w): (&f64, &f64)| (g - w).abs() <= 1e-6 || g.is_nan() && w.is_nan();
            assert!(got.iter().zip(&want).all(same), "{rows} rows: got {got:?}, want {want:?}");
        }
        let nans = got.iter().map(|tensor| tensor.to_f64s().iter().any(|x| x.is_nan()));
        assert_eq!(nans.collect::<Vec<_>>(), [rows == 0, rows == 0, rows == 0, false]);
    }
}

#[test]
fn statistics_over_leading_axes() {
    for composite in differentiable() {
        for (sizes, axes) in
            [([9, 5, 7], &[0, 1][..]), ([6, 3, 16], &[0]), ([4, 8, 5], &[1]), ([3, 4, 5], &[0, 2])]
        {
            let case = Case::new(composite, &sizes, axes, 1e-3);
            case.check("leading", numbers(&sizes, 3), 1e-5);
            case.check("leading, mean 4096", shaped(&sizes, |_, x| 4096.0 + x / 2.0), 1e-5);
            case.check("leading, 1e37", shaped(&sizes, |_, x| x * 1e37), 1e-5);
        }
    }
}
