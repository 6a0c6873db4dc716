//! Does rewriting pay? Programs from primitives, each compiled forward and backward three ways:
//! as written, after greedy pattern matching, and by the rewriter.
//!
//! The figures are those of one run on one machine: kernels, bytes that they move, sweeps over
//! rows, time, and the worst error of any result against f64, with the first input around 0 and
//! around 100. Start at [`compare`].

use super::inputs;
use super::measure::Runner;
use super::timing::micros;
use crate::error::Error;
use crate::host::host_target;
use crate::session::{float_inputs, vjp_graph};
use evenkeel_compiler::rewrite::{greedy, recognize};
use evenkeel_compiler::{Compiled, Options, compile};
use evenkeel_ir::eval::eval;
use evenkeel_ir::{Graph, Literal, parse};
use evenkeel_runtime::{Executable, Tensor};
use std::time::{Duration, Instant};

/// How a program was rewritten.
pub const WAYS: [&str; 3] = ["as written", "greedy", "rewriter"];

/// Where the first input is centered for the second error.
const OFFSET: f32 = 100.0;

/// The batch size for which errors are measured.
const FEW: u64 = 3;

/// The programs: name, who writes them so, text. Batch `N`.
#[rustfmt::skip]
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("layer_norm one pass, gelu", "ONNX expansion, flax", "
        x = input f32[N,768]
        g = input f32[768]
        b = input f32[768]
        m = mean @1 x
        v = sub (mean @1 (mul x x)) (mul m m)
        u = add (mul (mul (sub x m) (rsqrt (add v 1e-5))) g) b
        return mul (mul u 0.5) (add 1 (erf (mul u 0.7071067811865476)))"),
    ("layer_norm as scale and shift", "TensorFlow", "
        x = input f32[N,768]
        g = input f32[1,768]
        b = input f32[1,768]
        m = mean @1 x
        v = mean @1 (square (sub x m))
        s = mul (rsqrt (add v 1e-6)) g
        return add (mul x s) (sub b (mul m s))"),
    ("rms_norm by powers, swiglu", "Llama exports", "
        x = input f32[N,768]
        h = input f32[N,768]
        g = input f32[768]
        n = mul g (mul x (pow (add (mean @1 (pow x 2)) 1e-6) -0.5))
        return mul n (div h (add 1 (exp (neg h))))"),
    ("group_norm, silu", "PyTorch decomposition", "
        x = input f32[N,8,4,49]
        g = input f32[8,4,1]
        b = input f32[8,4,1]
        m = mean @2,3 x
        v = mean @2,3 (square (sub x m))
        u = add (mul (div (sub x m) (sqrt (add v 1e-5))) g) b
        return mul u (sigmoid u)"),
    ("batch_norm one pass, relu", "Keras, channels last", "
        x = input f32[N,14,14,32]
        g = input f32[32]
        b = input f32[32]
        m = mean @0,1,2 x
        v = sub (mean @0,1,2 (square x)) (square m)
        return max (add (mul (mul (sub x m) (rsqrt (add v 1e-3))) g) b) 0"),
    ("cross entropy, unshifted", "textbook", "
        x = input f32[N,512]
        t = input f32[N,512]
        p = div (exp x) (sum @1 (exp x))
        return neg (sum @1 (mul t (log p)))"),
    ("scale_norm", "Nguyen and Salazar 2019", "
        x = input f32[N,768]
        s = input f32[1]
        return mul s (div x (sqrt (add (sum @1 (mul x x)) 1e-6)))"),
    ("evonorm_s0", "Liu et al. 2020", "
        x = input f32[N,8,4,49]
        v = input f32[8,4,1]
        g = input f32[8,4,1]
        b = input f32[8,4,1]
        m = mean @2,3 x
        s = mean @2,3 (square (sub x m))
        return add (mul (div (mul x (sigmoid (mul v x))) (sqrt (add s 1e-5))) g) b"),
    ("evonorm_b0", "Liu et al. 2020", "
        x = input f32[N,16,49]
        v = input f32[16,1]
        g = input f32[16,1]
        b = input f32[16,1]
        mb = mean @0,2 x
        sb = sqrt (add (mean @0,2 (square (sub x mb))) 1e-5)
        mi = mean @2 x
        si = sqrt (add (mean @2 (square (sub x mi))) 1e-5)
        return add (mul (div x (max sb (add (mul v x) si))) g) b"),
    ("filter response norm", "Singh and Krishnan 2019", "
        x = input f32[N,32,196]
        g = input f32[32,1]
        b = input f32[32,1]
        t = input f32[32,1]
        return max (add (mul (mul x (rsqrt (add (mean @2 (mul x x)) 1e-6))) g) b) t"),
    ("dynamic tanh by exponentials", "Zhu et al. 2025", "
        x = input f32[N,768]
        a = input f32[1]
        g = input f32[768]
        b = input f32[768]
        e = exp (mul 2 (mul a x))
        return add (mul (div (sub e 1) (add e 1)) g) b"),
    ("mean absolute deviation norm", "a user's own", "
        x = input f32[N,768]
        g = input f32[768]
        b = input f32[768]
        c = sub x (mean @1 x)
        return add (mul (div c (add (mean @1 (abs c)) 1e-5)) g) b"),
];

/// The figures of one program, one way.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the program.
    pub program: &'static str,
    /// One of [`WAYS`].
    pub way: &'static str,
    /// Kernels, and combine steps.
    pub kernels: (usize, usize),
    /// Bytes that kernels read and write.
    pub bytes: u64,
    /// Sweeps over rows, summed over kernels.
    pub phases: u32,
    /// Shortest time of a call, in microseconds.
    pub micros: f64,
    /// Time of rewriting and compiling, in milliseconds.
    pub compile_ms: f64,
    /// Worst error relative to the largest element of a result: inputs around 0, and the first
    /// around 100. Not finite where a result is not.
    pub errors: [f64; 2],
}

/// Names and sources of the programs.
pub fn programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROGRAMS.iter().map(|&(name, source, _)| (name, source))
}

/// Measures a program, by its place among [`programs`], every way in alternation for about
/// `budget`.
///
/// # Errors
/// None that users cause: the programs are fixed.
pub fn compare(place: usize, batch: u64, threads: usize, budget: Duration) -> Result<Vec<Row>, Error> {
    let (program, _, text) = PROGRAMS[place];
    let graph = parse(text, "rewrite.ek").expect("the programs are well formed");
    let built: Result<Vec<Built>, Error> = WAYS.iter().map(|way| build(&graph, way, threads)).collect();
    let built = built?;
    let reference = vjp_graph(&graph, &float_inputs(&graph))?;
    let inputs = inputs(&reference, batch);
    let mut runners = Vec::new();
    for one in &built {
        runners.push(Runner::new(Executable::load(one.compiled.program.clone(), threads)?, &inputs));
    }
    let mut times = [f64::INFINITY; 3];
    let start = Instant::now();
    while start.elapsed() < budget || times[0] == f64::INFINITY {
        for (time, runner) in times.iter_mut().zip(&mut runners) {
            *time = time.min(micros(|| runner.run())?);
        }
    }
    let row = |(one, micros): (&Built, f64)| -> Result<Row, Error> {
        let report = &one.compiled.report;
        Ok(Row {
            program,
            way: one.way,
            kernels: (report.kernels.len(), report.combines),
            bytes: report.bytes().at(batch),
            phases: report.kernels.iter().map(|kernel| kernel.phases).sum(),
            micros,
            compile_ms: one.compile_ms,
            errors: [
                error(&one.compiled, &reference, FEW, 0.0, threads)?,
                error(&one.compiled, &reference, FEW, OFFSET, threads)?,
            ],
        })
    };
    built.iter().zip(times).map(row).collect()
}

struct Built {
    way: &'static str,
    compiled: Compiled,
    compile_ms: f64,
}

fn build(graph: &Graph, way: &'static str, threads: usize) -> Result<Built, Error> {
    let clock = Instant::now();
    let forward = match way {
        "greedy" => greedy(graph)?,
        "rewriter" => recognize(graph)?.graph,
        _ => graph.clone(),
    };
    let both = vjp_graph(&forward, &float_inputs(&forward))?;
    let options = Options { rewrite: way == "rewriter", ..Options::default() };
    let compiled = compile(&both, &host_target(threads), &options)?;
    Ok(Built { way, compiled, compile_ms: clock.elapsed().as_secs_f64() * 1e3 })
}

/// The worst error of any result against f64, relative to its largest element.
fn error(
    compiled: &Compiled,
    reference: &Graph,
    batch: u64,
    offset: f32,
    threads: usize,
) -> Result<f64, Error> {
    let mut inputs = inputs(reference, batch);
    inputs[0].as_mut_slice::<f32>()?.iter_mut().for_each(|x| *x += offset);
    let literals: Vec<Literal> = inputs.iter().map(Tensor::to_literal).collect();
    let want = eval(reference, &literals)?;
    let mut runner = Runner::new(Executable::load(compiled.program.clone(), threads)?, &inputs);
    runner.run()?;
    let pairs = want.iter().zip(&runner.outputs).map(|(want, got)| (want.to_floats(), got.to_f64s()));
    Ok(pairs.map(|(want, got)| relative(&want, &got)).fold(0.0, f64::max))
}

fn relative(want: &[f64], got: &[f64]) -> f64 {
    let scale = want.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
    let worst = want.iter().zip(got).map(|(a, b)| (a - b).abs());
    worst.fold(0.0, |worst: f64, x| if x.is_nan() { f64::INFINITY } else { worst.max(x) }) / scale
}
