//! The frame of a kernel: arguments, run-time numbers, pointers, and the order of phases.

use crate::schedule::Schedule;
use cranelift::codegen::isa::TargetIsa;
use cranelift::prelude::{FunctionBuilder, InstBuilder, MemFlagsData, Value, types};
use evenkeel_ir::Extent;
use evenkeel_ir::kernel::{Access, Kernel, Levels, Role, Source, StoreKind, Stride};
use evenkeel_ir::scalar::{Inst, Reg, ScalarType};
use smallvec::SmallVec;

/// A moving address.
#[derive(Clone, Debug)]
pub(super) struct Pointer {
    /// Elements per step along each axis.
    pub(super) strides: SmallVec<[Stride; 4]>,
    /// Bytes of an element.
    pub(super) size: i64,
    /// The address for the indices that are fixed so far.
    pub(super) at: Value,
}

/// Which lanes are being emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// One element.
    Scalar,
    /// A vector of elements along the lane axis.
    Vector,
}

/// State while one kernel is emitted.
pub(super) struct Frame<'a, 'b> {
    pub(super) kernel: &'a Kernel,
    pub(super) levels: Levels,
    pub(super) schedule: &'a Schedule,
    pub(super) fma: bool,
    pub(super) b: FunctionBuilder<'b>,
    volatile: &'a [bool],
    args: Value,
    numbers: Vec<(Stride, Value)>,
    /// One per source (loads), then one per store, then one per kept value.
    pub(super) pointers: Vec<Option<Pointer>>,
    /// Index along each axis, where fixed.
    pub(super) index: Vec<Option<Value>>,
    /// Byte offset along the lane axis.
    pub(super) lane_bytes: Option<Value>,
    pub(super) width: Width,
    /// Registers that hold for the whole kernel or row.
    pub(super) fixed: Vec<Option<Value>>,
    /// Registers of the element being computed.
    pub(super) element: Vec<Option<Value>>,
    /// Kept values up to this phase are read back.
    pub(super) phase: u32,
    /// First and end of the part of the lane axis that is walked; none for all of it.
    pub(super) stretch: Option<(Value, Value)>,
    /// Where the tiles begin in scratch memory.
    pub(super) tiles: Value,
    /// Neighbouring vectors of rows that are walked together; none for one row or vector.
    pub(super) block: Option<Block>,
}

/// Vectors of neighbouring rows.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The lane axis.
    pub(super) axis: usize,
    /// Index of the first row of each vector.
    pub(super) index: Vec<Value>,
    /// Registers that hold for the rows of each vector.
    pub(super) fixed: Vec<Vec<Option<Value>>>,
}

/// Emits the whole kernel; gives the run-time numbers it reads and its scratch bytes.
pub(super) fn body(
    kernel: &Kernel,
    schedule: &Schedule,
    volatile: &[bool],
    fma: bool,
    mut b: FunctionBuilder,
    isa: &dyn TargetIsa,
) -> (Vec<Stride>, Extent) {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let [args, begin, end, scratch] = *b.block_params(entry) else { unreachable!("four parameters") };
    let mut frame = Frame {
        kernel,
        levels: kernel.levels(),
        schedule,
        fma,
        b,
        volatile,
        args,
        numbers: Vec::new(),
        pointers: Vec::new(),
        index: vec![None; kernel.space.len()],
        lane_bytes: None,
        width: Width::Scalar,
        fixed: vec![None; kernel.code.len()],
        element: vec![None; kernel.code.len()],
        phase: 0,
        stretch: None,
        tiles: scratch,
        block: None,
    };
    frame.load_numbers();
    let kept_bytes = frame.make_pointers(scratch);
    frame.uniform_registers();
    frame.clear_partials();
    frame.rows(begin, end);
    frame.b.ins().return_(&[]);
    frame.b.seal_all_blocks();
    let numbers = frame.numbers.iter().map(|(stride, _)| *stride).collect();
    frame.b.finalize(isa.frontend_config());
    (numbers, kept_bytes)
}

impl Frame<'_, '_> {
    pub(super) fn int(&mut self, x: i64) -> Value {
        self.b.ins().iconst(types::I64, x)
    }

    /// A stride or extent as a value.
    pub(super) fn number(&mut self, stride: Stride) -> Value {
        if stride.power == 0 || stride.scale == 0 {
            return self.int(stride.scale);
        }
        self.numbers.iter().find(|(s, _)| *s == stride).expect("collected by load_numbers").1
    }

