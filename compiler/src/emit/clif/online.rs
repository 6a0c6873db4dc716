//! Two phases in one loop over the row: maxima, and sums that follow them ("online softmax").
//!
//! The row is taken in pieces. In each one the maxima come first, lane by lane; the sums so far
//! follow them; then the piece is summed against the new ones. What is left of the row after the
//! last whole piece is taken phase by phase, as any row is, from the totals that the pieces gave.
//! Start at [`Frame::pieces`].
//!
//! A lane that has seen nothing but negative infinity stands at the lowest number instead:
//! `-inf - -inf` is not a number, and other lanes may have seen some. The last step, to the
//! maximum of the row, is from the lanes' own maxima. So a row of nothing else ends as it does
//! in two loops.

use super::frame::{Frame, Width};
use super::loops::PhaseWork;
use crate::schedule::Online;
use cranelift::prelude::{InstBuilder, Value};
use evenkeel_ir::kernel::Reduction;
use evenkeel_ir::scalar::{Constant, Reg};

impl Frame<'_, '_> {
    /// Takes the whole pieces of the row in both phases, and notes the totals in their work.
    pub(super) fn pieces(&mut self, Online { piece, .. }: Online, works: &mut [PhaseWork]) {
        let [first, second] = works else { unreachable!("two phases share a loop") };
        let axis = self.schedule.lane_axis.expect("such rows are taken in vectors");
        let elements = self.kernel.space[axis].known().expect("such rows have a known length") as i64;
        let step = piece as i64 * self.lanes();
        let taken = elements / step * step;
        let (zero, end, lowest) = (self.int(0), self.int(taken), self.lowest());
        let (maxima, sums) = (self.lane_totals(first), self.lane_totals(second));
        let (middle, last) = (maxima.len(), maxima.len() + sums.len());
        let start = [maxima, sums, vec![lowest; second.reductions.len()]].concat();
        let mut totals =
            self.counted(zero, end, step, &start, Some(taken as u64), &mut |frame, at, carried| {
                let to = frame.b.ins().iadd_imm_s(at, step);
                let parts = [&carried[..middle], &carried[middle..last], &carried[last..]];
                frame.piece(axis, (at, to, Some(step as u64)), [first, second], parts)
            });
        totals.truncate(last);
        (second.totals, first.totals) = (totals.split_off(middle), totals);
        (first.taken, second.taken) = (taken, taken);
    }

    /// One piece: from maxima, sums and what these are shifted by to the same after it.
    fn piece(
        &mut self,
        axis: usize,
        range: (Value, Value, Option<u64>),
        [first, second]: [&PhaseWork; 2],
        [maxima, sums, old]: [&[Value]; 3],
    ) -> Vec<Value> {
        let maxima = self.blocks(axis, range, first, maxima);
        let saved = self.fixed.clone();
        let shifts = self.shifts(first, second, &maxima);
        let sums = self.follow(second, sums, old);
        self.phase += 1;
        let sums = self.blocks(axis, range, second, &sums);
        self.phase -= 1;
        self.fixed = saved;
        [maxima, sums, shifts].concat()
    }

    /// Brings the sums of the pieces from the maxima of their lanes to those of the row.
    pub(super) fn settle(&mut self, works: &mut [PhaseWork]) {
        let [first, second] = works else { unreachable!("two phases share a loop") };
        let lanes: Vec<Value> =
            second.reductions.iter().map(|&sum| self.lane_maximum(first, sum, &first.totals)).collect();
        second.totals = self.follow(second, &second.totals.clone(), &lanes);
    }

    /// Sets what each sum is shifted by to the maximum of each lane, and gives it.
    fn shifts(&mut self, first: &PhaseWork, second: &PhaseWork, maxima: &[Value]) -> Vec<Value> {
        let shift = |&sum: &usize| {
            let (lowest, maximum) = (self.lowest(), self.lane_maximum(first, sum, maxima));
            let shift = self.float_max(lowest, maximum);
            self.set_reduced(self.followed(sum), shift);
            shift
        };
        second.reductions.iter().map(shift).collect()
    }

    /// Multiplies the totals of every sum by what leads from its old maxima to those that are set.
    fn follow(&mut self, second: &PhaseWork, sums: &[Value], old: &[Value]) -> Vec<Value> {
        self.width = Width::Vector;
        let factors: Vec<Value> =
            second.reductions.iter().zip(old).map(|(&sum, &old)| self.factor(sum, old)).collect();
        self.width = Width::Scalar;
        sums.iter()
            .zip(factors.iter().cycle())
            .map(|(&sum, &factor)| self.b.ins().fmul(sum, factor))
            .collect()
    }

    /// The summed function at an old maximum.
    fn factor(&mut self, sum: usize, old: Value) -> Value {
        let Reduction { input: Reg(a), .. } = self.kernel.reductions[self.followed(sum)];
        self.element.fill(None);
        self.element[a as usize] = Some(old);
        let factor = self.register(self.kernel.reductions[sum].input, Width::Vector);
        self.element.fill(None);
        factor
    }

    /// The maximum that a sum follows, of each lane.
    fn lane_maximum(&mut self, first: &PhaseWork, sum: usize, maxima: &[Value]) -> Value {
        let followed = self.followed(sum);
        let place = first.reductions.iter().position(|&r| r == followed).expect("the phase before");
        let copies = maxima.iter().copied().skip(place).step_by(first.reductions.len()).collect();
        self.tree(&self.kernel.reduction_combine(followed), copies)
    }

    /// The number of the maximum that a sum follows.
    fn followed(&self, sum: usize) -> usize {
        self.kernel.reductions[sum].follows.expect("all sums of the phase follow a maximum") as usize
    }

    fn lowest(&mut self) -> Value {
        self.lanes_of(Constant::F32(f32::MIN.to_bits()), Width::Vector)
    }
}
