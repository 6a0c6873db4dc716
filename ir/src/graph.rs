//! The tensor program: an immutable, hash-consed graph in topological order.
//!
//! Invariant: operands stand before their users, every node has the types that
//! [`infer`](crate::op::infer) gives, and no two nodes are equal. [`Graph::verify`] checks it.
//! Transformations build a new graph; start at [`GraphBuilder`].

use crate::dtype::DType;
use crate::error::{IrError, Place};
use crate::op::{Attrs, Binary, Composite, Op, Real, Reduce, Subgraph, Unary, infer};
use crate::shape::{Axes, Extent, Shape, TensorType};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One result of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// The node.
    pub node: NodeId,
    /// Which of its results.
    pub result: u32,
}

/// An op applied to values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// Its operands.
    pub inputs: SmallVec<[Value; 4]>,
    /// Types of its results.
    pub types: SmallVec<[TensorType; 1]>,
}

/// A named input of a graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Input {
    /// Its name, unique in the graph.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// Where a node comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The line of the user's code.
    pub place: Option<Place>,
    /// The module that was running, as a dotted path.
    pub path: Option<Arc<str>>,
}

/// A tensor program with named inputs and outputs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    inputs: Vec<Input>,
    outputs: Vec<(String, Value)>,
    provenance: Vec<Provenance>,
}

impl Graph {
    /// All nodes, operands before users.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every node with its id.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i as u32), node))
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The node that computes a value.
    pub fn op(&self, value: Value) -> &Op {
        &self.node(value.node).op
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.node(value.node).types[value.result as usize]
    }

    /// Declared inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Named outputs.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// Types of the outputs, in order.
    pub fn output_types(&self) -> impl Iterator<Item = &TensorType> {
        self.outputs.iter().map(|(_, value)| self.ty(*value))
    }

    /// Where a node comes from.
    pub fn provenance(&self, id: NodeId) -> &Provenance {
        &self.provenance[id.0 as usize]
    }

    /// True for an equal graph that was written at the same places, with all that it calls.
    pub fn is_same_source(&self, other: &Graph) -> bool {
        let same = |(a, b): (&Subgraph, &Subgraph)| a.0.is_same_source(&b.0);
        self == other && self.provenance == other.provenance && self.calls().zip(other.calls()).all(same)
    }

    /// The graphs that its ops hold.
    fn calls(&self) -> impl Iterator<Item = &Subgraph> {
        self.nodes.iter().flat_map(|node| node.op.subgraphs())
    }

    /// The value of every declared input, by position.
    pub fn input_values(&self) -> Vec<Value> {
        let input = |(id, node): (NodeId, &Node)| match node.op {
            Op::Input(index) => Some((index, Value { node: id, result: 0 })),
            _ => None,
        };
        let mut values: Vec<(u32, Value)> = self.iter().filter_map(input).collect();
        values.sort_unstable();
        values.into_iter().map(|(_, value)| value).collect()
    }

