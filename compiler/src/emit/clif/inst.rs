//! One match over the scalar instructions, and loads and stores.

use super::frame::{Frame, Width};
use cranelift::codegen::ir::Opcode;
use cranelift::prelude::{FloatCC, FunctionBuilder, InstBuilder, IntCC, MemFlagsData, Value, types};
use evenkeel_ir::DType;
use evenkeel_ir::kernel::{Access, Combine, Indirect, Source, Stride};
use evenkeel_ir::scalar::{Compare, Constant, Inst, Reg, ScalarType};
use smallvec::SmallVec;

impl Frame<'_, '_> {
    /// The value of a register at a width; computes it if this element does not have it yet.
    pub(super) fn register(&mut self, reg: Reg, width: Width) -> Value {
        let i = reg.0 as usize;
        let own = self.width_of(reg);
        let value = match self.fixed[i].or(self.element[i]) {
            Some(value) => value,
            None => {
                let value = self.kept_or_computed(reg, own);
                self.element[i] = Some(value);
                value
            }
        };
        let is_vector = self.b.func.dfg.value_type(value).is_vector();
        if width == Width::Vector && !is_vector { self.splat(value, self.kernel.code.ty(reg)) } else { value }
    }

    fn kept_or_computed(&mut self, reg: Reg, width: Width) -> Value {
        let written = self.schedule.kept.iter().any(|kept| kept.reg == reg && kept.phase < self.phase);
        match self.kept_pointer(reg).filter(|_| written) {
            Some(pointer) => {
                let address = self.address(pointer);
                let ty = self.clif_type(self.kernel.code.ty(reg), width);
                self.b.ins().load(ty, MemFlagsData::new().with_notrap(), address, 0)
            }
            None => self.instruction(reg, width),
        }
    }

    /// Records the result of a reduction.
    pub(super) fn set_reduced(&mut self, reduction: usize, total: Value) {
        for (i, inst) in self.kernel.code.insts().iter().enumerate() {
            let Inst::Param { index, .. } = inst else { continue };
            if self.kernel.sources[*index as usize] == Source::Reduced(reduction as u32) {
                self.fixed[i] = Some(total);
            }
        }
    }

    /// Emits the instruction behind a register; operands are brought to its width.
    pub(super) fn instruction(&mut self, reg: Reg, width: Width) -> Value {
        let (inst, ty) = (self.kernel.code.inst(reg), self.kernel.code.ty(reg));
        if let Inst::Param { index, ty } = inst {
            return self.source(index as usize, ty, width);
        }
        let mut operands: SmallVec<[Value; 3]> = SmallVec::new();
        let fused = matches!(inst, Inst::Fma(..)) && self.fma;
        for operand in inst.operands() {
            let value = if fused { self.addend(operand, width) } else { self.register(operand, width) };
            operands.push(value);
        }
        let from = inst.operands().first().map(|&r| self.kernel.code.ty(r));
        self.compute(inst, &operands, from, ty, width)
    }

    /// An operand of a multiply-add, which changes signs at no cost where Cranelift sees that.
    fn addend(&mut self, reg: Reg, width: Width) -> Value {
        let known = self.fixed[reg.0 as usize].or(self.element[reg.0 as usize]).is_some();
        match self.kernel.code.inst(reg) {
            Inst::Neg(of) if !known => {
                let value = self.register(of, width);
                self.b.ins().fneg(value)
            }
            _ => self.register(reg, width),
        }
    }

