//! Intermediate values written over operands that die where they are read.
//!
//! A kernel without reductions that reads an operand only where it writes a result needs no second
//! buffer for it. Kernels with reductions keep theirs: their loads may then move freely.

use super::{Plan, Planned};
use crate::schedule::LINE_ELEMENTS;
use evenkeel_ir::kernel::{Access, Kernel, Role, Source, StoreKind};
use evenkeel_ir::program::{Buffer, BufferId, Launch, Program, Step, Storage};
use rustc_hash::FxHashMap as HashMap;

/// Joins such buffers.
pub(super) fn reuse(mut plan: Plan) -> Plan {
    let mut home: Vec<BufferId> = (0..plan.program.buffers.len() as u32).map(BufferId).collect();
    for place in 0..plan.program.steps.len() {
        rename(&mut plan.program.steps[place], &home);
        let step = &plan.program.steps[place];
        let touches = touches(step);
        let found = step.launches().filter_map(|launch| pair(&plan, place, &touches, launch));
        let found: Vec<Pair> = found.collect();
        for Pair { kernel, operand, from, to } in found {
            home[to.0 as usize] = from;
            let last = span(&plan.program, to).expect("an arena buffer").1;
            extend(&mut plan.program.buffers[from.0 as usize], last);
            plan.kernels[kernel].volatile[operand] = true;
        }
        rename(&mut plan.program.steps[place], &home);
    }
    remove_unused(&mut plan.program);
    plan
}

/// A result that may be written over an operand.
struct Pair {
    kernel: usize,
    /// Which argument the operand is.
    operand: usize,
    from: BufferId,
    to: BufferId,
}

/// What a kernel may write over what.
fn pair(plan: &Plan, place: usize, touches: &HashMap<BufferId, usize>, launch: &Launch) -> Option<Pair> {
    let Planned { kernel, volatile, .. } = &plan.kernels[launch.code as usize];
    let program = &plan.program;
    let here = place as u32;
    let alone = |arg: usize| touches[&launch.buffers[arg]] == 1;
    let arena = |arg: usize| span(program, launch.buffers[arg]);
    let dies = |&arg: &usize| arena(arg).is_some_and(|(_, last)| last == here) && alone(arg);
    let begins = |&arg: &usize| arena(arg).is_some_and(|(first, _)| first == here);
    let alike = |a: usize, b: usize| {
        let [a, b] = [a, b].map(|arg| &program.buffers[launch.buffers[arg].0 as usize]);
        a.elements == b.elements && a.dtype == b.dtype
    };
    if !kernel.reductions.is_empty() || !whole_lines(kernel) || volatile.contains(&true) {
        return None;
    }
    let args = || 0..kernel.args.len();
    let operands = args().filter(|&arg| kernel.args[arg].role == Role::Input).filter(dies);
    let results = || args().filter(|&arg| kernel.args[arg].role == Role::Output).filter(begins);
    let fits = |(from, to): &(usize, usize)| alike(*from, *to) && same_places(kernel, *from, *to);
    let mut pairs = operands.flat_map(|from| results().map(move |to| (from, to)));
    let (operand, result) = pairs.find(fits)?;
    let (from, to) = (launch.buffers[operand], launch.buffers[result]);
    Some(Pair { kernel: launch.code as usize, operand, from, to })
}

/// How often a step touches each buffer, not counting that a product writes what its epilogue reads.
fn touches(step: &Step) -> HashMap<BufferId, usize> {
    let mut touches = HashMap::default();
    step.buffers().into_iter().for_each(|buffer| *touches.entry(buffer).or_default() += 1);
    if let Step::Product(panels) = step
        && panels.epilogue.is_some()
    {
        touches.entry(panels.product.out.buffer).and_modify(|count| *count -= 1);
    }
    touches
}

/// Do rows fill whole vectors? Others end with one that overlaps the vector before it, which
/// results over operands cannot have.
fn whole_lines(kernel: &Kernel) -> bool {
    let last = kernel.space.last().and_then(|extent| extent.known());
    last.is_some_and(|elements| elements.is_multiple_of(LINE_ELEMENTS))
}

/// Is one argument read exactly where the other is written?
fn same_places(kernel: &Kernel, from: usize, to: usize) -> bool {
    let loads = kernel.sources.iter().filter_map(|source| match source {
        Source::Load(access) if access.arg as usize == from => Some(access),
        _ => None,
    });
    let stores: Vec<_> = kernel.stores.iter().filter(|store| store.access.arg as usize == to).collect();
    let equal = |a: &Access, b: &Access| {
        a.strides == b.strides && a.offset == b.offset && a.indirect.is_none() && b.indirect.is_none()
    };
    let plain = stores.iter().all(|store| store.kind == StoreKind::Write);
    plain && loads.into_iter().all(|load| stores.iter().all(|store| equal(load, &store.access)))
}

/// First and last step of a buffer of the arena.
fn span(program: &Program, buffer: BufferId) -> Option<(u32, u32)> {
    match program.buffers[buffer.0 as usize].storage {
        Storage::Arena { first, last } => Some((first, last)),
        Storage::Input(_) | Storage::Output(_) => None,
    }
}

fn extend(buffer: &mut Buffer, to: u32) {
    if let Storage::Arena { last, .. } = &mut buffer.storage {
        *last = to;
    }
}

fn rename(step: &mut Step, names: &[BufferId]) {
    for buffer in step.buffers_mut() {
        while names[buffer.0 as usize] != *buffer {
            *buffer = names[buffer.0 as usize];
        }
    }
}

/// Drops buffers of the arena that no step touches.
fn remove_unused(program: &mut Program) {
    let mut used = vec![false; program.buffers.len()];
    program.steps.iter().flat_map(Step::buffers).for_each(|buffer| used[buffer.0 as usize] = true);
    let kept =
        |(place, buffer): (usize, &Buffer)| used[place] || !matches!(buffer.storage, Storage::Arena { .. });
    let kept: Vec<bool> = program.buffers.iter().enumerate().map(kept).collect();
    let number = |place: usize| BufferId(kept[..place].iter().filter(|&&kept| kept).count() as u32);
    let names: Vec<BufferId> = (0..kept.len()).map(number).collect();
    for step in &mut program.steps {
        step.buffers_mut().into_iter().for_each(|buffer| *buffer = names[buffer.0 as usize]);
    }
    let mut place = 0..;
    program.buffers.retain(|_| kept[place.next().expect("endless")]);
}
