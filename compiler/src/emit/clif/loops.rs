//! Loop nests: rows, phases, reduced axes, lanes.

use super::frame::{Block, Frame, Pointer, Width};
use cranelift::codegen::ir::BlockArg;
use cranelift::prelude::{InstBuilder, IntCC, MemFlagsData, Value, types};
use evenkeel_ir::kernel::{Combine, StoreKind, Stride};
use evenkeel_ir::scalar::Reg;

type LoopBody<'f, 'a, 'b> = &'f mut dyn FnMut(&mut Frame<'a, 'b>, Value, &[Value]) -> Vec<Value>;

/// What a phase does in its loop over the row.
#[derive(Clone, Debug, Default)]
pub(super) struct PhaseWork {
    /// Reductions whose input belongs to the phase.
    pub(super) reductions: Vec<usize>,
    /// Stores along the row.
    pub(super) stores: Vec<usize>,
    /// Accumulations along the row of values whose lanes share a place.
    pub(super) sums: Vec<usize>,
    /// Kept values that the phase writes.
    pub(super) kept: Vec<Reg>,
    /// Vectors per iteration along the row.
    pub(super) unroll: usize,
    /// Is it known that the reductions are idle in no row that comes here?
    pub(super) busy: bool,
    /// Elements of the row that are done before the phase begins; whole steps of its loop.
    pub(super) taken: i64,
    /// Totals of those, lane by lane; empty where there are none.
    pub(super) totals: Vec<Value>,
}

impl PhaseWork {
    /// Is there anything to walk the row for?
    fn walks_row(&self) -> bool {
        !self.reductions.is_empty() || !self.stores.is_empty() || !self.sums.is_empty()
    }
}

impl<'a, 'b> Frame<'a, 'b> {
    /// A bottom-tested loop over `start..end` by `step`; gives the carried values after it.
    /// `trips` is the known distance `end - start`, if any; it must be a multiple of the step.
    pub(super) fn counted(
        &mut self,
        start: Value,
        end: Value,
        step: i64,
        carried: &[Value],
        trips: Option<u64>,
        body: LoopBody<'_, 'a, 'b>,
    ) -> Vec<Value> {
        if trips == Some(0) {
            return carried.to_vec();
        }
        let (head, exit) = (self.b.create_block(), self.b.create_block());
        let index = self.b.append_block_param(head, types::I64);
        let mut inside = Vec::new();
        let mut after = Vec::new();
        for &value in carried {
            let ty = self.b.func.dfg.value_type(value);
            inside.push(self.b.append_block_param(head, ty));
            after.push(self.b.append_block_param(exit, ty));
        }
        let block_args = |first: Option<Value>, rest: &[Value]| -> Vec<BlockArg> {
            first.into_iter().chain(rest.iter().copied()).map(BlockArg::from).collect()
        };
        if trips.is_some() {
            self.b.ins().jump(head, &block_args(Some(start), carried));
        } else {
            let some = self.b.ins().icmp(IntCC::SignedLessThan, start, end);
            self.b.ins().brif(
                some,
                head,
                &block_args(Some(start), carried),
                exit,
                &block_args(None, carried),
            );
        }
        self.b.switch_to_block(head);
        let results = body(self, index, &inside);
        let next = self.b.ins().iadd_imm_s(index, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, end);
        self.b.ins().brif(more, head, &block_args(Some(next), &results), exit, &block_args(None, &results));
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
        after
    }

    /// Fixes the index of an axis for what `body` emits.
    pub(super) fn at_index<T>(&mut self, axis: usize, index: Value, body: impl FnOnce(&mut Self) -> T) -> T {
        let saved: Vec<Option<Pointer>> = self.pointers.clone();
        for place in 0..self.pointers.len() {
            let Some(pointer) = self.pointers[place].clone() else { continue };
            let at = self.advance(pointer.at, Some(index), pointer.strides[axis], pointer.size);
            self.pointers[place] = Some(Pointer { at, ..pointer });
        }
        self.index[axis] = Some(index);
        let result = body(self);
        self.index[axis] = None;
        self.pointers = saved;
        result
    }

    /// All rows of the launch.
    pub(super) fn rows(&mut self, begin: Value, end: Value) {
        match (self.schedule.lane_axis, &self.schedule.tiles) {
            (Some(axis), _) if axis < self.kernel.parallel => self.vertical_rows(axis, begin, end),
            (_, Some(tiles)) => self.tiled_rows(tiles, begin, end),
            _ => {
                self.counted(begin, end, 1, &[], None, &mut |frame, row, _| {
                    let axes: Vec<usize> = (0..frame.kernel.parallel).collect();
                    frame.fix_outer(&axes, row, &mut |frame| frame.row());
                    Vec::new()
                });
            }
        }
    }