    /// Emits one instruction on values of one width. `from` is the type of its first operand.
    pub(super) fn compute(
        &mut self,
        inst: Inst,
        operands: &[Value],
        from: Option<ScalarType>,
        to: ScalarType,
        width: Width,
    ) -> Value {
        let at = |place: usize| operands.get(place).copied().unwrap_or(Value::from_u32(0));
        let (a, b, c) = (at(0), at(1), at(2));
        let is_float = from.is_some_and(ScalarType::is_float);
        match inst {
            Inst::Param { index, .. } => unreachable!("parameter {index} is bound by the caller"),
            Inst::Const(constant) => self.lanes_of(constant, width),
            Inst::Neg(_) if width == Width::Vector => {
                let sign = self.splat_bits(i32::MIN);
                self.bitwise(a, |b, a| b.ins().bxor(a, sign))
            }
            Inst::Abs(_) if width == Width::Vector => {
                let rest = self.splat_bits(i32::MAX);
                self.bitwise(a, |b, a| b.ins().band(a, rest))
            }
            Inst::Neg(_) => self.b.ins().fneg(a),
            Inst::Abs(_) => self.b.ins().fabs(a),
            Inst::Sqrt(_) => self.b.ins().sqrt(a),
            Inst::Floor(_) => self.b.ins().floor(a),
            Inst::Nearest(_) => self.b.ins().nearest(a),
            Inst::Add(..) => self.b.ins().fadd(a, b),
            Inst::Sub(..) => self.b.ins().fsub(a, b),
            Inst::Mul(..) => self.b.ins().fmul(a, b),
            Inst::Div(..) => self.b.ins().fdiv(a, b),
            Inst::Min(..) if is_float => self.float_min(a, b),
            Inst::Max(..) if is_float => self.float_max(a, b),
            Inst::Min(..) => self.b.ins().smin(a, b),
            Inst::Max(..) => self.b.ins().smax(a, b),
            Inst::Fma(..) => self.multiply_add(a, b, c),
            Inst::IntAdd(..) => self.b.ins().iadd(a, b),
            Inst::IntSub(..) => self.b.ins().isub(a, b),
            Inst::IntMul(..) => self.b.ins().imul(a, b),
            Inst::And(..) => self.b.ins().band(a, b),
            Inst::Or(..) => self.b.ins().bor(a, b),
            Inst::Xor(..) => self.b.ins().bxor(a, b),
            Inst::Not(_) => self.complement(a, to, width),
            Inst::ShiftLeft(_, n) => self.b.ins().ishl_imm_u(a, i64::from(n)),
            Inst::ShiftRight(_, n) => self.b.ins().ushr_imm_u(a, i64::from(n)),
            Inst::ShiftRightSigned(_, n) => self.b.ins().sshr_imm_u(a, i64::from(n)),
            Inst::Compare(how, ..) if is_float => self.b.ins().fcmp(float_condition(how), a, b),
            Inst::Compare(how, ..) => self.b.ins().icmp(int_condition(how), a, b),
            Inst::Select(..) => self.choose(a, b, c),
            Inst::Bitcast(..) => self.cast_bits(self.clif_type(to, width), a),
            Inst::Convert(..) => self.convert(a, from.expect("an operand"), to, width),
        }
    }

    /// The same bits in every lane: a constant that loops keep in a register, which those of
    /// Cranelift's own sign changes are not.
    fn splat_bits(&mut self, bits: i32) -> Value {
        self.lanes_of(Constant::I32(bits), Width::Vector)
    }

