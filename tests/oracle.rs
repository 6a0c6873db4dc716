//! Compiled programs against the interpreter.

use evenkeel::host::host_target;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::eval::eval;
use evenkeel_ir::scalar::ulps;
use evenkeel_ir::{
    Attrs, Axes, Composite, DType, EpsKind, Extent, Graph, GraphBuilder, Literal, Op, Shape, Target,
    TensorType, Value,
};
use evenkeel_runtime::{Argument, Executable, Tensor};

/// This machine with two threads, and as if its vectors were narrower.
pub(crate) fn widths() -> Vec<Target> {
    let host = host_target(2);
    let with = |vector_bytes| Target { vector_bytes, ..host.clone() };
    [64, 32, 16].into_iter().filter(|&bytes| bytes <= host.widest()).map(with).collect()
}

/// Runs a graph compiled for this machine.
pub(crate) fn run_compiled(graph: &Graph, inputs: &[Tensor], options: &Options) -> Vec<Tensor> {
    run_on(&host_target(2), graph, inputs, options)
}

/// Runs a graph compiled for a machine whose code this one runs.
pub(crate) fn run_on(target: &Target, graph: &Graph, inputs: &[Tensor], options: &Options) -> Vec<Tensor> {
    let compiled = compile(graph, target, options).unwrap_or_else(|e| panic!("{e}"));
    if std::env::var("SHOW").is_ok() {
        println!("{}", compiled.report);
        compiled.report.kernels.iter().for_each(|k| println!("{}", k.listing));
    }
    for kernel in &compiled.report.kernels {
        assert!(kernel.not_wider.is_empty(), "{kernel}\n{}", kernel.listing);
    }
    let executable = Executable::load(compiled.program, 2).unwrap();
    let mut arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::In).collect();
    let mut outputs = Vec::new();
    executable.run(&mut arguments, &mut outputs).unwrap_or_else(|e| panic!("{e}"));
    outputs
}

/// Compares compiled outputs with the interpreter on the same (rounded) inputs.
#[track_caller]
pub(crate) fn check(graph: &Graph, inputs: &[Tensor], tolerance: f64) {
    let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
    let want = eval(graph, &literals).unwrap();
    let fused = widths().into_iter().map(|target| (true, target));
    for (fuse, target) in fused.chain([(false, host_target(2))]) {
        let got = run_on(&target, graph, inputs, &Options { fuse, ..Options::default() });
        let bits = 8 * target.widest();
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.sizes(), want.sizes, "output {k}");
            let (got, want) = (got.to_f64s(), want.to_floats());
            let scale = want.iter().copied().filter(|x| x.is_finite()).fold(1.0, |a: f64, b| a.max(b.abs()));
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let close = (g - w).abs() <= tolerance * scale || g == w || (g.is_nan() && w.is_nan());
                assert!(close, "fuse {fuse}, {bits} bits, output {k}, element {i}: got {g}, want {w}");
            }
        }
    }
}

/// Numbers in about -2..2, the same every time.
pub(crate) fn numbers(sizes: &[usize], seed: u64) -> Tensor {
    let n = sizes.iter().product::<usize>() as u64;
    let at = |i: u64| {
        let word = evenkeel_ir::random::threefry([seed as u32, 7], [i as u32, 0])[0];
        (f64::from(word) / f64::from(u32::MAX) * 4.0 - 2.0) as f32
    };
    Tensor::from_vec(sizes, (0..n).map(at).collect::<Vec<f32>>()).unwrap()
}

fn batch_by(n: usize) -> TensorType {
    TensorType::new(DType::F32, Shape([Extent::BATCH, Extent::from(n)].into_iter().collect()))
}

fn fixed(sizes: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::of(sizes))
}

fn single(b: GraphBuilder, y: Value) -> Graph {
    b.finish([("y".to_string(), y)])
}

#[test]
fn pointwise_chain_with_broadcasts() {
    let mut b = GraphBuilder::new();
    let (x, bias) = (b.input("x", batch_by(37)), b.input("bias", fixed(&[37])));
    let s = b.add(x, bias);
    let y = b.gelu(s);
    let y = b.mul(y, x);
    let graph = single(b, y);
    for rows in [1, 3, 64, 300] {
        check(&graph, &[numbers(&[rows, 37], 1), numbers(&[37], 2)], 2e-6);
    }
}