    pub(super) fn extent(&mut self, axis: usize) -> Value {
        self.number(Stride::from(self.kernel.space[axis]))
    }

    /// Loads every number that depends on the batch size, once.
    fn load_numbers(&mut self) {
        let mut wanted: Vec<Stride> = self.kernel.space.iter().map(|&e| e.into()).collect();
        wanted.push(self.kernel.row_elements().into());
        for source in &self.kernel.sources {
            match source {
                Source::Load(access) => wanted.extend(strides_of(access)),
                Source::Position { strides } => wanted.extend(strides.iter().copied()),
                Source::Size(extent) => wanted.push((*extent).into()),
                Source::Reduced(_) => {}
            }
        }
        wanted.extend(self.kernel.stores.iter().flat_map(|s| strides_of(&s.access)));
        let kept = self.kept_strides();
        wanted.extend(kept);
        wanted.push(self.tile_elements().into());
        let mut numbers: Vec<Stride> = Vec::new();
        for stride in wanted {
            if stride.power > 0 && stride.scale != 0 && !numbers.contains(&stride) {
                numbers.push(stride);
            }
        }
        for (i, stride) in numbers.into_iter().enumerate() {
            let offset = 8 * (self.kernel.args.len() + 1 + i) as i32;
            let value =
                self.b.ins().load(types::I64, MemFlagsData::trusted().with_readonly(), self.args, offset);
            self.numbers.push((stride, value));
        }
    }

    /// Strides of a kept row: dense over the reduced axes.
    pub(super) fn kept_strides(&self) -> SmallVec<[Stride; 4]> {
        let mut strides: SmallVec<[Stride; 4]> = SmallVec::from_elem(Stride::ZERO, self.kernel.space.len());
        let mut step = Extent::ONE;
        for axis in (self.kernel.parallel..self.kernel.space.len()).rev() {
            strides[axis] = step.into();
            step = step.times(self.kernel.space[axis]);
        }
        strides
    }

