//! Loops that most rows skip: reductions that are idle there, as [`Kernel::idle`] says.
//!
//! [`Kernel::idle`]: evenkeel_ir::kernel::Kernel::idle

use super::frame::{Frame, Width};
use super::loops::PhaseWork;
use cranelift::codegen::ir::BlockArg;
use cranelift::prelude::{FloatCC, InstBuilder, Value};
use evenkeel_ir::kernel::Combine;
use evenkeel_ir::scalar::{Constant, Inst, Reg, ScalarType};

/// Vectors per iteration.
const UNROLL: usize = 2;

impl Frame<'_, '_> {
    /// Where a reduction is idle, if that can be told before its loop.
    pub(super) fn idle_mask(&self, reduction: usize) -> Option<Reg> {
        self.kernel.idle(&self.levels, reduction)
    }

    /// The loop of a phase's reductions that are idle in most rows; behind a branch.
    pub(super) fn rare_loop(&mut self, phase: u32) {
        let in_phase = |r: usize| self.levels.phase[self.kernel.reductions[r].input.0 as usize] == phase;
        let all = (0..self.kernel.reductions.len()).filter(|&r| in_phase(r));
        let (reductions, masks): (Vec<usize>, Vec<Reg>) =
            all.filter_map(|r| Some((r, self.idle_mask(r)?))).unzip();
        if reductions.is_empty() {
            return;
        }
        let rows_are_lanes = self.schedule.lane_axis.is_some_and(|axis| axis < self.kernel.parallel);
        let busy = !rows_are_lanes && masks.iter().all(|&mask| mask == masks[0]);
        let idle = self.all_idle(masks);
        let neutrals = self.neutrals(&reductions);
        let (inside, after) = (self.b.create_block(), self.b.create_block());
        let totals: Vec<Value> = neutrals
            .iter()
            .map(|&value| self.b.append_block_param(after, self.b.func.dfg.value_type(value)))
            .collect();
        let args = |values: &[Value]| values.iter().copied().map(BlockArg::from).collect::<Vec<_>>();
        self.b.ins().brif(idle, after, &args(&neutrals), inside, &[]);
        self.b.switch_to_block(inside);
        self.b.seal_block(inside);
        let work = PhaseWork { reductions: reductions.clone(), unroll: UNROLL, busy, ..PhaseWork::default() };
        let found = self.row_loop(&work);
        self.b.ins().jump(after, &args(&found));
        self.b.switch_to_block(after);
        self.b.seal_block(after);
        self.set_totals(&reductions, &totals);
    }

    /// The register that a loop reduces: where no row is idle, what the mask chooses then.
    pub(super) fn reduced_register(&self, work: &PhaseWork, reduction: usize) -> Reg {
        let input = self.kernel.reductions[reduction].input;
        match self.kernel.code.inst(input) {
            Inst::Select(_, _, value) if work.busy => value,
            _ => input,
        }
    }

    /// Do all masks hold, in all lanes of all vectors?
    fn all_idle(&mut self, mut masks: Vec<Reg>) -> Value {
        masks.sort_unstable();
        masks.dedup();
        // rows that all lanes share have one mask for all of them
        let values = self.each_vector(|frame, _| {
            masks.iter().map(|&mask| frame.register(mask, frame.width)).collect::<Vec<_>>()
        });
        let values = values.concat();
        if !self.b.func.dfg.value_type(values[0]).is_vector() {
            return values.into_iter().reduce(|a, b| self.b.ins().band(a, b)).expect("a mask");
        }
        let least = Combine::least(ScalarType::F32);
        let numbers = values.into_iter().map(|mask| self.one_where(mask)).collect();
        let vector = self.tree(&least, numbers);
        let lowest = self.across_lanes(&least, vector);
        let zero = self.constant(Constant::F32(0));
        self.b.ins().fcmp(FloatCC::NotEqual, lowest, zero)
    }

    fn one_where(&mut self, mask: Value) -> Value {
        let [one, zero] =
            [1f32, 0.0].map(|number| self.lanes_of(Constant::F32(number.to_bits()), Width::Vector));
        self.choose(mask, one, zero)
    }
}
