//! What runs together: kernels on the panels of products, and kernels in one launch.

use crate::oracle::{check, numbers};
use evenkeel::bench::models::{digits_like, mlp_step};
use evenkeel::host::host_target;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::{
    Attrs, Axes, Composite, DType, EpsKind, Extent, Graph, GraphBuilder, Op, Shape, TensorType, Value,
};
use evenkeel_runtime::Tensor;

fn ty(extents: &[Extent]) -> TensorType {
    TensorType::new(DType::F32, Shape(extents.iter().copied().collect()))
}

/// Inputs `x [N, 24]`, `gain [24]`, `bias [24]` and `w [24, 9]`, and what `body` makes of them.
fn graph(body: impl Fn(&mut GraphBuilder, [Value; 4]) -> Vec<Value>) -> Graph {
    let mut b = GraphBuilder::new();
    let [rows, columns] = [Extent::BATCH, 24.into()];
    let shapes = [("x", ty(&[rows, columns])), ("gain", ty(&[columns])), ("bias", ty(&[columns]))];
    let [x, gain, bias] = shapes.map(|(name, ty)| b.input(name, ty));
    let w = b.input("w", ty(&[columns, 9.into()]));
    let outputs = body(&mut b, [x, gain, bias, w]);
    b.finish(outputs.into_iter().enumerate().map(|(i, value)| (format!("y{i}"), value)).collect::<Vec<_>>())
}

fn norm(b: &mut GraphBuilder, [x, gain, bias]: [Value; 3], axis: usize) -> Value {
    let attrs = Attrs::over(Axes::new([axis])).eps(1e-5, EpsKind::Inside);
    b.composite(Composite::LayerNorm, &[x, gain, bias], attrs)
}

fn product(b: &mut GraphBuilder, x: Value, w: Value, inner: usize) -> Value {
    b.op(Op::Dot { batch: 0, lhs: Axes::new([1]), rhs: Axes::new([inner]) }, &[x, w])
}

/// Checks values, and how many kernels run on panels of products.
#[track_caller]
fn on_panels(wanted: usize, body: impl Fn(&mut GraphBuilder, [Value; 4]) -> Vec<Value>) {
    let graph = graph(body);
    let report = compile(&graph, &host_target(2), &Options::default()).unwrap().report;
    assert_eq!(report.kernels.iter().filter(|k| k.panels_of.is_some()).count(), wanted, "{report}");
    for rows in [0, 1, 7, 64, 777] {
        let sizes: [&[usize]; 4] = [&[rows, 24], &[24], &[24], &[24, 9]];
        let data: Vec<Tensor> =
            sizes.iter().enumerate().map(|(seed, sizes)| numbers(sizes, seed as u64)).collect();
        check(&graph, &data, 1e-5);
    }
}

#[test]
fn a_norm_runs_before_each_panel_of_its_product() {
    on_panels(1, |b, [x, gain, bias, w]| {
        let h = norm(b, [x, gain, bias], 1);
        vec![product(b, h, w, 0)]
    });
}

#[test]
fn what_the_norm_writes_may_be_read_later() {
    on_panels(1, |b, [x, gain, bias, w]| {
        let h = norm(b, [x, gain, bias], 1);
        let (y, twice) = (product(b, h, w, 0), b.add(h, h));
        vec![y, h, twice]
    });
}

#[test]
fn a_product_has_kernels_on_both_sides() {
    on_panels(2, |b, [x, gain, bias, w]| {
        let h = norm(b, [x, gain, bias], 1);
        let y = product(b, h, w, 0);
        let y = b.relu(y);
        vec![b.composite(Composite::Softmax, &[y], Attrs::over(Axes::new([1])))]
    });
}

#[test]
fn a_norm_over_rows_is_no_part_of_a_panel() {
    on_panels(0, |b, [x, gain, _, w]| {
        let attrs = Attrs::over(Axes::new([0])).eps(1e-5, EpsKind::Inside);
        let h = b.composite(Composite::Standardize, &[x], attrs);
        let h = b.mul(h, gain);
        vec![product(b, h, w, 0)]
    });
}

#[test]
fn a_norm_is_no_part_of_panels_that_need_all_its_rows() {
    on_panels(0, |b, [x, gain, bias, _]| {
        let h = norm(b, [x, gain, bias], 1);
        vec![product(b, h, h, 1)]
    });
}

#[test]
fn a_norm_of_parts_of_rows_runs_before_panels() {
    on_panels(1, |b, [x, _, _, w]| {
        let split = b.reshape(x, &ty(&[Extent::BATCH, 3.into(), 8.into()]).shape);
        let attrs = Attrs::over(Axes::new([2])).eps(1e-5, EpsKind::Inside);
        let h = b.composite(Composite::Standardize, &[split], attrs);
        let h = b.reshape(h, &ty(&[Extent::BATCH, 24.into()]).shape);
        vec![product(b, h, w, 0)]
    });
}

/// All updates of a training step are one launch of a few different kernels.
#[test]
fn updates_of_all_parameters_are_launched_together() {
    let step = mlp_step(&digits_like(64), 2).unwrap();
    let report = step.report().unwrap();
    let updates: Vec<_> = report.kernels.iter().filter(|k| k.name.contains("select_select")).collect();
    assert_eq!(updates.len(), 10, "{report}");
    assert!(report.launches <= 9 && report.codes <= 18, "{report}");
}
