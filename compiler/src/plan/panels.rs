//! Kernels on the panels of products: one that reads the result of a product row by row runs on
//! each panel while it is in cache, and one that makes the left operand row by row runs before it.

use super::{Unit, Work};
use crate::lower::Slot;
use crate::lower::view::View;
use evenkeel_ir::kernel::{Access, Indirect, Kernel, Source};
use evenkeel_ir::{Extent, NodeId, Shape};
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeSet;

/// One entry of the final order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A unit by itself.
    Single(usize),
    /// A product and the kernels on its panels.
    Panels {
        /// The kernel that makes the left operand.
        prologue: Option<usize>,
        product: usize,
        /// The kernel that follows, and its rows per row of the product.
        epilogue: Option<(usize, u64)>,
    },
}

impl Entry {
    fn units(self) -> impl Iterator<Item = usize> {
        let (first, others) = match self {
            Entry::Single(unit) => (unit, [None, None]),
            Entry::Panels { prologue, product, epilogue } => (product, [prologue, epilogue.map(|e| e.0)]),
        };
        std::iter::once(first).chain(others.into_iter().flatten())
    }
}

/// Joins products with the kernels around them.
pub(super) fn merge(units: &[Unit], order: &[usize]) -> Vec<Entry> {
    with_prologues(units, with_epilogues(units, order))
}

/// Joins products with an earlier kernel whose results nothing between them reads.
fn with_prologues(units: &[Unit], mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut writer: HashMap<NodeId, usize> = HashMap::default();
    let mut taken = vec![false; entries.len()];
    for place in 0..entries.len() {
        for unit in entries[place].units() {
            writer.extend(units[unit].writes.iter().map(|&id| (id, place)));
        }
        let (product, after) = match entries[place] {
            Entry::Single(unit) => (unit, None),
            Entry::Panels { product, epilogue, .. } => (product, epilogue),
        };
        let Work::Product { lhs, .. } = &units[product].work else { continue };
        let Some(&start) = writer.get(&lhs.base) else { continue };
        let Entry::Single(kernel) = entries[start] else { continue };
        let between = entries[start + 1..place].iter().flat_map(|entry| entry.units());
        let free = between.chain(after.map(|a| a.0)).all(|unit| independent(&units[kernel], &units[unit]));
        if !taken[start] && free && feeds(&units[kernel], &units[product]) {
            taken[start] = true;
            entries[place] = Entry::Panels { prologue: Some(kernel), product, epilogue: after };
        }
    }
    let kept = entries.into_iter().zip(taken).filter(|(_, taken)| !taken);
    kept.map(|(entry, _)| entry).collect()
}

/// May a kernel run after a unit that came behind it?
fn independent(kernel: &Unit, later: &Unit) -> bool {
    kernel.writes.is_disjoint(&later.reads)
        && kernel.reads.is_disjoint(&later.overwrites)
        && kernel.overwrites.is_disjoint(&later.reads)
}

/// Does a kernel make the rows of the left operand, and nothing else of the product?
fn feeds(kernel: &Unit, product: &Unit) -> bool {
    let (Work::Product { lhs, rhs, left, .. }, Work::Kernels(kernels)) = (&product.work, &kernel.work) else {
        return false;
    };
    let [lowered] = &kernels[..] else { return false };
    let dense = lhs.offset.scale == 0 && lhs.inner.is_one() && lhs.free == left.inner && left.batch.is_one();
    let plain = !lowered.single && lowered.zeroed.is_empty() && lowered.combines.is_empty();
    let arg = lowered.slots.iter().position(|slot| *slot == Slot::Stored(lhs.base));
    let mut stores = lowered.kernel.stores.iter().filter(|s| Some(s.access.arg as usize) == arg);
    dense
        && plain
        && !kernel.writes.contains(&rhs.base)
        && arg.is_some()
        && stores.all(|s| flat_ratio(&lowered.kernel, &s.access, left.free, left.inner).is_some())
}

