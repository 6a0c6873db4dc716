//! Fewer, longer axes: drops axes of size 1 and merges neighbours that every access crosses
//! with one stride. A kernel without reductions keeps its last axis where an access skips elements
//! along it: those are its rows (see `arrange`).

use evenkeel_ir::kernel::{Access, Kernel, Source, Stride};

pub(super) fn coalesce(mut kernel: Kernel) -> Kernel {
    let ones: Vec<usize> = (0..kernel.space.len()).filter(|&axis| kernel.space[axis].is_one()).collect();
    ones.into_iter().rev().for_each(|axis| remove(&mut kernel, axis));
    let mut axis = 0;
    while axis < kernel.space.len() {
        if axis + 1 < kernel.space.len() && mergeable(&kernel, axis) {
            let merged = kernel.space[axis].times(kernel.space[axis + 1]);
            kernel.space[axis + 1] = merged;
            remove(&mut kernel, axis);
            axis = axis.saturating_sub(1);
        } else {
            axis += 1;
        }
    }
    kernel
}

pub(super) fn for_strides(kernel: &mut Kernel, mut visit: impl FnMut(&mut smallvec::SmallVec<[Stride; 4]>)) {
    for source in &mut kernel.sources {
        match source {
            Source::Load(Access { strides, .. }) | Source::Position { strides } => visit(strides),
            Source::Size(_) | Source::Reduced(_) => {}
        }
    }
    kernel.stores.iter_mut().for_each(|store| visit(&mut store.access.strides));
}

fn remove(kernel: &mut Kernel, axis: usize) {
    kernel.space.remove(axis);
    kernel.parallel -= usize::from(axis < kernel.parallel);
    for_strides(kernel, |strides| {
        strides.remove(axis);
    });
}

/// Do all accesses cross the border between `axis` and the next as if they were one axis?
fn mergeable(kernel: &Kernel, axis: usize) -> bool {
    let same_kind = (axis < kernel.parallel) == (axis + 1 < kernel.parallel);
    let inner = kernel.space[axis + 1];
    let spans = |strides: &[Stride]| {
        let (outer, step) = (strides[axis], strides[axis + 1]);
        let span = Stride { scale: step.scale * inner.scale as i64, power: step.power + inner.power };
        outer == span || (outer == Stride::ZERO && step == Stride::ZERO)
    };
    let source = |source: &Source| match source {
        Source::Load(Access { strides, .. }) | Source::Position { strides } => spans(strides),
        Source::Size(_) | Source::Reduced(_) => true,
    };
    let dense = |access: &Access| [Stride::ZERO, Stride::ONE].contains(&access.strides[axis + 1]);
    let row = kernel.parallel == kernel.space.len() && axis + 2 == kernel.parallel;
    same_kind
        && kernel.sources.iter().all(source)
        && kernel.stores.iter().all(|s| spans(&s.access.strides))
        && (!row || kernel.accesses().all(dense))
}