    /// For every node, the nodes that read it (each once), in order.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for input in &node.inputs {
                let list: &mut Vec<NodeId> = &mut users[input.node.0 as usize];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        users
    }

    /// Which nodes the roots need.
    pub fn reachable(&self, roots: impl IntoIterator<Item = Value>) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        roots.into_iter().for_each(|root| live[root.node.0 as usize] = true);
        for (id, node) in self.iter().rev() {
            if live[id.0 as usize] {
                node.inputs.iter().for_each(|input| live[input.node.0 as usize] = true);
            }
        }
        live
    }

    /// The graph without nodes that no output needs; inputs stay, used or not.
    pub fn pruned(&self) -> Graph {
        let live = self.reachable(self.outputs.iter().map(|(_, value)| *value));
        let mut ids = vec![NodeId(u32::MAX); self.nodes.len()];
        let mut pruned = Graph { inputs: self.inputs.clone(), ..Graph::default() };
        let moved = |ids: &[NodeId], v: &Value| Value { node: ids[v.node.0 as usize], ..*v };
        for (id, node) in self.iter() {
            if live[id.0 as usize] || matches!(node.op, Op::Input(_)) {
                ids[id.0 as usize] = NodeId(pruned.nodes.len() as u32);
                let inputs = node.inputs.iter().map(|v| moved(&ids, v)).collect();
                pruned.nodes.push(Node { op: node.op.clone(), inputs, types: node.types.clone() });
                pruned.provenance.push(self.provenance(id).clone());
            }
        }
        pruned.outputs = self.outputs.iter().map(|(name, v)| (name.clone(), moved(&ids, v))).collect();
        pruned
    }

    /// The graph built anew: inputs as they are, every other node by `build` from its op and its new
    /// operands, with its provenance. What `build` gives is the first of the node's results; the
    /// others follow it.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn rebuilt<E>(
        &self,
        mut build: impl FnMut(&mut GraphBuilder, &Op, &[Value]) -> Result<Value, E>,
    ) -> Result<Graph, E> {
        let mut b = GraphBuilder::new();
        let mut firsts: Vec<Value> = Vec::with_capacity(self.nodes.len());
        let new = |firsts: &[Value], v: &Value| {
            let first = firsts[v.node.0 as usize];
            Value { result: first.result + v.result, ..first }
        };
        for (id, node) in self.iter() {
            b.set_provenance(self.provenance(id).clone());
            let operands: SmallVec<[Value; 4]> = node.inputs.iter().map(|v| new(&firsts, v)).collect();
            firsts.push(match &node.op {
                Op::Input(index) => {
                    let input = &self.inputs[*index as usize];
                    b.input(input.name.clone(), input.ty.clone())
                }
                op => build(&mut b, op, &operands)?,
            });
        }
        let outputs: Vec<_> = self.outputs.iter().map(|(name, v)| (name.clone(), new(&firsts, v))).collect();
        Ok(b.finish(outputs))
    }

    /// Checks the invariant.
    ///
    /// # Errors
    /// [`IrError::Broken`] names the first violation.
    pub fn verify(&self) -> Result<(), IrError> {
        let mut seen = HashMap::new();
        for (id, node) in self.iter() {
            let broken = |what: &str| IrError::Broken(format!("node {} ({}): {what}", id.0, node.op.name()));
            if node.inputs.iter().any(|v| v.node >= id || v.result as usize >= self.node(v.node).types.len())
            {
                return Err(broken("an operand is not defined before it"));
            }
            let types = match &node.op {
                Op::Input(index) => {
                    self.inputs.get(*index as usize).map(|input| SmallVec::from_elem(input.ty.clone(), 1))
                }
                op => Some(infer(op, &node.inputs.iter().map(|&v| self.ty(v)).collect::<Vec<_>>())?),
            };
            if types.as_ref() != Some(&node.types) {
                return Err(broken("its types are not those of its op"));
            }
            if seen.insert((&node.op, &node.inputs), id).is_some() {
                return Err(broken("it equals an earlier node"));
            }
        }
        let defined = |v: &Value| (v.node.0 as usize) < self.nodes.len();
        if !self.outputs.iter().all(|(_, value)| defined(value)) {
            return Err(IrError::Broken("an output is not defined".into()));
        }
        Ok(())
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Graph {}
impl PartialOrd for Graph {
    fn partial_cmp(&self, other: &Graph) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Graph {
    fn cmp(&self, other: &Graph) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
impl std::hash::Hash for Graph {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Graph {
    /// Everything but provenance: what makes two graphs the same program.
    fn key(&self) -> (&[Node], &[Input], &[(String, Value)]) {
        (&self.nodes, &self.inputs, &self.outputs)
    }
}

/// Builds a graph; equal nodes become one.
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    /// Nodes by the hash of op and operands.
    known: FxHashMap<u64, SmallVec<[NodeId; 2]>>,
    current: Provenance,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new() -> GraphBuilder {
        GraphBuilder::default()
    }

    /// Makes room for as many nodes more.
    pub fn reserve(&mut self, nodes: usize) {
        self.graph.nodes.reserve(nodes);
        self.graph.provenance.reserve(nodes);
        self.known.reserve(nodes);
    }

    /// Nodes built from now on come from here.
    pub fn set_provenance(&mut self, provenance: Provenance) {
        self.current = provenance;
    }

    /// Declares an input. Names must be unique; the caller sees to it.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> Value {
        let index = self.graph.inputs.len() as u32;
        self.graph.inputs.push(Input { name: name.into(), ty: ty.clone() });
        self.push(Op::Input(index), SmallVec::new(), SmallVec::from_elem(ty, 1))
    }

    /// Applies an op and gives its first result.
    ///
    /// # Errors
    /// Ill-typed operands.
    pub fn apply(&mut self, op: Op, inputs: &[Value]) -> Result<Value, IrError> {
        let hash = FxBuildHasher.hash_one((&op, inputs));
        let equals = |id: &&NodeId| {
            let node = self.graph.node(**id);
            node.op == op && node.inputs[..] == *inputs
        };
        if let Some(&node) = self.known.get(&hash).and_then(|nodes| nodes.iter().find(equals)) {
            return Ok(Value { node, result: 0 });
        }
        let types = infer(&op, &inputs.iter().map(|&v| self.ty(v)).collect::<SmallVec<[_; 4]>>())?;
        let value = self.push(op, SmallVec::from_slice(inputs), types);
        self.known.entry(hash).or_default().push(value.node);
        Ok(value)
    }

    fn push(&mut self, op: Op, inputs: SmallVec<[Value; 4]>, types: SmallVec<[TensorType; 1]>) -> Value {
        let node = NodeId(self.graph.nodes.len() as u32);
        self.graph.nodes.push(Node { op, inputs, types });
        self.graph.provenance.push(self.current.clone());
        Value { node, result: 0 }
    }

    /// Applies an op that is well typed by construction.
    ///
    /// # Panics
    /// When it is not: a bug of the caller.
    pub fn op(&mut self, op: Op, inputs: &[Value]) -> Value {
        self.apply(op, inputs).unwrap_or_else(|error| panic!("ill-typed op built by a pass: {error}"))
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    /// What has been built so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Names the outputs and ends building. Inputs keep their order, used or not.
    pub fn finish(mut self, outputs: impl IntoIterator<Item = (String, Value)>) -> Graph {
        self.graph.outputs = outputs.into_iter().collect();
        self.graph
    }
}

/// Shorthands for well-typed operands; see [`GraphBuilder::op`] for panics.
impl GraphBuilder {
    /// A function of one element.
    pub fn unary(&mut self, op: Unary, x: Value) -> Value {
        self.op(Op::Unary(op), &[x])
    }

    /// A function of two elements.
    pub fn binary(&mut self, op: Binary, x: Value, y: Value) -> Value {
        self.op(Op::Binary(op), &[x, y])
    }

    /// A scalar constant of the element type of `like`.
    pub fn number(&mut self, like: Value, number: f64) -> Value {
        let dtype = self.ty(like).dtype;
        self.op(Op::Const(Real::new(number), dtype), &[])
    }

    /// An extent as a scalar.
    pub fn size(&mut self, extent: Extent, dtype: DType) -> Value {
        self.op(Op::Size(extent, dtype), &[])
    }

    /// Positions along an axis.
    pub fn iota(&mut self, rank: usize, axis: usize, extent: Extent) -> Value {
        self.op(Op::Iota { rank: rank as u8, axis: axis as u8, extent }, &[])
    }

    /// `condition ? x : y`.
    pub fn select(&mut self, condition: Value, x: Value, y: Value) -> Value {
        self.op(Op::Select, &[condition, x, y])
    }

    /// Conversion of the element type; nothing if it is that type already.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Value {
        if self.ty(x).dtype == dtype { x } else { self.op(Op::Cast(dtype), &[x]) }
    }

    /// The identity without a derivative.
    pub fn stop_gradient(&mut self, x: Value) -> Value {
        self.op(Op::StopGradient, &[x])
    }

    /// A reduction; nothing over no axes.
    pub fn reduce(&mut self, op: Reduce, x: Value, axes: Axes) -> Value {
        if axes.is_empty() { x } else { self.op(Op::Reduce(op, axes), &[x]) }
    }

    /// Sum over axes.
    pub fn sum(&mut self, x: Value, axes: Axes) -> Value {
        self.reduce(Reduce::Sum, x, axes)
    }

    /// A named composite.
    pub fn composite(&mut self, op: Composite, inputs: &[Value], attrs: Attrs) -> Value {
        self.op(Op::Composite(op, attrs), inputs)
    }

    /// Another shape for the same elements; nothing if it has that shape already.
    pub fn reshape(&mut self, x: Value, shape: &Shape) -> Value {
        if self.ty(x).shape == *shape { x } else { self.op(Op::Reshape(shape.clone()), &[x]) }
    }

    /// Stretches `x` to a shape; nothing if it has that shape already.
    pub fn broadcast(&mut self, x: Value, shape: &Shape) -> Value {
        if self.ty(x).shape == *shape { x } else { self.op(Op::Broadcast(shape.clone()), &[x]) }
    }

    /// Stretches `x` to the shape of `like`.
    pub fn stretch_like(&mut self, x: Value, like: Value) -> Value {
        let shape = self.ty(like).shape.clone();
        self.broadcast(x, &shape)
    }

    /// Sums `x` over the axes along which `like` was stretched to the shape of `x`:
    /// the transpose of stretching.
    pub fn unstretch_like(&mut self, x: Value, like: Value) -> Value {
        let (from, to) = (self.ty(x).shape.clone(), self.ty(like).shape.clone());
        let offset = from.rank() - to.rank();
        let stretched =
            |axis: &usize| *axis < offset || (to[axis - offset].is_one() && !from[*axis].is_one());
        let summed = self.sum(x, Axes::new((0..from.rank()).filter(stretched)));
        self.reshape(summed, &to)
    }
}
