//! Epilogues: a kernel that reads the result of a product row by row runs on each panel of
//! the product while the panel is in cache.

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
    /// A product and the kernel unit that follows on its panels; rows of the kernel per row
    /// of the product.
    Panels { product: usize, kernel: usize, ratio: u64 },
}

/// Joins products with a later kernel where nothing between them matters to the kernel.
pub(super) fn merge(units: &[Unit], order: &[usize]) -> Vec<Entry> {
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
        Some((kernel, ratio)) => Some(Entry::Panels { product: unit, kernel, ratio }),
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
