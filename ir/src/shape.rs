//! Sizes, axes and tensor types; the broadcasting rule.
//!
//! An [`Extent`] is `scale * N^power`, where `N` is the batch size that a compiled
//! program learns when it runs. Everything else about a shape is fixed at compile time.

use crate::dtype::DType;
use smallvec::SmallVec;
use std::fmt;

/// The size of an axis (or of a whole tensor): `scale * N^power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// The constant factor.
    pub scale: u64,
    /// How many times the run-time batch size `N` is a factor.
    pub power: u8,
}

impl Extent {
    /// The extent 1.
    pub const ONE: Extent = Extent::fixed(1);
    /// The run-time batch size itself.
    pub const BATCH: Extent = Extent { scale: 1, power: 1 };

    /// An extent known at compile time.
    pub const fn fixed(scale: u64) -> Extent {
        Extent { scale, power: 0 }
    }

    /// The value when the batch size is `batch`; the largest integer when it is larger still.
    pub fn at(self, batch: u64) -> u64 {
        self.scale.saturating_mul(batch.saturating_pow(self.power.into()))
    }

    /// The value, if it does not depend on the batch size.
    pub fn known(self) -> Option<u64> {
        (self.power == 0 || self.scale == 0).then_some(self.scale)
    }

    /// The batch size at which the value is `size`, or the next smaller one that an integer has;
    /// `None` if the value does not depend on it.
    pub fn batch_of(self, size: u64) -> Option<u64> {
        if self.known().is_some() {
            return None;
        }
        let (target, power) = (size / self.scale, u32::from(self.power));
        if power == 1 {
            return Some(target);
        }
        let too_large = |root: u64| root.checked_pow(power).is_none_or(|value| value > target);
        // of a root below 2^32 the estimate is off by one at most
        let mut root = (target as f64).powf(1.0 / f64::from(power)).round() as u64 + 1;
        while too_large(root) {
            root -= 1;
        }
        Some(root)
    }

    /// True for the extent 1.
    pub fn is_one(self) -> bool {
        self == Extent::ONE
    }

    /// Product of two extents; it saturates far beyond [`TensorType::MAX_ELEMENTS`].
    pub fn times(self, other: Extent) -> Extent {
        let (scale, power) = (self.scale.saturating_mul(other.scale), self.power.saturating_add(other.power));
        Extent { scale, power }
    }

    /// Exact quotient, if there is one.
    pub fn divided_by(self, other: Extent) -> Option<Extent> {
        let divides = other.scale != 0 && self.scale.is_multiple_of(other.scale) && self.power >= other.power;
        divides.then(|| Extent { scale: self.scale / other.scale, power: self.power - other.power })
    }

    /// Product of many extents.
    pub fn product(extents: impl IntoIterator<Item = Extent>) -> Extent {
        extents.into_iter().fold(Extent::ONE, Extent::times)
    }
}

impl From<usize> for Extent {
    fn from(size: usize) -> Extent {
        Extent::fixed(size as u64)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scale, self.power) {
            (scale, 0) => write!(f, "{scale}"),
            (1, 1) => write!(f, "N"),
            (scale, 1) => write!(f, "{scale}N"),
            (1, power) => write!(f, "N^{power}"),
            (scale, power) => write!(f, "{scale}N^{power}"),
        }
    }
}

/// Sizes of all axes, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape(pub SmallVec<[Extent; 4]>);

