//! Which stores may go past the caches.
//!
//! Such a store writes whole cache lines, so every vector that it stores must begin at one: the
//! buffer does, and so do all rows and chunks.

use crate::schedule::{LINE_ELEMENTS, Schedule};
use evenkeel_ir::kernel::{Access, Kernel, Role, StoreKind, Stride};
use smallvec::SmallVec;

/// The arguments of such stores.
pub(super) fn args(kernel: &Kernel, schedule: &Schedule, volatile: &[bool]) -> SmallVec<[u32; 4]> {
    let places = (0..kernel.stores.len()).filter(|&place| allows(kernel, schedule, volatile, place));
    let mut args: SmallVec<[u32; 4]> = places.map(|place| kernel.stores[place].access.arg).collect();
    args.dedup();
    args
}

/// Does a store write vectors at whole cache lines, to memory that the kernel does not read?
pub(super) fn allows(kernel: &Kernel, schedule: &Schedule, volatile: &[bool], place: usize) -> bool {
    let store = &kernel.stores[place];
    let arg = store.access.arg as usize;
    let Some(axis) = schedule.lane_axis else { return false };
    let only_written = kernel.args[arg].role == Role::Output && !volatile[arg];
    let plain = store.kind == StoreKind::Write && store.access.indirect.is_none();
    let wide = schedule.vector_bytes > 16 && kernel.args[arg].dtype.size() == 4;
    let own = schedule.tiles.as_ref().is_none_or(|tiles| !tiles.stores.contains(&place));
    only_written && plain && wide && own && in_lines(kernel, &store.access, axis)
}

fn in_lines(kernel: &Kernel, access: &Access, axis: usize) -> bool {
    let whole = |stride: Stride| stride.scale % LINE_ELEMENTS as i64 == 0;
    let others = (0..kernel.space.len()).filter(|&other| other != axis);
    // the last vector of other rows begins anywhere
    let full = kernel.space[axis].known().is_none_or(|n| n.is_multiple_of(LINE_ELEMENTS));
    full && access.strides[axis] != Stride::ZERO
        && others.map(|other| access.strides[other]).all(whole)
        && whole(access.offset)
}
