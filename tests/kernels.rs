//! Lowered kernels: their interpreter against machine code, and their text.
//!
//! The interpreter here follows the plan of a program step by step with the kernel interpreter of
//! the IR, chunk by chunk; memory that nothing has written is NaN. Programs with matrix products
//! are left to `structure`. Start at [`interpreted`].

use crate::oracle::{numbers, run_compiled, with_gradients};
use evenkeel_compiler::expand::expand;
use evenkeel_compiler::fuse::fuse;
use evenkeel_compiler::plan::{Plan, plan};
use evenkeel_compiler::schedule::schedule;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::kernel::{Elements, Role};
use evenkeel_ir::program::{BufferId, Launch, Part, Step, Storage};
use evenkeel_ir::scalar::{Scalar, ScalarType};
use evenkeel_ir::{DType, Graph, Literal, parse};
use evenkeel_runtime::Tensor;

/// A program that is run with the kernel interpreter.
struct Interpreter {
    plan: Plan,
    batch: u64,
    buffers: Vec<Elements>,
}

fn interpreted(graph: &Graph, inputs: &[Tensor], batch: u64) -> Vec<Vec<f64>> {
    let expanded = expand(graph);
    let plan = plan(&expanded, &fuse(&expanded, true), &[]);
    let buffers = plan.program.buffers.iter().map(|buffer| match buffer.storage {
        Storage::Input(i) => scalars(&inputs[i as usize].to_literal()),
        _ => unwritten(buffer.dtype, buffer.elements.at(batch) as usize),
    });
    let mut interpreter = Interpreter { buffers: buffers.collect(), batch, plan };
    interpreter.run();
    let place = |output: u32| {
        let storage = interpreter.plan.program.buffers.iter().map(|buffer| buffer.storage);
        storage.clone().position(|s| s == Storage::Output(output)).expect("a buffer for each output")
    };
    let outputs = (0..graph.outputs().len() as u32).map(place);
    outputs.map(|buffer| interpreter.buffers[buffer].iter().map(|x| x.as_f64()).collect()).collect()
}

fn register_type(dtype: DType) -> ScalarType {
    dtype.scalar().expect("an executable type")
}

fn scalars(literal: &Literal) -> Elements {
    let ty = register_type(literal.dtype);
    literal.to_floats().into_iter().map(|x| Scalar::from_f64(ty, x)).collect()
}

fn unwritten(dtype: DType, elements: usize) -> Elements {
    let ty = register_type(dtype);
    vec![Scalar::from_f64(ty, if ty.is_float() { f64::NAN } else { 0.0 }); elements]
}

impl Interpreter {
    fn run(&mut self) {
        for step in self.plan.program.steps.clone() {
            match step {
                Step::Kernels(launches) => launches.iter().for_each(|launch| self.launch(launch)),
                Step::Combine(parts) => parts.iter().for_each(|part| self.combine(part)),
                Step::Copy { from, to } => *self.at(to) = self.at(from).clone(),
                Step::Zero { buffer } => {
                    self.at(buffer).iter_mut().for_each(|x| *x = Scalar::F32(0.0));
                }
                Step::Product(panels) => panic!("{}: products are not run here", panels.product.name),
            }
        }
    }

    fn at(&mut self, buffer: BufferId) -> &mut Elements {
        &mut self.buffers[buffer.0 as usize]
    }

    fn launch(&mut self, launch: &Launch) {
        let kernel = self.plan.kernels[launch.code as usize].kernel.clone();
        kernel.verify().unwrap();
        let rows = kernel.rows().at(self.batch);
        let (size, chunks) = launch.chunking.at(self.batch);
        for chunk in 0..chunks {
            let mut arguments: Vec<Elements> = launch.buffers.iter().map(|&b| self.at(b).clone()).collect();
            kernel.eval(self.batch, chunk * size, ((chunk + 1) * size).min(rows), &mut arguments);
            for (i, argument) in arguments.into_iter().enumerate() {
                let buffer = launch.buffers[i];
                match launch.partials.iter().find(|(partial, _)| *partial as usize == i) {
                    Some((_, elements)) => {
                        let n = elements.at(self.batch) as usize;
                        let start = chunk as usize * n;
                        self.at(buffer)[start..start + n].copy_from_slice(&argument[..n]);
                    }
                    None if kernel.args[i].role != Role::Input => *self.at(buffer) = argument,
                    None => {}
                }
            }
        }
    }

    fn combine(&mut self, part: &Part) {
        let elements = part.elements.at(self.batch) as usize;
        let chunks = part.chunking.at(self.batch).1 as usize;
        let partials = self.at(part.partials).clone();
        let def = part.op.def();
        for e in 0..elements {
            let of = |chunk: usize| partials[chunk * elements + e].as_f64();
            let total = (0..chunks).fold(def.identity, |total, chunk| (def.combine)(total, of(chunk)));
            self.at(part.out)[e] = Scalar::F32(total as f32);
        }
    }
}

