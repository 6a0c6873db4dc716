//! Folded models: the same predictions and gradients, fewer norms and kernels, their own parameters.

use evenkeel::host::host_target;
use evenkeel::prelude::*;
use evenkeel_compiler::Options;
use evenkeel_compiler::fold::lint::lint;
use evenkeel_compiler::fold::{FOLDS, fold, hoist};
use evenkeel_ir::{Axes, Binary, Composite, Graph, Input, Literal, Op, Reduce, eval, parse};
use std::path::PathBuf;

use crate::generate::Generator;
use crate::oracle::{check, numbers, with_gradients};

/// BatchNorm of the data; linear, BatchNorm and ReLU, twice; a head.
#[derive(Clone, Debug, Parameters)]
struct Mlp {
    data_norm: BatchNorm,
    up: Linear,
    norm: BatchNorm,
    middle: Linear,
    last_norm: BatchNorm,
    head: Linear,
}

impl Mlp {
    fn new() -> Mlp {
        let mut rng = Rng::seed(5);
        let up = Linear::new(&mut rng, 6, 16);
        let middle = Linear::new(&mut rng, 16, 8).without_bias();
        let head = Linear::new(&mut rng, 8, 3);
        Mlp {
            data_norm: BatchNorm::new(6),
            up,
            norm: BatchNorm::new(16),
            middle,
            last_norm: BatchNorm::new(8),
            head,
        }
    }

    fn forward(&self, x: Var) -> Var {
        let h = self.norm.forward(self.up.forward(self.data_norm.forward(x))).relu();
        let h = self.last_norm.forward(self.middle.forward(h)).relu();
        self.head.forward(h)
    }
}

/// A Pre-LN residual network.
#[derive(Clone, Debug, Parameters)]
struct Residual {
    table: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Clone, Debug, Parameters)]
struct Block {
    norm: LayerNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Residual {
    fn new() -> Residual {
        let mut rng = Rng::seed(9);
        let table = Embedding::new(&mut rng, 10, 8);
        let block = |rng: &mut Rng| Block {
            norm: affine(rng, 8),
            gate: Linear::new(rng, 8, 12),
            up: Linear::new(rng, 8, 12),
            down: Linear::new(rng, 12, 8),
        };
        let blocks = (0..3).map(|_| block(&mut rng)).collect();
        Residual { table, blocks, norm: affine(&mut rng, 8), head: Linear::new(&mut rng, 8, 10) }
    }

    fn forward(&self, tokens: Var) -> Var {
        let stream = self.blocks.iter().fold(self.table.forward(tokens), |x, block| block.forward(x));
        self.head.forward(self.norm.forward(stream))
    }
}

impl Block {
    fn forward(&self, x: Var) -> Var {
        let n = self.norm.forward(x);
        x + self.down.forward(self.gate.forward(n).silu() * self.up.forward(n))
    }
}

/// A norm whose gain and bias are not those at the start.
fn affine(rng: &mut Rng, size: usize) -> LayerNorm {
    LayerNorm {
        gain: Some(rng.normal(&[size], 1.0)),
        bias: Some(rng.normal(&[size], 0.5)),
        ..LayerNorm::new(size)
    }
}

fn tokens(rows: usize) -> Tensor {
    Tensor::from_vec(&[rows], (0..rows).map(|i| (i * 7 % 10) as i32).collect::<Vec<i32>>()).unwrap()
}

fn labels(rows: usize, classes: usize) -> Tensor {
    Tensor::from_vec(&[rows], (0..rows).map(|i| (i * 5 % classes) as i32).collect::<Vec<i32>>()).unwrap()
}

/// A model trained for a few steps, so that no statistic, gain or bias is what it was.
fn trained_mlp() -> Mlp {
    let loss = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    let batch = |i: u64| (numbers(&[32, 6], i), labels(32, 3));
    let mut step = train_step(Mlp::new(), AdamW::new(0.05), loss).threads(1).compile(&batch(0)).unwrap();
    (0..20).for_each(|i| drop(step.run(batch(i)).unwrap()));
    step.model().get()
}

#[track_caller]
fn close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.sizes(), b.sizes());
    let (a, b) = (a.to_f64s(), b.to_f64s());
    let scale = a.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    let error = a.iter().zip(&b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs() / scale));
    assert!(error <= tolerance, "{error:e}");
}