    /// Splits a flat row number into the indices of `axes` and emits `body` there.
    fn fix_outer(&mut self, axes: &[usize], flat: Value, body: &mut dyn FnMut(&mut Self)) {
        match axes.split_last() {
            None => body(self),
            Some((&first, [])) => self.at_index(first, flat, |frame| body(frame)),
            Some((&last, rest)) => {
                let extent = self.extent(last);
                let (outer, inner) = (self.b.ins().udiv(flat, extent), self.b.ins().urem(flat, extent));
                self.at_index(last, inner, |frame| frame.fix_outer(rest, outer, body));
            }
        }
    }

    /// Vectors of neighbouring rows along the last parallel axis.
    fn vertical_rows(&mut self, axis: usize, begin: Value, end: Value) {
        let lanes = self.lanes();
        self.segments(axis, begin, end, &mut |frame, first, last| {
            let block = frame.schedule.row_block as i64 * lanes;
            let mut from = first;
            if block > lanes {
                from = frame.whole(first, last, block);
                frame.counted(first, from, block, &[], None, &mut |frame, i, _| {
                    frame.block_rows(axis, i);
                    Vec::new()
                });
            }
            let overlap = (0..frame.kernel.stores.len()).all(|store| frame.may_write_twice(store));
            let late = overlap.then(|| frame.overlapping(first, last));
            let middle = late.map_or_else(|| frame.whole(first, last, lanes), |(end, _)| end);
            frame.counted(from, middle, lanes, &[], None, &mut |frame, i, _| {
                let at = late.map_or(i, |(_, latest)| frame.b.ins().smin(i, latest));
                frame.lane_rows(axis, at, Width::Vector);
                Vec::new()
            });
            frame.counted(middle, last, 1, &[], None, &mut |frame, i, _| {
                frame.lane_rows(axis, i, Width::Scalar);
                Vec::new()
            });
        });
    }

    /// Several neighbouring vectors of rows, walked together.
    fn block_rows(&mut self, axis: usize, first: Value) {
        let lanes = self.lanes();
        let copies = self.schedule.row_block as i64;
        let index: Vec<Value> =
            (0..copies).map(|copy| self.b.ins().iadd_imm_s(first, copy * lanes)).collect();
        let fixed = vec![self.fixed.clone(); index.len()];
        self.block = Some(Block { axis, index, fixed });
        self.row();
        self.block = None;
    }

    /// Emits something for every vector of the block; or once, where there is no block.
    pub(super) fn each_vector<T>(&mut self, mut emit: impl FnMut(&mut Self, usize) -> T) -> Vec<T> {
        let Some(Block { axis, index, .. }) = self.block.clone() else { return vec![emit(self, 0)] };
        let mut results = Vec::with_capacity(index.len());
        for (copy, &at) in index.iter().enumerate() {
            self.enter(axis, at, Width::Vector);
            self.swap_fixed(copy);
            results.push(emit(self, copy));
            self.swap_fixed(copy);
            self.leave(axis);
        }
        results
    }

    /// Exchanges the registers of the frame with those of a vector of the block.
    fn swap_fixed(&mut self, copy: usize) {
        if let Some(block) = &mut self.block {
            std::mem::swap(&mut self.fixed, &mut block.fixed[copy]);
        }
    }

    pub(super) fn enter(&mut self, axis: usize, index: Value, width: Width) {
        let bytes = self.b.ins().ishl_imm_u(index, 2);
        self.index[axis] = Some(index);
        self.lane_bytes = Some(bytes);
        self.width = width;
    }

    pub(super) fn leave(&mut self, axis: usize) {
        self.index[axis] = None;
        self.lane_bytes = None;
        self.width = Width::Scalar;
    }

    fn lane_rows(&mut self, axis: usize, index: Value, width: Width) {
        self.enter(axis, index, width);
        self.row();
        self.leave(axis);
    }

