//! Where the time of a program goes: its steps, in order, with the shortest time of each.

use crate::error::Error;
use crate::nn::Parameters;
use crate::session::Tensors;
use crate::train::Step;
use evenkeel_compiler::Report;
use evenkeel_ir::program::{Program, Step as ProgramStep};
use evenkeel_ir::{Graph, bind_batch};
use std::time::{Duration, Instant};

/// How many kernels of a step are named.
const SHOWN: usize = 2;

/// The time of one step of a program.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepTime {
    /// What it does: `kernel g0_add`, `product v7`, `product v7 with g3_gelu`, `combine`, ...; of many
    /// kernels the first two.
    pub name: String,
    /// Shortest time, in microseconds.
    pub micros: f64,
    /// Bytes that a kernel reads and writes; 0 for other steps.
    pub bytes: u64,
}

impl StepTime {
    /// What kind of step it is: `kernel`, `product`, `product with kernel`, `combine`, `copy` or `fill`.
    pub fn kind(&self) -> &str {
        match self.name.split_once(' ') {
            Some(("product", rest)) if rest.contains(" with ") => "product with kernel",
            Some((kind, _)) => kind,
            None => &self.name,
        }
    }

    /// Keeps the shorter times.
    pub(super) fn shorten(steps: &mut [StepTime], times: &[Duration]) {
        for (step, time) in steps.iter_mut().zip(times) {
            step.micros = step.micros.min(time.as_secs_f64() * 1e6);
        }
    }
}

/// The steps of a program with their names, not yet measured.
pub(super) fn named(program: &Program, report: &Report, batch: u64) -> Vec<StepTime> {
    let mut kernels = report.kernels.iter();
    let mut named = |step: &ProgramStep| {
        let own: Vec<_> = kernels.by_ref().take(step.launches().count()).collect();
        let bytes = own.iter().map(|kernel| kernel.bytes.at(batch)).sum();
        let mut around = own.iter().take(SHOWN).map(|kernel| &kernel.name[..]).collect::<Vec<_>>().join(", ");
        if own.len() > SHOWN {
            around += &format!(" and {} more", own.len() - SHOWN);
        }
        let name = match step {
            ProgramStep::Kernels(_) => format!("kernel {around}"),
            ProgramStep::Product(panels) if own.is_empty() => format!("product {}", panels.product.name),
            ProgramStep::Product(panels) => format!("product {} with {around}", panels.product.name),
            ProgramStep::Combine(_) => "combine".into(),
            ProgramStep::Copy { .. } => "copy".into(),
            ProgramStep::Zero { .. } => "fill".into(),
        };
        StepTime { name, micros: f64::INFINITY, bytes }
    };
    program.steps.iter().map(&mut named).collect()
}

/// Trains on the batch for about `budget`, twice at least, and gives the shortest time of every step
/// of the program in the order in which they run; nothing on the interpreter. Reading the clock
/// between steps adds some 0.05 microseconds to each.
///
/// # Errors
/// Those of [`Step::run`].
///
/// # Examples
/// ```
/// use evenkeel::bench::steps;
/// use evenkeel::prelude::*;
/// use std::time::Duration;
///
/// let model = Linear::new(&mut Rng::seed(0), 8, 4);
/// let batch = (Tensor::full(&[16, 8], 1f32), Tensor::full(&[16, 4], 2f32));
/// let loss = |m: &Linear, (x, y): (Var, Var)| m.forward(x).mse(y);
/// let mut step = train_step(model, Sgd::new(0.1), loss).compile(&batch)?;
/// for step in steps(&mut step, &batch, Duration::from_millis(2))? {
///     println!("{:8.2} us {}", step.micros, step.name);
/// }
/// # Ok::<(), evenkeel::Error>(())
/// ```
pub fn steps<M: Parameters>(
    step: &mut Step<M>,
    batch: &impl Tensors,
    budget: Duration,
) -> Result<Vec<StepTime>, Error> {
    let (start, mut times) = (Instant::now(), Vec::new());
    step.run_timed(batch, Some(&mut times))?;
    let (Some(program), Some(report)) = (step.program(), step.report()) else { return Ok(Vec::new()) };
    let mut steps = named(program, report, batch_size(step.graph(), batch)?);
    loop {
        step.run_timed(batch, Some(&mut times))?;
        StepTime::shorten(&mut steps, &times);
        if start.elapsed() >= budget {
            return Ok(steps);
        }
    }
}

/// The batch size of tensors, which are the inputs of a step before the last one.
fn batch_size(graph: &Graph, batch: &impl Tensors) -> Result<u64, Error> {
    let mut types = Vec::new();
    batch.visit(&mut |tensor| types.push(tensor.ty()));
    let before = graph.inputs().len().saturating_sub(1 + types.len());
    let declared = graph.inputs()[before..].iter().map(|input| (input.name.as_str(), &input.ty));
    Ok(bind_batch(declared.take(types.len()), &types)?)
}
