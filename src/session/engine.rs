//! The one place where graphs meet devices: compiles a graph and runs it on tensors.
//!
//! Invariant: an engine computes the same function on every device; which outputs replace inputs
//! is decided when it is made.
//!
//! Not here: which tensors those are (`train::step`, `session::jit`).

use super::device::Device;
use super::origin::Origin;
use crate::error::Error;
use evenkeel_compiler::rewrite::Rules;
use evenkeel_compiler::rewrite::rule::Tier;
use evenkeel_compiler::{Costs, Options};
use evenkeel_ir::eval::{check_memory, eval_at};
use evenkeel_ir::{EvalError, Graph, Literal, Program, TensorType, bind_batch};
use evenkeel_runtime::{Argument, Tensor};
use std::time::Duration;

/// How to compile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) device: Device,
    /// Threads to run on; all of the computer's when not given.
    pub(crate) threads: Option<usize>,
    /// Rewrite rules.
    pub(crate) rules: Rules,
    /// How far rewriting may change results in floating point.
    pub(crate) float: Tier,
    /// What work costs where the program will run.
    pub(crate) costs: Costs,
}

impl Setup {
    /// What of it the compiler is told.
    pub(crate) fn options(&self) -> Options {
        Options {
            rules: self.rules.clone(),
            float: self.float,
            costs: self.costs.clone(),
            ..Options::default()
        }
    }
}

/// The methods of a builder that change its [`Setup`], which is at `self.$setup`.
macro_rules! setup_methods {
    ($($setup:ident).+) => {
        /// Where to run; this computer by default.
        pub fn device(mut self, device: crate::session::Device) -> Self {
            self.$($setup).+.device = device;
            self
        }

        /// How many threads to run on; all cores by default.
        pub fn threads(mut self, threads: usize) -> Self {
            self.$($setup).+.threads = Some(threads);
            self
        }

        /// Rewrites by these rules; by the standard ones by default. See
        /// [`rewrite`](crate::rewrite).
        pub fn rules(mut self, rules: &evenkeel_compiler::rewrite::Rules) -> Self {
            self.$($setup).+.rules = rules.clone();
            self
        }

        /// How far rewriting may change results in floating point: up to this tier,
        /// [`Tier::Finite`](crate::rewrite::Tier::Finite) by default.
        pub fn float(mut self, tier: crate::rewrite::Tier) -> Self {
            self.$($setup).+.float = tier;
            self
        }

        /// Rewrites for a machine with these costs, such as those that
        /// [`Profile::costs`](crate::bench::Profile::costs) reads from a calibration; for a fixed
        /// reference by default, so that a program does not depend on the machine that compiles it.
        pub fn costs(mut self, costs: crate::bench::Costs) -> Self {
            self.$($setup).+.costs = costs;
            self
        }
    };
}
pub(crate) use setup_methods;

/// A compiled graph, callable from many threads.
pub(crate) enum Engine {
    Interp(Interp),
    Cpu(Box<super::native::Native>),
}

/// A graph that the interpreter runs.
pub(crate) struct Interp {
    graph: Graph,
    /// For every output, the input it replaces.
    replaces: Vec<Option<usize>>,
}

impl Engine {
    /// Compiles a graph of some origin; `updates` are outputs that replace inputs, as
    /// `(output, input)`.
    pub(crate) fn compile(
        graph: &Graph,
        origin: &Origin,
        updates: &[(usize, usize)],
        setup: &Setup,
    ) -> Result<Engine, Error> {
        match setup.device {
            Device::Interp => Ok(Engine::Interp(Interp::new(graph, updates))),
            Device::Cpu => {
                Ok(Engine::Cpu(Box::new(super::native::Native::compile(graph, origin, updates, setup)?)))
            }
        }
    }

    /// What the compiler did; nothing for the interpreter.
    pub(crate) fn report(&self) -> Option<&evenkeel_compiler::Report> {
        match self {
            Engine::Interp(_) => None,
            Engine::Cpu(native) => Some(native.report()),
        }
    }

    /// What became of the graph, which was compiled.
    pub(crate) fn explain(&self, graph: &Graph) -> String {
        match self {
            Engine::Interp(interp) => {
                format!("interpreter: {} nodes, one by one, in f64\n", interp.graph.nodes().len())
            }
            Engine::Cpu(native) => native.explain(graph),
        }
    }

    /// The compiled program; nothing for the interpreter.
    pub(crate) fn program(&self) -> Option<&Program> {
        match self {
            Engine::Interp(_) => None,
            Engine::Cpu(native) => Some(native.program()),
        }
    }

    /// Runs on arguments in input order. Outputs that replace inputs are written into them; the
    /// others go to `outputs`, in order. `times` gets the time of every step of the program.
    pub(crate) fn run(
        &self,
        arguments: &mut [Argument<'_>],
        outputs: &mut Vec<Tensor>,
        times: Option<&mut Vec<Duration>>,
    ) -> Result<(), Error> {
        match self {
            Engine::Interp(interp) => interp.run(arguments, outputs),
            Engine::Cpu(native) => native.run(arguments, outputs, times),
        }
    }
}

/// The tensor behind an argument.
pub(crate) fn tensor<'a>(argument: &'a Argument<'_>) -> &'a Tensor {
    match argument {
        Argument::In(tensor) => tensor,
        Argument::InOut(tensor) => tensor,
    }
}

/// An emptied vector for arguments of another lifetime; its memory is kept.
pub(crate) fn recycle<'a>(mut arguments: Vec<Argument<'_>>) -> Vec<Argument<'a>> {
    arguments.clear();
    arguments.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}

/// Arguments as values of the interpreter, and the batch size that fits them.
pub(crate) fn literals(graph: &Graph, arguments: &[Argument<'_>]) -> Result<(Vec<Literal>, u64), EvalError> {
    let types: Vec<TensorType> = arguments.iter().map(|argument| tensor(argument).ty()).collect();
    let batch = bind_batch(graph.inputs().iter().map(|input| (input.name.as_str(), &input.ty)), &types)?;
    Ok((arguments.iter().map(|argument| tensor(argument).to_literal()).collect(), batch))
}

/// Checks the number of a user's arguments, which stand after `before` inputs of the graph that
/// the user does not pass and before `after` such ones; `found` counts them all.
pub(crate) fn check_count(graph: &Graph, before: usize, after: usize, found: usize) -> Result<(), EvalError> {
    let count = graph.inputs().len();
    if found == count {
        return Ok(());
    }
    let own = before + after;
    Err(EvalError::Count { expected: count - own, found: found - own })
}

impl Interp {
    fn new(graph: &Graph, updates: &[(usize, usize)]) -> Interp {
        let mut replaces = vec![None; graph.outputs().len()];
        updates.iter().for_each(|&(output, input)| replaces[output] = Some(input));
        Interp { graph: graph.clone(), replaces }
    }

    fn run(&self, arguments: &mut [Argument<'_>], outputs: &mut Vec<Tensor>) -> Result<(), Error> {
        let (inputs, batch) = literals(&self.graph, arguments)?;
        check_memory(&self.graph, batch)?;
        outputs.clear();
        for (value, replaces) in eval_at(&self.graph, &inputs, batch).iter().zip(&self.replaces) {
            let new = Tensor::from_literal(value);
            match replaces.map(|input| &mut arguments[input]) {
                Some(Argument::InOut(old)) => **old = new,
                Some(Argument::In(_)) => unreachable!("callers pass what is replaced as InOut"),
                None => outputs.push(new),
            }
        }
        Ok(())
    }
}
