//! The part of a graph right above a node: what recognition looks at.
//!
//! A [`Cone`] holds the nearest nodes with algebra, at most [`LIMIT`], operands first. Cutting it
//! at a value `x` ([`Cone::cut`]) leaves the nodes that depend on `x` and the values beside
//! it. What holds for a cut with free symbols at the cut holds in the graph. A cone ends where
//! values of different origin meet, for example at the sum of a residual branch: nothing that is
//! recognized is a function of one of them only.

use super::reader::has_algebra;
use evenkeel_ir::{Extent, Graph, Node, NodeId, Op, TensorType, Value};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::collections::BTreeSet;

/// The largest number of nodes in a cone.
const LIMIT: usize = 40;

/// The nodes above a root, and the constants that they read.
pub(crate) struct Cone {
    /// The node at the bottom.
    pub(crate) root: NodeId,
    /// Nodes with algebra that are not constant, operands first, the root last.
    pub(crate) nodes: Vec<NodeId>,
    /// Nodes that everything of the root flows through, nearest first, as far as all between is
    /// pointwise.
    pub(crate) gates: Vec<Value>,
}

/// What is left of a cone when a value becomes a symbol.
pub(crate) struct Cut {
    /// Nodes between the cut and the root, operands first.
    pub(crate) between: Vec<NodeId>,
    /// Values that they read which are neither constant nor depend on the cut.
    pub(crate) beside: Vec<Value>,
}

/// Which nodes are constants or functions of constants, and where the others come from.
#[derive(Default)]
pub(crate) struct Constants {
    pure: Vec<bool>,
    /// For each node the value that it is a function of, apart from smaller ones; itself if
    /// there is no such value.
    origins: Vec<NodeId>,
}

impl Constants {
    /// Learns about the nodes of a graph that were added since the last call.
    pub(crate) fn update(&mut self, graph: &Graph) {
        for index in self.pure.len()..graph.nodes().len() {
            let id = NodeId(index as u32);
            let node = graph.node(id);
            let pure = match node.op {
                Op::Const(..) | Op::Size(..) => true,
                Op::Unary(_) | Op::Binary(_) => node.inputs.iter().all(|v| self.contains(v.node)),
                _ => false,
            };
            self.pure.push(pure);
            let origin = if has_algebra(graph, node) { self.origin(graph, node) } else { None };
            self.origins.push(origin.unwrap_or(id));
        }
    }

    /// True for a constant.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.pure[node.0 as usize]
    }

    /// True where values of different origin meet.
    fn is_meeting(&self, node: NodeId) -> bool {
        self.origins[node.0 as usize] == node
    }

    /// The largest of the origins of the largest operands, if there is one.
    fn origin(&self, graph: &Graph, node: &Node) -> Option<NodeId> {
        let size = |v: &Value| size(graph, *v);
        let operands = node.inputs.iter().filter(|v| !self.contains(v.node));
        let largest = operands.clone().map(size).max()?;
        let mut origins: Vec<_> = operands
            .filter(|v| size(v) == largest)
            .map(|v| self.origins[v.node.0 as usize])
            .map(|node| (size(&Value { node, result: 0 }), node))
            .collect();
        origins.sort();
        origins.dedup();
        match origins.as_slice() {
            [.., (a, _), (b, _)] if a == b => None,
            [.., (_, origin)] => Some(*origin),
            [] => None,
        }
    }
}

/// Elements of a value, in an order that holds for large batches.
fn size(graph: &Graph, v: Value) -> (u8, u64) {
    let Extent { scale, power } = graph.ty(v).shape.elements();
    (power, scale)
}

impl Cone {
    /// The cone above a node. It ends where values of different origin meet, unless what meets
    /// is smaller than the root: a function of parameters.
    pub(crate) fn above(graph: &Graph, constants: &Constants, root: NodeId) -> Cone {
        let result = |node: NodeId| size(graph, Value { node, result: 0 });
        let ends = |id: NodeId| constants.is_meeting(id) && result(id) >= result(root);
        Cone::grown(graph, constants, root, ends)
    }

    /// The cone above a node, also where values of different origin meet.
    pub(crate) fn across(graph: &Graph, constants: &Constants, root: NodeId) -> Cone {
        Cone::grown(graph, constants, root, |_| false)
    }

