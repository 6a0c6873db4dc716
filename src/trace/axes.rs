//! Axes as users write them.

use super::{Fault, Var, fault};
use evenkeel_ir::{Axes, Place};

/// One axis or several; negative ones count from the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisList(pub Vec<i64>);

macro_rules! from {
    ($($ty:ty),*) => {$(
        impl From<$ty> for AxisList {
            fn from(axis: $ty) -> AxisList { AxisList(vec![axis as i64]) }
        }
        impl<const N: usize> From<[$ty; N]> for AxisList {
            fn from(axes: [$ty; N]) -> AxisList { AxisList(axes.iter().map(|&axis| axis as i64).collect()) }
        }
        impl From<&[$ty]> for AxisList {
            fn from(axes: &[$ty]) -> AxisList { AxisList(axes.iter().map(|&axis| axis as i64).collect()) }
        }
        impl From<Vec<$ty>> for AxisList {
            fn from(axes: Vec<$ty>) -> AxisList { AxisList::from(&axes[..]) }
        }
    )*};
}
from!(i32, i64, usize);

impl AxisList {
    /// The set of axes of a value, or a fault.
    pub(crate) fn of(&self, op: &'static str, x: Var, place: Place) -> Option<Axes> {
        let ty = x.ty_at(op, place)?;
        let axes = Axes::resolve(&self.0, ty.rank());
        if axes.is_none() {
            fault(Fault::Axes { op, axes: self.0.clone(), operand: ty }, place);
        }
        axes
    }

    /// The single axis of a value, or a fault.
    pub(crate) fn single(&self, op: &'static str, x: Var, place: Place) -> Option<usize> {
        let axes = self.of(op, x, place)?;
        if axes.len() != 1 {
            fault(Fault::Axes { op, axes: self.0.clone(), operand: x.ty() }, place);
            return None;
        }
        axes.iter().next()
    }
}
