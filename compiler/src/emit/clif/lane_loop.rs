//! The loop along a reduced lane axis: unrolled vectors, single vectors, and what is left.

use super::frame::{Frame, Width};
use super::loops::PhaseWork;
use cranelift::prelude::{InstBuilder, Value};
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
        let known = self.kernel.space[axis].known().map(|n| n as i64);
        let end = self.extent(axis);
        let block = lanes * unroll as i64;
        let round = |frame: &mut Self, by: i64| match known {
            Some(n) => frame.int(n & -by),
            None => frame.b.ins().band_imm_s(end, -by),
        };
        let (begin, blocks, vectors) = (self.int(work.taken), round(self, block), round(self, lanes));
        let (mut totals, mut wide) = (carried[..count].to_vec(), carried[count..].to_vec());
        let sums: Vec<usize> = work.sums.clone();
        wide.extend(self.neutral_sums(&sums, Width::Vector));
        let (copies, tail_sums) = (count * unroll, self.neutral_sums(&sums, Width::Scalar));
        let trips = known.map(|n| ((n & -block) - work.taken) as u64);
        wide = self.blocks(axis, (begin, blocks, trips), work, &wide);
        if unroll > 1 {
            let trips = known.map(|n| (n & -lanes) as u64 - (n & -block) as u64);
            wide = self.counted(blocks, vectors, lanes, &wide, trips, &mut |frame, i, wide| {
                let mut wide = wide.to_vec();
                frame.lane_vector(axis, i, work, &mut wide, 0..count, copies);
                wide
            });
        }
        totals.extend(tail_sums);
        match known.filter(|n| n % lanes != 0 && self.may_overlap(work, *n)) {
            Some(n) => self.last_vector(axis, n, work, &mut wide, copies),
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

    /// Totals of vectors where the loop of a phase begins.
    pub(super) fn lane_totals(&mut self, work: &PhaseWork) -> Vec<Value> {
        if !work.totals.is_empty() {
            return work.totals.clone();
        }
        let vectors = self.neutral_vectors(&work.reductions);
        vectors.repeat(self.unroll(work))
    }

    /// Unrolled vectors from one index to another, whose distance may be known.
    pub(super) fn blocks(
        &mut self,
        axis: usize,
        (from, to, distance): (Value, Value, Option<u64>),
        work: &PhaseWork,
        wide: &[Value],
    ) -> Vec<Value> {
        let (lanes, unroll, count) = (self.lanes(), self.unroll(work), work.reductions.len());
        self.counted(from, to, lanes * unroll as i64, wide, distance, &mut |frame, i, wide| {
            let mut wide = wide.to_vec();
            for copy in 0..unroll {
                let at = frame.b.ins().iadd_imm_s(i, copy as i64 * lanes);
                frame.lane_vector(
                    axis,
                    at,
                    work,
                    &mut wide,
                    copy * count..(copy + 1) * count,
                    count * unroll,
                );
            }
            wide
        })
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
    /// accumulation in memory or by a load from the same buffer.
    fn may_overlap(&self, work: &PhaseWork, elements: i64) -> bool {
        let writes = |&store: &usize| self.kernel.stores[store].kind == StoreKind::Write;
        elements >= self.lanes() && !self.is_in_place() && work.stores.iter().all(writes)
    }

    /// The elements that fill no vector, as the last lanes of one that ends with the row: a
    /// scalar element costs as much as a vector.
    fn last_vector(&mut self, axis: usize, n: i64, work: &PhaseWork, wide: &mut [Value], copies: usize) {
        let (lanes, count) = (self.lanes(), work.reductions.len());
        let at = self.int(n - lanes);
        let old = wide.to_vec();
        self.lane_vector(axis, at, work, wide, 0..count, copies);
        if old.is_empty() {
            return;
        }
        let new_lanes = self.lanes_from(lanes - n % lanes);
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