/// Small programs with every kind of access.
const PROGRAMS: &[&str] = &[
    "x = input f32[N,21]\ny = gelu x\nreturn y",
    "x = input f32[N,21]\nb = input f32[21]\ny = mul (add x b) (tanh b)\nreturn y",
    "x = input f32[N,21]\ny = sum @1 (square x)\nreturn y",
    "x = input f32[N,21]\ny = sum @0 x\nz = max @0 x\nreturn y, z",
    "x = input f32[N,21]\ny = softmax @1 x\nreturn y",
    "x = input f32[N,21]\ng = input f32[21]\nb = input f32[21]\ny = layer_norm @1 eps=1e-5 x g b\nreturn y",
    "x = input f32[N,21]\ng = input f32[21]\ny = rms_norm @1 eps=1e-5 x g\nreturn y",
    "x = input f32[N,3,7]\ny = standardize @0,2 eps=1e-5 x\nreturn y",
    "x = input f32[N,6,40]\ng = input f32[6,1]\nu = standardize @2,3 eps=1e-5 (reshape [N,3,2,40] x)\n\
     y = mul (reshape [N,6,40] u) g\nreturn y",
    "x = input f32[N,3,21]\ny = softmax @1,2 x\nz = sum @0,2 y\nreturn y, z",
    "x = input f32[N,6]\ny = exp (transpose @1,0 x)\nreturn y",
    "x = input f32[N,6]\ny = pad axis=1 low=1 high=2 interior=1 (tanh x)\nreturn y",
    "x = input f32[N,6]\ny = concat axis=1 x (exp x)\nreturn y",
    "x = input f32[N,6]\ny = mul (flip @0 x) (slice axis=1 start=0 length=6 stride=1 x)\nreturn y",
    "x = input f32[N,6]\ny = logsumexp @0,1 x\nz = select (lt x 0.0) x y\nreturn z",
];

#[test]
fn interpreted_kernels_and_machine_code_agree() {
    for text in PROGRAMS {
        let forward = parse(text, "test.ek").unwrap_or_else(|error| panic!("{error}"));
        let wrt = forward.inputs().len();
        for graph in [with_gradients(&forward, wrt), forward] {
            for batch in [1, 5, 450] {
                agree(text, &graph, batch);
            }
        }
    }
}

fn agree(text: &str, graph: &Graph, batch: u64) {
    let of = |(i, input): (usize, &evenkeel_ir::Input)| numbers(&input.ty.shape.at(batch), i as u64);
    let inputs: Vec<Tensor> = graph.inputs().iter().enumerate().map(of).collect();
    let want = interpreted(graph, &inputs, batch);
    let got = run_compiled(graph, &inputs, &Options::default());
    for (k, (got, want)) in got.iter().zip(&want).enumerate() {
        let scale = want.iter().fold(1.0, |a: f64, x| a.max(x.abs()));
        for (i, (got, want)) in got.to_f64s().iter().zip(want).enumerate() {
            let close = (got - want).abs() <= 4e-6 * scale;
            assert!(close, "batch {batch}, output {k}, element {i}: {got} for {want}\n{text}\n{graph}");
        }
    }
}

/// The lowered kernels of a graph as text.
fn listing(text: &str, gradients: bool) -> String {
    let forward = parse(text, "test.ek").unwrap_or_else(|error| panic!("{error}"));
    let wrt = forward.inputs().len();
    let graph = if gradients { with_gradients(&forward, wrt) } else { forward };
    let compiled = compile(&graph, &evenkeel::host::host_target(1), &Options::default()).unwrap();
    compiled.report.kernels.iter().map(|kernel| kernel.listing.as_str()).collect::<Vec<_>>().join("\n")
}

/// How the kernels of a graph are looped.
fn scheduled(text: &str) -> String {
    let graph = expand(&parse(text, "test.ek").unwrap_or_else(|error| panic!("{error}")));
    let plan = plan(&graph, &fuse(&graph, true), &[]);
    let schedules = plan.kernels.iter().map(|kernel| schedule(&kernel.kernel, 64).to_string());
    schedules.collect::<Vec<_>>().join("\n")
}