#[test]
fn every_unary_row_compiles_to_its_value() {
    for &f in evenkeel_ir::Unary::ALL {
        let mut b = GraphBuilder::new();
        if f.def().class == evenkeel_ir::op::Class::Bool {
            continue;
        }
        let x = b.input("x", fixed(&[1003]));
        let y = b.unary(f, x);
        let graph = single(b, y);
        let (low, high) = f.def().domain;
        let data: Vec<f32> = (0..1003).map(|i| (low + (high - low) * f64::from(i) / 1002.0) as f32).collect();
        let inputs = [Tensor::from_vec(&[1003], data).unwrap()];
        let want = eval(&graph, &[inputs[0].to_literal()]).unwrap()[0].to_floats();
        let got = run_compiled(&graph, &inputs, &Options::default())[0].to_f64s();
        for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
            let error = ulps(g as f32, w);
            assert!(error <= f.def().ulps.max(0.5), "{}: element {i}: got {g}, want {w}", f.name());
        }
    }
}

/// An operand of a composite beside `x`; a variance is not negative.
fn operand(name: &str, seed: u64) -> Tensor {
    let plain = numbers(&[21], seed);
    if name != "var" {
        return plain;
    }
    let squares: Vec<f32> = plain.to_vec::<f32>().unwrap().iter().map(|x| x * x).collect();
    Tensor::from_vec(&[21], squares).unwrap()
}

#[test]
fn every_composite_matches_its_meaning() {
    for &composite in Composite::ALL {
        let def = composite.def();
        let takes = |attr| def.attrs.contains(&attr);
        for axes in [Axes::new([1]), Axes::new([0]), Axes::new([0, 1])] {
            if composite == Composite::ArgMax && axes.len() > 1 {
                continue;
            }
            for kind in [EpsKind::Inside, EpsKind::Outside, EpsKind::Clamp] {
                let mut attrs = Attrs::over(axes);
                if takes(evenkeel_ir::op::Attr::Eps) {
                    attrs = attrs.eps(1e-3, kind);
                } else if kind != EpsKind::Inside {
                    continue;
                }
                let mut b = GraphBuilder::new();
                let mut inputs = vec![b.input("x", batch_by(21))];
                inputs.extend(def.inputs[1..].iter().map(|&name| b.input(name, fixed(&[21]))));
                let y = b.op(Op::Composite(composite, attrs), &inputs);
                let graph = single(b, y);
                for rows in [1, 5, 130] {
                    let mut data = vec![numbers(&[rows, 21], 3)];
                    data.extend((1..inputs.len()).map(|i| operand(def.inputs[i], 10 + i as u64)));
                    check(&graph, &data, 4e-6);
                }
            }
        }
    }
}

#[test]
fn products_with_epilogues() {
    let mut b = GraphBuilder::new();
    let x = b.input("x", batch_by(33));
    let (w, bias) = (b.input("w", fixed(&[20, 33])), b.input("bias", fixed(&[20])));
    let dot = b.op(Op::Dot { batch: 0, lhs: Axes::new([1]), rhs: Axes::new([1]) }, &[x, w]);
    let h = b.add(dot, bias);
    let y = b.relu(h);
    let z = b.composite(Composite::Softmax, &[h], Attrs::over(Axes::new([1])));
    let graph = b.finish([("y".to_string(), y), ("z".to_string(), z)]);
    for rows in [1, 7, 64, 777] {
        check(&graph, &[numbers(&[rows, 33], 1), numbers(&[20, 33], 2), numbers(&[20], 3)], 1e-5);
    }
}

/// Adds the gradients of `sum(y * cotangent)` towards the first inputs of a graph.
pub(crate) fn with_gradients(graph: &Graph, wrt: usize) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = evenkeel_compiler::grad::inline(&mut b, graph, &inputs);
    let mut outputs = Vec::new();
    let mut seeds = Vec::new();
    for (name, value) in graph.outputs() {
        let cotangent = b.input(format!("cotangent.{name}"), graph.ty(*value).clone());
        seeds.push((*value, cotangent));
        outputs.push((name.clone(), map[value.node.0 as usize][value.result as usize]));
    }
    let at = |i: usize| graph.iter().find(|(_, n)| n.op == Op::Input(i as u32)).map(|(id, _)| id).unwrap();
    let wrt: Vec<Value> = (0..wrt).map(|i| Value { node: at(i), result: 0 }).collect();
    let backward = evenkeel_compiler::grad::backward(&mut b, graph, &map, &seeds, &wrt).unwrap();
    for (i, gradient) in backward.gradients.iter().enumerate() {
        outputs.push((format!("grad.{}", graph.inputs()[i].name), *gradient));
    }
    b.finish(outputs)
}

