//! Methods that move elements, products and indexed access.

use super::{AxisList, Fault, Var, apply, fault};
use evenkeel_ir::{Axes, Extent, Op, Place, Shape};

impl Var {
    /// The only element as a scalar.
    #[track_caller]
    pub(super) fn scalar(self) -> Var {
        self.with_shape(Shape::default())
    }

    /// The same elements in row-major order under another shape; extents may hold the batch
    /// size ([`Extent::BATCH`]).
    #[track_caller]
    pub fn with_shape(self, shape: Shape) -> Var {
        if self.try_ty().is_some_and(|ty| ty.shape == shape) {
            return self;
        }
        apply(Op::Reshape(shape), &[self], Place::caller())
    }

    /// The same elements under other sizes; one size may be -1 and takes what is left.
    #[track_caller]
    pub fn reshape<const N: usize>(self, sizes: [i64; N]) -> Var {
        let place = Place::caller();
        let Some(ty) = self.try_ty() else { return Var::POISONED };
        let known = Extent::product(sizes.iter().filter(|&&s| s >= 0).map(|&s| Extent::fixed(s as u64)));
        let rest = ty.shape.elements().divided_by(known);
        let open = sizes.iter().filter(|&&s| s < 0).count();
        match (open, rest) {
            (0, _) | (1, Some(_)) => {
                let extent =
                    |&s: &i64| if s < 0 { rest.unwrap_or(Extent::ONE) } else { Extent::fixed(s as u64) };
                self.with_shape(Shape(sizes.iter().map(extent).collect()))
            }
            _ => {
                let expected = format!("sizes that divide {ty}, with at most one -1");
                fault(Fault::Expected { op: "reshape", expected, found: format!("{sizes:?}") }, place)
            }
        }
    }

    /// Drops axes of size 1.
    #[track_caller]
    pub fn squeeze(self, axes: impl Into<AxisList>) -> Var {
        let place = Place::caller();
        let Some(axes) = axes.into().of("squeeze", self, place) else { return Var::POISONED };
        let shape = self.shape();
        if axes.iter().any(|axis| !shape[axis].is_one()) {
            let (expected, found) = ("axes of size 1".to_string(), self.ty().to_string());
            return fault(Fault::Expected { op: "squeeze", expected, found }, place);
        }
        let kept = (0..shape.rank()).filter(|&axis| !axes.contains(axis)).map(|axis| shape[axis]);
        self.with_shape(Shape(kept.collect()))
    }

    /// Adds an axis of size 1 before this position (negative: counted from the end).
    #[track_caller]
    pub fn unsqueeze(self, axis: i64) -> Var {
        let place = Place::caller();
        let Some(ty) = self.try_ty() else { return Var::POISONED };
        let at = if axis < 0 { axis + ty.rank() as i64 + 1 } else { axis };
        if !(0..=ty.rank() as i64).contains(&at) {
            return fault(Fault::Axes { op: "unsqueeze", axes: vec![axis], operand: ty }, place);
        }
        let mut shape = ty.shape;
        shape.0.insert(at as usize, Extent::ONE);
        self.with_shape(shape)
    }

    /// Axis `i` of the result is axis `order[i]`.
    #[track_caller]
    pub fn permute<const N: usize>(self, order: [usize; N]) -> Var {
        apply(Op::Transpose(order.iter().map(|&axis| axis as u8).collect()), &[self], Place::caller())
    }

    /// Exchanges the last two axes.
    #[track_caller]
    pub fn transpose(self) -> Var {
        let place = Place::caller();
        let rank = self.rank();
        if rank < 2 {
            let (expected, found) = ("at least two axes".to_string(), self.ty().to_string());
            return if self.is_poisoned() {
                self
            } else {
                fault(Fault::Expected { op: "transpose", expected, found }, place)
            };
        }
        let mut order: Vec<u8> = (0..rank as u8).collect();
        order.swap(rank - 1, rank - 2);
        apply(Op::Transpose(order.into_iter().collect()), &[self], place)
    }

    /// Stretches axes of size 1 to the shape of another value.
    #[track_caller]
    pub fn stretch_like(self, other: Var) -> Var {
        if self.is_poisoned() || other.is_poisoned() || self.shape() == other.shape() {
            return self;
        }
        apply(Op::Broadcast(other.shape()), &[self], Place::caller())
    }

