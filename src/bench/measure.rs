//! Measuring a graph: how long a call takes, beside a copy and beside its ops one by one.

use super::steps::{StepTime, named};
use super::timing::{Clock, REPETITIONS, Timing};
use crate::error::Error;
use crate::host::host_target;
use crate::session::engine::Setup;
use crate::session::memo::compile;
use crate::session::origin::Origin;
use crate::session::{float_inputs, forget_programs, vjp_graph};
use evenkeel_compiler::{Costs, Options, Report};
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
#[derive(Clone, Debug)]
pub struct Setting {
    /// Threads of the compiled program; the copy runs on one.
    pub threads: usize,
    /// About how long to measure.
    pub budget: Duration,
    /// What work costs, for the compiler.
    pub costs: Costs,
}

/// The figures of one graph.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Name of the graph.
    pub name: String,
    /// Threads that it ran on.
    pub threads: usize,
    /// How long a call takes.
    pub timing: Timing,
    /// Bytes of inputs and outputs.
    pub bytes: usize,
    /// Shortest time of a copy that moves as many bytes, in microseconds.
    pub copy_micros: f64,
    /// Shortest time with every op a kernel of its own, in microseconds.
    pub unfused_micros: f64,
    /// From the graph as written to loaded code, when no program is remembered.
    pub compile: Duration,
    /// The same when the program is remembered, the shortest of three times.
    pub recompile: Duration,
    /// Its steps, in order.
    pub steps: Vec<StepTime>,
    /// What the compiler did, with times per stage.
    pub report: Report,
}

impl Measurement {
    /// Bytes of inputs and outputs per nanosecond.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.timing.gigabytes_per_second(self.bytes)
    }

    /// Speed as a fraction of the copy's.
    pub fn of_copy(&self) -> f64 {
        self.copy_micros / self.timing.micros()
    }

    /// How many times slower the unfused program is.
    pub fn over_unfused(&self) -> f64 {
        self.unfused_micros / self.timing.micros()
    }
}

/// Recognizes, differentiates, compiles and measures a case. Programs that the process has compiled
/// before are [forgotten](forget_programs).
///
/// The fused program, a copy of as many bytes on one thread and the unfused program take turns, each
/// for a while, so that each finds its data where it left them.
///
/// # Errors
/// A graph that cannot be differentiated or does not compile; inputs that memory cannot hold.
pub fn measure(case: &Case, setting: &Setting) -> Result<Measurement, Error> {
    let Setting { threads, budget, ref costs } = *setting;
    let options = |fuse| Options { fuse, costs: costs.clone(), ..Options::default() };
    forget_programs();
    let fused = Loaded::compile(case, threads, &options(true))?;
    let mut recompile = Duration::MAX;
    for _ in 0..3 {
        recompile = recompile.min(Loaded::compile(case, threads, &options(true))?.took);
    }
    let unfused = Loaded::compile(case, threads, &options(false))?;
    check_memory(&fused.graph, case.batch)?;
    let inputs = inputs(&fused.graph, case.batch);
    let (compile, report) = (fused.took, fused.report);
    let (mut fused, mut unfused) =
        (Runner::new(fused.executable, &inputs), Runner::new(unfused.executable, &inputs));
    fused.run()?;
    let bytes: usize = inputs.iter().chain(&fused.outputs).map(|t| t.bytes().len()).sum();
    let (from, mut to) = (vec![1u8; bytes / 2], vec![0u8; bytes / 2]);
    let mut copying = || -> Result<(), Error> {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        Ok(())
    };
    let (mut copy, mut own) = (Clock::of(&mut copying)?, Clock::of(|| fused.run())?);
    let mut slow = Clock::of(|| unfused.run())?;
    let (mut repetitions, mut steps) = (Vec::new(), named(fused.executable.program(), &report, case.batch));
    for _ in 0..REPETITIONS {
        own.best = f64::INFINITY;
        own.run_for(budget / (2 * REPETITIONS), || fused.run())?;
        repetitions.push(own.best);
        copy.run_for(budget / (6 * REPETITIONS), &mut copying)?;
        slow.run_for(budget / (6 * REPETITIONS), || unfused.run())?;
        let start = Instant::now();
        fused.time(&mut steps)?;
        while start.elapsed() < budget / (6 * REPETITIONS) {
            fused.time(&mut steps)?;
        }
    }
    Ok(Measurement {
        name: case.name.clone(),
        threads,
        timing: Timing { repetitions },
        bytes,
        copy_micros: copy.best,
        unfused_micros: slow.best,
        compile,
        recompile,
        steps,
        report,
    })
}

/// A compiled case and how long that took.
pub(super) struct Loaded {
    pub(super) graph: Graph,
    pub(super) executable: Executable,
    report: Report,
    took: Duration,
}

impl Loaded {
    pub(super) fn compile(case: &Case, threads: usize, options: &Options) -> Result<Loaded, Error> {
        let clock = Instant::now();
        let mut origin = Origin::default();
        let mut graph = origin.recognize(&case.graph, &Setup::default())?;
        if case.gradients {
            graph = origin.stage("grad", || vjp_graph(&graph, &float_inputs(&graph)))?;
        }
        let compiled = compile(&graph, &host_target(threads), options)?;
        let executable = Executable::load(compiled.program, threads)?;
        let took = clock.elapsed();
        let mut report = compiled.report;
        origin.complete(&mut report);
        Ok(Loaded { graph, executable, report, took })
    }
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
    Ok(super::time(|| runner.run(), budget)?.micros())
}

/// Asks for memory for the inputs, which are made as f64 first, and for the copy.
fn check_memory(graph: &Graph, batch: u64) -> Result<(), RuntimeError> {
    let bytes = |input: &evenkeel_ir::Input| input.ty.shape.elements().at(batch).saturating_mul(24);
    let bytes = graph.inputs().iter().map(bytes).fold(0, u64::saturating_add);
    if can_allocate(bytes) { Ok(()) } else { Err(RuntimeError::Memory { bytes }) }
}

/// An executable with its arguments.
pub(super) struct Runner<'a> {
    executable: Executable,
    arguments: Vec<Argument<'a>>,
    pub(super) outputs: Vec<Tensor>,
    times: Vec<Duration>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(executable: Executable, inputs: &'a [Tensor]) -> Runner<'a> {
        let arguments = inputs.iter().map(Argument::In).collect();
        Runner { executable, arguments, outputs: Vec::new(), times: Vec::new() }
    }

    pub(super) fn run(&mut self) -> Result<(), Error> {
        Ok(self.executable.run(&mut self.arguments, &mut self.outputs)?)
    }

    /// Runs once and keeps the shorter times.
    fn time(&mut self, steps: &mut [StepTime]) -> Result<(), Error> {
        self.executable.run_timed(&mut self.arguments, &mut self.outputs, &mut self.times)?;
        StepTime::shorten(steps, &self.times);
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
