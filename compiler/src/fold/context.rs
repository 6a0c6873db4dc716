//! What folds ask of a graph: what depends on parameters only, and who reads what.

use super::Origin;
use evenkeel_ir::{Graph, Node, NodeId, Op, Value};

/// A graph with the answers that side conditions need.
pub(crate) struct Context<'g> {
    /// The graph.
    pub(crate) graph: &'g Graph,
    fixed: Vec<bool>,
    users: Vec<Vec<NodeId>>,
    outputs: Vec<bool>,
}

impl<'g> Context<'g> {
    /// The context of a graph whose inputs at these positions are parameters.
    pub(crate) fn new(graph: &'g Graph, parameters: &[usize]) -> Context<'g> {
        let mut outputs = vec![false; graph.nodes().len()];
        graph.outputs().iter().for_each(|(_, v)| outputs[v.node.0 as usize] = true);
        let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
        let mut users = graph.users();
        users.iter_mut().for_each(|list| list.retain(|id| live[id.0 as usize]));
        Context { graph, fixed: fixed(graph, parameters), users, outputs }
    }

    /// True for what depends on parameters and constants only.
    pub(crate) fn is_fixed(&self, value: Value) -> bool {
        self.fixed[value.node.0 as usize]
    }

    /// The fixed value that an operand is, or that it is a stretched copy of.
    pub(crate) fn fixed(&self, value: Value) -> Option<Value> {
        match self.graph.op(value) {
            _ if self.is_fixed(value) => Some(value),
            Op::Broadcast(_) => self.fixed(self.graph.node(value.node).inputs[0]),
            _ => None,
        }
    }

    /// The nodes that read a node, each once.
    pub(crate) fn readers(&self, id: NodeId) -> &[NodeId] {
        &self.users[id.0 as usize]
    }

    /// True for a node whose value leaves the graph.
    pub(crate) fn is_output(&self, id: NodeId) -> bool {
        self.outputs[id.0 as usize]
    }

    /// The node itself.
    pub(crate) fn node(&self, id: NodeId) -> &'g Node {
        self.graph.node(id)
    }

    /// The single reader of a value that nothing else needs.
    pub(crate) fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match self.readers(id) {
            [reader] if !self.is_output(id) => Some(*reader),
            _ => None,
        }
    }

    /// `tanh at src/model.rs:3:8`
    pub(crate) fn describe(&self, id: NodeId) -> String {
        format!("{}{}", self.node(id).op.name(), Origin::of(self.graph, id))
    }

    /// `the output logits`
    pub(crate) fn describe_output(&self, id: NodeId) -> String {
        let name = self.graph.outputs().iter().find(|(_, v)| v.node == id).map(|(name, _)| name.as_str());
        format!("the output {}", name.unwrap_or_default())
    }

    /// Who else needs the value of a node beside `reader`.
    pub(crate) fn other_reader(&self, id: NodeId, reader: Option<NodeId>) -> Option<String> {
        if self.is_output(id) {
            return Some(format!("it is {}", self.describe_output(id)));
        }
        let other = self.readers(id).iter().find(|other| Some(**other) != reader)?;
        Some(format!("it is also read by {}", self.describe(*other)))
    }

    /// Name of a data input that a value depends on.
    pub(crate) fn data_behind(&self, value: Value) -> String {
        let live = self.graph.reachable([value]);
        let inputs = self.graph.iter().filter(|(id, _)| live[id.0 as usize]);
        let data = inputs.filter_map(|(id, node)| match node.op {
            Op::Input(index) if !self.fixed[id.0 as usize] => Some(index as usize),
            _ => None,
        });
        let names: Vec<&str> = data.map(|index| self.graph.inputs()[index].name.as_str()).take(1).collect();
        names.first().map_or_else(|| "the batch size".into(), |name| format!("input {name}"))
    }
}

/// Nodes of fixed sizes that depend on parameters and constants only.
fn fixed(graph: &Graph, parameters: &[usize]) -> Vec<bool> {
    let mut fixed: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let sized = node.types.iter().all(|ty| ty.shape.0.iter().all(|extent| extent.power == 0));
        let own = match &node.op {
            Op::Input(index) => parameters.contains(&(*index as usize)),
            Op::Size(extent, _) => extent.power == 0,
            _ => node.inputs.iter().all(|v| fixed[v.node.0 as usize]),
        };
        fixed.push(sized && own);
    }
    fixed
}