impl Shape {
    /// A shape of fixed sizes.
    pub fn of(sizes: &[usize]) -> Shape {
        Shape(sizes.iter().map(|&size| size.into()).collect())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Extent {
        Extent::product(self.0.iter().copied())
    }

    /// Sizes when the batch size is `batch`.
    pub fn at(&self, batch: u64) -> Vec<usize> {
        self.0.iter().map(|extent| extent.at(batch) as usize).collect()
    }

    /// The same shape with size 1 on `axes`.
    pub fn reduced(&self, axes: &Axes) -> Shape {
        let keep = |(axis, &extent)| {
            if axes.contains(axis) { Extent::ONE } else { extent }
        };
        Shape(self.0.iter().enumerate().map(keep).collect())
    }

    /// Product of the extents of `axes`.
    pub fn extent_of(&self, axes: &Axes) -> Extent {
        Extent::product(axes.iter().map(|axis| self.0[axis]))
    }

    /// Row-major strides in elements, outermost first.
    pub fn strides(&self) -> SmallVec<[Extent; 4]> {
        let mut strides: SmallVec<[Extent; 4]> = SmallVec::from_elem(Extent::ONE, self.rank());
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis].times(self.0[axis]);
        }
        strides
    }

    /// The common shape of two operands under the broadcasting rule of the IR:
    /// axes of size 1 stretch; an operand of lower rank is aligned at the last axis,
    /// and only when the other operand already has the result shape.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let (long, short) = if self.rank() >= other.rank() { (self, other) } else { (other, self) };
        let offset = long.rank() - short.rank();
        let mut result = long.clone();
        for (axis, &extent) in short.0.iter().enumerate() {
            let mine = long.0[axis + offset];
            result.0[axis + offset] = match (mine, extent) {
                (a, b) if a == b || b.is_one() => a,
                (a, b) if a.is_one() => b,
                _ => return None,
            };
        }
        let legal = offset == 0 || short.rank() == 0 || result == *long;
        legal.then_some(result)
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = Extent;
    fn index(&self, axis: usize) -> &Extent {
        &self.0[axis]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (axis, extent) in self.0.iter().enumerate() {
            write!(f, "{}{extent}", if axis > 0 { "," } else { "" })?;
        }
        write!(f, "]")
    }
}

/// A sorted set of axes, counted from the outermost axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axes(u32);

impl Axes {
    /// No axis.
    pub const NONE: Axes = Axes(0);

    /// The set with these members.
    pub fn new(axes: impl IntoIterator<Item = usize>) -> Axes {
        Axes(axes.into_iter().fold(0, |mask, axis| mask | 1 << axis))
    }

    /// All axes of a tensor of this rank.
    pub fn all(rank: usize) -> Axes {
        Axes::new(0..rank)
    }

    /// Resolves axes that may be negative (counted from the last axis).
    /// `None` when one is out of range or named twice.
    pub fn resolve(axes: &[i64], rank: usize) -> Option<Axes> {
        let mut set = Axes::NONE;
        for &axis in axes {
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            if axis < 0 || axis >= rank as i64 || set.contains(axis as usize) {
                return None;
            }
            set.0 |= 1 << axis;
        }
        Some(set)
    }

    /// True when `axis` is a member.
    pub fn contains(self, axis: usize) -> bool {
        self.0 >> axis & 1 == 1
    }

    /// Members in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..32).filter(move |&axis| self.contains(axis))
    }

    /// Number of members.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True when there is no member.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members as a bit mask, axis 0 lowest.
    pub fn mask(self) -> u32 {
        self.0
    }

    /// The set with this bit mask.
    pub fn from_mask(mask: u32) -> Axes {
        Axes(mask)
    }

    /// The same axes seen from a tensor with `offset` more leading axes.
    pub fn shifted(self, offset: usize) -> Axes {
        Axes(self.0 << offset)
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@")?;
        for (place, axis) in self.iter().enumerate() {
            write!(f, "{}{axis}", if place > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Element type and shape of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType {
    /// The type of every element.
    pub dtype: DType,
    /// The size of every axis.
    pub shape: Shape,
}

impl TensorType {
    /// How many axes a tensor may have.
    pub const MAX_RANK: usize = 32;
    /// How many elements a tensor may have for batch size 1, counting empty axes as one element.
    pub const MAX_ELEMENTS: u64 = 1 << 56;
    /// How often the batch size may be a factor of a number of elements.
    pub const MAX_POWER: u64 = 64;

    /// A type from its parts.
    pub fn new(dtype: DType, shape: Shape) -> TensorType {
        TensorType { dtype, shape }
    }

    /// A rank-0 type.
    pub fn scalar(dtype: DType) -> TensorType {
        TensorType { dtype, shape: Shape::default() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// Bytes of a dense value of this type.
    pub fn bytes(&self) -> Extent {
        self.shape.elements().times(Extent::fixed(self.dtype.size() as u64))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_size_is_the_root_of_what_its_power_measures() {
        let square = Extent { scale: 3, power: 2 };
        assert_eq!([0, 3, 26, 27, 47, 48].map(|size| square.batch_of(size)), [0, 1, 2, 3, 3, 4].map(Some));
        let cube = Extent { scale: 1, power: 3 };
        assert_eq!([0, 7, 8, 1 << 60].map(|size| cube.batch_of(size)), [0, 1, 2, 1 << 20].map(Some));
        assert_eq!(Extent::BATCH.batch_of(u64::MAX), Some(u64::MAX));
        assert_eq!([Extent::ONE, Extent { scale: 0, power: 1 }].map(|fixed| fixed.batch_of(4)), [None, None]);
    }
}
