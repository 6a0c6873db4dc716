//! Measuring compiled graphs against this machine.
//!
//! Every figure is a ratio within one run: a copy of as many bytes, and the same graph with
//! every op a kernel of its own, are timed in alternation with the fused program. Bytes count
//! each input once and each output once. Start at [`measure`].

mod layers;
pub mod rewrite;

pub use self::layers::{Kind, Layer, layers, shapes_of};

use crate::error::Error;
use crate::host::host_target;
use crate::session::engine::Setup;
use crate::session::origin::Origin;
use crate::session::{float_inputs, vjp_graph};
use evenkeel_compiler::{Options, Report, compile};
use evenkeel_ir::program::{Program, Step};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{DType, Graph, can_allocate};
use evenkeel_runtime::{Argument, Executable, RuntimeError, Tensor};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The graph as written.
    pub graph: Graph,
    /// With the gradients of every float input.
    pub gradients: bool,
    /// The batch size `N`.
    pub batch: u64,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Threads of the compiled program; the copy runs on one.
    pub threads: usize,
    /// About how long to measure.
    pub budget: Duration,
}

/// The time of one step of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// What it does: `kernel g0_add`, `product v7`, `combine`, ...
    pub name: String,
    /// Shortest time, in microseconds.
    pub micros: f64,
    /// Bytes that a kernel reads and writes; 0 for other steps.
    pub bytes: u64,
}

/// The figures of one graph.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Name of the graph.
    pub name: String,
    /// Shortest time of a call, in microseconds.
    pub micros: f64,
    /// Bytes of inputs and outputs.
    pub bytes: usize,
    /// Shortest time of a copy that moves as many bytes, in microseconds.
    pub copy_micros: f64,
    /// Shortest time with every op a kernel of its own, in microseconds.
    pub unfused_micros: f64,
    /// Its steps, in order.
    pub steps: Vec<StepTime>,
    /// What the compiler did, with times per stage.
    pub report: Report,
}

impl Measurement {
    /// Bytes of inputs and outputs per nanosecond.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.micros / 1e3
    }

    /// Speed as a fraction of the copy's.
    pub fn of_copy(&self) -> f64 {
        self.copy_micros / self.micros
    }

    /// How many times slower the unfused program is.
    pub fn over_unfused(&self) -> f64 {
        self.unfused_micros / self.micros
    }

    /// Speed of the copy, in bytes per nanosecond.
    pub fn copy_gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.copy_micros / 1e3
    }
}

/// Recognizes, differentiates, compiles and measures a case.
///
/// # Errors
/// A graph that cannot be differentiated or does not compile; inputs that memory cannot hold.
pub fn measure(case: &Case, setting: Setting) -> Result<Measurement, Error> {
    let (Setting { threads, budget }, batch) = (setting, case.batch);
    let mut origin = Origin::default();
    let mut graph = origin.recognize(&case.graph, &Setup::default())?;
    if case.gradients {
        graph = origin.stage("grad", || vjp_graph(&graph, &float_inputs(&graph)))?;
    }
    check_memory(&graph, batch)?;
    let inputs = inputs(&graph, batch);
    let program = |fuse| compile(&graph, &host_target(threads), &Options { fuse, ..Options::default() });
    let (fused, unfused) = (program(true)?, program(false)?);
    let mut report = fused.report;
    origin.complete(&mut report);
    let mut fused = Runner::new(Executable::load(fused.program, threads)?, &inputs);
    let mut unfused = Runner::new(Executable::load(unfused.program, threads)?, &inputs);
    fused.run()?;
    unfused.run()?;
    let bytes: usize = inputs.iter().chain(&fused.outputs).map(|t| t.bytes().len()).sum();
    let (from, mut to) = (vec![1u8; bytes / 2], vec![0u8; bytes / 2]);
    let (mut own, mut copy, mut slow) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    let mut steps = fused.steps(&report, batch);
    let start = Instant::now();
    while start.elapsed() < budget || own == f64::INFINITY {
        own = own.min(micros(|| fused.run())?);
        copy = copy.min(micros(|| {
            to.copy_from_slice(std::hint::black_box(&from));
            Ok(())
        })?);
        slow = slow.min(micros(|| unfused.run())?);
        fused.time(&mut steps)?;
    }
    std::hint::black_box(&to);
    let name = case.name.clone();
    Ok(Measurement { name, micros: own, bytes, copy_micros: copy, unfused_micros: slow, steps, report })
}

