//! Machine code for this computer: the compiler and the runtime behind one value.

use super::engine::Setup;
use super::memo;
use super::origin::Origin;
use super::traced::tapped;
use crate::error::Error;
use crate::host::host_target;
use evenkeel_compiler::{Options, Report};
use evenkeel_ir::{Graph, Program};
use evenkeel_runtime::{Argument, Executable, Gang, Tensor};
use std::time::Duration;

/// A graph as machine code.
pub(crate) struct Native {
    executable: Executable,
    report: Report,
    origin: Origin,
}

impl Native {
    pub(crate) fn compile(
        graph: &Graph,
        origin: &Origin,
        updates: &[(usize, usize)],
        setup: &Setup,
    ) -> Result<Native, Error> {
        let names = graph.outputs().iter().enumerate();
        let taps = names.filter(|(_, (name, _))| tapped(name).is_some()).map(|(output, _)| output).collect();
        let options = Options { updates: updates.to_vec(), taps, ..setup.options() };
        let threads = setup.threads.map_or_else(Gang::threads_from_env, Ok)?;
        let mut compiled = memo::compile(graph, &host_target(threads), &options)?;
        origin.complete(&mut compiled.report);
        let executable = Executable::load(compiled.program, threads)?;
        Ok(Native { executable, report: compiled.report, origin: origin.clone() })
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn run(
        &self,
        arguments: &mut [Argument<'_>],
        outputs: &mut Vec<Tensor>,
        times: Option<&mut Vec<Duration>>,
    ) -> Result<(), Error> {
        let ran = match times {
            None => self.executable.run(arguments, outputs),
            Some(times) => self.executable.run_timed(arguments, outputs, times),
        };
        Ok(ran?)
    }

    pub(crate) fn program(&self) -> &Program {
        self.executable.program()
    }

    /// What the compiler made of the graph, region by region.
    pub(crate) fn explain(&self, graph: &Graph) -> String {
        // rewriting that has succeeded before succeeds again
        self.origin.explain(&self.report, graph).unwrap_or_else(|_| self.report.clone()).to_string()
    }
}