    fn arg_address(&mut self, arg: usize) -> Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(types::I64, flags, self.args, 8 * arg as i32)
    }

    /// The table of lane numbers.
    pub(super) fn lane_table(&mut self) -> Value {
        self.arg_address(self.kernel.args.len())
    }

    fn make_pointers(&mut self, scratch: Value) -> Extent {
        let loads = self.kernel.sources.iter().map(|s| if let Source::Load(a) = s { Some(a) } else { None });
        let stores = self.kernel.stores.iter().map(|s| Some(&s.access));
        let all: Vec<Option<&Access>> = loads.chain(stores).collect();
        for access in all {
            let pointer = access.map(|access| {
                let size = self.kernel.args[access.arg as usize].dtype.size() as i64;
                let base = self.arg_address(access.arg as usize);
                let at = self.advance(base, None, access.offset, size);
                Pointer { strides: access.strides.clone(), size, at }
            });
            self.pointers.push(pointer);
        }
        let (strides, slot_elements) = (self.kept_strides(), self.kernel.row_elements().into());
        let tiles = self.tile_elements();
        let scratch = self.advance(scratch, None, tiles.into(), 4);
        for place in 0..self.schedule.kept.len() {
            let number = self.int(place as i64);
            let at = self.advance(scratch, Some(number), slot_elements, 4);
            self.pointers.push(Some(Pointer { strides: strides.clone(), size: 4, at }));
        }
        let kept = self.kernel.row_elements().times(Extent::fixed(self.schedule.kept.len() as u64));
        // both grow with the row, or one of them is empty
        let elements = match (tiles.scale, kept.scale) {
            (0, _) => kept,
            (_, 0) => tiles,
            _ => Extent { scale: tiles.scale + kept.scale, power: tiles.power },
        };
        debug_assert!(tiles.scale == 0 || kept.scale == 0 || tiles.power == kept.power);
        elements.times(Extent::fixed(4))
    }

    /// `from + index * stride * size` in bytes (index 1 if not given).
    pub(super) fn advance(&mut self, from: Value, index: Option<Value>, stride: Stride, size: i64) -> Value {
        if stride == Stride::ZERO {
            return from;
        }
        let bytes = match (index, stride.power) {
            (None, 0) => return self.b.ins().iadd_imm_s(from, stride.scale * size),
            (None, _) => {
                let n = self.number(stride);
                self.b.ins().imul_imm_s(n, size)
            }
            (Some(i), 0) => self.b.ins().imul_imm_s(i, stride.scale * size),
            (Some(i), _) => {
                let n = self.number(stride);
                let t = self.b.ins().imul(i, n);
                self.b.ins().imul_imm_s(t, size)
            }
        };
        self.b.ins().iadd(from, bytes)
    }

    pub(super) fn store_pointer(&self, store: usize) -> usize {
        self.kernel.sources.len() + store
    }

    pub(super) fn kept_pointer(&self, reg: Reg) -> Option<usize> {
        let place = self.schedule.kept.iter().position(|kept| kept.reg == reg)?;
        Some(self.kernel.sources.len() + self.kernel.stores.len() + place)
    }

    /// May loads of this argument be moved across stores?
    pub(super) fn is_pure(&self, arg: u32) -> bool {
        self.kernel.args[arg as usize].role == Role::Input && !self.volatile[arg as usize]
    }

    /// May this store go past the caches?
    pub(super) fn streams(&self, store: usize) -> bool {
        super::stream::allows(self.kernel, self.schedule, self.volatile, store)
    }

    /// Does the kernel read what it writes?
    pub(super) fn is_in_place(&self) -> bool {
        self.kernel.args.iter().any(|arg| arg.role == Role::InOut) || self.volatile.iter().any(|&v| v)
    }

    /// Emits the registers that do not vary at all.
    fn uniform_registers(&mut self) {
        for i in 0..self.kernel.code.len() {
            let indirect = matches!(self.kernel.code.insts()[i], Inst::Param { index, .. }
                if matches!(&self.kernel.sources[index as usize], Source::Load(_)));
            // loads wait for a row, which an empty launch does not have
            if self.levels.dep[i] == 0 && self.levels.phase[i] == 0 && !indirect {
                let operands_known =
                    self.kernel.code.insts()[i].operands().iter().all(|r| self.fixed[r.0 as usize].is_some());
                if operands_known {
                    let value = self.instruction(Reg(i as u32), Width::Scalar);
                    self.fixed[i] = Some(value);
                }
            }
        }
    }

    /// Writes the neutral element over the partial results of this chunk.
    fn clear_partials(&mut self) {
        for place in 0..self.kernel.stores.len() {
            if !matches!(self.kernel.stores[place].kind, StoreKind::Accumulate(_)) {
                continue;
            }
            let store = self.kernel.stores[place].clone();
            let how = self.kernel.store_combine(place).expect("an accumulation combines");
            let identity = self.constant(how.identity);
            let pointer = self.pointers[self.store_pointer(place)].clone().expect("stores have pointers");
            let moving = (0..self.kernel.space.len()).filter(|&a| store.access.strides[a] != Stride::ZERO);
            let elements = Extent::product(moving.map(|a| self.kernel.space[a]));
            self.fill(&pointer, identity, how.ty, elements);
        }
    }

    /// Writes a value to neighbouring elements: vectors, then what is left.
    fn fill(&mut self, pointer: &Pointer, value: Value, ty: ScalarType, elements: Extent) {
        let lanes = if ty.bytes() == 4 { self.lanes() } else { 1 };
        let whole = elements.known().map_or(0, |n| n as i64 & -lanes);
        let (zero, middle, end) = (self.int(0), self.int(whole), self.number(elements.into()));
        let vector = if lanes > 1 { self.splat(value, ty) } else { value };
        let store = |value: Value| {
            move |frame: &mut Frame<'_, '_>, i: Value, _: &[Value]| {
                let offset = frame.b.ins().imul_imm_s(i, pointer.size);
                let address = frame.b.ins().iadd(pointer.at, offset);
                frame.b.ins().store(MemFlagsData::new().with_notrap(), value, address, 0);
                Vec::new()
            }
        };
        self.counted(zero, middle, lanes, &[], Some(whole as u64), &mut store(vector));
        let rest = elements.known().map(|n| n - whole as u64);
        self.counted(middle, end, 1, &[], rest, &mut store(value));
    }
}

fn strides_of(access: &Access) -> Vec<Stride> {
    let indirect = access.indirect.iter().flat_map(|i| [i.stride, i.limit.into()]);
    access.strides.iter().copied().chain([access.offset]).chain(indirect).collect()
}