/// Shortest time of a call of a program with one kernel over 8 numbers, in microseconds.
///
/// # Errors
/// None that users cause.
pub fn call_overhead(budget: Duration) -> Result<f64, Error> {
    use crate::prelude::*;
    let ty = TensorType::new(DType::F32, Shape::of(&[8]));
    let graph = trace(&[("x", ty)], |v| vec![("y", v[0] + 1.0)])?;
    let inputs = inputs(&graph, 1);
    let compiled = compile(&graph, &host_target(1), &Options::default())?;
    let mut runner = Runner::new(Executable::load(compiled.program, 1)?, &inputs);
    const CALLS: u32 = 1000;
    let (mut best, start) = (f64::INFINITY, Instant::now());
    while start.elapsed() < budget || best == f64::INFINITY {
        best = best.min(micros(|| (0..CALLS).try_for_each(|_| runner.run()))?);
    }
    Ok(best / f64::from(CALLS))
}

/// Asks for memory for the inputs, which are made as f64 first, and for the copy.
fn check_memory(graph: &Graph, batch: u64) -> Result<(), RuntimeError> {
    let bytes = |input: &evenkeel_ir::Input| input.ty.shape.elements().at(batch).saturating_mul(24);
    let bytes = graph.inputs().iter().map(bytes).fold(0, u64::saturating_add);
    if can_allocate(bytes) { Ok(()) } else { Err(RuntimeError::Memory { bytes }) }
}

fn micros(mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

struct Runner<'a> {
    executable: Executable,
    arguments: Vec<Argument<'a>>,
    outputs: Vec<Tensor>,
    times: Vec<Duration>,
}

impl<'a> Runner<'a> {
    fn new(executable: Executable, inputs: &'a [Tensor]) -> Runner<'a> {
        let arguments = inputs.iter().map(Argument::In).collect();
        Runner { executable, arguments, outputs: Vec::new(), times: Vec::new() }
    }

    fn run(&mut self) -> Result<(), Error> {
        Ok(self.executable.run(&mut self.arguments, &mut self.outputs)?)
    }

    /// The steps with their names, not yet measured.
    fn steps(&self, report: &Report, batch: u64) -> Vec<StepTime> {
        let program: &Program = self.executable.program();
        let mut kernels = report.kernels.iter();
        let mut kernel = |product: Option<&str>| {
            let kernel = kernels.next().expect("a report has every kernel");
            let name = match product {
                Some(product) => format!("product {product} with {}", kernel.name),
                None => format!("kernel {}", kernel.name),
            };
            (name, kernel.bytes.at(batch))
        };
        let named = program.steps.iter().map(|step| match step {
            Step::Kernel(_) => kernel(None),
            Step::Product { product, epilogue: Some(_) } => kernel(Some(&product.name)),
            Step::Product { product, epilogue: None } => (format!("product {}", product.name), 0),
            Step::Combine { .. } => ("combine".into(), 0),
            Step::Copy { .. } => ("copy".into(), 0),
            Step::Zero { .. } => ("fill".into(), 0),
        });
        named.map(|(name, bytes)| StepTime { name, micros: f64::INFINITY, bytes }).collect()
    }

    /// Runs once and keeps the shorter times.
    fn time(&mut self, steps: &mut [StepTime]) -> Result<(), Error> {
        self.executable.run_timed(&mut self.arguments, &mut self.outputs, &mut self.times)?;
        for (step, time) in steps.iter_mut().zip(&self.times) {
            step.micros = step.micros.min(time.as_secs_f64() * 1e6);
        }
        Ok(())
    }
}

/// Numbers in `-2..2` (integers in `0..8`) for every input, the same every time.
pub fn inputs(graph: &Graph, batch: u64) -> Vec<Tensor> {
    let one = |(number, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(batch);
        let count: usize = sizes.iter().product();
        let word = |i: usize| threefry([number as u32, 1], [i as u32, 0])[0];
        let literal = if input.ty.dtype.is_int() {
            let data = (0..count).map(|i| i64::from(word(i) % 8)).collect();
            evenkeel_ir::Literal::ints(input.ty.dtype, &sizes, data)
        } else {
            let bool = input.ty.dtype == DType::Bool;
            let number = |i: usize| f64::from(word(i)) / f64::from(u32::MAX) * 4.0 - 2.0;
            let data = (0..count).map(|i| if bool { f64::from(word(i) % 2) } else { number(i) }).collect();
            evenkeel_ir::Literal::floats(input.ty.dtype, &sizes, data)
        };
        Tensor::from_literal(&literal)
    };
    graph.inputs().iter().enumerate().map(one).collect()
}
