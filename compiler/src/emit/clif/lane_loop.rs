//! The loop along a reduced lane axis: unrolled vectors, single vectors, and what is left.

use super::frame::{Frame, Width};
use super::loops::PhaseWork;
use cranelift::prelude::{InstBuilder, IntCC, Value};
use evenkeel_ir::kernel::{StoreKind, Stride};
use std::ops::Range;

/// What a phase walks of a row.
struct LaneRow<'w> {
    axis: usize,
    work: &'w PhaseWork,
    start: Value,
    end: Value,
    /// Elements of the whole row, if that is walked and they are known.
    known: Option<i64>,
    /// Carried values that are copies of totals, before those that are accumulations.
    copies: usize,
}

impl Frame<'_, '_> {
    /// Does a store accumulate along a reduced lane axis, all of it in one place?
    pub(super) fn sums_lanes(&self, store: usize) -> bool {
        let store = &self.kernel.stores[store];
        let lane = self.schedule.lane_axis.filter(|&axis| axis >= self.kernel.parallel);
        matches!(store.kind, StoreKind::Accumulate(_))
            && lane.is_some_and(|axis| store.access.strides[axis] == Stride::ZERO)
    }

    /// Unrolled vectors, single vectors, and the elements that are left.
    pub(super) fn lane_loop(&mut self, axis: usize, work: &PhaseWork, carried: Vec<Value>) -> Vec<Value> {
        let (unroll, count) = (work.unroll, work.reductions.len());
        let known = self.kernel.space[axis].known().filter(|_| self.stretch.is_none()).map(|n| n as i64);
        let (start, end) = self.stretch.unwrap_or((self.int(work.taken), self.extent(axis)));
        let row = LaneRow { axis, work, start, end, known, copies: count * unroll };
        let (mut totals, mut wide) = (carried[..count].to_vec(), carried[count..].to_vec());
        totals.extend(self.neutral_sums(&work.sums, Width::Scalar));
        wide.extend(self.neutral_sums(&work.sums, Width::Vector));
        let (from, done) = self.unrolled(&row, unroll, &mut wide);
        self.single(&row, from, done, &mut wide, &mut totals);
        self.put_sums(&work.sums, &wide[row.copies..], &totals[count..]);
        totals.truncate(count);
        totals.extend(&wide[..row.copies]);
        totals
    }

    /// Several vectors per iteration; gives where they end, and how many elements that are if the
    /// row has a known length.
    fn unrolled(&mut self, row: &LaneRow, unroll: usize, wide: &mut Vec<Value>) -> (Value, i64) {
        if unroll == 1 {
            return (row.start, row.work.taken);
        }
        let block = self.lanes() * unroll as i64;
        let end = self.whole(row.start, row.end, block);
        let done = row.known.map_or(0, |n| n & -block);
        let trips = row.known.map(|_| (done - row.work.taken) as u64);
        *wide = self.blocks(row.axis, (row.start, end, trips), row.work, wide);
        (end, done)
    }

    /// Totals of vectors where the loop of a phase begins.
    pub(super) fn lane_totals(&mut self, work: &PhaseWork) -> Vec<Value> {
        if !work.totals.is_empty() {
            return work.totals.clone();
        }
        let vectors = self.neutral_vectors(&work.reductions);
        vectors.repeat(work.unroll)
    }

    /// Unrolled vectors from one index to another, whose distance may be known.
    pub(super) fn blocks(
        &mut self,
        axis: usize,
        (start, end, distance): (Value, Value, Option<u64>),
        work: &PhaseWork,
        wide: &[Value],
    ) -> Vec<Value> {
        let (lanes, unroll, count) = (self.lanes(), work.unroll, work.reductions.len());
        let row = LaneRow { axis, work, start, end, known: None, copies: count * unroll };
        self.counted(start, end, lanes * unroll as i64, wide, distance, &mut |frame, i, wide| {
            let mut wide = wide.to_vec();
            for copy in 0..unroll {
                let at = frame.b.ins().iadd_imm_s(i, copy as i64 * lanes);
                frame.lane_vector(&row, at, &mut wide, copy * count..(copy + 1) * count);
            }
            wide
        })
    }

