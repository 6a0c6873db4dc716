//! Fusion: which values share a kernel, and which values exist in memory at all.
//!
//! Input: an expanded graph. Output: [`Fusion`]. A [`Group`] is a set of pointwise ops and
//! reductions over one index space; reductions over its `reduced` axes give row values that
//! the group goes on using, reductions over its other axes are *accumulated* and leave it.
//! Values that cross groups are stored, unless recomputing them costs less than memory.
//!
//! Invariants ([`Fusion::verify`]): every compute node is in one group and fits its space; groups
//! and barriers form no cycle; what is not stored can be computed again from what is.

mod bits;
mod classify;
mod grow;
mod store;
mod tap;
#[cfg(test)]
mod tests;
mod verify;

pub use bits::Bits;
pub use classify::{Class, classify};
pub use tap::taps;

use evenkeel_ir::{Axes, Graph, NodeId, Shape};

/// How a reduction is carried out by its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReductionKind {
    /// Over the reduced axes; the group goes on with the result.
    Row,
    /// Over the parallel axes, in chunks; the result leaves the group.
    Accumulated,
}

/// Ops that share one kernel.
#[derive(Clone, Debug)]
pub struct Group {
    /// The index space.
    pub space: Shape,
    /// The reduced axes; `None` while no reduction has asked for any.
    pub reduced: Option<Axes>,
    /// Members in topological order.
    pub nodes: Vec<NodeId>,
}

/// The result of fusion.
#[derive(Clone, Debug)]
pub struct Fusion {
    /// What every node is to fusion.
    pub classes: Vec<Class>,
    /// The groups.
    pub groups: Vec<Group>,
    /// The group of every compute node.
    pub group_of: Vec<Option<usize>>,
    /// How every reduction is carried out.
    pub reductions: Vec<Option<ReductionKind>>,
    /// Which nodes are stored (graph inputs included).
    pub stored: Vec<bool>,
    /// What the readers of every node ask of its bits.
    pub bits: Vec<Bits>,
    /// For compute nodes that start a group although an operand's group has their index
    /// space: why they could not join it.
    pub refusals: Vec<(NodeId, &'static str)>,
}

/// Decides groups and stored values. With `enabled` false every op is a group of its own.
pub fn fuse(graph: &Graph, enabled: bool) -> Fusion {
    let classes = classify(graph);
    let mut fusion = grow::grow(graph, classes, enabled);
    store::store(graph, &mut fusion, enabled);
    fusion.bits = bits::bits(graph, &fusion);
    fusion
}

impl Fusion {
    /// The groups as text: space, reduced axes, members with the stored ones marked.
    pub fn describe(&self, graph: &Graph) -> String {
        let mut text = String::new();
        for (number, group) in self.groups.iter().enumerate() {
            let reduced = group.reduced.map(|axes| format!(", reduced {axes}")).unwrap_or_default();
            text.push_str(&format!("group {number}: space {}{reduced}\n", group.space));
            for &id in &group.nodes {
                let mark = if self.stored[id.0 as usize] { " (stored)" } else { "" };
                let node = graph.node(id);
                text.push_str(&format!("  v{} = {} {}{mark}\n", id.0, node.op.name(), node.types[0]));
            }
        }
        text
    }
}
