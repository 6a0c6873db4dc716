//! A layer of `evenkeel bench`, compiled, with its inputs.

use evenkeel::bench::{Case, inputs};
use evenkeel::host::host_target;
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_runtime::{Argument, Executable, Tensor};
use smallvec::SmallVec;

/// A program, numbers to run it on, and room for its results.
pub(crate) struct Prepared {
    pub(crate) executable: Executable,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Tensor>,
}

impl Prepared {
    /// Compiles a case for a number of threads and runs it once.
    pub(crate) fn new(case: &Case, threads: usize) -> Result<Prepared, evenkeel::Error> {
        let mut graph = recognize(&case.graph)?.graph;
        if case.gradients {
            graph = vjp_graph(&graph, &float_inputs(&graph))?;
        }
        let program = compile(&graph, &host_target(threads), &Options::default())?.program;
        let executable = Executable::load(program, threads)?;
        let mut prepared = Prepared { executable, inputs: inputs(&graph, case.batch), outputs: Vec::new() };
        prepared.run()?;
        Ok(prepared)
    }

    /// Runs the program.
    pub(crate) fn run(&mut self) -> Result<(), evenkeel::Error> {
        let mut arguments: SmallVec<[Argument<'_>; 8]> = self.inputs.iter().map(Argument::In).collect();
        Ok(self.executable.run(&mut arguments, &mut self.outputs)?)
    }

    /// Bytes of inputs and outputs.
    pub(crate) fn bytes(&self) -> usize {
        self.inputs.iter().chain(&self.outputs).map(|tensor| tensor.bytes().len()).sum()
    }
}
