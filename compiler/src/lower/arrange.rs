//! Another order of axes where vectors do not fit the one that a kernel was written in.

use super::coalesce::{coalesce, for_strides};
use crate::schedule::{LINE_ELEMENTS, has_dense_lanes};
use evenkeel_ir::Extent;
use evenkeel_ir::kernel::{Kernel, Store, StoreKind, Stride};

/// Elements of a row that was cut out of a longer axis, at least and at most.
const CUT: [u64; 2] = [64, 1024];

/// Puts the axis last that every access crosses densely; where there is none, makes rows for
/// tiles (see [`crate::schedule::Tiles`]).
pub(super) fn arrange(kernel: Kernel) -> Kernel {
    if has_dense_lanes(&kernel) {
        return kernel;
    }
    let others = (0..kernel.space.len()).map(|axis| last_of_its_kind(kernel.clone(), axis));
    let dense = others.into_iter().find(has_dense_lanes);
    dense.map_or_else(|| beside_rows(with_rows(kernel)), coalesce)
}

/// Moves an axis behind the others that are parallel (or reduced) like it.
fn last_of_its_kind(mut kernel: Kernel, axis: usize) -> Kernel {
    let end = if axis < kernel.parallel { kernel.parallel } else { kernel.space.len() };
    kernel.space[axis..end].rotate_left(1);
    for_strides(&mut kernel, |strides| strides[axis..end].rotate_left(1));
    kernel
}

/// A kernel without reductions gets rows to walk: its last axis, or a part of it.
fn with_rows(kernel: Kernel) -> Kernel {
    let plain = |store: &Store| {
        let moves = store.access.strides.last().is_some_and(|stride| *stride != Stride::ZERO);
        store.kind == StoreKind::Write && store.access.indirect.is_none() && moves
    };
    let map = kernel.parallel == kernel.space.len() && kernel.reductions.is_empty();
    if !map || !kernel.stores.iter().all(plain) {
        return kernel;
    }
    // threads share rows, unless there is work for one only
    let rows = |kernel: &Kernel| Extent::product(kernel.space.iter().rev().skip(1).copied());
    let enough = |kernel: &Kernel| rows(kernel).known().is_none_or(|n| n >= LINE_ELEMENTS);
    let small = kernel.rows().known().is_some_and(|n| n <= CUT[1]);
    let whole = (enough(&kernel) || small).then(|| kernel.clone());
    match Some(cut(kernel.clone())).filter(enough).or(whole) {
        Some(split) => Kernel { parallel: split.parallel - 1, ..split },
        None => kernel,
    }
}

/// Splits a long last axis in two.
fn cut(mut kernel: Kernel) -> Kernel {
    let [least, most] = CUT;
    let Some(last) = kernel.space.len().checked_sub(1) else { return kernel };
    let Some(n) = kernel.space[last].known().filter(|&n| n > most) else { return kernel };
    let Some(row) = (least..=most).rev().find(|row| n % row == 0) else { return kernel };
    kernel.space[last] = Extent::fixed(n / row);
    kernel.space.push(Extent::fixed(row));
    kernel.parallel += 1;
    for_strides(&mut kernel, |strides| {
        let step = strides[last];
        strides[last] = step.times(row as i64);
        strides.push(step);
    });
    kernel
}

/// Makes those rows neighbors that share the cache lines of what is not dense along them; a single
/// row gets an axis.
fn beside_rows(mut kernel: Kernel) -> Kernel {
    if kernel.parallel == kernel.space.len() {
        return kernel;
    }
    if kernel.parallel == 0 {
        kernel.space.insert(0, Extent::ONE);
        kernel.parallel = 1;
        for_strides(&mut kernel, |strides| strides.insert(0, Stride::ZERO));
    }
    let lane = kernel.space.len() - 1;
    let shared = |axis: usize| {
        let skips = kernel.accesses().filter(|a| ![Stride::ZERO, Stride::ONE].contains(&a.strides[lane]));
        skips.filter(|a| a.strides[axis] == Stride::ONE).count()
    };
    match (0..kernel.parallel).max_by_key(|&axis| shared(axis)).filter(|&axis| shared(axis) > 0) {
        Some(axis) => last_of_its_kind(kernel, axis),
        None => kernel,
    }
}