/// How many nodes of a graph satisfy `wanted`.
fn count(graph: &Graph, wanted: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().iter().filter(|node| wanted(&node.op)).count()
}

fn is(op: Composite) -> impl Fn(&Op) -> bool {
    move |found| matches!(found, Op::Composite(composite, _) if *composite == op)
}

fn kernels(report: Option<&evenkeel_compiler::Report>) -> usize {
    report.unwrap().kernels.len()
}

#[test]
fn batch_norm_disappears_into_the_linear_before_it() {
    let model = trained_mlp();
    let x = numbers(&[50, 6], 77);
    for device in [Device::Interp, Device::Cpu] {
        let plain = jit(&model, |m: &Mlp, x: Var| m.forward(x)).device(device).compile(&x).unwrap();
        let optimized = optimize_for_inference(&model, |m: &Mlp, x: Var| m.forward(x)).device(device);
        let optimized = optimized.compile(&x).unwrap();
        close(&plain.run(&x).unwrap(), &optimized.run(&x).unwrap(), 1e-5);
        let left = |op: &Op| {
            let pointwise = matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Composite(..));
            pointwise && op.name() != "relu" && op.name() != "add"
        };
        assert!(count(plain.graph(), left) > 0);
        assert_eq!(count(optimized.graph(), left), 0, "{}", optimized.graph());
        assert_eq!(count(optimized.graph(), |op| *op == Op::Binary(Binary::Add)), 3);
        if device == Device::Cpu {
            assert!(kernels(optimized.report()) < kernels(plain.report()), "{}", optimized.explain());
        }
    }
}

