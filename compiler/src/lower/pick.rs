//! An element of a row that is loaded where it stands, instead of summing a row of zeros and it.

use super::emit::Body;
use crate::expand::Pick;
use evenkeel_ir::kernel::{Access, Indirect, Source, Stride};
use evenkeel_ir::scalar::{Compare, Inst, Reg, ScalarType};
use evenkeel_ir::{Axes, Extent, Reduce, Value};

impl Body<'_> {
    /// `sum(select(i == r, x, 0))` over the axis of the positions `i`, where `x` is loaded along
    /// its rows and `r` is known before any reduction; 0 where the row has no element `r`.
    pub(super) fn picked(&mut self, op: Reduce, selected: Value, axes: Axes) -> Option<Reg> {
        let pick = Pick::of(self.graph, selected, axes).filter(|_| op == Reduce::Sum)?;
        let axis = self.space.shape.rank() - pick.from_last;
        let (along, extent) = (self.space.order.iter().position(|&a| a == axis)?, self.space.shape[axis]);
        let (element, place) = (self.register(pick.value), self.register(pick.place));
        let mut access = self.loaded(element).filter(|_| !self.waits(place))?;
        let stride = std::mem::take(&mut access.strides[along]);
        if stride != (Stride { scale: 1, power: 0 }) {
            return None;
        }
        access.indirect = Some(Indirect { register: place, stride, limit: extent });
        let ty = self.code.ty(element);
        let element = self.parameter(Source::Load(access), ty);
        let (inside, zero) = (self.inside(place, extent), self.code.zero(ty));
        Some(self.code.select(inside, element, zero))
    }

    /// How a register is loaded, if it is, at places that do not come from data.
    fn loaded(&self, reg: Reg) -> Option<Access> {
        let Inst::Param { index, .. } = self.code.inst(reg) else { return None };
        let Source::Load(access) = &self.sources[index as usize] else { return None };
        access.indirect.is_none().then(|| access.clone())
    }

    /// Does a register wait for a reduction?
    fn waits(&self, reg: Reg) -> bool {
        match self.code.inst(reg) {
            Inst::Param { index, .. } => matches!(self.sources[index as usize], Source::Reduced(_)),
            inst => inst.operands().iter().any(|&operand| self.waits(operand)),
        }
    }

    /// `0 <= place < extent`
    fn inside(&mut self, place: Reg, extent: Extent) -> Reg {
        let end = match extent.known() {
            Some(n) => self.code.i32(n as i32),
            None => self.parameter(Source::Size(extent), ScalarType::I32),
        };
        let k = &mut self.code;
        let zero = k.i32(0);
        let (after, before) = (k.compare(Compare::Ge, place, zero), k.compare(Compare::Lt, place, end));
        k.push(Inst::And(after, before))
    }
}
