//! Machines with fewer instructions than this one: the code is different, the numbers are right.

use crate::oracle::numbers;
use evenkeel::host::host_target;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::{Graph, Literal, Target, eval, parse};
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
        for target in [&host, &no_fma, &plain] {
            for (found, wanted) in run(&graph, &inputs, target).iter().zip(&exact) {
                let error = (found - wanted).abs() / (1.0 + wanted.abs());
                assert!(error < 2e-6, "{text}\n{target:?}: {found} instead of {wanted}");
            }
        }
    }
}
