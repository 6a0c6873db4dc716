//! Folding and moving normalizations: into parameters, through products, away.
//!
//! A fold is a row of [`FOLDS`]: where it applies, where it must not, the identity behind it.
//! [`fold`] runs rows over a graph until none applies and says what it did ([`Folded`]) and, for
//! every place that nearly matched, which side condition failed ([`Refused`]). Folds that change
//! parameters write the change as ops on them, so gradients flow through; [`hoist`] then takes
//! everything that depends on parameters only out of the graph, to be computed once.
//! [`lint`](lint::lint) tells what normalization makes of parameters.
//!
//! Invariant: every output of the folded graph is the same function of the inputs, up to rounding.
//!
//! Not here: recognition of spelled-out norms (`rewrite`), which must run before.

mod affine;
mod center;
mod context;
mod following;
mod formula;
mod hoist;
mod linear;
pub mod lint;
mod preceding;
mod rebuild;
mod redundant;
mod row_scale;
mod rows;
mod shared;
#[cfg(test)]
mod tests;

pub use formula::formula;
pub use hoist::{Derived, Hoisted, hoist};
pub use rows::{FOLDS, Fold};

use crate::error::CompileError;
use crate::pipeline::verified;
use context::Context;
use evenkeel_ir::{Composite, Graph, NodeId, Op, Place};
use rebuild::{Recipe, rebuild};
use rustc_hash::FxHashMap as HashMap;
use std::fmt;
use std::sync::Arc;

/// Where a node comes from, as text for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The line of the user's code.
    pub place: Option<Place>,
    /// The module that was running.
    pub path: Option<Arc<str>>,
}

impl Origin {
    /// The origin of a node.
    pub(crate) fn of(graph: &Graph, id: NodeId) -> Origin {
        let from = graph.provenance(id);
        Origin { place: from.place, path: from.path.clone() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        self.path.iter().try_for_each(|path| write!(f, " (in {path})"))
    }
}

/// A fold that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// Name of the row.
    pub rule: &'static str,
    /// What became of what.
    pub what: String,
    /// Where it was written.
    pub origin: Origin,
}

/// A place that nearly matched.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Name of the row.
    pub rule: &'static str,
    /// Which side condition failed.
    pub reason: String,
    /// Where it was written.
    pub origin: Origin,
}

impl fmt::Display for Folded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Folded { rule, what, origin } = self;
        write!(f, "{rule}{origin}: {what}")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { rule, reason, origin } = self;
        write!(f, "{rule}{origin}: {reason}")
    }
}

/// A graph after folding.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The graph; its inputs and outputs are those of the graph before.
    pub graph: Graph,
    /// What was done, in order.
    pub folded: Vec<Folded>,
    /// What nearly matched and is still there.
    pub refused: Vec<Refused>,
}

/// What one row finds in a graph.
#[derive(Default)]
pub(crate) struct Findings {
    /// New values of nodes, in terms of nodes before them.
    replacements: HashMap<NodeId, Recipe>,
    folded: Vec<(String, Origin)>,
    refused: Vec<(String, Origin)>,
}

impl Findings {
    /// Replaces the value of a node.
    fn replace(&mut self, id: NodeId, recipe: Recipe) {
        self.replacements.insert(id, recipe);
    }

    /// Notes what was done at a node.
    fn done(&mut self, graph: &Graph, id: NodeId, what: impl Into<String>) {
        self.folded.push((what.into(), Origin::of(graph, id)));
    }

    /// Notes why a node was left alone.
    fn refuse(&mut self, graph: &Graph, id: NodeId, reason: impl Into<String>) {
        self.refused.push((reason.into(), Origin::of(graph, id)));
    }
}

/// More sweeps than any chain of folds needs; every fold removes what it matched.
const SWEEPS: usize = 64;

/// Runs rows over a graph until none of them applies.
///
/// Takes and leaves a verified graph; inputs and outputs keep their order, names and types.
/// `parameters` are the positions of the inputs that are parameters or state of a model: what
/// depends on them and on constants only may be changed by a fold.
///
/// # Errors
/// Bugs of this pass.
pub fn fold(graph: &Graph, parameters: &[usize], rows: &[&Fold]) -> Result<Outcome, CompileError> {
    let mut outcome = Outcome { graph: opened(graph)?, folded: Vec::new(), refused: Vec::new() };
    for _ in 0..SWEEPS {
        outcome.refused.clear();
        let mut changed = false;
        for row in rows {
            changed |= outcome.apply(parameters, row)?;
        }
        if !changed {
            break;
        }
    }
    Ok(outcome)
}

/// The graph with norms of given statistics written out: they are affine maps.
fn opened(graph: &Graph) -> Result<Graph, CompileError> {
    let is_fixed = |op: &Op| matches!(op, Op::Composite(Composite::FixedNorm, _));
    if !graph.nodes().iter().any(|node| is_fixed(&node.op)) {
        return Ok(graph.clone());
    }
    let opened = graph.rebuilt(|b, op, operands| match op {
        Op::Composite(composite, attrs) if is_fixed(op) => {
            Ok((composite.def().decompose)(b, operands, attrs))
        }
        op => b.apply(op.clone(), operands),
    });
    opened.map_err(|source| CompileError::Pass { pass: "fold", source })
}

impl Outcome {
    /// Applies a row wherever it fits; true if it did.
    fn apply(&mut self, parameters: &[usize], row: &Fold) -> Result<bool, CompileError> {
        let Findings { replacements, folded, refused } = (row.find)(&Context::new(&self.graph, parameters));
        let rule = row.name;
        self.folded.extend(folded.into_iter().map(|(what, origin)| Folded { rule, what, origin }));
        for (reason, origin) in refused {
            let refused = Refused { rule, reason, origin };
            if !self.refused.contains(&refused) {
                self.refused.push(refused);
            }
        }
        if replacements.is_empty() {
            return Ok(false);
        }
        self.graph = verified("fold", rebuild(&self.graph, &replacements)?)?;
        Ok(true)
    }
}
