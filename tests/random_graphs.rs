//! Random programs: compiled in f32 and in f64 against the interpreter, values and gradients.
//!
//! A seed decides the graph and its inputs. How far f32 may be off is measured, not guessed: the
//! interpreter also runs the graph with every computed value off by a rounding error, and samples
//! that change too much by that are skipped and counted. `EVENKEEL_LONG_TESTS=N` runs N graphs.
//! Start at [`random_graphs_match`]; the generator is in `generate`.

use crate::generate::Generator;
use crate::oracle::{numbers, run_on, widths, with_gradients};
use evenkeel_compiler::Options;
use evenkeel_compiler::rewrite::recognize;
use evenkeel_ir::eval::eval_at;
use evenkeel_ir::op::{RandomKind, Real};
use evenkeel_ir::{DType, Graph, GraphBuilder, Literal, Op, Reduce, Value};
use evenkeel_runtime::Tensor;

/// Rounding error of most f32 results: a few units of the last place.
const ROUNDING: f64 = 5e-7;

/// Samples whose outputs move by more than this fraction are not compared in f32.
const CONDITION: f64 = 1e-3;

#[derive(Debug, PartialEq)]
enum Outcome {
    Compared,
    Skipped,
}

#[test]
fn random_graphs_match() {
    let count = std::env::var("EVENKEEL_LONG_TESTS").map_or(60, |n| n.parse().expect("a number of graphs"));
    let skipped = (0..count).filter(|&seed| shrunk(seed) == Outcome::Skipped).count();
    println!("{skipped} of {count} graphs skipped");
    assert!(skipped as u64 * 10 < count * 3, "{skipped} of {count} graphs skipped");
}

/// A minimum of quotients whose elements another kernel recomputed by products with an inverse.
#[test]
fn seeds_that_once_failed_match() {
    assert_eq!(shrunk(75), Outcome::Compared);
}

/// Compares one random graph; on failure repeats it with as few steps as fail.
fn shrunk(seed: u64) -> Outcome {
    let generator = Generator::new(seed);
    let attempt = |steps| std::panic::catch_unwind(|| run(&Generator { steps, ..generator }));
    if let Ok(outcome) = attempt(generator.steps) {
        return outcome;
    }
    let steps = (1..generator.steps).find(|&steps| attempt(steps).is_err()).unwrap_or(generator.steps);
    let least = Generator { steps, ..generator };
    panic!("seed {seed}, batch {}, {steps} steps, see above\n{}", least.batch, least.graph(DType::F32));
}

/// Compares one random graph.
fn run(generator: &Generator) -> Outcome {
    let seed = generator.seed;
    let batch = generator.batch;
    let graph = sample(generator, DType::F32);
    let inputs = inputs(&graph, seed, batch);
    let want = truth(&graph, &inputs, batch);
    if want.iter().flatten().any(|x| !x.is_finite() || x.abs() > 1e6) {
        return Outcome::Skipped;
    }
    let Some(allowed) = allowed(&graph, &inputs, batch, &want) else { return Outcome::Skipped };
    let double = sample(generator, DType::F64);
    let doubled: Vec<Tensor> = inputs.iter().map(as_double).collect();
    let targets = widths();
    let target = &targets[seed as usize % targets.len()];
    let compare = |graph: &Graph, inputs: &[Tensor], options: &Options, allowed: &[f64]| {
        compare(seed, &run_on(target, graph, inputs, options), graph, options, &want, allowed);
    };
    compare(&double, &doubled, &Options::default(), &vec![1e-9; want.len()]);
    for fuse in if seed.is_multiple_of(4) { &[true, false][..] } else { &[true] } {
        let options = Options { fuse: *fuse, ..Options::default() };
        compare(&graph, &inputs, &options, &allowed);
    }
    if seed.is_multiple_of(3) {
        compare(&recognized(generator), &inputs, &Options::default(), &allowed);
    }
    Outcome::Compared
}

/// The sample as training sees it: named ops are recognized before it is differentiated.
fn recognized(generator: &Generator) -> Graph {
    let forward = recognize(&generator.graph(DType::F32)).unwrap().graph;
    with_gradients(&forward, forward.inputs().len())
}

fn sample(generator: &Generator, dtype: DType) -> Graph {
    let forward = generator.graph(dtype);
    let wrt = forward.inputs().len();
    with_gradients(&forward, wrt)
}