/// Divisions of the kernels of a graph, by phase.
fn divisions(text: &str) -> String {
    let listing = listing(text, false);
    let lines = listing.lines().filter(|line| line.contains("= div")).map(str::trim);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_row_is_divided_by_its_root_once() {
    let root = "x = input f32[N,64]\ny = input f32[N,64]\nreturn div y (sqrt (sum @1 x))";
    insta::assert_snapshot!(divisions(root), @"phase 1: %5 = div %4, %3");
    let raised = "x = input f32[N,64]\ny = input f32[N,64]\nreturn div y (add (sqrt (sum @1 x)) 1e-6)";
    insta::assert_snapshot!(divisions(raised), @"phase 1: %6 = div %5, %4");
    // the inverse of a sum may overflow where the quotient does not
    let sum = "x = input f32[N,64]\nreturn div x (sum @1 x)";
    insta::assert_snapshot!(divisions(sum), @"phase 1: %2 = div %0, %1");
    // so may the inverse of a number of the row, but a quotient is never worse than a product with it
    let inverse = "x = input f32[N,64]\nd = input f32[N,64]\nreturn mul x (recip d)";
    insta::assert_snapshot!(divisions(inverse), @"phase 0: %3 = div %0, %1");
}

#[test]
fn sums_of_long_rows_follow_maxima_in_one_loop() {
    let spelled = "x = input f32[N,32000]\nm = max @1 x\nreturn sum @1 (exp (sub x m))";
    insta::assert_snapshot!(scheduled(spelled), @"lanes along axis 1, vectors of 64 bytes, 4 and 1 per step, phases 0 and 1 together by 16 vectors");
    insta::assert_snapshot!(scheduled("x = input f32[N,100]\nreturn logsumexp @1 x"), @"lanes along axis 1, vectors of 64 bytes, 4 and 1 per step");
    // not a function of the maximum and what it is the maximum of
    let other = "x = input f32[N,32000]\nm = max @1 (neg x)\nreturn sum @1 (exp (sub x m))";
    insta::assert_snapshot!(scheduled(other), @"lanes along axis 1, vectors of 64 bytes, 4 and 1 per step");
    let weighted = "x = input f32[N,32000]\nm = max @1 x\nreturn sum @1 (mul x (exp (sub x m)))";
    insta::assert_snapshot!(scheduled(weighted), @"lanes along axis 1, vectors of 64 bytes, 4 and 1 per step");
    // a sum of the same phase that follows nothing
    let mixed =
        "x = input f32[N,32000]\nm = max @1 x\ny = sub x m\nreturn e=sum @1 (exp y), s=sum @1 (square y)";
    insta::assert_snapshot!(scheduled(mixed), @"lanes along axis 1, vectors of 64 bytes, 4 and 1 per step");
}

#[test]
fn a_sum_that_cannot_follow_a_maximum_is_refused() {
    let text = "x = input f32[N,64]\ny = input f32[N,64]\nm = max @1 x\n\
                return e=sum @1 (exp (sub x m)), y=sum @1 (mul y (sub x m))";
    let graph = expand(&parse(text, "test.ek").unwrap_or_else(|error| panic!("{error}")));
    let kernel = plan(&graph, &fuse(&graph, true), &[]).kernels[0].kernel.clone();
    let follows: Vec<Option<u32>> = kernel.reductions.iter().map(|reduction| reduction.follows).collect();
    assert_eq!(follows, [None, Some(0), None]);
    let verified = |sum: usize, maximum: u32| {
        let mut kernel = kernel.clone();
        kernel.reductions[sum].follows = Some(maximum);
        kernel.verify()
    };
    assert_eq!(verified(1, 0), Ok(()));
    // what reads more than the maximum and its argument, a sum, what comes later, a maximum itself
    for (sum, maximum) in [(2, 0), (2, 1), (1, 2), (0, 0)] {
        let refused = verified(sum, maximum).expect_err("no sum of a function of the maximum");
        assert!(refused.ends_with(&format!("reduction {sum} cannot follow a maximum")), "{refused}");
    }
}

const LAYER_NORM: &str =
    "x = input f32[N,64]\ng = input f32[64]\nb = input f32[64]\ny = layer_norm @1 eps=1e-5 x g b\nreturn y";

#[test]
fn layer_norm_forward_reads_like_this() {
    insta::assert_snapshot!(listing(LAYER_NORM, false));
}

#[test]
fn layer_norm_with_gradients_reads_like_this() {
    insta::assert_snapshot!(listing(LAYER_NORM, true));
}

#[test]
fn softmax_reads_like_this() {
    insta::assert_snapshot!(listing("x = input f32[N,64]\ny = softmax @1 x\nreturn y", false));
}

#[test]
fn gelu_reads_like_this() {
    insta::assert_snapshot!(listing("x = input f32[N,64]\ny = gelu x\nreturn y", false));
}

#[test]
fn a_reduction_over_rows_reads_like_this() {
    insta::assert_snapshot!(listing("x = input f32[N,64]\ny = sum @0 (square x)\nreturn y", false));
}