    /// Elements `start..end` along an axis.
    #[track_caller]
    pub fn slice(self, axis: i64, start: usize, end: usize) -> Var {
        let place = Place::caller();
        let Some(axis) = AxisList::from(axis).single("slice", self, place) else { return Var::POISONED };
        let length = end.saturating_sub(start) as u64;
        apply(Op::Slice { axis: axis as u8, start: start as u64, length, stride: 1 }, &[self], place)
    }

    /// Values one after another along an axis.
    #[track_caller]
    pub fn concat(parts: &[Var], axis: i64) -> Var {
        let place = Place::caller();
        let Some(&first) = parts.first() else {
            let expected = "at least one value".to_string();
            return fault(Fault::Expected { op: "concat", expected, found: "none".into() }, place);
        };
        let Some(axis) = AxisList::from(axis).single("concat", first, place) else { return Var::POISONED };
        apply(Op::Concat { axis: axis as u8 }, parts, place)
    }

    /// Sum of products over the last axis of both: `[.., k] . [n, k] -> [.., n]`, the product
    /// of a linear layer whose weight is stored `[out, in]`.
    #[track_caller]
    pub fn linear(self, weight: Var) -> Var {
        let (lhs, rhs) = (self.rank().saturating_sub(1), weight.rank().saturating_sub(1));
        let op = Op::Dot { batch: 0, lhs: Axes::new([lhs]), rhs: Axes::new([rhs]) };
        apply(op, &[self, weight], Place::caller())
    }

    /// Matrix product `[.., m, k] @ [.., k, n] -> [.., m, n]`; leading axes must be equal, or
    /// missing on the right.
    #[track_caller]
    pub fn matmul(self, other: Var) -> Var {
        let place = Place::caller();
        if self.is_poisoned() || other.is_poisoned() {
            return Var::POISONED;
        }
        let (rank, other_rank) = (self.rank(), other.rank());
        if rank == 0 || other_rank < 2 {
            let (expected, found) =
                ("[.., m, k] and [.., k, n]".to_string(), format!("{} and {}", self.ty(), other.ty()));
            return fault(Fault::Expected { op: "matmul", expected, found }, place);
        }
        let batch = other_rank - 2;
        let op = Op::Dot { batch: batch as u8, lhs: Axes::new([rank - 1]), rhs: Axes::new([other_rank - 2]) };
        apply(op, &[self, other], place)
    }

    /// Slices of `self` along axis 0 at integer `indices`: `[n, ..]` and `[..i]` give `[..i, ..]`.
    /// An index outside gives NaN (floats) or 0.
    #[track_caller]
    pub fn gather(self, indices: Var) -> Var {
        apply(Op::Gather { axis: 0 }, &[self, indices], Place::caller())
    }

    /// As [`gather`](Var::gather) along any axis, which the axes of `indices` replace.
    #[track_caller]
    pub fn gather_along(self, axis: i64, indices: Var) -> Var {
        let place = Place::caller();
        let Some(axis) = AxisList::from(axis).single("gather", self, place) else { return Var::POISONED };
        apply(Op::Gather { axis: axis as u8 }, &[self, indices], place)
    }

    /// Adds slices into `size` zeros along axis 0: `[..i, ..]` at `indices [..i]` give
    /// `[size, ..]`. Slices with an index outside are dropped. The transpose of
    /// [`gather`](Var::gather).
    #[track_caller]
    pub fn scatter_add(self, indices: Var, size: usize) -> Var {
        let op = Op::ScatterAdd { axis: 0, size: Extent::from(size) };
        apply(op, &[self, indices], Place::caller())
    }

    /// Zeros before and after the elements along an axis.
    #[track_caller]
    pub fn pad(self, axis: i64, before: usize, after: usize) -> Var {
        let place = Place::caller();
        let Some(axis) = AxisList::from(axis).single("pad", self, place) else { return Var::POISONED };
        let (low, high) = (before as u64, after as u64);
        apply(Op::Pad { axis: axis as u8, low, high, interior: 0 }, &[self], place)
    }

    /// The elements in reverse order along axes.
    #[track_caller]
    pub fn flip(self, axes: impl Into<AxisList>) -> Var {
        let place = Place::caller();
        let Some(axes) = axes.into().of("flip", self, place) else { return Var::POISONED };
        apply(Op::Flip(axes), &[self], place)
    }
}
