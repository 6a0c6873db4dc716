//! What happened to a graph before the compiler got it: tracing, recognition, differentiation.

use crate::error::Error;
use evenkeel_compiler::Report;
use evenkeel_compiler::rewrite::{Found, recognize};
use evenkeel_ir::Graph;
use std::time::{Duration, Instant};

/// The history of a graph, for reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    found: Vec<Found>,
    stages: Vec<(&'static str, Duration)>,
}

impl Origin {
    /// Notes the time of a stage.
    pub(crate) fn took(&mut self, name: &'static str, time: Duration) {
        self.stages.push((name, time));
    }

    /// Runs a stage and notes its time.
    pub(crate) fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let clock = Instant::now();
        let result = work();
        self.took(name, clock.elapsed());
        result
    }

    /// The graph in terms of named ops: what is differentiated and what every device runs.
    pub(crate) fn recognize(&mut self, graph: &Graph) -> Result<Graph, Error> {
        let recognized = self.stage("recognize", || recognize(graph))?;
        self.found.extend(recognized.found);
        Ok(recognized.graph)
    }

    /// The report of a compilation with this history before it.
    pub(crate) fn complete(&self, report: &mut Report) {
        report.stages.splice(0..0, self.stages.iter().copied());
        report.recognized.splice(0..0, self.found.iter().map(Found::to_string));
    }
}
