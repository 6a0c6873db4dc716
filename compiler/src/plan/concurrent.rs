//! Steps that need nothing of each other become one: kernels whose chunks threads claim together,
//! and the combination of their partial results.

use super::{Plan, Planned};
use evenkeel_ir::kernel::Role;
use evenkeel_ir::program::{BufferId, Launch, Product, Program, Step, Storage};
use std::collections::BTreeSet;

/// Joins steps, then finds out when each buffer of the arena is alive.
pub(super) fn join(mut plan: Plan) -> Plan {
    let mut joined: Vec<(Step, Touched)> = Vec::new();
    for step in std::mem::take(&mut plan.program.steps) {
        let touched = Touched::by(&plan, &step);
        match place_for(&joined, &step, &touched) {
            Some(place) => {
                let (earlier, all) = &mut joined[place];
                absorb(earlier, step);
                all.reads.extend(touched.reads);
                all.writes.extend(touched.writes);
            }
            None => joined.push((step, touched)),
        }
    }
    plan.program.steps = joined.into_iter().map(|(step, _)| step).collect();
    lifetimes(&mut plan.program);
    plan
}

/// The last step that a step can join without passing one that it has to follow. Products are
/// not passed: what runs beside them finds their results in cache.
fn place_for(joined: &[(Step, Touched)], step: &Step, touched: &Touched) -> Option<usize> {
    for (place, (earlier, others)) in joined.iter().enumerate().rev() {
        let passable = matches!(earlier, Step::Kernels(_) | Step::Combine(_) | Step::Zero { .. });
        if !passable || touched.conflicts(others) {
            return None;
        }
        let alike = matches!(
            (earlier, step),
            (Step::Kernels(_), Step::Kernels(_)) | (Step::Combine(_), Step::Combine(_))
        );
        if alike {
            return Some(place);
        }
    }
    None
}

fn absorb(earlier: &mut Step, step: Step) {
    match (earlier, step) {
        (Step::Kernels(all), Step::Kernels(more)) => all.extend(more),
        (Step::Combine(all), Step::Combine(more)) => all.extend(more),
        _ => unreachable!("only alike steps are joined"),
    }
}

/// The memory that a step reads and writes.
#[derive(Default)]
struct Touched {
    reads: BTreeSet<Memory>,
    writes: BTreeSet<Memory>,
}

/// A buffer, or the input whose memory it shares.
type Memory = (bool, u32);

impl Touched {
    fn by(plan: &Plan, step: &Step) -> Touched {
        let Plan { program, kernels } = plan;
        let mut touched = Touched::default();
        let memory = |buffer: BufferId| memory(program, buffer);
        match step {
            Step::Kernels(_) => {}
            Step::Product(panels) => {
                let Product { lhs, rhs, out, .. } = &panels.product;
                touched.reads.extend([lhs.buffer, rhs.buffer].map(memory));
                touched.writes.insert(memory(out.buffer));
            }
            Step::Combine(parts) => {
                touched.reads.extend(parts.iter().map(|part| memory(part.partials)));
                touched.writes.extend(parts.iter().map(|part| memory(part.out)));
            }
            Step::Copy { from, to } => {
                touched.reads.insert(memory(*from));
                touched.writes.insert(memory(*to));
            }
            Step::Zero { buffer } => {
                touched.writes.insert(memory(*buffer));
            }
        }
        step.launches().for_each(|launch| touched.add(launch, &kernels[launch.code as usize], memory));
        touched
    }

    fn add(&mut self, launch: &Launch, planned: &Planned, memory: impl Fn(BufferId) -> Memory) {
        for (arg, &buffer) in planned.kernel.args.iter().zip(&launch.buffers) {
            let place = if arg.role == Role::Input { &mut self.reads } else { &mut self.writes };
            place.insert(memory(buffer));
        }
    }

    /// Must one of two steps follow the other?
    fn conflicts(&self, other: &Touched) -> bool {
        !(self.writes.is_disjoint(&other.writes)
            && self.writes.is_disjoint(&other.reads)
            && self.reads.is_disjoint(&other.writes))
    }
}

fn memory(program: &Program, buffer: BufferId) -> Memory {
    let updated = |output| program.updates.iter().find(|&&(o, _)| o == output).map(|&(_, input)| input);
    match program.buffers[buffer.0 as usize].storage {
        Storage::Input(input) => (true, input),
        Storage::Output(output) => updated(output).map_or((false, buffer.0), |input| (true, input)),
        Storage::Arena { .. } => (false, buffer.0),
    }
}

fn lifetimes(program: &mut Program) {
    for (place, step) in program.steps.iter().enumerate() {
        for buffer in step.buffers() {
            if let Storage::Arena { first, last } = &mut program.buffers[buffer.0 as usize].storage {
                *first = (*first).min(place as u32);
                *last = (*last).max(place as u32);
            }
        }
    }
    for buffer in &mut program.buffers {
        if let Storage::Arena { first: first @ u32::MAX, .. } = &mut buffer.storage {
            *first = 0;
        }
    }
}
