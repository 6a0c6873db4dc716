//! Splits axes everywhere where a reduction wants a part of them.
//!
//! A norm over groups of channels reshapes `[N,C,H,W]` to `[N,G,C/G,H,W]`, reduces over a
//! part of what was one axis, and reshapes back to meet parameters of `C` channels. Fusion
//! asks that the members of a kernel share one index space; both sides do if everything
//! around is computed in the finer one, where the other is no more than a dense view.
//!
//! Invariant: outputs keep their elements and shapes. Only axes of known shapes that some
//! reduction covers in part are split; lowering merges axes again where nothing tells them apart.

use evenkeel_ir::{Axes, Graph, GraphBuilder, Op, Shape, TensorType, Value};
use smallvec::SmallVec;
use std::ops::Range;

/// The same outputs, computed in the finer of two shapes where reductions want it.
pub(super) fn split(graph: Graph) -> Graph {
    splits(&graph).into_iter().fold(graph, |graph, split| split.applied(&graph).pruned())
}

/// How the axes of one shape are split to give another.
struct Split {
    coarse: Shape,
    fine: Shape,
    /// For each axis of the coarse shape, its axes of the fine one.
    parts: Vec<Range<usize>>,
}

/// One split for each shape that a reduction wants split.
fn splits(graph: &Graph) -> Vec<Split> {
    let mut found: Vec<Split> = Vec::new();
    for node in graph.nodes() {
        let Op::Reshape(to) = &node.op else { continue };
        let from = &graph.ty(node.inputs[0]).shape;
        let Some(split) = Split::between(from, to).or_else(|| Split::between(to, from)) else { continue };
        let free = |other: &Split| {
            ![&split.coarse, &split.fine].contains(&&other.coarse) && other.fine != split.coarse
        };
        if found.iter().all(free) && graph.nodes().iter().any(|node| split.is_wanted(graph, node)) {
            found.push(split);
        }
    }
    found
}

impl Split {
    fn between(coarse: &Shape, fine: &Shape) -> Option<Split> {
        let (mut parts, mut next) = (Vec::new(), 0);
        for axis in 0..coarse.rank() {
            let (start, mut rest) = (next, coarse[axis]);
            // an axis of size 1 is a part of its own
            while next < fine.rank() && (next == start || !rest.is_one()) {
                rest = rest.divided_by(fine[next])?;
                next += 1;
            }
            if !rest.is_one() || next == start {
                return None;
            }
            parts.push(start..next);
        }
        let split = next == fine.rank() && next > coarse.rank();
        split.then(|| Split { coarse: coarse.clone(), fine: fine.clone(), parts })
    }

    /// Does a node reduce a part of an axis?
    fn is_wanted(&self, graph: &Graph, node: &evenkeel_ir::Node) -> bool {
        let Op::Reduce(_, axes) = node.op else { return false };
        let in_part = |part: &Range<usize>| {
            let covered = part.clone().filter(|&axis| axes.contains(axis)).count();
            covered > 0 && covered < part.len()
        };
        graph.ty(node.inputs[0]).shape == self.fine && self.parts.iter().any(in_part)
    }

    /// The parts of the axes of a shape that stretches to the coarse one.
    fn parts_of(&self, shape: &Shape) -> Option<&[Range<usize>]> {
        let missing = self.coarse.rank().checked_sub(shape.rank()).filter(|_| shape.rank() > 0)?;
        let fits = |axis: usize| shape[axis].is_one() || shape[axis] == self.coarse[axis + missing];
        (0..shape.rank()).all(fits).then(|| &self.parts[missing..])
    }

    fn refined(&self, shape: &Shape) -> Option<Shape> {
        let parts = self.parts_of(shape)?;
        let sizes = parts.iter().enumerate().flat_map(|(axis, part)| {
            let whole = !shape[axis].is_one();
            part.clone().map(move |fine| if whole { self.fine[fine] } else { evenkeel_ir::Extent::ONE })
        });
        Some(Shape(sizes.collect()))
    }

    /// Axes of a shape as axes of its finer form.
    fn axes(&self, shape: &Shape, axes: Axes) -> Axes {
        let parts = self.parts_of(shape).expect("a shape with a finer form");
        Axes::new(axes.iter().flat_map(|axis| parts[axis].clone()).map(|fine| fine - parts[0].start))
    }