    /// An operation on the bits of a vector.
    fn bitwise(&mut self, a: Value, how: impl FnOnce(&mut FunctionBuilder<'_>, Value) -> Value) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let bits = self.cast_bits(types::I32X4, a);
        let result = how(&mut self.b, bits);
        self.cast_bits(ty, result)
    }

    pub(super) fn lanes_of(&mut self, constant: Constant, width: Width) -> Value {
        let value = self.constant(constant);
        if width == Width::Vector { self.splat(value, constant.ty()) } else { value }
    }

    fn complement(&mut self, a: Value, ty: ScalarType, width: Width) -> Value {
        if ty == ScalarType::Mask && width == Width::Scalar {
            return self.b.ins().bxor_imm_u(a, 1);
        }
        self.b.ins().bnot(a)
    }

    /// `mask ? x : y`
    pub(super) fn choose(&mut self, mask: Value, x: Value, y: Value) -> Value {
        let ty = self.b.func.dfg.value_type(x);
        if !ty.is_vector() {
            return self.b.ins().select(mask, x, y);
        }
        // one instruction, if Cranelift sees the comparison: of floats as bits of the chosen type,
        // of integers as they are
        let chosen = if self.compares_integers(mask) { types::I32X4 } else { ty };
        let [mask, x, y] = [mask, x, y].map(|value| self.cast_bits(chosen, value));
        let value = self.b.ins().bitselect(mask, x, y);
        self.cast_bits(ty, value)
    }

    fn compares_integers(&self, mask: Value) -> bool {
        let dfg = &self.b.func.dfg;
        dfg.value_def(mask).inst().is_some_and(|inst| dfg.insts[inst].opcode() == Opcode::Icmp)
    }

    /// `x < y ? x : y`: one instruction, where Cranelift's own minimum is seven.
    pub(super) fn float_min(&mut self, x: Value, y: Value) -> Value {
        let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
        self.choose(less, x, y)
    }

    /// `y < x ? x : y`
    pub(super) fn float_max(&mut self, x: Value, y: Value) -> Value {
        let less = self.b.ins().fcmp(FloatCC::LessThan, y, x);
        self.choose(less, x, y)
    }

    fn convert(&mut self, a: Value, from: ScalarType, to: ScalarType, width: Width) -> Value {
        let ty = self.clif_type(to, width);
        match (from, to) {
            (from, to) if from == to => a,
            (ScalarType::I32 | ScalarType::I64, ScalarType::F32 | ScalarType::F64) => {
                self.b.ins().fcvt_from_sint(ty, a)
            }
            (ScalarType::F32 | ScalarType::F64, ScalarType::I32 | ScalarType::I64) => {
                self.b.ins().fcvt_to_sint_sat(ty, a)
            }
            (ScalarType::F32, _) => self.b.ins().fpromote(ty, a),
            (ScalarType::F64, _) => self.b.ins().fdemote(ty, a),
            (ScalarType::I32, _) => self.b.ins().sextend(ty, a),
            (ScalarType::I64 | ScalarType::Mask, _) => self.b.ins().ireduce(ty, a),
        }
    }

    fn source(&mut self, index: usize, ty: ScalarType, width: Width) -> Value {
        match self.kernel.sources[index].clone() {
            Source::Load(access) => self.load(index, &access, width),
            Source::Position { strides } => self.position(&strides, width),
            Source::Size(extent) => {
                let n = self.number(extent.into());
                self.convert(n, ScalarType::I64, ty, Width::Scalar)
            }
            Source::Reduced(r) => unreachable!("reduction {r} is read before it is complete"),
        }
    }

    /// The address of a pointer at the current element.
    pub(super) fn address(&mut self, pointer: usize) -> Value {
        let pointer = self.pointers[pointer].clone().expect("an access has a pointer");
        let moves = self.schedule.lane_axis.is_some_and(|axis| pointer.strides[axis] != Stride::ZERO);
        match (moves, self.lane_bytes) {
            (true, Some(bytes)) => self.b.ins().iadd(pointer.at, bytes),
            _ => pointer.at,
        }
    }

    fn load(&mut self, source: usize, access: &Access, width: Width) -> Value {
        let dtype = self.kernel.args[access.arg as usize].dtype;
        let mut address = self.address(source);
        let indirect = access.indirect.map(|indirect| self.indirect_offset(&indirect, source));
        if let Some((_, offset)) = indirect {
            address = self.b.ins().iadd(address, offset);
        }
        let moves = self.schedule.lane_axis.is_some_and(|axis| access.strides[axis] != Stride::ZERO);
        let wide = width == Width::Vector && moves;
        // vectors are loaded where they stand, before the stores of their element
        let pure = self.is_pure(access.arg) && !self.loads_tile(source) && !wide;
        let value = self.read(address, dtype, wide, pure);
        let value = match indirect {
            Some((valid, _)) => self.or_missing(valid, value, dtype),
            None => value,
        };
        let is_vector = self.b.func.dfg.value_type(value).is_vector();
        let ty = dtype.scalar().expect("an executable type");
        if width == Width::Vector && !is_vector { self.splat(value, ty) } else { value }
    }

    pub(super) fn read(&mut self, address: Value, dtype: DType, wide: bool, pure: bool) -> Value {
        let plain = MemFlagsData::new().with_notrap();
        let flags = if pure { plain.with_readonly().with_can_move() } else { plain };
        if dtype == DType::Bool {
            let byte = self.b.ins().load(types::I8, flags, address, 0);
            return self.b.ins().icmp_imm_u(IntCC::NotEqual, byte, 0);
        }
        let width = if wide { Width::Vector } else { Width::Scalar };
        let ty = self.clif_type(dtype.scalar().expect("an executable type"), width);
        self.b.ins().load(ty, flags, address, 0)
    }

    /// The loaded value where the index was valid, NaN or 0 elsewhere.
    fn or_missing(&mut self, valid: Value, value: Value, dtype: DType) -> Value {
        let ty = dtype.scalar().expect("an executable type");
        let missing = match ty {
            ScalarType::F32 => Constant::F32(f32::NAN.to_bits()),
            ScalarType::F64 => Constant::F64(f64::NAN.to_bits()),
            ScalarType::I32 => Constant::I32(0),
            ScalarType::I64 => Constant::I64(0),
            ScalarType::Mask => Constant::Mask(false),
        };
        let missing = self.constant(missing);
        if !self.b.func.dfg.value_type(value).is_vector() {
            return self.b.ins().select(valid, value, missing);
        }
        let (mask, missing) = (self.splat(valid, ScalarType::Mask), self.splat(missing, ty));
        self.choose(mask, value, missing)
    }

    /// Whether a data-dependent index is in range, and its byte offset (0 if not).
    pub(super) fn indirect_offset(&mut self, indirect: &Indirect, pointer: usize) -> (Value, Value) {
        let ty = self.kernel.code.ty(indirect.register);
        let index = self.register(indirect.register, Width::Scalar);
        let index = self.convert(index, ty, ScalarType::I64, Width::Scalar);
        let limit = self.number(indirect.limit.into());
        let valid = self.b.ins().icmp(IntCC::UnsignedLessThan, index, limit);
        let zero = self.int(0);
        let safe = self.b.ins().select(valid, index, zero);
        let size = self.pointers[pointer].as_ref().expect("an access has a pointer").size;
        let offset = self.advance(zero, Some(safe), indirect.stride, size);
        (valid, offset)
    }

    /// `sum(index * stride)` as i32 lanes.
    fn position(&mut self, strides: &[Stride], width: Width) -> Value {
        let mut at = self.int(0);
        for (axis, &stride) in strides.iter().enumerate() {
            if stride != Stride::ZERO {
                let index = self.index[axis].expect("positions are read inside their loops");
                at = self.advance(at, Some(index), stride, 1);
            }
        }
        let at = self.b.ins().ireduce(types::I32, at);
        if width == Width::Scalar {
            return at;
        }
        let base = self.splat(at, ScalarType::I32);
        let axis = self.schedule.lane_axis.expect("vectors have a lane axis");
        let lanes = self.lane_numbers();
        let step = self.b.ins().iconst(types::I32, strides[axis].scale);
        let step = self.splat(step, ScalarType::I32);
        let lanes = self.b.ins().imul(lanes, step);
        self.b.ins().iadd(base, lanes)
    }

    /// `0, 1, 2, ..`
    pub(super) fn lane_numbers(&mut self) -> Value {
        let table = self.lane_table();
        self.b.ins().load(
            types::I32X4,
            MemFlagsData::new().with_notrap().with_readonly().with_can_move(),
            table,
            0,
        )
    }

    pub(super) fn write(&mut self, value: Value, address: Value, dtype: DType) {
        debug_assert!(dtype != DType::Bool || !self.b.func.dfg.value_type(value).is_vector());
        self.b.ins().store(MemFlagsData::new().with_notrap(), value, address, 0);
    }

    /// Writes a register, or combines it into what memory holds.
    pub(super) fn put(
        &mut self,
        how: Option<&Combine>,
        reg: Reg,
        address: Value,
        dtype: DType,
        width: Width,
    ) {
        let new = match how {
            None => self.register(reg, width),
            Some(how) => {
                let old = self.read(address, dtype, width == Width::Vector, false);
                self.combine_register(how, old, reg, width)
            }
        };
        self.write(new, address, dtype);
    }
}

fn float_condition(how: Compare) -> FloatCC {
    match how {
        Compare::Eq => FloatCC::Equal,
        Compare::Ne => FloatCC::NotEqual,
        Compare::Lt => FloatCC::LessThan,
        Compare::Le => FloatCC::LessThanOrEqual,
        Compare::Gt => FloatCC::GreaterThan,
        Compare::Ge => FloatCC::GreaterThanOrEqual,
    }
}

fn int_condition(how: Compare) -> IntCC {
    match how {
        Compare::Eq => IntCC::Equal,
        Compare::Ne => IntCC::NotEqual,
        Compare::Lt => IntCC::SignedLessThan,
        Compare::Le => IntCC::SignedLessThanOrEqual,
        Compare::Gt => IntCC::SignedGreaterThan,
        Compare::Ge => IntCC::SignedGreaterThanOrEqual,
    }
}
