//! A compiled training step and the state of a run.
//!
//! Invariant: parameters, state, optimizer and step count change together or not at all. A run
//! allocates nothing once the step has seen a batch of that size and the last output is dropped.
//!
//! Start at [`Step::run`].

use super::builder::check_setting;
use super::diagnose::{Culprit, diagnose};
use super::output::{Report, StepOutput};
use super::resume::SavedAt;
use super::update::{NONFINITE, StepGraph};
use crate::error::Error;
use crate::nn::Parameters;
use crate::optim::Schedule;
use crate::session::engine::{Engine, check_count, literals, recycle};
use crate::session::{Model, Tensors};
use evenkeel_ir::Program;
use evenkeel_ir::random::fold_in;
use evenkeel_runtime::{Argument, Tensor};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where a run of training is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) schedule: Schedule,
    /// The optimizer's learning rate, which the schedule scales.
    pub(super) learning_rate: f64,
    pub(super) seed: i64,
    /// Steps taken.
    pub(super) step: u64,
}

/// A compiled training step with the model, the optimizer's state and the step count.
pub struct Step<M> {
    pub(super) model: Model<M>,
    /// The optimizer's slots and step count, in the order of the graph's inputs.
    pub(super) optimizer: Vec<Tensor>,
    pub(super) pace: Pace,
    pub(super) engine: Engine,
    /// What is compiled, kept to explain failures.
    pub(super) source: StepGraph,
    pub(super) scratch: Scratch,
    /// Where the state was saved last.
    pub(super) saved: Mutex<Option<SavedAt>>,
}

/// Memory that runs reuse.
pub(super) struct Scratch {
    arguments: Vec<Argument<'static>>,
    seed: Tensor,
    learning_rate: Tensor,
    report: Arc<Report>,
}

impl Scratch {
    pub(super) fn new(source: &StepGraph) -> Scratch {
        let reported = source.graph.outputs().len() - source.updates.len();
        let names = source.graph.outputs()[..reported].iter().map(|(name, _)| name.clone()).collect();
        Scratch {
            arguments: Vec::new(),
            seed: Tensor::scalar(0i64),
            learning_rate: Tensor::scalar(0f32),
            report: Arc::new(Report { names, values: Vec::new() }),
        }
    }

    /// Sets the numbers of a step.
    fn set(&mut self, pace: Pace) -> Result<(), Error> {
        let rate = pace.learning_rate * pace.schedule.factor(pace.step);
        check_setting("learning rate", rate, false)?;
        self.learning_rate.as_mut_slice::<f32>()?.fill(rate as f32);
        self.seed.as_mut_slice::<i64>()?.fill(fold_in(pace.seed, pace.step));
        Ok(())
    }

    /// The report to write; a new one while the user holds the last one.
    fn report(&mut self) -> &mut Report {
        if Arc::get_mut(&mut self.report).is_none() {
            self.report = Arc::new(Report { names: self.report.names.clone(), values: Vec::new() });
        }
        Arc::get_mut(&mut self.report).expect("nobody else has the new one")
    }
}

impl<M: Parameters> Step<M> {
    /// Runs one step on a batch, whose leading axis may differ from that of the example.
    ///
    /// # Errors
    /// A batch of another type; a learning rate, loss, gradient or new state that is not finite.
    /// Nothing has changed then.
    pub fn run<B: Tensors>(&mut self, batch: B) -> Result<StepOutput, Error> {
        self.run_timed(&batch, None)
    }

    /// As [`run`](Step::run); `times` gets the time of every step of the program.
    pub(crate) fn run_timed(
        &mut self,
        batch: &impl Tensors,
        times: Option<&mut Vec<Duration>>,
    ) -> Result<StepOutput, Error> {
        self.scratch.set(self.pace)?;
        self.execute(batch, times)?;
        let report = self.scratch.report.clone();
        if report.tensor(NONFINITE)?.item()? != 0.0 {
            return Err(self.nonfinite(batch));
        }
        self.pace.step += 1;
        Ok(StepOutput { report })
    }

    fn execute(&mut self, batch: &impl Tensors, times: Option<&mut Vec<Duration>>) -> Result<(), Error> {
        let mut values = std::mem::take(&mut self.scratch.report().values);
        let mut arguments = recycle(std::mem::take(&mut self.scratch.arguments));
        let mut leaves = self.model.write();
        let kept = leaves.iter_mut().chain(&mut self.optimizer).zip(&self.source.replaced);
        arguments.extend(kept.map(
            |(tensor, &replaced)| {
                if replaced { Argument::InOut(tensor) } else { Argument::In(tensor) }
            },
        ));
        arguments.push(Argument::In(&self.scratch.seed));
        let before = arguments.len();
        batch.visit(&mut |tensor| arguments.push(Argument::In(tensor)));
        arguments.push(Argument::In(&self.scratch.learning_rate));
        let ran = check_count(&self.source.graph, before, 1, arguments.len())
            .map_err(Error::from)
            .and_then(|()| self.engine.run(&mut arguments, &mut values, times));
        self.scratch.arguments = recycle(arguments);
        drop(leaves);
        self.scratch.report().values = values;
        ran
    }

    /// The error of a step that failed, from running it again in the interpreter.
    fn nonfinite(&self, batch: &impl Tensors) -> Error {
        let leaves = self.model.read();
        let mut arguments: Vec<Argument<'_>> =
            leaves.iter().chain(&self.optimizer).map(Argument::In).collect();
        arguments.push(Argument::In(&self.scratch.seed));
        batch.visit(&mut |tensor| arguments.push(Argument::In(tensor)));
        arguments.push(Argument::In(&self.scratch.learning_rate));
        let StepGraph { graph, watched, .. } = &self.source;
        let inputs = literals(graph, &arguments).ok();
        let found = inputs.and_then(|(inputs, batch)| diagnose(graph, &inputs, batch, watched));
        let unknown =
            || Culprit { what: "the loss, a gradient or a state".into(), origin: Default::default() };
        let Culprit { what, origin } = found.unwrap_or_else(unknown);
        let (place, path, checkpoint) = (origin.place, origin.path, self.last_checkpoint());
        Error::NonFinite { step: self.pace.step, what, place, path, checkpoint }
    }

    /// A handle to the model in training; whatever is made from it shares the parameters.
    pub fn model(&self) -> Model<M> {
        self.model.clone()
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.pace.step
    }

    /// The learning rate that the schedule scales.
    pub fn learning_rate(&self) -> f64 {
        self.pace.learning_rate
    }

    /// Another learning rate from the next step on, for schedules of your own; nothing is
    /// compiled again. It is not part of the saved training state.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.pace.learning_rate = learning_rate;
    }

    /// Another seed of random ops from the next step on.
    pub fn set_seed(&mut self, seed: i64) {
        self.pace.seed = seed;
    }

    /// What the compiler made of the step.
    pub fn explain(&self) -> String {
        self.engine.explain(&self.source.graph)
    }

    /// What the compiler did, with times per stage; nothing for the interpreter.
    pub fn report(&self) -> Option<&evenkeel_compiler::Report> {
        self.engine.report()
    }

    /// The compiled program; nothing for the interpreter.
    pub(crate) fn program(&self) -> Option<&Program> {
        self.engine.program()
    }

    /// The whole step as a graph: forward, backward, optimizer and guard.
    pub fn graph(&self) -> &evenkeel_ir::Graph {
        &self.source.graph
    }
}
