//! Extracted expressions, apart from the e-graph, and how they become nodes of a graph.

use super::language::{Head, Term};
use super::region::Region;
use egg::{Language, RecExpr};
use evenkeel_ir::{Axes, DType, Extent, GraphBuilder, Op, Shape, TensorType, Value};

/// An extracted expression, apart from the e-graph: axes are those of the whole index space.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    terms: Vec<Term>,
    space: Shape,
    dtype: DType,
}

impl Recipe {
    /// Frees an expression from its region.
    pub(crate) fn new(region: &Region, expression: &RecExpr<Term>) -> Recipe {
        let meaning = &region.classes.analysis;
        let free = |term: &Term| match term {
            Term::Axes(mask) => Term::Axes(meaning.axes(*mask).mask().into()),
            other => other.clone(),
        };
        let terms = expression.as_ref().iter().map(free).collect();
        Recipe { terms, space: meaning.space.clone(), dtype: meaning.dtype }
    }

    /// An expression over axes of a space, whose leaves are its operands.
    pub(crate) fn free(expression: &RecExpr<Term>, space: Shape, dtype: DType) -> Recipe {
        Recipe { terms: expression.as_ref().to_vec(), space, dtype }
    }

    /// How many ops it has.
    pub(crate) fn ops(&self) -> usize {
        self.terms.iter().filter(|term| matches!(term, Term::Apply(..))).count()
    }

    /// Builds the expression on these leaves, with this type.
    pub(crate) fn emit(&self, b: &mut GraphBuilder, leaves: &[Value], ty: &TensorType) -> Option<Value> {
        let value = self.value(b, leaves)?;
        shaped(b, value, ty)
    }

    /// Builds the expression on these leaves, in the shape that comes about.
    pub(crate) fn value(&self, b: &mut GraphBuilder, leaves: &[Value]) -> Option<Value> {
        let leaves: Vec<Option<Value>> = leaves.iter().copied().map(Some).collect();
        let mut built = Built::new(self);
        self.part(b, &leaves, self.terms.len() - 1, &mut built)
    }

    /// Builds what one term needs, in the shape that comes about. None where a leaf is missing.
    pub(crate) fn part(
        &self,
        b: &mut GraphBuilder,
        leaves: &[Option<Value>],
        place: usize,
        built: &mut Built,
    ) -> Option<Value> {
        if let Some(known) = built.0[place] {
            return Some(known);
        }
        let operands: &[egg::Id] = self.terms[place].children();
        for operand in operands.iter().map(|id| usize::from(*id)) {
            if !matches!(self.terms[operand], Term::Axes(_)) {
                self.part(b, leaves, operand, built)?;
            }
        }
        let value = self.build(b, leaves, &self.terms[place], &built.0)?;
        built.0[place] = Some(value);
        Some(value)
    }
    /// One term whose operands are built.
    fn build(
        &self,
        b: &mut GraphBuilder,
        leaves: &[Option<Value>],
        term: &Term,
        values: &[Option<Value>],
    ) -> Option<Value> {
        let (head, operands) = match term {
            Term::Leaf(place) => return leaves[*place as usize],
            Term::Number(number) => return Some(b.op(Op::Const(*number, self.dtype), &[])),
            Term::Size(extent) => return Some(b.size(*extent, self.dtype)),
            Term::Axes(_) => return None,
            Term::Apply(head, operands) => (head, operands),
        };
        let mut inputs: Vec<Value> = operands.iter().filter_map(|id| values[usize::from(*id)]).collect();
        let op = match head {
            Head::Unary(op) => Op::Unary(*op),
            Head::Binary(op) => Op::Binary(*op),
            Head::Select => Op::Select,
            Head::Indicator => Op::Cast(self.dtype),
            Head::StopGradient => Op::StopGradient,
            Head::Reduce(_) | Head::Composite(..) => {
                let Term::Axes(mask) = self.terms[usize::from(operands[0])] else { return None };
                let axes = Axes::from_mask(mask as u32);
                inputs[0] = self.spread(b, inputs[0], axes)?;
                let missing = self.space.rank() - b.ty(inputs[0]).rank();
                let axes = Axes::new(axes.iter().map(|axis| axis - missing));
                match head {
                    Head::Reduce(op) => Op::Reduce(*op, axes),
                    Head::Composite(op, settings) => Op::Composite(*op, settings.over(axes)),
                    _ => return None,
                }
            }
        };
        if let Ok(value) = b.apply(op.clone(), &inputs) {
            return Some(value);
        }
        let aligned: Option<Vec<Value>> = inputs.iter().map(|&v| self.align(b, v)).collect();
        b.apply(op, &aligned?).ok()
    }

    /// Makes a value vary along these axes of the index space in name.
    fn spread(&self, b: &mut GraphBuilder, x: Value, axes: Axes) -> Option<Value> {
        let shape = b.ty(x).shape.clone();
        let missing = self.space.rank() - shape.rank();
        let short = |axis: usize| axis < missing || shape[axis - missing] != self.space[axis];
        if !axes.iter().any(short) {
            return Some(x);
        }
        let ones = std::iter::repeat_n(Extent::ONE, missing);
        let mut spread = Shape(ones.chain(shape.0.iter().copied()).collect());
        axes.iter().for_each(|axis| spread.0[axis] = self.space[axis]);
        b.apply(Op::Broadcast(spread), &[x]).ok()
    }

    /// Adds leading axes of size 1 up to the rank of the index space; scalars stay scalars.
    fn align(&self, b: &mut GraphBuilder, x: Value) -> Option<Value> {
        let shape = b.ty(x).shape.clone();
        let missing = self.space.rank() - shape.rank();
        if missing == 0 || shape.rank() == 0 {
            return Some(x);
        }
        let ones = std::iter::repeat_n(Extent::ONE, missing);
        b.apply(Op::Reshape(Shape(ones.chain(shape.0.iter().copied()).collect())), &[x]).ok()
    }
}

/// Values of the terms that were built so far.
pub(crate) struct Built(Vec<Option<Value>>);

impl Built {
    /// Nothing yet.
    pub(crate) fn new(recipe: &Recipe) -> Built {
        Built(vec![None; recipe.terms.len()])
    }
}

/// The value with this type; none where it has more than that.
pub(crate) fn shaped(b: &mut GraphBuilder, mut value: Value, ty: &TensorType) -> Option<Value> {
    if b.ty(value).rank() > ty.rank() {
        value = b.apply(Op::Reshape(ty.shape.clone()), &[value]).ok()?;
    }
    if b.ty(value).shape != ty.shape {
        value = b.apply(Op::Broadcast(ty.shape.clone()), &[value]).ok()?;
    }
    (b.ty(value) == ty).then_some(value)
}
