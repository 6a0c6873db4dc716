//! What is to be measured.

use super::super::{Failure, input};
use super::Args;
use crate::bench::models::{Workload, workloads};
use crate::bench::{CROWD, Case, Fresh, Kind, Layer, fresh, layers, shapes_of};
use crate::session::float_inputs;
use std::path::Path;

/// Rows and columns where only the other is given.
const SHAPE: [u64; 2] = [2048, 768];

/// One thing to measure.
pub(super) enum Job {
    /// A layer or a text graph.
    Case(Case),
    /// A model.
    Workload(&'static Workload),
    /// A compilation in fresh processes.
    Fresh(&'static Fresh),
    /// A layer beside a process that runs it too.
    Crowd,
}

impl Job {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Job::Case(case) => &case.name,
            Job::Workload(workload) => workload.name,
            Job::Fresh(fresh) => fresh.name,
            Job::Crowd => CROWD,
        }
    }
}

/// What the arguments ask for, in their order; everything by default.
pub(super) fn jobs(args: &Args) -> Result<Vec<Job>, Failure> {
    if args.what.is_empty() {
        return named(args, |_| true);
    }
    let mut jobs = Vec::new();
    for what in &args.what {
        if what.ends_with(".ek") {
            jobs.extend(of_file(what, args.rows.unwrap_or(SHAPE[0]))?);
            continue;
        }
        let others = || workloads().iter().map(|w| w.name).chain(fresh().iter().map(|f| f.name));
        let names = || layers().iter().map(|layer| layer.name).chain(others()).chain([CROWD]);
        let exact = names().any(|name| name == what);
        let found = named(args, |name| name == what || (!exact && name.contains(what.as_str())))?;
        if found.is_empty() {
            let there = if own_shape(args).is_some() { " over rows" } else { "" };
            let all = names().collect::<Vec<_>>().join(", ");
            let text =
                format!("nothing built in{there} is named {what}; there are {all}; a text graph ends in .ek");
            return Err(Failure::Input(text));
        }
        jobs.extend(found);
    }
    Ok(jobs)
}

/// Built-in layers and models of some names.
fn named(args: &Args, wanted: impl Fn(&str) -> bool) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    for layer in layers().iter().filter(|layer| wanted(layer.name)) {
        for shape in shapes(layer, args) {
            for gradients in [false, true] {
                jobs.push(Job::Case(layer.case(&shape, gradients)?));
            }
        }
    }
    if own_shape(args).is_none() {
        jobs.extend(workloads().iter().filter(|workload| wanted(workload.name)).map(Job::Workload));
        jobs.extend(fresh().iter().filter(|fresh| wanted(fresh.name)).map(Job::Fresh));
        jobs.extend(wanted(CROWD).then_some(Job::Crowd));
    }
    Ok(jobs)
}

/// The shape that the arguments give.
fn own_shape(args: &Args) -> Option<[u64; 2]> {
    let given = args.rows.is_some() || args.columns.is_some();
    given.then(|| [args.rows.unwrap_or(SHAPE[0]), args.columns.unwrap_or(SHAPE[1])])
}

/// The shapes that a layer is measured at; the user's is for layers over rows.
fn shapes(layer: &Layer, args: &Args) -> Vec<Vec<u64>> {
    let count = if args.quick { 1 } else { usize::MAX };
    match own_shape(args) {
        Some(_) if layer.kind == Kind::Image => Vec::new(),
        Some(own) => vec![own.to_vec()],
        None => shapes_of(layer.kind).iter().take(count).map(|shape| shape.to_vec()).collect(),
    }
}

/// A text graph forward, and with gradients where it has float inputs and results.
fn of_file(path: &str, batch: u64) -> Result<Vec<Job>, Failure> {
    let graph = input::graph(Path::new(path))?;
    let floats = graph.output_types().all(|ty| ty.dtype.is_float());
    let differentiable = floats && !float_inputs(&graph).is_empty();
    let case = |gradients: bool| {
        let name = if gradients { format!("{path} fwd+bwd") } else { path.to_string() };
        Job::Case(Case { name, graph: graph.clone(), gradients, batch })
    };
    Ok([false, true].into_iter().filter(|gradients| !gradients || differentiable).map(case).collect())
}