    /// Cuts flat rows `begin..end` into stretches of the lane axis with the other parallel
    /// indices fixed.
    pub(super) fn segments(
        &mut self,
        axis: usize,
        begin: Value,
        end: Value,
        body: &mut dyn FnMut(&mut Self, Value, Value),
    ) {
        if axis == 0 {
            return body(self, begin, end);
        }
        let extent = self.extent(axis);
        let (head, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let position = self.b.append_block_param(head, types::I64);
        self.b.ins().jump(head, &[BlockArg::from(begin)]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, position, end);
        self.b.ins().brif(more, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        let (outer, first) = (self.b.ins().udiv(position, extent), self.b.ins().urem(position, extent));
        let left = self.b.ins().isub(end, position);
        let wanted = self.b.ins().iadd(first, left);
        let last = self.b.ins().umin(wanted, extent);
        let axes: Vec<usize> = (0..axis).collect();
        self.fix_outer(&axes, outer, &mut |frame| body(frame, first, last));
        let done = self.b.ins().isub(last, first);
        let next = self.b.ins().iadd(position, done);
        self.b.ins().jump(head, &[BlockArg::from(next)]);
        self.b.seal_block(head);
        self.b.seal_block(inside);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
    }

    /// One row, one vector of rows or one block of vectors: phase after phase.
    pub(super) fn row(&mut self) {
        let saved = self.fixed.clone();
        let mut works: Vec<PhaseWork> = (0..self.kernel.phases()).map(|phase| self.work(phase)).collect();
        for phase in 0..self.kernel.phases() {
            self.phase = phase;
            self.each_vector(|frame, _| frame.row_registers(phase));
            match self.schedule.online {
                Some(online) if online.phase == phase => {
                    self.pieces(online, &mut works[phase as usize..][..2])
                }
                Some(online) if online.phase + 1 == phase => {
                    self.settle(&mut works[online.phase as usize..][..2])
                }
                _ => {}
            }
            let work = &works[phase as usize];
            if work.walks_row() {
                let totals = self.row_loop(work);
                self.set_totals(&work.reductions, &totals);
            }
            self.rare_loop(phase);
        }
        let last = self.kernel.phases();
        self.each_vector(|frame, _| {
            frame.row_registers(last);
            frame.row_stores();
        });
        self.fixed = saved;
    }

    /// Records the results of reductions, those of all of them vector by vector.
    pub(super) fn set_totals(&mut self, reductions: &[usize], totals: &[Value]) {
        self.each_vector(|frame, copy| {
            for (&reduction, &total) in reductions.iter().zip(&totals[copy * reductions.len()..]) {
                frame.set_reduced(reduction, total);
            }
        });
    }

    /// Emits the registers of a phase that do not vary along the row.
    fn row_registers(&mut self, phase: u32) {
        let reduced = self.kernel.reduced_mask();
        for i in 0..self.kernel.code.len() {
            let ours = self.levels.dep[i] & reduced == 0 && self.levels.phase[i] == phase;
            if ours && self.fixed[i].is_none() {
                let reg = Reg(i as u32);
                let value = self.instruction(reg, self.width_of(reg));
                self.fixed[i] = Some(value);
            }
        }
    }

    fn work(&self, phase: u32) -> PhaseWork {
        let in_phase = |reg: Reg| self.levels.phase[reg.0 as usize] == phase;
        let reductions = (0..self.kernel.reductions.len())
            .filter(|&r| in_phase(self.kernel.reductions[r].input) && self.idle_mask(r).is_none());
        let (sums, mut stores): (Vec<usize>, Vec<usize>) = (0..self.kernel.stores.len())
            .filter(|&s| self.along_row(s) && in_phase(self.kernel.stores[s].value))
            .partition(|&s| self.sums_lanes(s));
        // what is read again comes first: whole results lie at the same place of a page as operands,
        // and a load waits for an earlier store that looks like it
        stores.sort_by_key(|&s| self.kernel.stores[s].kind == StoreKind::Write);
        let kept = self.schedule.kept.iter().filter(|kept| kept.phase == phase).map(|kept| kept.reg);
        let (reductions, kept) = (reductions.collect(), kept.collect());
        let unroll = self.schedule.unroll[phase as usize];
        PhaseWork { reductions, stores, sums, kept, unroll, ..PhaseWork::default() }
    }

    fn along_row(&self, store: usize) -> bool {
        self.kernel.along_row(&self.levels, &self.kernel.stores[store])
    }

    /// The loop of one phase over the reduced axes; gives the reduced values.
    ///
    /// Where lanes run along a reduced axis, totals of single elements are carried first and
    /// those of vectors after them; they meet when the row ends.
    pub(super) fn row_loop(&mut self, work: &PhaseWork) -> Vec<Value> {
        let mut start = self.neutrals(&work.reductions);
        let axes: Vec<usize> = (self.kernel.parallel..self.kernel.space.len()).collect();
        if self.schedule.lane_axis.is_none_or(|axis| axis < self.kernel.parallel) {
            return self.reduced_axes(&axes, work, start);
        }
        start.extend(self.lane_totals(work));
        let carried = self.reduced_axes(&axes, work, start);
        let count = work.reductions.len();
        let mut totals = carried[..count].to_vec();
        for (place, &reduction) in work.reductions.iter().enumerate() {
            let how = self.kernel.reduction_combine(reduction);
            let copies = carried[count..].iter().skip(place).step_by(count).copied().collect();
            let vector = self.tree(&how, copies);
            let across = self.across_lanes(&how, vector);
            totals[place] = self.combine(&how, totals[place], across);
        }
        totals
    }

    /// Where reductions start, vector by vector.
    pub(super) fn neutrals(&mut self, reductions: &[usize]) -> Vec<Value> {
        let start = |frame: &mut Self| reductions.iter().map(|&r| frame.neutral(r)).collect::<Vec<_>>();
        self.each_vector(|frame, _| start(frame)).concat()
    }

    fn reduced_axes(&mut self, axes: &[usize], work: &PhaseWork, totals: Vec<Value>) -> Vec<Value> {
        match axes {
            [] => {
                let count = work.reductions.len();
                let part = |copy: usize| totals[copy * count..(copy + 1) * count].to_vec();
                self.each_vector(|frame, copy| frame.element(work, part(copy)))
                    .into_iter()
                    .flatten()
                    .collect()
            }
            [last] if self.schedule.lane_axis == Some(*last) => self.lane_loop(*last, work, totals),
            [axis, rest @ ..] => {
                let (zero, end) = (self.int(0), self.extent(*axis));
                let known = self.kernel.space[*axis].known();
                self.counted(zero, end, 1, &totals, known, &mut |frame, i, totals| {
                    frame.at_index(*axis, i, |frame| frame.reduced_axes(rest, work, totals.to_vec()))
                })
            }
        }
    }

    /// One element (or vector) of the row: kept values, stores and reductions of a phase.
    pub(super) fn element(&mut self, work: &PhaseWork, totals: Vec<Value>) -> Vec<Value> {
        self.element.fill(None);
        for &reg in &work.kept {
            let value = self.register(reg, self.width_of(reg));
            let pointer = self.kept_pointer(reg).expect("a kept register");
            let address = self.address(pointer);
            self.b.ins().store(MemFlagsData::new().with_notrap(), value, address, 0);
        }
        let mut results = Vec::with_capacity(totals.len());
        let reductions = work
            .reductions
            .iter()
            .map(|&r| (self.kernel.reduction_combine(r), self.reduced_register(work, r)));
        let sums = work.sums.iter().map(|&s| (self.accumulation(s), self.kernel.stores[s].value));
        let wanted: Vec<(Combine, Reg)> = reductions.chain(sums).collect();
        for ((how, input), total) in wanted.iter().zip(totals) {
            results.push(self.accumulate_register(how, *input, total));
        }
        self.effects(&work.stores);
        results
    }

    /// Stores that happen once per row.
    fn row_stores(&mut self) {
        let stores: Vec<usize> = (0..self.kernel.stores.len()).filter(|&s| !self.along_row(s)).collect();
        self.effects(&stores);
    }

    /// Stores one after another. Where results lie over operands, all values come first: a store
    /// may overwrite what the next one's value reads.
    fn effects(&mut self, stores: &[usize]) {
        if self.is_in_place() {
            for &store in stores {
                self.register(self.kernel.stores[store].value, self.store_width(store));
            }
        }
        stores.iter().for_each(|&store| self.effect(store));
    }

    fn store_width(&self, store: usize) -> Width {
        let strides = &self.kernel.stores[store].access.strides;
        let moves = self.schedule.lane_axis.is_some_and(|axis| strides[axis] != Stride::ZERO);
        if moves { self.width } else { Width::Scalar }
    }

    fn effect(&mut self, place: usize) {
        let store = self.kernel.stores[place].clone();
        let width = self.store_width(place);
        let pointer = self.store_pointer(place);
        let dtype = self.kernel.args[store.access.arg as usize].dtype;
        let address = self.address(pointer);
        let how = self.kernel.store_combine(place);
        if width == Width::Vector && self.streams(place) {
            let value = self.register(store.value, width);
            let marked = self.cast_bits(types::F64X2, value);
            return self.write(marked, address, dtype);
        }
        let Some(indirect) = &store.access.indirect else {
            return self.put(how.as_ref(), store.value, address, dtype, width);
        };
        // computed before the branch, because others may use it after that
        self.register(store.value, width);
        let (valid, offset) = self.indirect_offset(indirect, pointer);
        let (inside, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(valid, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        self.b.seal_block(inside);
        let address = self.b.ins().iadd(address, offset);
        self.put(how.as_ref(), store.value, address, dtype, width);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
        self.b.seal_block(after);
    }
}