    fn grown(graph: &Graph, constants: &Constants, root: NodeId, ends: impl Fn(NodeId) -> bool) -> Cone {
        let mut cone = Cone { root, nodes: Vec::new(), gates: Vec::new() };
        let mut pending = BTreeSet::from([root]);
        let mut pointwise = true;
        while let Some(id) = pending.pop_last() {
            if pointwise && pending.is_empty() && id != root && graph.node(id).types.len() == 1 {
                cone.gates.push(Value { node: id, result: 0 });
            }
            let node = graph.node(id);
            pointwise &= node.op.is_pointwise() && node.op != Op::StopGradient;
            if !has_algebra(graph, node) || (id != root && ends(id)) {
                continue;
            }
            if cone.nodes.len() == LIMIT {
                break;
            }
            cone.nodes.push(id);
            pending.extend(node.inputs.iter().map(|v| v.node).filter(|&v| !constants.contains(v)));
        }
        cone.nodes.reverse();
        cone
    }

    /// Makes `x` a symbol; none where the root does not depend on it.
    pub(crate) fn cut(&self, graph: &Graph, constants: &Constants, x: Value) -> Option<Cut> {
        let mut dependent = HashSet::from_iter([x]);
        let mut between = Vec::new();
        for &id in self.nodes.iter().filter(|id| **id > x.node) {
            if graph.node(id).inputs.iter().any(|v| dependent.contains(v)) {
                dependent.insert(Value { node: id, result: 0 });
                between.push(id);
            }
        }
        if between.last() != Some(&self.root) {
            return None;
        }
        let needed = needed(graph, self.root, &between);
        between.retain(|id| needed.contains(id));
        let mut beside = Vec::new();
        for input in between.iter().flat_map(|id| &graph.node(*id).inputs) {
            let known = dependent.contains(input) || constants.contains(input.node) || beside.contains(input);
            if !known {
                beside.push(*input);
            }
        }
        Some(Cut { between, beside })
    }

    /// What the cone is, apart from where it stands: ops with local operands, and the values that
    /// the local numbers stand for.
    pub(crate) fn structure(&self, graph: &Graph, constants: &Constants) -> (Vec<Entry>, Vec<Value>) {
        let inside: HashSet<NodeId> = self.nodes.iter().copied().collect();
        let mut listing =
            Listing { graph, constants, inside, local: HashMap::default(), entries: Vec::new() };
        self.nodes.iter().for_each(|&node| listing.visit(Value { node, result: 0 }));
        let mut values: Vec<(u32, Value)> =
            listing.local.into_iter().map(|(value, place)| (place, value)).collect();
        values.sort();
        (listing.entries, values.into_iter().map(|(_, value)| value).collect())
    }
}

/// One value of a cone: its op if it is inside, its operands as local numbers, its type.
pub(crate) type Entry = (Option<Op>, Vec<u32>, TensorType);

struct Listing<'g> {
    graph: &'g Graph,
    constants: &'g Constants,
    inside: HashSet<NodeId>,
    local: HashMap<Value, u32>,
    entries: Vec<Entry>,
}

impl Listing<'_> {
    fn visit(&mut self, value: Value) {
        if self.local.contains_key(&value) {
            return;
        }
        let node = self.graph.node(value.node);
        let known = self.inside.contains(&value.node) || self.constants.contains(value.node);
        let mut entry: Entry = (None, Vec::new(), self.graph.ty(value).clone());
        if known {
            node.inputs.iter().for_each(|&input| self.visit(input));
            entry.0 = Some(node.op.clone());
            entry.1 = node.inputs.iter().map(|input| self.local[input]).collect();
        }
        self.local.insert(value, self.entries.len() as u32);
        self.entries.push(entry);
    }
}

fn needed(graph: &Graph, root: NodeId, between: &[NodeId]) -> HashSet<NodeId> {
    let mut needed = HashSet::from_iter([root]);
    for id in between.iter().rev() {
        if needed.contains(id) {
            needed.extend(graph.node(*id).inputs.iter().map(|v| v.node));
        }
    }
    needed
}
