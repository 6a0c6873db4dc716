//! Machines with fewer instructions than this one: the code is different, the numbers are right;
//! and of elementwise functions no bit depends on the width of vectors.

use crate::oracle::{STRIDED, numbers, run_on, strided, widths};
use evenkeel::host::host_target;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::op::Class;
use evenkeel_ir::random::threefry;
use evenkeel_ir::{
    Binary, DType, Extent, Graph, GraphBuilder, Literal, Shape, Target, TensorType, Unary, Value, eval, parse,
};
use evenkeel_runtime::{Argument, Executable, Tensor};

const PROGRAMS: &[&str] = &[
    "x = input f32[9,37]\ng = input f32[37]\nb = input f32[37]\nreturn layer_norm @1 eps=1e-5 x g b",
    "x = input f32[9,37]\nreturn softmax @1 x",
    "x = input f32[9,37]\nreturn gelu x",
    "x = input f32[9,37]\nreturn tanh (mish x)",
    "x = input f32[9,37]\nreturn sum @0 (log1p (square x))",
    "x = input f64[9,5]\nreturn mul (rstd @0 eps=1e-5 x) (floor x)",
    "x = input f32[9,37]\nw = input f32[5,37]\nreturn silu (dot @1 @1 x w)",
];

fn run(graph: &Graph, inputs: &[Literal], target: &Target) -> Vec<f64> {
    let program = compile(graph, target, &Options::default()).expect("it compiles").program;
    let executable = Executable::load(program, 1).expect("it loads");
    let tensors: Vec<Tensor> = inputs.iter().map(Tensor::from_literal).collect();
    let mut arguments: Vec<Argument<'_>> = tensors.iter().map(Argument::In).collect();
    let mut outputs = Vec::new();
    executable.run(&mut arguments, &mut outputs).expect("it runs");
    outputs[0].to_f64s()
}

#[test]
fn machines_without_fma_or_avx_compute_the_same() {
    let host = host_target(1);
    for text in PROGRAMS {
        let graph = parse(text, "targets").expect("a program");
        let inputs: Vec<Literal> = graph
            .inputs()
            .iter()
            .enumerate()
            .map(|(i, input)| {
                let x = numbers(&input.ty.shape.at(1), i as u64).to_literal();
                Literal { dtype: input.ty.dtype, ..x }
            })
            .collect();
        let exact = eval(&graph, &inputs).expect("it is well typed")[0].to_floats();
        let plain = Target { fma: false, avx: false, ..host.clone() };
        let no_fma = Target { fma: false, ..host.clone() };
        for target in [no_fma, plain].iter().chain(&widths()) {
            for (found, wanted) in run(&graph, &inputs, target).iter().zip(&exact) {
                let error = (found - wanted).abs() / (1.0 + wanted.abs());
                assert!(error < 2e-6, "{text}\n{target:?}: {found} instead of {wanted}");
            }
        }
    }
}

/// Bits of every output element.
fn bits(target: &Target, graph: &Graph, inputs: &[Tensor]) -> Vec<u8> {
    let outputs = run_on(target, graph, inputs, &Options::default());
    outputs.iter().flat_map(|output| output.bytes().to_vec()).collect()
}

#[track_caller]
fn same_bits_at_every_width(graph: &Graph, inputs: &[Tensor]) {
    let targets = widths();
    let widest = bits(&targets[0], graph, inputs);
    for target in &targets[1..] {
        assert!(bits(target, graph, inputs) == widest, "{} bytes, and wider\n{graph}", target.widest());
    }
}

/// Elements of a test: whole vectors of every width, and tails of many lengths.
const SIZES: [usize; 6] = [1, 3, 15, 64, 111, 1000];

/// Numbers that functions treat differently.
const SPECIAL: [f32; 9] = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e37, -1e-37, 1e-44, 100.0];

/// Inputs of a size, with special numbers among them.
fn operands(size: usize) -> [Tensor; 3] {
    std::array::from_fn(|k| {
        let mut data: Vec<f32> = numbers(&[size], k as u64).to_vec().expect("they are f32");
        let places = (k..size).step_by(7 + k);
        places.zip(SPECIAL).for_each(|(place, special)| data[place] = special);
        Tensor::from_vec(&[size], data).expect("sizes fit")
    })
}

