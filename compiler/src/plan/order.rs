//! The order of units.

use super::{Unit, Work};
use crate::lower::Slot;
use crate::lower::view::dense_base;
use crate::order::Order;
use evenkeel_ir::kernel::{Kernel, Role, Store};
use evenkeel_ir::{Graph, NodeId};
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeSet;

/// Orders units; also says which updates can be written straight into their input.
pub(super) fn order(
    graph: &Graph,
    units: &mut [Unit],
    updates: &[(usize, usize)],
) -> (Vec<usize>, Vec<bool>) {
    let mut readers: HashMap<NodeId, Vec<usize>> = HashMap::default();
    let mut writer: HashMap<NodeId, usize> = HashMap::default();
    for (i, unit) in units.iter().enumerate() {
        unit.reads.iter().for_each(|&id| readers.entry(id).or_default().push(i));
        writer.extend(unit.writes.iter().map(|&id| (id, i)));
    }
    let writers = |(i, unit): (usize, &Unit)| -> BTreeSet<usize> {
        unit.reads.iter().filter_map(|id| writer.get(id).copied()).filter(|&w| w != i).collect()
    };
    let before: Vec<BTreeSet<usize>> = units.iter().enumerate().map(writers).collect();
    let mut order = Order::default();
    sort(&before).into_iter().for_each(|unit| order.push(unit));
    let mut work = InPlace { units, readers, before, order };
    let outputs = first_outputs(graph);
    let inputs = graph.input_values();
    let mut update = |&(output, input): &(usize, usize)| {
        let target = dense_base(graph, graph.outputs()[output].1);
        let unit = writer.get(&target).filter(|_| outputs[&target] == output);
        unit.is_some_and(|&unit| work.try_update(unit, inputs[input].node, target))
    };
    let in_place = updates.iter().map(&mut update).collect();
    (sort(&work.before), in_place)
}

/// The first output that each stored node is.
fn first_outputs(graph: &Graph) -> HashMap<NodeId, usize> {
    let mut first = HashMap::default();
    for (number, (_, value)) in graph.outputs().iter().enumerate() {
        first.entry(dense_base(graph, *value)).or_insert(number);
    }
    first
}

/// Units, who waits for whom, and an order that agrees with it.
struct InPlace<'a> {
    units: &'a mut [Unit],
    readers: HashMap<NodeId, Vec<usize>>,
    before: Vec<BTreeSet<usize>>,
    order: Order,
}

impl InPlace<'_> {
    /// Makes the writer of an output wait for all other readers of the input it overwrites.
    fn try_update(&mut self, unit: usize, source: NodeId, target: NodeId) -> bool {
        let own = &self.units[unit];
        if own.reads.contains(&source) && !element_wise(own, source, target) {
            return false;
        }
        let others = self.readers.get(&source).into_iter().flatten().copied();
        let readers: Vec<usize> = others.filter(|&reader| reader != unit).collect();
        let lowest = self.order.rank(unit);
        let before = |unit: usize, found: &mut Vec<usize>| found.extend(&self.before[unit]);
        let waiting = self.order.waiting(readers.iter().copied(), lowest, |other| other == unit, before);
        let Some(waiting) = waiting else { return false };
        self.order.move_before(waiting, unit);
        self.before[unit].extend(readers);
        self.units[unit].overwrites.insert(source);
        true
    }
}

/// Does a kernel read `source` only where it writes `target`, and never after that?
fn element_wise(unit: &Unit, source: NodeId, target: NodeId) -> bool {
    let Work::Kernels(kernels) = &unit.work else { return false };
    kernels.iter().all(|lowered| {
        let kernel = &lowered.kernel;
        let slot = |id: NodeId| lowered.slots.iter().position(|s| *s == Slot::Stored(id));
        let (Some(from), Some(to)) = (slot(source), slot(target)) else { return slot(source).is_none() };
        let loads = kernel.sources.iter().filter_map(|s| match s {
            evenkeel_ir::kernel::Source::Load(access) if access.arg as usize == from => Some(access),
            _ => None,
        });
        let stores: Vec<_> =
            kernel.stores.iter().map(|s| &s.access).filter(|a| a.arg as usize == to).collect();
        debug_assert_eq!(kernel.args[to].role, Role::Output);
        written_last(kernel, to)
            && loads.into_iter().all(|load| {
                stores.iter().all(|store| {
                    store.strides == load.strides && store.offset == load.offset && load.indirect.is_none()
                })
            })
    })
}

/// Is an argument written in the last sweep over the row, or after it?
fn written_last(kernel: &Kernel, arg: usize) -> bool {
    let levels = kernel.levels();
    let last = |store: &Store| {
        !kernel.along_row(&levels, store) || levels.phase[store.value.0 as usize] + 1 == kernel.phases()
    };
    kernel.stores.iter().filter(|store| store.access.arg as usize == arg).all(last)
}

/// Topological order; of the units that are ready, the first in the list.
fn sort(before: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = before.iter().map(BTreeSet::len).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); before.len()];
    for (unit, earlier) in before.iter().enumerate() {
        earlier.iter().for_each(|&e| after[e].push(unit));
    }
    let mut ready: BTreeSet<usize> = (0..before.len()).filter(|&u| waiting[u] == 0).collect();
    let mut order = Vec::with_capacity(before.len());
    while let Some(unit) = ready.pop_first() {
        order.push(unit);
        for &next in &after[unit] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                ready.insert(next);
            }
        }
    }
    assert_eq!(order.len(), before.len(), "units wait for each other in a circle");
    order
}
