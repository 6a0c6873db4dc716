//! Products of data with a parameter, and where the parameter's axes are.

use super::context::Context;
use super::rebuild::Rebuild;
use evenkeel_ir::{Axes, Extent, NodeId, Op, Shape, Value};

/// A `dot` of which exactly one operand is a weight: a function of parameters.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// The product.
    pub(crate) id: NodeId,
    /// What is multiplied.
    pub(crate) data: Value,
    /// The weight.
    pub(crate) weight: Value,
    /// Which operand the weight is.
    side: usize,
    batch: usize,
    contracted: [Axes; 2],
    /// Ranks of the weight and of the result.
    ranks: [usize; 2],
}

impl Linear {
    /// The linear that a node is.
    pub(crate) fn of(cx: &Context<'_>, id: NodeId) -> Option<Linear> {
        let node = cx.node(id);
        let Op::Dot { batch, lhs, rhs } = node.op else { return None };
        let side = match [cx.is_fixed(node.inputs[0]), cx.is_fixed(node.inputs[1])] {
            [true, false] => 0,
            [false, true] => 1,
            _ => return None,
        };
        let (weight, data) = (node.inputs[side], node.inputs[1 - side]);
        let ranks = [cx.graph.ty(weight).rank(), node.types[0].rank()];
        Some(Linear { id, data, weight, side, batch: batch.into(), contracted: [lhs, rhs], ranks })
    }

    /// True for a product over a common batch of data and weight.
    pub(crate) fn is_batched(&self) -> bool {
        self.batch > 0
    }

    /// Axes of the data that the product sums over.
    pub(crate) fn data_axes(&self) -> Axes {
        self.contracted[1 - self.side]
    }

    /// Axes of the weight that the product keeps, ascending.
    fn weight_free(&self) -> Vec<usize> {
        (0..self.ranks[0]).filter(|&axis| !self.contracted[self.side].contains(axis)).collect()
    }

    /// For each kept axis of the weight, ascending, its axis in the result.
    fn places(&self) -> Vec<usize> {
        let own = self.weight_free().len() - self.batch;
        let first = if self.side == 0 { self.batch } else { self.ranks[1] - own };
        (0..self.batch).chain(first..first + own).collect()
    }

    /// Axes of the result that are axes of the weight alone.
    pub(crate) fn result_axes(&self) -> Axes {
        Axes::new(self.places().into_iter().skip(self.batch))
    }

    /// Axes of the weight that become these axes of the result; none if one is of the data.
    pub(crate) fn weight_axes(&self, result: Axes) -> Option<Axes> {
        let (free, places) = (self.weight_free(), self.places());
        let place = |axis| places.iter().position(|&place| place == axis).map(|i| free[i]);
        let found: Option<Vec<usize>> = result.iter().map(place).collect();
        found.map(Axes::new)
    }

    /// The shape in which a factor of the result multiplies the weight; none if it varies along
    /// axes of the data. `factor` has the rank of the result.
    pub(crate) fn shape_over_outputs(&self, factor: &Shape) -> Option<Shape> {
        let places = self.places();
        if (0..factor.rank()).any(|axis| !factor[axis].is_one() && !places.contains(&axis)) {
            return None;
        }
        let mut shape = ones(self.ranks[0]);
        for (axis, place) in self.weight_free().into_iter().zip(places) {
            shape.0[axis] = factor[place];
        }
        Some(shape)
    }

    /// The shape in which a factor of the data multiplies the weight; none if it varies along
    /// axes that are not summed over. `factor` has the rank of the data.
    pub(crate) fn shape_over_inputs(&self, factor: &Shape) -> Option<Shape> {
        let summed = self.data_axes();
        if (0..factor.rank()).any(|axis| !factor[axis].is_one() && !summed.contains(axis)) {
            return None;
        }
        let mut shape = ones(self.ranks[0]);
        for (axis, from) in self.contracted[self.side].iter().zip(summed.iter()) {
            shape.0[axis] = factor[from];
        }
        Some(shape)
    }

    /// The shape in which a factor of the rows of the data multiplies the result; none if it
    /// varies along summed axes. `factor` has the rank of the data.
    pub(crate) fn shape_over_rows(&self, factor: &Shape) -> Option<Shape> {
        let summed = self.data_axes();
        if summed.iter().any(|axis| !factor[axis].is_one()) {
            return None;
        }
        let mut shape = ones(self.ranks[1]);
        let weights = self.result_axes();
        let places = (0..self.ranks[1]).filter(|axis| !weights.contains(*axis));
        let kept = (0..factor.rank()).filter(|axis| !summed.contains(*axis));
        places.zip(kept).for_each(|(place, axis)| shape.0[place] = factor[axis]);
        Some(shape)
    }

    /// The product with other operands of the same layout.
    pub(crate) fn product(&self, r: &mut Rebuild<'_>, data: Value, weight: Value) -> Value {
        let op = r.graph.node(self.id).op.clone();
        let operands = if self.side == 0 { [weight, data] } else { [data, weight] };
        r.b.op(op, &operands)
    }
}

fn ones(rank: usize) -> Shape {
    Shape((0..rank).map(|_| Extent::ONE).collect())
}