#[test]
fn gradients_of_composites_match() {
    for &composite in Composite::ALL {
        let def = composite.def();
        if composite == Composite::ArgMax {
            continue;
        }
        for axes in [Axes::new([1]), Axes::new([0])] {
            let mut attrs = Attrs::over(axes);
            if def.attrs.contains(&evenkeel_ir::op::Attr::Eps) {
                attrs = attrs.eps(1e-3, EpsKind::Inside);
            }
            let mut b = GraphBuilder::new();
            let mut inputs = vec![b.input("x", batch_by(21))];
            inputs.extend(def.inputs[1..].iter().map(|&name| b.input(name, fixed(&[21]))));
            let y = b.op(Op::Composite(composite, attrs), &inputs);
            let row = b.ty(y).shape[1].is_one();
            let column = b.ty(y).shape[0].is_one();
            let graph = with_gradients(&single(b, y), inputs.len());
            for rows in [2, 5, 130] {
                let mut data = vec![numbers(&[rows, 21], 3)];
                data.extend((1..inputs.len()).map(|i| operand(def.inputs[i], 10 + i as u64)));
                data.push(numbers(&[if column { 1 } else { rows }, if row { 1 } else { 21 }], 30));
                check(&graph, &data, 1e-5);
            }
        }
    }
}