/// Inputs of `[size]`, which is known in half of the graphs, then a random chain of elementwise
/// functions of what is there.
fn pointwise(seed: u32, size: usize) -> Graph {
    let mut b = GraphBuilder::new();
    let extent = if seed.is_multiple_of(2) { Extent::from(size) } else { Extent::BATCH };
    let ty = TensorType::new(DType::F32, Shape([extent].into_iter().collect()));
    let mut values: Vec<Value> = ["x", "y", "z"].map(|name| b.input(name, ty.clone())).to_vec();
    let word = |step: u32, k: u32| threefry([seed, 3], [step, k])[0] as usize;
    let unary: Vec<Unary> = Unary::ALL.iter().copied().filter(|f| f.def().class != Class::Bool).collect();
    for step in 0..12 {
        let pick = |k: u32| values[word(step, k) % values.len()];
        let (x, y, z) = (pick(0), pick(1), pick(2));
        let new = match word(step, 3) % 5 {
            0 | 1 => b.unary(unary[word(step, 4) % unary.len()], x),
            2 | 3 => {
                let f = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min];
                b.binary(f[word(step, 4) % f.len()], x, y)
            }
            _ => {
                let less = b.binary(Binary::Lt, x, y);
                b.select(less, z, x)
            }
        };
        values.push(new);
    }
    b.finish([("out".to_string(), *values.last().expect("some"))])
}

#[test]
fn elementwise_results_are_the_same_bits_at_every_width() {
    for &f in Unary::ALL.iter().filter(|f| f.def().class != Class::Bool) {
        for size in SIZES {
            let mut b = GraphBuilder::new();
            let x = b.input("x", TensorType::new(DType::F32, Shape::of(&[size])));
            let y = b.unary(f, x);
            let [x, ..] = operands(size);
            same_bits_at_every_width(&b.finish([("y".to_string(), y)]), &[x]);
        }
    }
    for seed in 0..60 {
        let size = SIZES[seed as usize / 2 % SIZES.len()];
        same_bits_at_every_width(&pointwise(seed, size), &operands(size));
    }
}

#[test]
fn stores_past_the_caches_store_the_same() {
    let programs = [
        "x = input f32[33,64]\ng = input f32[64]\nb = input f32[64]\nreturn layer_norm @1 eps=1e-5 x g b",
        "x = input f32[33,64]\nreturn gelu x",
        "x = input f32[33,64]\nreturn sum=sum @0 x, y=square x",
        "x = input f32[3,64,33]\nreturn softmax @1 x",
        "x = input f32[64,33]\nreturn gelu (transpose @1,0 x)",
    ];
    for target in widths().iter().filter(|target| target.widest() > 16) {
        let mut streaming = 0;
        for text in programs {
            let graph = parse(text, "streaming").expect("a program");
            let inputs: Vec<Tensor> =
                graph.inputs().iter().map(|input| numbers(&input.ty.shape.at(1), 5)).collect();
            let mut program = compile(&graph, target, &Options::default()).expect("it compiles").program;
            for code in &mut program.codes {
                let Some(other) = code.streaming.take() else { continue };
                assert_ne!(code.bytes, other.bytes, "{}", code.listing);
                code.bytes = other.bytes;
                streaming += 1;
            }
            let executable = Executable::load(program, 2).expect("it loads");
            let mut arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::In).collect();
            let mut outputs = Vec::new();
            executable.run(&mut arguments, &mut outputs).expect("it runs");
            let found: Vec<u8> = outputs.iter().flat_map(|output| output.bytes().to_vec()).collect();
            assert!(found == bits(target, &graph, &inputs), "{} bytes\n{text}", target.widest());
        }
        assert_eq!(streaming, 4, "rows of 33 elements do not begin at cache lines");
    }
}

#[test]
fn strided_elementwise_results_are_the_same_bits_at_every_width() {
    let elementwise =
        |text: &&&str| !["norm", "softmax", "sum", "f64"].iter().any(|word| text.contains(word));
    for text in STRIDED.iter().filter(elementwise) {
        for rows in [1, 3, 17, 64] {
            let (graph, inputs) = strided(text, rows);
            let special = |x: &Tensor| {
                let mut data: Vec<f32> = x.to_vec().expect("they are f32");
                let places = (0..data.len()).step_by(7).collect::<Vec<_>>();
                places.into_iter().zip(SPECIAL.iter().cycle()).for_each(|(place, &x)| data[place] = x);
                Tensor::from_vec(x.sizes(), data).expect("sizes fit")
            };
            same_bits_at_every_width(&graph, &inputs.iter().map(special).collect::<Vec<_>>());
        }
    }
}