#[test]
fn the_parameter_map_says_where_each_value_comes_from() {
    let optimized = optimize_for_inference(Mlp::new(), |m: &Mlp, x: Var| m.forward(x)).device(Device::Interp);
    let optimized = optimized.compile(&numbers(&[4, 6], 1)).unwrap();
    let line = |new: &evenkeel::session::Derived| format!("{}: {} = {}", new.name, new.ty, new.formula);
    let map: Vec<String> = optimized.parameters().iter().map(line).collect();
    insta::assert_snapshot!(map.join("\n"), @r"
    up.weight: f32[16,6] = up.weight * rsqrt(norm.running_var + 1e-5) * norm.gain * rsqrt(data_norm.running_var + 1e-5) * data_norm.gain
    up.bias: f32[16] = dot((-data_norm.running_mean) * rsqrt(data_norm.running_var + 1e-5) * data_norm.gain + data_norm.bias, up.weight * rsqrt(norm.running_var + 1e-5) * norm.gain) + (up.bias - norm.running_mean) * rsqrt(norm.running_var + 1e-5) * norm.gain + norm.bias
    middle.weight: f32[8,16] = middle.weight * rsqrt(last_norm.running_var + 1e-5) * last_norm.gain
    last_norm.bias: f32[8] = (-last_norm.running_mean) * rsqrt(last_norm.running_var + 1e-5) * last_norm.gain + last_norm.bias
    head.weight: f32[3,8] = head.weight
    head.bias: f32[3] = head.bias
    ");
}

#[test]
fn pre_layer_norm_becomes_pre_rms_norm() {
    let (model, x) = (Residual::new(), tokens(30));
    let forward = |m: &Residual, x: Var| m.forward(x);
    for device in [Device::Interp, Device::Cpu] {
        let plain = jit(&model, forward).device(device).compile(&x).unwrap();
        let optimized = optimize_for_inference(&model, forward).device(device).compile(&x).unwrap();
        close(&plain.run(&x).unwrap(), &optimized.run(&x).unwrap(), 2e-5);
        assert_eq!(count(plain.graph(), is(Composite::LayerNorm)), 4);
        let graph = optimized.graph();
        assert_eq!(count(graph, is(Composite::RmsUnit)), 4, "{}", optimized.explain());
        let centred = |op: &Op| matches!(op, Op::Composite(c, _) if *c != Composite::RmsUnit);
        assert_eq!(count(graph, centred), 0, "{graph}");
        assert_eq!(optimized.parameters().len(), 1 + 3 * 6 + 2, "gains and biases are gone");
    }
}

/// One Pre-LN transformer block with positions, over `[N, tokens]`.
#[derive(Clone, Debug, Parameters)]
struct Transformer {
    table: Embedding,
    positions: Param,
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    dropout: Dropout,
    last_norm: LayerNorm,
}

impl Transformer {
    fn new() -> Transformer {
        let mut rng = Rng::seed(4);
        let linear = |rng: &mut Rng| Linear::new(rng, 8, 8);
        Transformer {
            table: Embedding::new(&mut rng, 10, 8),
            positions: rng.normal(&[5, 8], 1.0),
            norm: affine(&mut rng, 8),
            query: linear(&mut rng),
            key: linear(&mut rng),
            value: linear(&mut rng),
            out: linear(&mut rng),
            dropout: Dropout { p: 0.1 },
            last_norm: affine(&mut rng, 8),
        }
    }

    /// The table gives the logits as well.
    fn forward(&self, tokens: Var) -> Var {
        let x = self.table.forward(tokens) + &self.positions;
        let n = self.norm.forward(x);
        let scores = self.query.forward(n).matmul(self.key.forward(n).transpose());
        let mixed = (scores / 8f64.sqrt()).softmax(-1).matmul(self.value.forward(n));
        let x = x + self.dropout.forward(self.out.forward(mixed));
        self.last_norm.forward(x).linear(self.table.weight.value())
    }
}

#[test]
fn a_transformer_keeps_its_predictions_without_gains_and_centring() {
    let (model, x) = (Transformer::new(), tokens(20).reshape(&[4, 5]).unwrap());
    let forward = |m: &Transformer, x: Var| m.forward(x);
    let plain = jit(&model, forward).compile(&x).unwrap();
    let optimized = optimize_for_inference(&model, forward).compile(&x).unwrap();
    close(&plain.run(&x).unwrap(), &optimized.run(&x).unwrap(), 2e-5);
    let graph = optimized.graph();
    let of = |op| count(graph, is(op));
    assert_eq!((of(Composite::RmsUnit), of(Composite::Softmax)), (2, 1), "{}", optimized.explain());
    assert_eq!(count(graph, |op| matches!(op, Op::Composite(..))), 3, "{graph}");
    let names: Vec<&str> = optimized.parameters().iter().map(|new| new.name.as_str()).collect();
    insta::assert_snapshot!(names.join(" "), @"table.weight positions query.weight query.bias key.weight key.bias value.weight value.bias out.weight out.bias table.weight.folded last_norm.bias.folded");
    assert_eq!(optimized.model().get().parameter("last_norm.bias.folded").unwrap().sizes(), [10]);
    // elementwise dropout on the branch: the stream is not centred, the gains still move
    let training = jit(&model, forward).mode(Mode::Train).device(Device::Interp).folds(&Fold::safe());
    let training = training.compile(&x).unwrap();
    let of = |op| count(training.graph(), is(op));
    assert_eq!((of(Composite::RmsUnit), of(Composite::Standardize)), (0, 2), "{}", training.graph());
}

#[test]
fn post_norm_and_dropout_keep_their_layer_norms() {
    let forward = |m: &Residual, x: Var| {
        let post =
            |x: Var, block: &Block| block.norm.forward(x + block.down.forward(block.up.forward(x).gelu()));
        m.head.forward(m.blocks.iter().fold(m.table.forward(x), post))
    };
    let optimized = optimize_for_inference(Residual::new(), forward).device(Device::Interp);
    let optimized = optimized.compile(&tokens(5)).unwrap();
    assert_eq!(count(optimized.graph(), is(Composite::RmsUnit)), 0);
    assert!(optimized.refused().iter().any(|refused| refused.rule == "pre-rms"));
    let text = optimized.explain();
    assert!(optimized.refused().iter().any(|r| r.to_string().contains("tests/folds.rs")), "{text}");
    // the last norm feeds the head only; the gains of the others scale the residual too
    assert_eq!(count(optimized.graph(), is(Composite::LayerNorm)), 2, "{text}");
}

#[test]
fn a_folded_model_is_saved_and_loaded() {
    let (model, x) = (trained_mlp(), numbers(&[8, 6], 3));
    let forward = |m: &Mlp, x: Var| m.forward(x);
    let trained = optimize_for_inference(&model, forward).threads(1).compile(&x).unwrap();
    let path: PathBuf =
        std::env::temp_dir().join(format!("evenkeel-folds-{}.safetensors", std::process::id()));
    trained.model().save(&path).unwrap();
    let fresh = optimize_for_inference(Mlp::new(), forward).threads(1).compile(&x).unwrap();
    assert_ne!(fresh.run(&x).unwrap(), trained.run(&x).unwrap());
    fresh.model().load(&path).unwrap();
    assert_eq!(fresh.run(&x).unwrap(), trained.run(&x).unwrap());
    assert_eq!(fresh.model().get().parameter("up.bias").unwrap().sizes(), [16]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn training_through_folds_is_training() {
    let loss = |m: &Residual, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    let batch = || (tokens(30), labels(30, 10));
    for device in [Device::Interp, Device::Cpu] {
        let run = |rows: &[&'static Fold]| {
            let step = train_step(Residual::new(), Sgd::new(0.1).momentum(0.9), loss);
            let mut step = step.device(device).threads(1).folds(rows).compile(&batch()).unwrap();
            let losses: Vec<f64> = (0..5).map(|_| step.run(batch()).unwrap().loss().unwrap()).collect();
            (losses, step.model().get(), count(step.graph(), is(Composite::RmsUnit)))
        };
        let (plain, folded) = (run(&[]), run(&FOLDS.iter().collect::<Vec<_>>()));
        assert_eq!((plain.2, folded.2), (0, 4));
        assert!(
            plain.0.iter().zip(&folded.0).all(|(a, b)| (a - b).abs() < 1e-5),
            "{:?} {:?}",
            plain.0,
            folded.0
        );
        let gains = [&plain.1, &folded.1].map(|model| model.blocks[1].norm.gain.clone().unwrap());
        close(gains[0].tensor(), gains[1].tensor(), 2e-5);
        close(plain.1.table.weight.tensor(), folded.1.table.weight.tensor(), 2e-5);
    }
}

fn text(source: &str) -> Graph {
    parse(source, "test.ek").unwrap_or_else(|error| panic!("{error}"))
}

/// A text graph after every fold; inputs whose names start with `x` are data.
fn folded(graph: &Graph) -> Graph {
    let parameter = |i: &usize| !graph.inputs()[*i].name.starts_with('x');
    let parameters: Vec<usize> = (0..graph.inputs().len()).filter(parameter).collect();
    fold(graph, &parameters, &FOLDS.iter().collect::<Vec<_>>()).unwrap().graph
}

/// Three norms of one value, as they are written for queries, keys and values.
const QKV: &str = "x = input f32[N,16]\ng = input f32[16]\nh = input f32[16]\nw = input f32[8,16]\n\
                   v = input f32[8,16]\nu = input f32[8,16]\n\
                   q = dot @1 @1 (rms_norm @1 eps=1e-6 x g) w\nk = dot @1 @1 (rms_norm @1 eps=1e-6 x h) v\n\
                   s = tanh (dot @1 @1 (rms_norm @1 eps=1e-6 x g) u)\nreturn q, k, s";

#[test]
fn queries_keys_and_values_share_one_norm() {
    let graph = text(QKV);
    assert_eq!(count(&graph, is(Composite::RmsNorm)), 2, "equal norms are one node already");
    let graph = folded(&graph);
    assert_eq!(count(&graph, is(Composite::RmsUnit)), 1, "{graph}");
    assert_eq!(count(&graph, is(Composite::RmsNorm)), 0);
    let both = with_gradients(&graph, 6);
    check(&both, &evenkeel::bench::inputs(&both, 9), 2e-5);
}

#[test]
fn a_shared_norm_has_one_backward() {
    let graph = text(
        "x = input f32[N,16]\ng = input f32[16]\nh = input f32[16]\n\
         return y=tanh (rms_norm @1 eps=1e-6 x g), z=tanh (rms_norm @1 eps=1e-6 x h)",
    );
    let shared = folded(&graph);
    let kernels = |graph: &Graph| {
        let compiled = evenkeel_compiler::compile(graph, &host_target(1), &Options::default()).unwrap();
        compiled.report.kernels.len()
    };
    assert_eq!((kernels(&graph), kernels(&shared)), (1, 1), "equal statistics share a kernel anyway");
    let [plain, shared] = [graph, shared].map(|graph| with_gradients(&graph, 3));
    let of_rows = |op: &Op| matches!(op, Op::Reduce(Reduce::Sum, axes) if axes.contains(1));
    assert_eq!((count(&plain, of_rows), count(&shared, of_rows)), (2, 1));
    check(&shared, &evenkeel::bench::inputs(&shared, 9), 2e-5);
}

/// Is it a sum over rows: the gradient of a gain or a bias the direct way?
fn sums_rows(op: &Op) -> bool {
    matches!(op, Op::Reduce(Reduce::Sum, axes) if *axes == Axes::new([0]))
}

#[test]
fn gradients_of_gains_come_from_that_of_the_weight() {
    let graph = text(
        "x = input f32[N,16]\ng = input f32[16]\nb = input f32[16]\nw = input f32[8,16]\n\
                      return y=dot @1 @1 (layer_norm @1 eps=1e-6 x g b) w",
    );
    let (plain, folded) = (with_gradients(&graph, 4), with_gradients(&folded(&graph), 4));
    assert_eq!(count(&plain, sums_rows), 2);
    let over_data = |graph: &Graph, node: &evenkeel_ir::Node| graph.ty(node.inputs[0]).shape[0].power > 0;
    let sums = folded.nodes().iter().filter(|node| sums_rows(&node.op) && over_data(&folded, node));
    assert!(sums.into_iter().all(|node| node.types[0].shape[1].known() == Some(8)), "{folded}");
    let first = Axes::new([0]);
    let product = |op: &Op| matches!(op, Op::Dot { lhs, rhs, .. } if (*lhs, *rhs) == (first, first));
    let products = folded.nodes().iter().filter(|node| product(&node.op) && over_data(&folded, node));
    assert_eq!(products.count(), 1, "the gradient of the weight, once: {folded}");
    let data: Vec<Literal> = evenkeel::bench::inputs(&plain, 12).iter().map(Tensor::to_literal).collect();
    let [a, b] = [&plain, &folded].map(|graph| eval(graph, &data).unwrap());
    a.iter().zip(&b).for_each(|(a, b)| close(&Tensor::from_literal(a), &Tensor::from_literal(b), 1e-6));
}

#[test]
fn lints_name_parameters_and_places() {
    let loss = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    let batch = (numbers(&[32, 6], 1), labels(32, 3));
    let step = train_step(Mlp::new(), AdamW::new(0.01), loss).threads(1).compile(&batch).unwrap();
    let named: Vec<&str> =
        step.report().unwrap().lints.iter().map(|lint| lint.rsplit_once(" at ").unwrap().0).collect();
    insta::assert_snapshot!(named.join("\n"), @r"
    decay-of-scale-invariant: up.weight: layer_norm removes its scale up to eps 1e-5, so weight decay only changes the effective learning rate
    no-gradient: up.bias: nothing that counts depends on it: unused, or a norm subtracts it again
    decay-of-scale-invariant: middle.weight: layer_norm removes its scale up to eps 1e-5, so weight decay only changes the effective learning rate
    ");
    assert!(step.explain().contains("lints:\n  decay-of-scale-invariant: up.weight"));
    let free =
        train_step(Mlp::new(), AdamW::new(0.01).weight_decay(0.0), loss).threads(1).compile(&batch).unwrap();
    assert!(free.report().unwrap().lints.iter().all(|lint| lint.starts_with("no-gradient: up.bias")));
}

/// Names of the lints for the parameters of a text graph.
fn lints(source: &str) -> String {
    let graph = text(source);
    let parameter = |i: &usize| !graph.inputs()[*i].name.starts_with('x');
    let parameters: Vec<usize> = (0..graph.inputs().len()).filter(parameter).collect();
    let found = lint(&graph, &parameters, true);
    let used = found.iter().filter(|lint| lint.name != "no-gradient");
    used.map(|lint| format!("{} {}", lint.name, lint.parameter)).collect::<Vec<_>>().join(", ")
}

#[test]
fn lints_need_their_side_conditions() {
    let head = "x = input f32[N,6]\nw = input f32[4,6]\nb = input f32[4]\nx1 = input f32[N,4]\n";
    let cases = [
        ("return y=standardize @1 (dot @1 @1 x w)", "decay-of-scale-invariant w"),
        ("return y=l2_norm @1 (dot @1 @1 x w)", "decay-of-scale-invariant w"),
        (
            "return y=standardize @0 eps=1e-5 (add (dot @1 @1 x w) b)",
            "decay-of-scale-invariant w, dead-bias b",
        ),
        ("return y=softmax @0 (add x1 b)", "dead-bias b"),
        ("return y=dot @1 @1 x (l2_norm @1 w)", "decay-of-scale-invariant w"),
        // the bias moves within a row
        ("return y=standardize @1 (add (dot @1 @1 x w) b)", ""),
        // eps is as large as what is normalized
        ("return y=standardize @1 eps=0.5 (dot @1 @1 x w)", ""),
        // no centring
        ("return y=rms_unit @0 (add (dot @1 @1 x w) b)", ""),
        // another way to the output
        ("h = dot @1 @1 x w\nreturn y=standardize @1 h, z=tanh h", ""),
        ("h = add x1 b\nreturn y=standardize @0 h, z=tanh h", ""),
        // not proportional
        ("return y=standardize @1 (add (dot @1 @1 x w) x1)", ""),
        ("return y=standardize @1 (exp (dot @1 @1 x w))", ""),
    ];
    for (body, expected) in cases {
        assert_eq!(lints(&format!("{head}{body}")), expected, "{body}");
    }
}

#[test]
fn a_hoisted_graph_is_the_same_function() {
    let graph = folded(&text(QKV));
    let hoisted = hoist(&graph, &[1, 2, 3, 4, 5]);
    assert_eq!(hoisted.parameters.len(), 3);
    hoisted.derive.verify().unwrap();
    hoisted.rest.verify().unwrap();
    let data: Vec<Literal> = evenkeel::bench::inputs(&graph, 7).iter().map(Tensor::to_literal).collect();
    let mut inputs = eval(&hoisted.derive, &data[1..]).unwrap();
    inputs.push(data[0].clone());
    assert_eq!(eval(&hoisted.rest, &inputs).unwrap(), eval(&graph, &data).unwrap());
}

#[test]
fn folds_of_random_graphs_keep_their_values() {
    let mut folds = 0;
    for seed in 0..600 {
        let generator = Generator::new(seed);
        let graph = generator.graph(DType::F64);
        let parameters: Vec<usize> =
            (0..graph.inputs().len()).filter(|i| !(seed + *i as u64).is_multiple_of(3)).collect();
        let fixed: Vec<usize> = parameters.into_iter().filter(|i| is_sized(&graph.inputs()[*i])).collect();
        let outcome = fold(&graph, &fixed, &FOLDS.iter().collect::<Vec<_>>()).unwrap();
        outcome.graph.verify().unwrap();
        folds += outcome.folded.len();
        let data: Vec<Literal> =
            evenkeel::bench::inputs(&graph, generator.batch).iter().map(Tensor::to_literal).collect();
        let [a, b] = [&graph, &outcome.graph].map(|graph| eval(graph, &data).unwrap());
        for (a, b) in a.iter().zip(&b) {
            let (a, b) = (a.to_floats(), b.to_floats());
            let scale = a.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
            let same = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-7 * scale || a == b || a.is_nan();
            assert!(
                a.iter().zip(&b).all(same),
                "seed {seed}: {:?}\n{graph}\n{}",
                outcome.folded,
                outcome.graph
            );
        }
    }
    assert!(folds > 20, "{folds}");
}

fn is_sized(input: &Input) -> bool {
    input.ty.shape.0.iter().all(|extent| extent.power == 0)
}
