//! Units: the pieces of work of a program, with what they read and write.

use crate::fuse::{Class, Fusion};
use crate::lower::product::{Operand, Sizes, operand};
use crate::lower::{Lowered, Slot, lower_barrier, lower_copy, lower_group};
use evenkeel_ir::kernel::Role;
use evenkeel_ir::{Graph, NodeId, Op};
use std::collections::BTreeSet;

/// What a unit does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Runs kernels one after another.
    Kernels(Vec<Lowered>),
    /// A matrix product.
    Product {
        /// The product's node.
        node: NodeId,
        /// The left operand.
        lhs: Operand,
        /// The right operand.
        rhs: Operand,
        /// Sizes on the left.
        left: Sizes,
        /// Sizes on the right.
        right: Sizes,
    },
}

/// A piece of work that is ordered as a whole.
#[derive(Clone, Debug)]
pub struct Unit {
    /// What it does.
    pub work: Work,
    /// Stored nodes that it reads.
    pub reads: BTreeSet<NodeId>,
    /// Stored nodes that it writes.
    pub writes: BTreeSet<NodeId>,
    /// Inputs whose memory it overwrites; filled in by ordering.
    pub overwrites: BTreeSet<NodeId>,
    /// Names of the ops in it.
    pub ops: Vec<String>,
}

impl Unit {
    /// Its kernels, unless it is a product.
    pub(super) fn kernels(&self) -> &[Lowered] {
        match &self.work {
            Work::Kernels(kernels) => kernels,
            Work::Product { .. } => &[],
        }
    }
}

pub(super) fn units(graph: &Graph, fusion: &Fusion) -> Vec<Unit> {
    let mut units = Vec::new();
    for (number, group) in fusion.groups.iter().enumerate() {
        if let Some(lowered) = lower_group(graph, fusion, number) {
            let ops = group.nodes.iter().map(|&id| graph.node(id).op.name().to_string()).collect();
            units.push(from_kernels(vec![lowered], ops));
        }
    }
    for (id, node) in graph.iter() {
        let ops = vec![node.op.name().to_string()];
        match fusion.classes[id.0 as usize] {
            Class::Barrier => units.push(match &node.op {
                Op::Dot { .. } => product(graph, fusion, id, ops),
                _ => from_kernels(lower_barrier(graph, fusion, id), ops),
            }),
            Class::View | Class::Uniform | Class::Generated | Class::Gather
                if fusion.stored[id.0 as usize] =>
            {
                units.push(from_kernels(vec![lower_copy(graph, fusion, id)], ops));
            }
            _ => {}
        }
    }
    units.sort_by_key(|unit| unit.writes.iter().next().copied());
    units
}

fn from_kernels(kernels: Vec<Lowered>, ops: Vec<String>) -> Unit {
    let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
    for lowered in &kernels {
        for (slot, arg) in lowered.slots.iter().zip(&lowered.kernel.args) {
            match (slot, arg.role) {
                (Slot::Stored(id), Role::Input) => reads.insert(*id),
                (Slot::Stored(id), _) | (Slot::Partial(id), _) => writes.insert(*id),
            };
        }
    }
    Unit { work: Work::Kernels(kernels), reads, writes, overwrites: BTreeSet::new(), ops }
}

fn product(graph: &Graph, fusion: &Fusion, id: NodeId, ops: Vec<String>) -> Unit {
    let node = graph.node(id);
    let Op::Dot { batch, lhs, rhs } = node.op else { unreachable!("a product") };
    let side = |place: usize, axes| {
        operand(graph, &fusion.stored, node.inputs[place], batch.into(), axes)
            .expect("fusion stores such operands")
    };
    let ((lhs, left), (rhs, right)) = (side(0, lhs), side(1, rhs));
    let reads = BTreeSet::from([lhs.base, rhs.base]);
    Unit {
        work: Work::Product { node: id, lhs, rhs, left, right },
        reads,
        writes: BTreeSet::from([id]),
        overwrites: BTreeSet::new(),
        ops,
    }
}
