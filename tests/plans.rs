//! What runs together: kernels on the panels of products, and kernels in one launch.

use crate::oracle::{check, numbers, widths, with_gradients};
use evenkeel::bench::Costs;
use evenkeel::bench::models::{Mlp, digits_like, mlp_step};
use evenkeel::host::host_target;
use evenkeel::nn::Rng;
use evenkeel_compiler::{Compiled, Options, compile};
use evenkeel_ir::eval::eval;
use evenkeel_ir::op::RandomKind;
use evenkeel_ir::program::{Buffer, Program, Storage};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{
    Attrs, Axes, Binary, Composite, DType, EpsKind, Extent, Graph, GraphBuilder, Op, Shape, TensorType,
    Value, parse,
};
use evenkeel_runtime::{Argument, Executable, Tensor};

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

/// Runs a graph whose outputs overwrite its inputs, first over first, and compares with the
/// interpreter.
#[track_caller]
fn updated(text: &str, updates: usize) {
    let graph = parse(text, "updates.ek").unwrap_or_else(|error| panic!("{error}"));
    let inputs = evenkeel::bench::inputs(&graph, 37);
    let want = eval(&graph, &inputs.iter().map(Tensor::to_literal).collect::<Vec<_>>()).unwrap();
    for target in widths() {
        let options = Options { updates: (0..updates).map(|i| (i, i)).collect(), ..Options::default() };
        let compiled = compile(&graph, &target, &options).unwrap();
        let executable = Executable::load(compiled.program, 2).unwrap();
        let mut inputs = inputs.clone();
        let (over, read) = inputs.split_at_mut(updates);
        let mut arguments: Vec<Argument<'_>> =
            over.iter_mut().map(Argument::InOut).chain(read.iter().map(Argument::In)).collect();
        let mut fresh = Vec::new();
        executable.run(&mut arguments, &mut fresh).unwrap();
        drop(arguments);
        for (k, (got, want)) in over.iter().chain(&fresh).zip(&want).enumerate() {
            let pairs = got.to_f64s().into_iter().zip(want.to_floats());
            for (i, (got, want)) in pairs.enumerate() {
                assert!(
                    (got - want).abs() < 1e-5 * (1.0 + want.abs()),
                    "{text}\noutput {k}, element {i}: got {got}, want {want}"
                );
            }
        }
    }
}

#[test]
fn results_may_overwrite_what_others_read() {
    let two = "a = input f32[N,24]\nb = input f32[N,24]\n";
    for (body, updates) in [
        ("return x=mul b 2, y=mul a 3", 2),
        ("return x=mul b 2, y=add (mul a 3) b", 1),
        ("return x=mul a 0.9, y=sub a (mean @1 a)", 1),
        ("return x=mul b 0.9, y=sub a (mean @1 b)", 2),
        ("return x=add b 1, y=sub a (mean @1 a)", 1),
        ("return x=add b 1, y=sum @0 (mul a b)", 1),
        ("m = mean @1 a\nreturn x=sub a m, y=div b m", 2),
    ] {
        updated(&format!("{two}{body}"), updates);
        updated(&format!("{two}{body}").replace("24", "21"), updates);
    }
}

/// A value that dies where another is made: whatever the order of stores, both are right.
#[test]
fn intermediate_results_go_over_operands_that_die() {
    let text = "x = input f32[N,32]\nw = input f32[32,32]\nv = input f32[32,32]\n\
                h = dot @1 @0 x w\na = mul x 2\nb = add (mul h 3) 1\n\
                return y=dot @1 @0 a v, z=dot @1 @0 b v, s=sum @0 (mul h x)";
    let graph = parse(text, "reuse.ek").unwrap();
    let program = compile(&graph, &host_target(2), &Options::default()).unwrap().program;
    let arena = |buffer: &&Buffer| matches!(buffer.storage, Storage::Arena { .. });
    let large = program.buffers.iter().filter(arena).filter(|b| b.elements.at(1 << 20) > 1 << 20);
    assert_eq!(large.count(), 2, "{:?}", program.buffers);
    check(&graph, &evenkeel::bench::inputs(&graph, 37), 2e-5);
    check(&graph, &evenkeel::bench::inputs(&graph, 1000), 2e-5);
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
