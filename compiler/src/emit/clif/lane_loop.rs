//! The loop along a reduced lane axis: unrolled vectors, single vectors, and what is left.

use super::frame::{Frame, Width};
use super::loops::PhaseWork;
use cranelift::prelude::{InstBuilder, IntCC, Value};
use evenkeel_ir::kernel::{StoreKind, Stride};
use std::ops::Range;

impl Frame<'_, '_> {
    /// Does a store accumulate along a reduced lane axis, all of it in one place?
    pub(super) fn sums_lanes(&self, store: usize) -> bool {
        let store = &self.kernel.stores[store];
        let lane = self.schedule.lane_axis.filter(|&axis| axis >= self.kernel.parallel);
        matches!(store.kind, StoreKind::Accumulate(_))
            && lane.is_some_and(|axis| store.access.strides[axis] == Stride::ZERO)
    }

    /// Vectors per iteration along the row.
    pub(super) fn unroll(&self, work: &PhaseWork) -> usize {
        if work.reductions.is_empty() { self.schedule.map_unroll } else { self.schedule.reduce_unroll }
    }

    /// Unrolled vectors, single vectors, and the elements that are left.
    pub(super) fn lane_loop(&mut self, axis: usize, work: &PhaseWork, carried: Vec<Value>) -> Vec<Value> {
        let (lanes, unroll, count) = (self.lanes(), self.unroll(work), work.reductions.len());
        let block = lanes * unroll as i64;
        let known = self.kernel.space[axis].known().filter(|_| self.stretch.is_none()).map(|n| n as i64);
        let (start, end) = self.stretch.unwrap_or((self.int(0), self.extent(axis)));
        let length = self.b.ins().isub(end, start);
        let mut rounded = |by: i64| {
            let whole = self.b.ins().band_imm_s(length, -by);
            self.b.ins().iadd(start, whole)
        };
        let (blocks, mut vectors, mut latest) = (rounded(block), rounded(lanes), None);
        if known.is_none() && self.may_overlap(work) {
            (vectors, latest) = self.overlapping(start, end, start);
        }
        let (mut totals, mut wide) = (carried[..count].to_vec(), carried[count..].to_vec());
        let sums: Vec<usize> = work.sums.clone();
        wide.extend(self.neutral_sums(&sums, Width::Vector));
        let (copies, tail_sums) = (count * unroll, self.neutral_sums(&sums, Width::Scalar));
        let mut from = start;
        if unroll > 1 {
            let trips = known.map(|n| (n & -block) as u64);
            wide = self.counted(start, blocks, block, &wide, trips, &mut |frame, i, wide| {
                let mut wide = wide.to_vec();
                for copy in 0..unroll {
                    let at = frame.b.ins().iadd_imm_s(i, copy as i64 * lanes);
                    frame.lane_vector(axis, at, work, &mut wide, copy * count..(copy + 1) * count, copies);
                }
                wide
            });
            from = blocks;
        }
        let done = |n: i64| if unroll > 1 { n & -block } else { 0 };
        let trips = known.map(|n| ((n & -lanes) - done(n)) as u64);
        wide = self.counted(from, vectors, lanes, &wide, trips, &mut |frame, i, wide| {
            let mut wide = wide.to_vec();
            match latest {
                Some(latest) => frame.late_vector(axis, i, latest, work, &mut wide, copies),
                None => frame.lane_vector(axis, i, work, &mut wide, 0..count, copies),
            }
            wide
        });
        totals.extend(tail_sums);
        match known.filter(|n| n % lanes != 0 && *n >= lanes && self.may_overlap(work)) {
            Some(n) => {
                let last = self.int(n - lanes);
                self.late_vector(axis, vectors, last, work, &mut wide, copies);
            }
            None => {
                let left = known.map(|n| (n % lanes) as u64);
                totals = self.counted(vectors, end, 1, &totals, left, &mut |frame, i, part| {
                    frame.lane_element(axis, i, Width::Scalar, work, part.to_vec())
                });
            }
        }
        self.put_sums(&sums, &wide[copies..], &totals[count..]);
        totals.truncate(count);
        totals.extend(&wide[..copies]);
        totals
    }

    /// One vector: its results replace `place` and what stands after `copies` of the carried values.
    fn lane_vector(
        &mut self,
        axis: usize,
        index: Value,
        work: &PhaseWork,
        wide: &mut [Value],
        place: Range<usize>,
        copies: usize,
    ) {
        let part: Vec<Value> = wide[place.clone()].iter().chain(&wide[copies..]).copied().collect();
        let results = self.lane_element(axis, index, Width::Vector, work, part);
        let (reductions, sums) = results.split_at(place.len());
        wide[place].copy_from_slice(reductions);
        wide[copies..].copy_from_slice(sums);
    }

    /// May elements be computed and written twice? Not where a result is read again, by an
    /// accumulation in memory or by a load from the same buffer, nor past the caches, where all vectors
    /// begin at cache lines.
    fn may_overlap(&self, work: &PhaseWork) -> bool {
        work.stores.iter().all(|&store| self.may_write_twice(store)) && !self.is_in_place()
    }

    pub(super) fn may_write_twice(&self, store: usize) -> bool {
        self.kernel.stores[store].kind == StoreKind::Write && !self.streams(store)
    }

    /// Where vectors end if the last may overlap the one before, and where that one begins: of a
    /// stretch whose length is known when the code runs.
    pub(super) fn overlapping(&mut self, start: Value, end: Value, none: Value) -> (Value, Option<Value>) {
        let lanes = self.lanes();
        let latest = self.b.ins().iadd_imm_s(end, -lanes);
        let fits = self.b.ins().icmp(IntCC::SignedLessThanOrEqual, start, latest);
        (self.b.ins().select(fits, end, none), Some(latest))
    }

    /// One vector that begins at `latest` at the latest, because a scalar element costs as much as
    /// a vector: of what is carried, elements before `index` count once.
    fn late_vector(
        &mut self,
        axis: usize,
        index: Value,
        latest: Value,
        work: &PhaseWork,
        wide: &mut [Value],
        copies: usize,
    ) {
        let count = work.reductions.len();
        let at = self.b.ins().smin(index, latest);
        let old = wide.to_vec();
        self.lane_vector(axis, at, work, wide, 0..count, copies);
        if old.is_empty() {
            return;
        }
        let seen = self.b.ins().isub(index, at);
        let new_lanes = self.lanes_from(seen);
        for place in (0..count).chain(copies..wide.len()) {
            wide[place] = self.choose(new_lanes, wide[place], old[place]);
        }
    }

    fn lane_element(
        &mut self,
        axis: usize,
        index: Value,
        width: Width,
        work: &PhaseWork,
        totals: Vec<Value>,
    ) -> Vec<Value> {
        self.enter(axis, index, width);
        let result = self.element(work, totals);
        self.leave(axis);
        result
    }
}