    /// Which nodes are computed in the finer space: those of the coarse space, and what they
    /// are computed from.
    fn members(&self, graph: &Graph) -> Vec<bool> {
        let mut member = vec![false; graph.nodes().len()];
        for (id, node) in graph.iter().rev() {
            let own = &node.types[0].shape;
            let fits = match &node.op {
                Op::Reduce(..) => self.refined(&graph.ty(node.inputs[0]).shape).is_some(),
                Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Broadcast(_) => {
                    self.refined(own).is_some()
                }
                Op::Iota { axis, .. } => {
                    self.parts_of(own).is_some_and(|parts| parts[usize::from(*axis)].len() == 1)
                }
                Op::Random { .. } => self.refined(own).is_some(),
                _ => false,
            };
            let space = if let Op::Reduce(..) = node.op { &graph.ty(node.inputs[0]).shape } else { own };
            member[id.0 as usize] = fits && (member[id.0 as usize] || *space == self.coarse);
            if member[id.0 as usize] {
                node.inputs.iter().for_each(|v| member[v.node.0 as usize] = true);
            }
        }
        member
    }

    fn applied(&self, graph: &Graph) -> Graph {
        let members = self.members(graph);
        let mut b = GraphBuilder::new();
        let mut map: Vec<Value> = Vec::with_capacity(members.len());
        for (id, node) in graph.iter() {
            b.set_provenance(graph.provenance(id).clone());
            let mut operands: SmallVec<[Value; 4]> =
                node.inputs.iter().map(|v| map[v.node.0 as usize]).collect();
            map.push(match &node.op {
                Op::Input(index) => {
                    let input = &graph.inputs()[*index as usize];
                    b.input(input.name.clone(), input.ty.clone())
                }
                op if members[id.0 as usize] => {
                    let first = operands.first().map(|v| b.ty(*v).shape.clone());
                    operands.iter_mut().for_each(|v| *v = self.operand(&mut b, *v));
                    let op = self.op(op, first.as_ref());
                    let value = b.op(op, &operands);
                    reshape(&mut b, value, &node.types[0].shape)
                }
                Op::Reshape(shape) => reshape(&mut b, operands[0], shape),
                op => b.op(op.clone(), &operands),
            });
        }
        let outputs = graph.outputs().iter().map(|(name, v)| (name.clone(), map[v.node.0 as usize]));
        b.finish(outputs.collect::<Vec<_>>())
    }

    /// An operand in the finer space; numbers stay as they are.
    fn operand(&self, b: &mut GraphBuilder, value: Value) -> Value {
        let shape = b.ty(value).shape.clone();
        if shape.rank() == 0 {
            return value;
        }
        let fine = self.refined(&shape).expect("operands of a member stretch to its shape");
        reshape(b, value, &fine)
    }

    /// A member's op in the finer space; `operand` is the shape of its first operand.
    fn op(&self, op: &Op, operand: Option<&Shape>) -> Op {
        let refined = |shape: &Shape| self.refined(shape).expect("members have a finer form");
        match op {
            Op::Reduce(how, axes) => {
                Op::Reduce(*how, self.axes(operand.expect("reductions have an operand"), *axes))
            }
            Op::Broadcast(shape) => Op::Broadcast(refined(shape)),
            Op::Random { kind, stream, ty } => {
                let ty = TensorType::new(ty.dtype, refined(&ty.shape));
                Op::Random { kind: *kind, stream: *stream, ty }
            }
            Op::Iota { rank, axis, extent } => {
                let missing = self.coarse.rank() - usize::from(*rank);
                let parts = &self.parts[missing..];
                let axis = parts[usize::from(*axis)].start - parts[0].start;
                Op::Iota {
                    rank: (self.fine.rank() - parts[0].start) as u8,
                    axis: axis as u8,
                    extent: *extent,
                }
            }
            op => op.clone(),
        }
    }
}

/// A reshape of what a reshape reads, or that itself.
fn reshape(b: &mut GraphBuilder, value: Value, shape: &Shape) -> Value {
    let node = b.graph().node(value.node);
    let source = if let Op::Reshape(_) = node.op { node.inputs[0] } else { value };
    b.reshape(source, shape)
}