#[test]
fn layer_norm_is_one_kernel_forward_and_one_backward() {
    let mut b = GraphBuilder::new();
    let (x, gain, bias) =
        (b.input("x", batch_by(256)), b.input("gain", fixed(&[256])), b.input("bias", fixed(&[256])));
    let attrs = Attrs::over(Axes::new([1])).eps(1e-5, EpsKind::Inside);
    let y = b.composite(Composite::LayerNorm, &[x, gain, bias], attrs);
    let forward = single(b, y);
    let both = with_gradients(&forward, 3);
    let report =
        |graph: &Graph| compile(graph, &host_target(1), &Options::default()).unwrap().report.to_string();
    insta::assert_snapshot!(report(&forward), @r"
    steps: 1 kernels, 0 products, 0 combine steps, 0 copies or fills
    bytes of kernels: 2048 N + 2048, op by op 33046 N + 2048
      g0_add: rows [N] of [256], phases 3, reads 3, writes 1, bytes 2048 N + 2048, fuses 45 ops
    cost, named ops and gradients, op by op: bytes 2048 N + 2048, flops 2048 N, transcendentals 0, phases 1, launches 1
    cost, program: bytes 2048 N + 2048, flops 2048 N, transcendentals 0, phases 3, launches 1
    ");
    insta::assert_snapshot!(report(&both), @r"
    steps: 1 kernels, 0 products, 1 combine steps, 0 copies or fills
    bytes of kernels: 4096 N + 133120, op by op 56626 N + 5120
    arena: 131072 bytes for a batch of 1024
      g0_add_mul_sum: rows [N] of [256], phases 4, reads 4, writes 4, bytes 4096 N + 133120, fuses 58 ops
    cost, named ops and gradients, op by op: bytes 26656 N + 9216, flops 7425 N, transcendentals 0, phases 17, launches 17
    cost, program: bytes 4096 N + 266240, flops 7425 N, transcendentals 0, phases 5, launches 2
    ");
}

#[test]
fn axes_of_size_one_are_normalized_too() {
    for sizes in [[3, 1], [1, 5], [1, 1]] {
        let mut b = GraphBuilder::new();
        let (x, gain, bias) = (
            b.input("x", fixed(&sizes)),
            b.input("gain", fixed(&sizes[1..])),
            b.input("bias", fixed(&sizes[1..])),
        );
        let attrs = Attrs::over(Axes::new([1])).eps(1e-5, EpsKind::Inside);
        let y = b.composite(Composite::LayerNorm, &[x, gain, bias], attrs);
        let graph = with_gradients(&single(b, y), 3);
        let data = [numbers(&sizes, 1), numbers(&sizes[1..], 2), numbers(&sizes[1..], 3), numbers(&sizes, 4)];
        check(&graph, &data, 1e-5);
    }
}

#[test]
fn a_batch_size_is_found_from_its_square_alone() {
    let text = "x = input f32[N^2,3]\nreturn ratio=div (sum @0 x) (sum @0 (mul x x)), next=add x 1";
    let graph = evenkeel_ir::parse(text, "square.ek").unwrap_or_else(|error| panic!("{error}"));
    for rows in [0, 1, 4, 25] {
        check(&graph, &[numbers(&[rows, 3], 1)], 1e-5);
    }
    let error = eval(&graph, &[numbers(&[5, 3], 1).to_literal()]).unwrap_err().to_string();
    assert!(error.contains("N^2"), "{error}");
}

/// Programs whose accesses are not dense along the rows that vectors walk.
pub(crate) const STRIDED: &[&str] = &[
    "x = input f32[N,37]\ny = input f32[37,N]\nreturn add (gelu (transpose @1,0 x)) y",
    "x = input f32[37,N]\ny = input f32[N,37]\nreturn add (gelu (transpose @1,0 x)) y",
    "x = input f32[600,N]\nreturn mul (silu (transpose @1,0 x)) 3",
    "x = input f32[N,48]\nreturn transpose @1,0 x",
    "x = input f32[N,40]\nreturn exp (slice axis=1 start=1 length=13 stride=3 x)",
    "x = input f32[N,40]\nreturn tanh (flip @1 x)",
    "x = input f32[2001]\ny = input f32[N,5]\nreturn a=exp (slice axis=0 start=1 length=1000 stride=2 x), b=y",
    "x = input f32[N,5,3,20]\nreturn silu (transpose @0,2,3,1 x)",
    "x = input f32[N,5,3,20]\nreturn erf (transpose @3,1,0,2 x)",
    "x = input f32[37,N]\ng = input f32[37]\nb = input f32[37]\nreturn layer_norm @1 eps=1e-5 (transpose @1,0 x) g b",
    "x = input f32[N,37]\ny = input f32[37,N]\nreturn mul (softmax @1 (transpose @1,0 x)) y",
    "x = input f32[N,37]\ny = input f32[37,N]\nreturn mul (softmax @0 (transpose @1,0 x)) y",
    "x = input f32[N,20,3,5]\nreturn softmax @3 (transpose @0,2,3,1 x)",
    "x = input f32[N,20,3,5]\nreturn softmax @1,3 (transpose @0,2,3,1 x)",
    "x = input f32[N,37]\ny = input f32[37,N]\nreturn a=sum @0 (mul (transpose @1,0 x) y), b=sum @1 (square (transpose @1,0 x))",
    "x = input f32[N,3,50]\nw = input f32[50]\nreturn mul (gelu (transpose @0,2,1 x)) (reshape [50,1] w)",
    "x = input f64[N,37]\nreturn exp (transpose @1,0 x)",
];

/// A program and inputs for a batch size.
pub(crate) fn strided(text: &str, batch: u64) -> (Graph, Vec<Tensor>) {
    let graph = evenkeel_ir::parse(text, "strided.ek").unwrap_or_else(|error| panic!("{text}\n{error}"));
    let input = |(k, input): (usize, &evenkeel_ir::Input)| {
        let x = numbers(&input.ty.shape.at(batch), k as u64);
        Tensor::from_literal(&Literal::floats(input.ty.dtype, x.sizes(), x.to_f64s()))
    };
    let inputs = graph.inputs().iter().enumerate().map(input).collect();
    (graph, inputs)
}

#[test]
fn strided_accesses_match() {
    for text in STRIDED {
        for rows in [1, 2, 15, 16, 33, 300] {
            let (graph, mut inputs) = strided(text, rows);
            check(&graph, &inputs, 4e-6);
            let both = with_gradients(&graph, graph.inputs().len());
            let cotangents = graph.outputs().iter().enumerate();
            inputs.extend(cotangents.map(|(k, (_, value))| {
                let x = numbers(&graph.ty(*value).shape.at(rows), 50 + k as u64);
                Tensor::from_literal(&Literal::floats(graph.ty(*value).dtype, x.sizes(), x.to_f64s()))
            }));
            check(&both, &inputs, 2e-5);
        }
    }
}
