//! What runs together: kernels on the panels of products, and kernels in one launch.

use crate::oracle::{check, numbers, with_gradients};
use evenkeel::bench::Costs;
use evenkeel::bench::models::{Mlp, digits_like, mlp_step};
use evenkeel::host::host_target;
use evenkeel::nn::Rng;
use evenkeel_compiler::{Compiled, Options, compile};
use evenkeel_ir::op::RandomKind;
use evenkeel_ir::program::{Buffer, Program, Storage};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{
    Attrs, Axes, Binary, Composite, DType, EpsKind, Extent, Graph, GraphBuilder, Op, Shape, TensorType, Value,
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

/// The mask is made from its counter in the backward again: no buffer holds it.
#[test]
fn masks_are_made_again_in_the_backward() {
    let drop_then_multiply = graph(|b, [x, _, _, w]| {
        let seed = b.input("seed", TensorType::new(DType::I64, Shape::default()));
        let (x, stream) = (b.relu(x), 3);
        let kind = RandomKind::Uniform;
        let random = b.op(Op::Random { kind, stream, ty: b.ty(x).clone() }, &[seed]);
        let limit = b.number(random, 0.2);
        let kept = b.binary(Binary::Ge, random, limit);
        let zero = b.number(x, 0.0);
        let y = b.select(kept, x, zero);
        let y = product(b, y, w, 0);
        let squares = b.mul(y, y);
        vec![b.sum(squares, Axes::new([0, 1]))]
    });
    let both = with_gradients(&drop_then_multiply, 1);
    let Compiled { program, report } = compile(&both, &host_target(2), &Options::default()).unwrap();
    let readers = report.kernels.iter().filter(|kernel| kernel.listing.contains("seed"));
    assert_eq!(readers.count(), 2, "{report}");
    assert!(program.buffers.iter().all(|buffer| buffer.dtype != DType::Bool), "{report}");
}

/// Buffers that are alive together share no byte; large ones begin at pages.
#[test]
fn the_arena_is_packed() {
    for seed in 0..50 {
        let word = |i: usize, below: u32| threefry([seed, 1], [i as u32, 0])[0] % below;
        let buffer = |i: usize| {
            let (first, length) = (word(3 * i, 30), word(3 * i + 1, 10));
            Buffer {
                name: format!("b{i}"),
                dtype: DType::F32,
                elements: Extent::fixed(u64::from(word(3 * i + 2, 1 << (4 + i % 14)))),
                storage: Storage::Arena { first, last: first + length },
            }
        };
        let program = Program { buffers: (0..60).map(buffer).collect(), ..Program::default() };
        let packing = program.pack(1);
        let spans: Vec<_> = program
            .buffers
            .iter()
            .zip(&packing.offsets)
            .map(|(buffer, &start)| {
                let Storage::Arena { first, last } = buffer.storage else { unreachable!("all of the arena") };
                (start, start + buffer.bytes(1) as usize, first, last)
            })
            .collect();
        for (i, a) in spans.iter().enumerate() {
            assert!(a.1 <= packing.bytes && a.0 % 64 == 0 && (a.1 - a.0 < 65536 || a.0 % 4096 == 0), "{a:?}");
            for b in &spans[..i] {
                let (bytes, life) = (a.0 < b.1 && b.0 < a.1, a.2 <= b.3 && b.2 <= a.3);
                assert!(!(bytes && life), "{a:?} and {b:?}");
            }
        }
    }
}

/// All updates of a training step are one launch of a few different kernels.
#[test]
fn updates_of_all_parameters_are_launched_together() {
    let model = Mlp::new(&mut Rng::seed(0));
    let step = mlp_step(model, &digits_like(64), 2, &Costs::REFERENCE).unwrap();
    let report = step.report().unwrap();
    let updates: Vec<_> = report.kernels.iter().filter(|k| k.name.contains("select_select")).collect();
    assert_eq!(updates.len(), 10, "{report}");
    assert!(report.launches <= 9 && report.codes <= 18, "{report}");
}