fn inputs(graph: &Graph, seed: u64, batch: u64) -> Vec<Tensor> {
    let at = |(i, input): (usize, &evenkeel_ir::Input)| {
        numbers(&input.ty.shape.at(batch), seed.wrapping_mul(31).wrapping_add(i as u64))
    };
    graph.inputs().iter().enumerate().map(at).collect()
}

fn as_double(x: &Tensor) -> Tensor {
    Tensor::from_literal(&Literal::floats(DType::F64, x.sizes(), x.to_f64s()))
}

fn truth(graph: &Graph, inputs: &[Tensor], batch: u64) -> Vec<Vec<f64>> {
    let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
    eval_at(graph, &literals, batch).iter().map(Literal::to_floats).collect()
}

/// The error allowed in each output, or `None` when rounding errors change it too much.
fn allowed(graph: &Graph, inputs: &[Tensor], batch: u64, want: &[Vec<f64>]) -> Option<Vec<f64>> {
    let mut worst = vec![0.0f64; want.len()];
    for trial in 0..3 {
        let noisy = truth(&with_noise(graph, trial), inputs, batch);
        for (k, (noisy, want)) in noisy.iter().zip(want).enumerate() {
            let moved = noisy.iter().zip(want).map(|(n, w)| if n.is_finite() { (n - w).abs() } else { 1e9 });
            worst[k] = worst[k].max(moved.fold(0.0, f64::max));
        }
    }
    let scaled: Vec<f64> = worst.iter().zip(want).map(|(worst, want)| worst / scale(want)).collect();
    let fine = scaled.iter().all(|&moved| moved < CONDITION);
    fine.then(|| scaled.iter().map(|moved| 1e-5 + 20.0 * moved).collect())
}

/// The graph with every computed float off by a factor near 1.
fn with_noise(graph: &Graph, trial: i64) -> Graph {
    let mut b = GraphBuilder::new();
    let mut map: Vec<Value> = Vec::new();
    for (id, node) in graph.iter() {
        if let Op::Input(index) = node.op {
            let input = &graph.inputs()[index as usize];
            map.push(b.input(input.name.clone(), input.ty.clone()));
            continue;
        }
        let operands: Vec<Value> = node.inputs.iter().map(|v| map[v.node.0 as usize]).collect();
        let y = b.op(node.op.clone(), &operands);
        let size = if node.types[0].dtype.is_float() { rounding(&node.op) } else { 0.0 };
        map.push(if size > 0.0 { rounded(&mut b, y, size, u64::from(id.0), trial) } else { y });
    }
    b.finish(graph.outputs().iter().map(|(name, value)| (name.clone(), map[value.node.0 as usize])))
}

/// Every element of `y` off by a factor of its own near 1.
fn rounded(b: &mut GraphBuilder, y: Value, size: f64, stream: u64, trial: i64) -> Value {
    let seed = b.op(Op::Const(Real::new(trial as f64), DType::I64), &[]);
    let ty = b.ty(y).clone();
    let noise = b.op(Op::Random { kind: RandomKind::Uniform, stream, ty }, &[seed]);
    let (half, size, one) = (b.number(y, 0.5), b.number(y, size), b.number(y, 1.0));
    let noise = b.sub(noise, half);
    let noise = b.mul(noise, size);
    let factor = b.add(noise, one);
    b.mul(y, factor)
}

/// The error that f32 makes in an op; none where elements are only moved or picked.
fn rounding(op: &Op) -> f64 {
    match op {
        Op::Unary(f) => ROUNDING.max(f.def().ulps * f64::from(f32::EPSILON)),
        Op::Binary(f) => ROUNDING.max(f.def().ulps * f64::from(f32::EPSILON)),
        Op::Dot { .. } | Op::Composite(..) | Op::Reduce(Reduce::Sum, _) => ROUNDING,
        _ => 0.0,
    }
}

fn scale(values: &[f64]) -> f64 {
    values.iter().fold(1.0, |a, x| a.max(x.abs()))
}

fn compare(seed: u64, got: &[Tensor], graph: &Graph, options: &Options, want: &[Vec<f64>], allowed: &[f64]) {
    for (k, (got, want)) in got.iter().zip(want).enumerate() {
        let got = got.to_f64s();
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let fine = (g - w).abs() <= allowed[k] * scale(want);
            let name = &graph.outputs()[k].0;
            assert!(
                fine,
                "seed {seed}, {options:?}, {name}[{i}]: got {g}, want {w}, allowed {:e}\n{graph}",
                allowed[k]
            );
        }
    }
}