    /// Single vectors, then what fills none: elements, or a vector that overlaps the one before.
    fn single(
        &mut self,
        row: &LaneRow,
        from: Value,
        done: i64,
        wide: &mut Vec<Value>,
        totals: &mut Vec<Value>,
    ) {
        let lanes = self.lanes();
        let overlap = self.may_overlap(row.work);
        let whole = self.whole(row.start, row.end, lanes);
        let late = (row.known.is_none() && overlap).then(|| self.overlapping(row.start, row.end));
        let trips = row.known.map(|n| ((n & -lanes) - done) as u64);
        let end = late.map_or(whole, |(end, _)| end);
        match late {
            Some((_, latest)) if wide.is_empty() => self.vectors(row, [from, end], trips, Some(latest), wide),
            // what is carried does not wait for a choice in every vector
            Some((_, latest)) => {
                self.vectors(row, [from, whole], trips, None, wide);
                self.vectors(row, [whole, end], None, Some(latest), wide);
            }
            None => self.vectors(row, [from, whole], trips, None, wide),
        }
        if let Some(n) = row.known.filter(|&n| overlap && n % lanes != 0 && n >= lanes) {
            let latest = self.int(n - lanes);
            return self.late_vector(row, end, latest, wide);
        }
        let left = row.known.map(|n| (n % lanes) as u64);
        *totals = self.counted(end, row.end, 1, totals, left, &mut |frame, i, part| {
            frame.lane_element(row, i, Width::Scalar, part.to_vec())
        });
    }

    /// Vector after vector; where there is a latest, none begins behind it.
    fn vectors(
        &mut self,
        row: &LaneRow,
        [from, end]: [Value; 2],
        trips: Option<u64>,
        latest: Option<Value>,
        wide: &mut Vec<Value>,
    ) {
        let (lanes, count) = (self.lanes(), row.work.reductions.len());
        *wide = self.counted(from, end, lanes, wide, trips, &mut |frame, i, wide| {
            let mut wide = wide.to_vec();
            match latest {
                Some(latest) => frame.late_vector(row, i, latest, &mut wide),
                None => frame.lane_vector(row, i, &mut wide, 0..count),
            }
            wide
        });
    }

    /// Where whole steps from `start` on end.
    pub(super) fn whole(&mut self, start: Value, end: Value, step: i64) -> Value {
        let length = self.b.ins().isub(end, start);
        let whole = self.b.ins().band_imm_s(length, -step);
        self.b.ins().iadd(start, whole)
    }

    /// One vector: its results replace `place` and what stands after the copies of totals.
    fn lane_vector(&mut self, row: &LaneRow, index: Value, wide: &mut [Value], place: Range<usize>) {
        let part: Vec<Value> = wide[place.clone()].iter().chain(&wide[row.copies..]).copied().collect();
        let results = self.lane_element(row, index, Width::Vector, part);
        let (reductions, sums) = results.split_at(place.len());
        wide[place].copy_from_slice(reductions);
        wide[row.copies..].copy_from_slice(sums);
    }

    /// May the elements of a phase be computed and written twice?
    fn may_overlap(&self, work: &PhaseWork) -> bool {
        work.stores.iter().all(|&store| self.may_write_twice(store))
    }

    /// Not where a result is read again, by an accumulation in memory or by a load from the same
    /// buffer, nor past the caches, where all vectors begin at cache lines.
    pub(super) fn may_write_twice(&self, store: usize) -> bool {
        self.kernel.stores[store].kind == StoreKind::Write && !self.is_in_place() && !self.streams(store)
    }

    /// Where vectors end if the last may overlap the one before, and where that one begins; for a
    /// stretch whose length is known only when the code runs, and may be less than a vector.
    pub(super) fn overlapping(&mut self, start: Value, end: Value) -> (Value, Value) {
        let lanes = self.lanes();
        let latest = self.b.ins().iadd_imm_s(end, -lanes);
        let fits = self.b.ins().icmp(IntCC::SignedLessThanOrEqual, start, latest);
        (self.b.ins().select(fits, end, start), latest)
    }

    /// One vector that begins at `latest` at the latest, because a scalar element costs as much as
    /// a vector: of what is carried, elements before `index` count once.
    fn late_vector(&mut self, row: &LaneRow, index: Value, latest: Value, wide: &mut [Value]) {
        let count = row.work.reductions.len();
        let at = self.b.ins().smin(index, latest);
        let old = wide.to_vec();
        self.lane_vector(row, at, wide, 0..count);
        if old.is_empty() {
            return;
        }
        let seen = self.b.ins().isub(index, at);
        let new_lanes = self.lanes_from(seen);
        for place in (0..count).chain(row.copies..wide.len()) {
            wide[place] = self.choose(new_lanes, wide[place], old[place]);
        }
    }

    fn lane_element(&mut self, row: &LaneRow, index: Value, width: Width, totals: Vec<Value>) -> Vec<Value> {
        self.enter(row.axis, index, width);
        let result = self.element(row.work, totals);
        self.leave(row.axis);
        result
    }
}
