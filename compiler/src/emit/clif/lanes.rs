//! Vectors: splats, constants, and the steps that cross lanes.

use super::frame::{Frame, Width};
use cranelift::codegen::ir::ConstantData;
use cranelift::prelude::{InstBuilder, IntCC, MemFlagsData, Type, Value, types};
use evenkeel_ir::kernel::Combine;
use evenkeel_ir::scalar::{Constant, Inst, Reg, ScalarType};

const LITTLE: cranelift::codegen::ir::Endianness = cranelift::codegen::ir::Endianness::Little;

impl Frame<'_, '_> {
    /// Lanes of a vector of 4-byte elements.
    pub(super) fn lanes(&self) -> i64 {
        i64::from(self.schedule.vector_bytes / 4)
    }

    /// Is a register a vector at the width being emitted?
    pub(super) fn width_of(&self, reg: Reg) -> Width {
        let lane = self.schedule.lane_axis.map_or(0, |axis| 1 << axis);
        if self.levels.dep[reg.0 as usize] & lane != 0 { self.width } else { Width::Scalar }
    }

    pub(super) fn clif_type(&self, ty: ScalarType, width: Width) -> Type {
        match (ty, width) {
            (ScalarType::F32, Width::Scalar) => types::F32,
            (ScalarType::F32, Width::Vector) => types::F32X4,
            (ScalarType::I32, Width::Scalar) => types::I32,
            (ScalarType::I32 | ScalarType::Mask, Width::Vector) => types::I32X4,
            (ScalarType::Mask, Width::Scalar) => types::I8,
            (ScalarType::F64, _) => types::F64,
            (ScalarType::I64, _) => types::I64,
        }
    }

