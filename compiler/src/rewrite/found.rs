//! What recognition found, in words.

use super::cone::Cone;
use super::details::{Details, distinct};
use super::reader::has_algebra;
use evenkeel_ir::op::{Composite, EpsKind};
use evenkeel_ir::{Graph, Node, NodeId, Op, Place, Provenance, Value};
use rustc_hash::FxHashMap as HashMap;
use std::fmt;
use std::sync::Arc;

/// A named op that was spelled out.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The op with its attributes.
    pub what: String,
    /// The ops of the user that it stands for, with their places; none where the user wrote it
    /// as such.
    pub from: Vec<(&'static str, Option<Place>)>,
    /// Rules that fired on the way.
    pub rules: Vec<&'static str>,
    /// Cost before and after, in flops and passes of one element.
    pub cost: (f64, f64),
    /// Where its last op was written.
    pub place: Option<Place>,
    /// The module that was running.
    pub path: Option<Arc<str>>,
    /// How it was found, where that was asked for.
    pub details: Option<Arc<Details>>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.from.is_empty() {
            let names = distinct(self.from.iter().map(|(name, _)| name.to_string()));
            write!(f, " from {}", names.join(", "))?;
        }
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " (in {path})")?;
        }
        if !self.rules.is_empty() {
            write!(f, "; rules: {}", self.rules.join(", "))?;
        }
        self.details.iter().try_for_each(|details| write!(f, "{details}"))
    }
}

/// Every live named op, in order, with how it was found.
pub(crate) fn listed(graph: &Graph, mut found: HashMap<NodeId, Found>, live: &[bool]) -> Vec<Found> {
    let named = |(id, node): (NodeId, &Node)| {
        if !live[id.0 as usize] || !is_named(&node.op) {
            return found.remove(&id).filter(|_| live[id.0 as usize]);
        }
        let what = describe(&node.op)?;
        let Provenance { place, path } = graph.provenance(id).clone();
        let written =
            Found { what, from: vec![], rules: vec![], cost: (0.0, 0.0), place, path, details: None };
        Some(found.remove(&id).unwrap_or(written))
    };
    graph.iter().filter_map(named).collect()
}

/// `mean at src/model.rs:3:8`
pub(crate) fn written_at(name: &str, place: Option<Place>) -> String {
    format!("{name}{}", place.map(|place| format!(" at {place}")).unwrap_or_default())
}

/// The nodes between the leaves and the root, in order.
pub(crate) fn nodes_of(graph: &Graph, cone: &Cone, leaves: &[Value]) -> Vec<NodeId> {
    let mut pending = vec![cone.root];
    let mut seen = Vec::new();
    while let Some(id) = pending.pop() {
        let is_leaf = leaves.iter().any(|leaf| leaf.node == id);
        if seen.contains(&id) || is_leaf || !has_algebra(graph, graph.node(id)) {
            continue;
        }
        seen.push(id);
        pending.extend(graph.node(id).inputs.iter().map(|v| v.node));
    }
    seen.sort();
    seen
}

/// The user's ops among some nodes, in order, each once; those of parts that were recognized
/// before included.
pub(crate) fn written_ops(
    graph: &Graph,
    nodes: &[NodeId],
    found: &HashMap<NodeId, Found>,
) -> Vec<(&'static str, Option<Place>)> {
    let mut names: Vec<(&'static str, Option<Place>)> = Vec::new();
    for id in nodes {
        let node = graph.node(*id);
        let own = [(node.op.name(), graph.provenance(*id).place)];
        let all: &[_] = found.get(id).map_or(&own, |found| &found.from);
        for written in all.iter().filter(|(name, _)| !matches!(*name, "const" | "size" | "broadcast")) {
            if !names.contains(written) {
                names.push(*written);
            }
        }
    }
    names
}

/// `layer_norm over axes 1, eps 1e-5 inside the root, divisor n`
pub(crate) fn describe(op: &Op) -> Option<String> {
    match op {
        Op::Composite(op, attrs) => {
            let axes: Vec<String> = attrs.axes.iter().map(|axis| axis.to_string()).collect();
            let over =
                if axes.is_empty() { String::new() } else { format!(" over axes {}", axes.join(", ")) };
            let mut text = format!("{}{over}", op.name());
            let reads = |attr| op.def().attrs.contains(&attr);
            if reads(evenkeel_ir::op::Attr::Eps) {
                let place = match attrs.eps_kind {
                    EpsKind::Inside => "inside the root",
                    EpsKind::Outside => "outside the root",
                    EpsKind::Clamp => "as a clamp",
                };
                text += &format!(", eps {:e} {place}", attrs.eps.get());
            }
            if reads(evenkeel_ir::op::Attr::Correction) {
                text += if attrs.correction == 0 { ", divisor n" } else { ", divisor n - 1" };
            }
            Some(text)
        }
        Op::Unary(op) if op.def().definition.is_some() => Some(op.name().to_string()),
        _ => None,
    }
}

/// True for ops that stand for nothing larger. A mean may be a variance.
pub(crate) fn is_named(op: &Op) -> bool {
    match op {
        Op::Unary(op) => op.def().definition.is_some(),
        Op::Composite(op, _) => *op != Composite::Mean,
        _ => false,
    }
}
