//! Building the graph that replacements describe.

use crate::error::CompileError;
use evenkeel_ir::{Extent, Graph, GraphBuilder, NodeId, Op, Shape, Value};
use rustc_hash::FxHashMap as HashMap;

/// Builds the new value of a node from the new values of nodes before it.
pub(crate) type Recipe = Box<dyn Fn(&mut Rebuild<'_>) -> Value>;

/// A graph that is copied node by node.
pub(crate) struct Rebuild<'g> {
    /// The new graph.
    pub(crate) b: GraphBuilder,
    /// The old one.
    pub(crate) graph: &'g Graph,
    values: HashMap<Value, Value>,
}

impl Rebuild<'_> {
    /// The new value of an old one.
    pub(crate) fn at(&self, old: Value) -> Value {
        self.values[&old]
    }

    /// The new value with as many leading axes of size 1 as this rank needs.
    pub(crate) fn padded(&mut self, old: Value, rank: usize) -> Value {
        let value = self.at(old);
        to_rank(&mut self.b, value, rank)
    }

    fn copy(&mut self, id: NodeId) -> Result<Value, CompileError> {
        let node = self.graph.node(id);
        if let Op::Input(index) = node.op {
            let input = &self.graph.inputs()[index as usize];
            return Ok(self.b.input(input.name.clone(), input.ty.clone()));
        }
        let operands: Vec<Value> = node.inputs.iter().map(|v| self.at(*v)).collect();
        let made = self.b.apply(node.op.clone(), &operands);
        made.map_err(|source| CompileError::Pass { pass: "fold", source })
    }
}

/// The shape with leading axes of size 1 up to a rank.
pub(crate) fn padded_shape(shape: &Shape, rank: usize) -> Shape {
    let missing = rank.saturating_sub(shape.rank());
    Shape(std::iter::repeat_n(Extent::ONE, missing).chain(shape.0.iter().copied()).collect())
}

/// The shape without leading axes of size 1.
pub(crate) fn trimmed_shape(shape: &Shape) -> Shape {
    Shape(shape.0.iter().copied().skip_while(|extent| extent.is_one()).collect())
}

/// The value with this rank, by adding or dropping leading axes of size 1.
pub(crate) fn to_rank(b: &mut GraphBuilder, x: Value, rank: usize) -> Value {
    let shape = padded_shape(&trimmed_shape(&b.ty(x).shape), rank);
    b.reshape(x, &shape)
}

/// The graph with some nodes replaced and without what no output needs.
pub(crate) fn rebuild(graph: &Graph, replacements: &HashMap<NodeId, Recipe>) -> Result<Graph, CompileError> {
    let mut work = Rebuild { b: GraphBuilder::new(), graph, values: HashMap::default() };
    for (id, node) in graph.iter() {
        work.b.set_provenance(graph.provenance(id).clone());
        let value = match replacements.get(&id) {
            Some(recipe) => recipe(&mut work),
            None => work.copy(id)?,
        };
        for result in 0..node.types.len() as u32 {
            work.values.insert(Value { node: id, result }, Value { result: value.result + result, ..value });
        }
    }
    let outputs: Vec<_> = graph.outputs().iter().map(|(name, v)| (name.clone(), work.at(*v))).collect();
    Ok(work.b.finish(outputs).pruned())
}
