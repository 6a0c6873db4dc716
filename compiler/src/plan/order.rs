//! The order of units.

use super::{Unit, Work};
use crate::lower::Slot;
use crate::lower::view::dense_base;
use evenkeel_ir::kernel::Role;
use evenkeel_ir::{Graph, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Orders units; also says which updates can be written straight into their input.
pub(super) fn order(
    graph: &Graph,
    units: &mut [Unit],
    updates: &[(usize, usize)],
) -> (Vec<usize>, Vec<bool>) {
    let writer: BTreeMap<NodeId, usize> =
        units.iter().enumerate().flat_map(|(i, unit)| unit.writes.iter().map(move |&id| (id, i))).collect();
    let mut before: Vec<BTreeSet<usize>> = units
        .iter()
        .enumerate()
        .map(|(i, unit)| {
            unit.reads.iter().filter_map(|id| writer.get(id).copied()).filter(|&w| w != i).collect()
        })
        .collect();
    let mut in_place = Vec::new();
    for &(output, input) in updates {
        in_place.push(try_in_place(graph, units, &writer, &mut before, output, input));
    }
    (sort(&before), in_place)
}

/// Makes the writer of an output wait for all other readers of the input it overwrites.
fn try_in_place(
    graph: &Graph,
    units: &mut [Unit],
    writer: &BTreeMap<NodeId, usize>,
    before: &mut [BTreeSet<usize>],
    output: usize,
    input: usize,
) -> bool {
    let target = dense_base(graph, graph.outputs()[output].1);
    let first_output =
        graph.outputs().iter().position(|(_, v)| dense_base(graph, *v) == target) == Some(output);
    let source = graph.iter().find(|(_, node)| node.op == Op::Input(input as u32)).map(|(id, _)| id);
    let (Some(&unit), Some(source), true) = (writer.get(&target), source, first_output) else { return false };
    if units[unit].reads.contains(&source) && !element_wise(&units[unit], source, target) {
        return false;
    }
    let readers: Vec<usize> =
        (0..units.len()).filter(|&u| u != unit && units[u].reads.contains(&source)).collect();
    if readers.iter().any(|&reader| depends(before, reader, unit)) {
        return false;
    }
    before[unit].extend(readers);
    units[unit].overwrites.insert(source);
    true
}

/// Does a kernel read `source` only where it writes `target`?
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
        loads.into_iter().all(|load| {
            stores.iter().all(|store| {
                store.strides == load.strides && store.offset == load.offset && load.indirect.is_none()
            })
        })
    })
}

/// Must `unit` come after `other`?
fn depends(before: &[BTreeSet<usize>], unit: usize, other: usize) -> bool {
    let (mut queue, mut seen) = (vec![unit], BTreeSet::new());
    while let Some(next) = queue.pop() {
        if next == other {
            return true;
        }
        if seen.insert(next) {
            queue.extend(before[next].iter().copied());
        }
    }
    false
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