/// Joins products with a later kernel where nothing between them matters to the kernel.
fn with_epilogues(units: &[Unit], order: &[usize]) -> Vec<Entry> {
    let steps = Steps::new(units, order);
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    let mut partner: Vec<Option<(usize, u64)>> = vec![None; units.len()];
    for (place, &kernel) in order.iter().enumerate() {
        // the last product before the kernel whose result it reads
        let writers = units[kernel].reads.iter().filter_map(|id| steps.writers.get(id)).flatten();
        let found = writers.filter(|&&start| start < place && partner[order[start]].is_none());
        let fitting = found.filter_map(|&start| Some((start, fits(&units[order[start]], &units[kernel])?)));
        let Some((start, ratio)) = fitting.max() else { continue };
        if steps.ready_at(units, start, place) {
            partner[order[start]] = Some((kernel, ratio));
            taken.insert(kernel);
        }
    }
    let entry = |&unit: &usize| match partner[unit] {
        _ if taken.contains(&unit) => None,
        Some(after) => Some(Entry::Panels { prologue: None, product: unit, epilogue: Some(after) }),
        None => Some(Entry::Single(unit)),
    };
    order.iter().filter_map(entry).collect()
}

/// At which places of the order stored nodes are written and read.
struct Steps<'a> {
    order: &'a [usize],
    writers: HashMap<NodeId, Vec<usize>>,
    readers: HashMap<NodeId, Vec<usize>>,
}

impl Steps<'_> {
    fn new<'a>(units: &[Unit], order: &'a [usize]) -> Steps<'a> {
        let mut steps = Steps { order, writers: HashMap::default(), readers: HashMap::default() };
        for (place, &unit) in order.iter().enumerate() {
            units[unit].writes.iter().for_each(|id| steps.writers.entry(*id).or_default().push(place));
            units[unit].reads.iter().for_each(|id| steps.readers.entry(*id).or_default().push(place));
        }
        steps
    }

    /// Is everything else that the kernel at `place` reads written before the product at `start`?
    /// A kernel that overwrites inputs in place stays behind the units that still read them.
    fn ready_at(&self, units: &[Unit], start: usize, place: usize) -> bool {
        let kernel = &units[self.order[place]];
        let at = |places: &HashMap<NodeId, Vec<usize>>, id: &NodeId, first: usize| {
            places.get(id).into_iter().flatten().any(|&other| first <= other && other < place)
        };
        !kernel.reads.iter().any(|id| at(&self.writers, id, start + 1))
            && !kernel.overwrites.iter().any(|id| at(&self.readers, id, start))
    }
}

/// Rows of the kernel per row of the product, if its rows follow those of the product.
fn fits(product: &Unit, kernel: &Unit) -> Option<u64> {
    let (Work::Product { node, left, right, .. }, Work::Kernels(kernels)) = (&product.work, &kernel.work)
    else {
        return None;
    };
    let [lowered] = &kernels[..] else { return None };
    if lowered.single || !lowered.zeroed.is_empty() || !left.batch.is_one() {
        return None;
    }
    let arg = lowered.slots.iter().position(|slot| *slot == Slot::Stored(*node))?;
    rows_follow(&lowered.kernel, arg, left.free, right.free)
}

fn rows_follow(kernel: &Kernel, arg: usize, rows: Extent, columns: Extent) -> Option<u64> {
    let loads = kernel.sources.iter().filter_map(|source| match source {
        Source::Load(access) if access.arg as usize == arg => Some(access),
        _ => None,
    });
    let mut ratio = None;
    for access in loads {
        let own = flat_ratio(kernel, access, rows, columns)?;
        if ratio.is_some_and(|r| r != own) {
            return None;
        }
        ratio = Some(own);
    }
    ratio
}

/// Kernel rows per product row for one access: its parallel axes must flatten to one stride
/// that divides the row.
fn flat_ratio(kernel: &Kernel, access: &Access, rows: Extent, columns: Extent) -> Option<u64> {
    let parallel = kernel.parallel;
    let view = View {
        shape: Shape(kernel.space[..parallel].iter().copied().collect()),
        strides: access.strides[..parallel].iter().copied().collect(),
        offset: access.offset,
    };
    let (extent, stride) = view.merged(&(0..parallel).collect::<Vec<_>>())?;
    let columns = columns.known()?;
    let step = u64::try_from(stride.scale).ok().filter(|&s| s > 0 && stride.power == 0)?;
    // an element that data chooses lies in the row, too
    let inside = |i: &Indirect| {
        i.stride.power == 0 && i.limit.times(Extent::fixed(i.stride.scale as u64)) == Extent::fixed(step)
    };
    let whole = access.indirect.as_ref().is_none_or(inside)
        && columns.is_multiple_of(step)
        && access.offset.scale == 0;
    let ratio = columns.checked_div(step)?;
    (whole && ratio > 0 && extent == rows.times(Extent::fixed(ratio)) && kernel.rows() == extent)
        .then_some(ratio)
}
