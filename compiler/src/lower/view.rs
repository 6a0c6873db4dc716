//! Views: how a value lies in the buffer of a stored value.

use evenkeel_ir::kernel::Stride;
use evenkeel_ir::{Extent, Graph, NodeId, Op, Shape, Value};
use smallvec::SmallVec;

/// A strided window on a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Sizes of the axes.
    pub shape: Shape,
    /// Elements between neighbours along each axis.
    pub strides: SmallVec<[Stride; 4]>,
    /// Elements before the first.
    pub offset: Stride,
}

impl View {
    /// A whole buffer in row-major order.
    pub fn dense(shape: &Shape) -> View {
        let strides = shape.strides().into_iter().map(Stride::from).collect();
        View { shape: shape.clone(), strides, offset: Stride::ZERO }
    }

    /// True when the elements lie one after another, in order.
    pub fn is_dense(&self) -> bool {
        let dense = self.shape.strides();
        (0..self.shape.rank()).all(|a| self.shape[a].is_one() || self.strides[a] == Stride::from(dense[a]))
    }

    fn moved(&self, by: Stride) -> Option<Stride> {
        match (self.offset, by) {
            (a, Stride::ZERO) => Some(a),
            (Stride::ZERO, b) => Some(b),
            (a, b) if a.power == b.power => Some(Stride { scale: a.scale + b.scale, power: a.power }),
            _ => None,
        }
    }

    /// The view that an op takes of this one; `None` if it is not strided.
    pub fn through(&self, op: &Op) -> Option<View> {
        let mut view = self.clone();
        match op {
            Op::Reshape(shape) => return self.reshaped(shape),
            Op::Transpose(perm) => {
                view.shape = Shape(perm.iter().map(|&a| self.shape[a as usize]).collect());
                view.strides = perm.iter().map(|&a| self.strides[a as usize]).collect();
            }
            Op::Slice { axis, start, length, stride } => {
                let step = self.strides[*axis as usize];
                view.offset = self.moved(step.times(*start as i64))?;
                view.strides[*axis as usize] = step.times(*stride as i64);
                view.shape.0[*axis as usize] = Extent::fixed(*length);
            }
            Op::Flip(axes) => {
                for axis in axes.iter() {
                    let last = self.shape[axis].known()?.saturating_sub(1);
                    view.offset = view.moved(self.strides[axis].times(last as i64))?;
                    view.strides[axis] = self.strides[axis].times(-1);
                }
            }
            _ => return None,
        }
        Some(view)
    }

    fn reshaped(&self, shape: &Shape) -> Option<View> {
        if self.is_dense() {
            return Some(View { offset: self.offset, ..View::dense(shape) });
        }
        // axes of size 1 come and go freely
        let solid = |s: &Shape| s.0.iter().copied().filter(|e| !e.is_one()).collect::<Vec<_>>();
        if solid(&self.shape) != solid(shape) {
            return None;
        }
        let mut rest = (0..self.shape.rank()).filter(|&a| !self.shape[a].is_one()).map(|a| self.strides[a]);
        let strides = shape.0.iter().map(|e| if e.is_one() { Some(Stride::ZERO) } else { rest.next() });
        Some(View { shape: shape.clone(), strides: strides.collect::<Option<_>>()?, offset: self.offset })
    }

    /// Strides along the axes of `space`, to which this view is stretched (aligned at the last axis).
    pub fn strides_in(&self, space: &Shape) -> SmallVec<[Stride; 4]> {
        let missing = space.rank() - self.shape.rank();
        let along = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if !self.shape[own].is_one() => self.strides[own],
            _ => Stride::ZERO,
        };
        (0..space.rank()).map(along).collect()
    }

    /// The single stride and extent that `axes` (adjacent in meaning, in this order) merge to.
    pub fn merged(&self, axes: &[usize]) -> Option<(Extent, Stride)> {
        let mut result: Option<(Extent, Stride)> = None;
        for &axis in axes.iter().rev() {
            let (extent, stride) = (self.shape[axis], self.strides[axis]);
            if extent.is_one() {
                continue;
            }
            result = Some(match result {
                None => (extent, stride),
                Some((inner, step)) => {
                    let span =
                        Stride { scale: step.scale * inner.scale as i64, power: step.power + inner.power };
                    (span == stride).then(|| (extent.times(inner), step))?
                }
            });
        }
        Some(result.unwrap_or((Extent::ONE, Stride { scale: 1, power: 0 })))
    }
}

/// The stored value that holds `value`, and how `value` lies in it.
pub fn resolve(graph: &Graph, stored: &[bool], value: Value) -> Option<(NodeId, View)> {
    if stored[value.node.0 as usize] {
        return Some((value.node, View::dense(&graph.ty(value).shape)));
    }
    let node = graph.node(value.node);
    match node.op {
        Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Flip(_) => {
            let (base, view) = resolve(graph, stored, node.inputs[0])?;
            Some((base, view.through(&node.op)?))
        }
        _ => None,
    }
}

/// The node whose buffer holds a value's elements in the same order: the value itself, or
/// what it is a reshape of.
pub fn dense_base(graph: &Graph, value: Value) -> NodeId {
    let node = graph.node(value.node);
    match node.op {
        Op::Reshape(_) => dense_base(graph, node.inputs[0]),
        _ => value.node,
    }
}