    pub(super) fn cast_bits(&mut self, ty: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty {
            return value;
        }
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(LITTLE), value)
    }

    /// A scalar in every lane.
    pub(super) fn splat(&mut self, value: Value, ty: ScalarType) -> Value {
        let vector = self.clif_type(ty, Width::Vector);
        if ty != ScalarType::Mask {
            return self.b.ins().splat(vector, value);
        }
        let (ones, zeros) = (self.b.ins().iconst(types::I32, -1), self.b.ins().iconst(types::I32, 0));
        let lanes = self.b.ins().select(value, ones, zeros);
        self.b.ins().splat(vector, lanes)
    }

    pub(super) fn constant(&mut self, constant: Constant) -> Value {
        match constant {
            Constant::F32(bits) => self.b.ins().f32const(f32::from_bits(bits)),
            Constant::F64(bits) => self.b.ins().f64const(f64::from_bits(bits)),
            Constant::I32(x) => self.b.ins().iconst(types::I32, i64::from(x)),
            Constant::I64(x) => self.b.ins().iconst(types::I64, x),
            Constant::Mask(x) => self.b.ins().iconst(types::I8, i64::from(x)),
        }
    }

    /// The start of a reduction: a vector when rows are lanes.
    pub(super) fn neutral(&mut self, reduction: usize) -> Value {
        let how = self.kernel.reduction_combine(reduction);
        let identity = self.constant(how.identity);
        let vertical = self.schedule.lane_axis.is_some_and(|axis| axis < self.kernel.parallel);
        let vector = vertical && self.width_of(self.kernel.reductions[reduction].input) == Width::Vector;
        if vector { self.splat(identity, how.ty) } else { identity }
    }

    /// The start of the lane-wise part of reductions.
    pub(super) fn neutral_vectors(&mut self, reductions: &[usize]) -> Vec<Value> {
        reductions.iter().map(|&r| self.identity(&self.kernel.reduction_combine(r), Width::Vector)).collect()
    }

    fn identity(&mut self, how: &Combine, width: Width) -> Value {
        let identity = self.constant(how.identity);
        if width == Width::Vector { self.splat(identity, how.ty) } else { identity }
    }

    /// How an accumulating store combines.
    pub(super) fn accumulation(&self, store: usize) -> Combine {
        self.kernel.store_combine(store).expect("an accumulation combines")
    }

    /// The start of accumulations along the lane axis.
    pub(super) fn neutral_sums(&mut self, sums: &[usize], width: Width) -> Vec<Value> {
        sums.iter().map(|&store| self.identity(&self.accumulation(store), width)).collect()
    }

    /// Adds what the lane axis gave to partial results, from vectors and from single elements.
    pub(super) fn put_sums(&mut self, sums: &[usize], vectors: &[Value], elements: &[Value]) {
        for (place, &store) in sums.iter().enumerate() {
            let how = self.accumulation(store);
            let across = self.across_lanes(&how, vectors[place]);
            let total = self.combine(&how, across, elements[place]);
            let access = &self.kernel.stores[store].access;
            let dtype = self.kernel.args[access.arg as usize].dtype;
            let address = self.address(self.store_pointer(store));
            let old = self.read(address, dtype, false, false);
            let new = self.combine(&how, old, total);
            self.write(new, address, dtype);
        }
    }

    /// True in the lanes from this one on.
    pub(super) fn lanes_from(&mut self, first: Value) -> Value {
        let numbers = self.lane_numbers();
        let before = self.b.ins().iadd_imm_s(first, -1);
        let before = self.b.ins().ireduce(types::I32, before);
        let before = self.splat(before, ScalarType::I32);
        self.b.ins().icmp(IntCC::SignedGreaterThan, numbers, before)
    }

    /// Adds the current element to a running total.
    pub(super) fn accumulate_register(&mut self, how: &Combine, input: Reg, total: Value) -> Value {
        let vector = self.b.func.dfg.value_type(total).is_vector();
        let width = if vector { Width::Vector } else { Width::Scalar };
        self.combine_register(how, total, input, width)
    }

    /// Combines a partial result with a register; adds a product in one step, unless the same
    /// loop needs the product for more.
    pub(super) fn combine_register(&mut self, how: &Combine, total: Value, reg: Reg, width: Width) -> Value {
        let alone = self.kept_pointer(reg).is_none() && !self.is_read_in_phase(reg);
        if let (true, Inst::Mul(a, b), true) = (how.is_addition(), self.kernel.code.inst(reg), alone) {
            let (a, b) = (self.register(a, width), self.register(b, width));
            return self.multiply_add(a, b, total);
        }
        let value = self.register(reg, width);
        self.combine(how, total, value)
    }

    /// Does an instruction of a register's own phase read it?
    fn is_read_in_phase(&self, reg: Reg) -> bool {
        let phase = |reg: usize| self.levels.phase[reg];
        let insts = self.kernel.code.insts().iter().enumerate();
        insts
            .filter(|(i, _)| phase(*i) == phase(reg.0 as usize))
            .any(|(_, inst)| inst.operands().contains(&reg))
    }

    pub(super) fn multiply_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            return self.b.ins().fma(a, b, c);
        }
        let product = self.b.ins().fmul(a, b);
        self.b.ins().fadd(product, c)
    }

    /// Combines two partial results.
    pub(super) fn combine(&mut self, how: &Combine, a: Value, b: Value) -> Value {
        let vector = self.b.func.dfg.value_type(a).is_vector();
        let width = if vector { Width::Vector } else { Width::Scalar };
        let mut values: Vec<Value> = Vec::with_capacity(how.code.len());
        for (i, inst) in how.code.insts().iter().enumerate() {
            let value = match inst {
                Inst::Param { index, .. } => [a, b][*index as usize],
                inst => {
                    let operands: Vec<Value> = inst.operands().iter().map(|r| values[r.0 as usize]).collect();
                    let source = inst.operands().first().map(|&r| how.code.ty(r));
                    self.compute(*inst, &operands, source, how.code.ty(Reg(i as u32)), width)
                }
            };
            values.push(value);
        }
        values[how.result.0 as usize]
    }

    /// Combines values pairwise.
    pub(super) fn tree(&mut self, how: &Combine, mut values: Vec<Value>) -> Value {
        while values.len() > 1 {
            let mut next = Vec::new();
            for pair in values.chunks(2) {
                next.push(if pair.len() == 2 { self.combine(how, pair[0], pair[1]) } else { pair[0] });
            }
            values = next;
        }
        values[0]
    }

    /// Reduces the lanes of a vector to a scalar.
    ///
    /// Steps across 128-bit parts use two instructions that nothing else here emits
    /// (`iabs` on bytes and on words); code that widens vectors gives them their meaning. At 16
    /// bytes there are none.
    pub(super) fn across_lanes(&mut self, how: &Combine, vector: Value) -> Value {
        let mut v = vector;
        if self.schedule.vector_bytes == 64 {
            let other = self.cross(v, types::I8X16);
            v = self.combine(how, v, other);
        }
        if self.schedule.vector_bytes >= 32 {
            let other = self.cross(v, types::I16X8);
            v = self.combine(how, v, other);
        }
        for mask in [
            [8u8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15],
            [4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7],
        ] {
            let other = self.shuffled(v, mask);
            v = self.combine(how, v, other);
        }
        self.b.ins().extractlane(v, 0u8)
    }

    fn cross(&mut self, v: Value, marker: Type) -> Value {
        let own = self.b.func.dfg.value_type(v);
        let bits = self.cast_bits(marker, v);
        let marked = self.b.ins().iabs(bits);
        self.cast_bits(own, marked)
    }

    fn shuffled(&mut self, v: Value, mask: [u8; 16]) -> Value {
        let own = self.b.func.dfg.value_type(v);
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(mask.as_slice()));
        let bytes = self.cast_bits(types::I8X16, v);
        let moved = self.b.ins().shuffle(bytes, bytes, mask);
        self.cast_bits(own, moved)
    }
}
