//! What happened to a graph before the compiler got it: tracing, recognition, folds,
//! differentiation.

use super::engine::Setup;
use crate::error::Error;
use evenkeel_compiler::fold::lint::{Lint, lint};
use evenkeel_compiler::fold::{Fold, Folded, Refused, fold};
use evenkeel_compiler::rewrite::{Found, recognize_explained, recognize_with};
use evenkeel_compiler::{Options, Report};
use evenkeel_ir::Graph;
use std::time::{Duration, Instant};

/// The history of a graph, for reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The graph as it was traced.
    written: Option<(Graph, Options)>,
    found: Vec<Found>,
    pub(super) folded: Vec<Folded>,
    pub(super) refused: Vec<Refused>,
    lints: Vec<Lint>,
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
    pub(crate) fn recognize(&mut self, graph: &Graph, setup: &Setup) -> Result<Graph, Error> {
        let recognized = self.stage("recognize", || recognize_with(graph, &setup.rules, setup.float))?;
        self.found.extend(recognized.found);
        self.written = Some((graph.clone(), setup.options()));
        Ok(recognized.graph)
    }

    /// The graph after folds; its first `leaves` inputs are parameters and state of a model.
    pub(crate) fn fold(&mut self, graph: &Graph, leaves: usize, rows: &[&Fold]) -> Result<Graph, Error> {
        if rows.is_empty() {
            return Ok(graph.clone());
        }
        let parameters: Vec<usize> = (0..leaves).collect();
        let outcome = self.stage("fold", || fold(graph, &parameters, rows))?;
        self.folded.extend(outcome.folded);
        self.refused.extend(outcome.refused);
        Ok(outcome.graph)
    }

    /// Notes what normalization makes of the parameters that a loss depends on.
    pub(crate) fn lint(&mut self, loss: &Graph, parameters: &[usize], decay: bool) {
        let lints = self.stage("lint", || lint(loss, parameters, decay));
        self.lints.extend(lints);
    }

    /// The report of a compilation of `graph` with details of its regions.
    pub(crate) fn explain(&self, report: &Report, graph: &Graph) -> Result<Report, Error> {
        let Some((written, options)) = &self.written else { return Ok(report.clone()) };
        let mut explained = report.explained(graph, options)?;
        explained.recognize(written, &recognize_explained(written, &options.rules, options.float)?);
        Ok(explained)
    }

    /// The report of a compilation with this history before it.
    pub(crate) fn complete(&self, report: &mut Report) {
        report.stages.splice(0..0, self.stages.iter().copied());
        report.recognized.splice(0..0, self.found.iter().map(Found::to_string));
        report.folded.extend(self.folded.iter().map(Folded::to_string));
        report.not_folded.extend(self.refused.iter().map(Refused::to_string));
        report.lints.extend(self.lints.iter().map(Lint::to_string));
    }
}
