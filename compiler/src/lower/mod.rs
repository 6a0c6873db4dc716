//! Lowering: from groups to schedule-free kernels.
//!
//! A kernel's body is built by walking back from the values that its group stores, down to
//! stored values (loads), reductions of the group, and values that are recomputed. Axes are
//! reordered (parallel first), merged where every access allows it, and reordered again where
//! vectors need it.

mod arrange;
mod coalesce;
mod contract;
mod divide;
mod draft;
mod emit;
mod exact;
mod pick;
pub mod product;
pub mod view;

use crate::fuse::{Fusion, Group, ReductionKind};
use draft::Draft;
use emit::Body;
use evenkeel_ir::kernel::{Access, Arg, Kernel, Role, Store, StoreKind, Stride};
use evenkeel_ir::scalar::Reg;
use evenkeel_ir::{Axes, Extent, Graph, NodeId, Op, Reduce, Shape, Value};
pub(crate) use exact::same_code;
use smallvec::SmallVec;
use view::View;

/// What a kernel argument stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The buffer of a stored node.
    Stored(NodeId),
    /// Partial results of an accumulated reduction.
    Partial(NodeId),
}

/// A kernel with the meaning of its arguments.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The kernel.
    pub kernel: Kernel,
    /// What each argument stands for.
    pub slots: Vec<Slot>,
    /// Accumulated reductions that need a combine step: node and operation.
    pub combines: Vec<(NodeId, Reduce)>,
    /// Values that must be zero before the kernel runs.
    pub zeroed: Vec<NodeId>,
    /// The kernel cannot be cut into chunks.
    pub single: bool,
    /// The registers of values that must be the same bits in all kernels.
    pub exact: Vec<(NodeId, Reg)>,
}

/// Order of a kernel's axes and how many are parallel.
pub(crate) struct Space {
    pub(crate) shape: Shape,
    pub(crate) order: Vec<usize>,
    pub(crate) parallel: usize,
}

impl Space {
    fn new(shape: &Shape, reduced: Axes) -> Space {
        let is_reduced = |axis: &usize| reduced.contains(*axis);
        let (last, first): (Vec<usize>, Vec<usize>) = (0..shape.rank()).partition(is_reduced);
        let parallel = first.len();
        Space { shape: shape.clone(), order: first.into_iter().chain(last).collect(), parallel }
    }

    /// Strides of a view along the kernel's axes.
    fn strides(&self, view: &View) -> SmallVec<[Stride; 4]> {
        let natural = view.strides_in(&self.shape);
        self.order.iter().map(|&axis| natural[axis]).collect()
    }
}

/// Elements along which a row is worth vectors.
const ROW: u64 = 64;

/// The axes along a row: those that the group reduces. A group that only sums whole tensors
/// reduces none, and would take its elements one by one: its rows are the trailing axes.
fn row_axes(fusion: &Fusion, group: &Group) -> Axes {
    let reduced = group.reduced.unwrap_or_default();
    let sums = |id: &NodeId| fusion.reductions[id.0 as usize] == Some(ReductionKind::Accumulated);
    if !reduced.is_empty() || !group.nodes.iter().any(sums) {
        return reduced;
    }
    let rank = group.space.rank();
    let elements = |first: usize| group.space.0[first..].iter().fold(Extent::ONE, |n, e| n.times(*e));
    let long = |first: &usize| elements(*first).known().is_none_or(|n| n >= ROW);
    Axes::new((1..rank).rev().find(long).unwrap_or(1).min(rank)..rank)
}

/// Lowers the group with this number; `None` if nothing of it is stored.
pub fn lower_group(graph: &Graph, fusion: &Fusion, group: usize) -> Option<Lowered> {
    let g = &fusion.groups[group];
    let space = Space::new(&g.space, row_axes(fusion, g));
    let mut body = Body::new(graph, fusion, Some(group), space);
    let mut combines = Vec::new();
    for &id in &g.nodes {
        if !fusion.stored[id.0 as usize] {
            continue;
        }
        let value = Value { node: id, result: 0 };
        match fusion.reductions[id.0 as usize] {
            Some(ReductionKind::Accumulated) => {
                let Op::Reduce(op, axes) = graph.node(id).op else { unreachable!("a reduction") };
                accumulate(&mut body, id, op, axes);
                combines.push((id, op));
            }
            _ => body.store(value, &View::dense(&graph.ty(value).shape), Slot::Stored(id), StoreKind::Write),
        }
    }
    if body.stores.is_empty() {
        return None;
    }
    let name = name_of(graph, fusion, group);
    Some(body.finish(name, combines))
}

/// Reduces over the reduced axes first where the reduction covers them all, then over the rows;
/// where it covers some of them, element by element.
fn accumulate(body: &mut Body, id: NodeId, op: Reduce, axes: Axes) {
    let node = body.graph.node(id);
    let reduced = body.reduced_axes();
    let covers_some = reduced.iter().any(|axis| axes.contains(axis));
    let covers_all = reduced.iter().all(|axis| axes.contains(axis) || body.space.shape[axis].is_one());
    let register = if covers_some && covers_all {
        body.reduction(op, node.inputs[0])
    } else {
        body.register(node.inputs[0])
    };
    let partial = View::dense(&node.types[0].shape);
    body.store_register(
        register,
        node.types[0].dtype,
        &partial,
        Slot::Partial(id),
        StoreKind::Accumulate(op),
    );
}

/// A copy of a value that no group stores: an output that is an input, a view, a gather or a constant.
pub fn lower_copy(graph: &Graph, fusion: &Fusion, id: NodeId) -> Lowered {
    let value = Value { node: id, result: 0 };
    let shape = graph.ty(value).shape.clone();
    let mut body = Body::new(graph, fusion, None, Space::new(&shape, Axes::NONE));
    let register = body.compute(value);
    let dtype = graph.ty(value).dtype;
    body.store_register(register, dtype, &View::dense(&shape), Slot::Stored(id), StoreKind::Write);
    body.finish(format!("copy_{}", graph.node(id).op.name()), Vec::new())
}

/// Kernels of the barriers that are not products: padding and concatenation copy into windows
/// of the result, scatter adds into it.
pub fn lower_barrier(graph: &Graph, fusion: &Fusion, id: NodeId) -> Vec<Lowered> {
    let node = graph.node(id);
    let whole = View::dense(&node.types[0].shape);
    match &node.op {
        Op::Pad { axis, low, interior, .. } => {
            let window = Op::Slice {
                axis: *axis,
                start: *low,
                length: graph.ty(node.inputs[0]).shape[*axis as usize]
                    .known()
                    .expect("padded axes are known"),
                stride: interior + 1,
            };
            let mut lowered = copy_into(graph, fusion, id, node.inputs[0], &whole, &window);
            lowered.zeroed.push(id);
            vec![lowered]
        }
        Op::Concat { axis } => {
            let mut start = 0;
            let part = |&input: &Value| {
                let length =
                    graph.ty(input).shape[*axis as usize].known().expect("concatenated axes are known");
                let window = Op::Slice { axis: *axis, start, length, stride: 1 };
                start += length;
                copy_into(graph, fusion, id, input, &whole, &window)
            };
            node.inputs.iter().map(part).collect()
        }
        Op::ScatterAdd { axis, .. } => vec![scatter(graph, fusion, id, (*axis).into())],
        other => unreachable!("{} is not lowered to kernels", other.name()),
    }
}

fn copy_into(graph: &Graph, fusion: &Fusion, id: NodeId, from: Value, whole: &View, window: &Op) -> Lowered {
    let target = whole.through(window).expect("a window of a dense buffer");
    let mut body = Body::new(graph, fusion, None, Space::new(&graph.ty(from).shape, Axes::NONE));
    let register = body.register(from);
    body.store_register(register, graph.ty(from).dtype, &target, Slot::Stored(id), StoreKind::Write);
    body.finish(graph.node(id).op.name().to_string(), Vec::new())
}

fn scatter(graph: &Graph, fusion: &Fusion, id: NodeId, axis: usize) -> Lowered {
    let node = graph.node(id);
    let (updates, indices) = (node.inputs[0], node.inputs[1]);
    let shape = graph.ty(updates).shape.clone();
    let mut body = Body::new(graph, fusion, None, Space::new(&shape, Axes::NONE));
    let register = body.register(updates);
    let (mut access, indirect) = body.indexed(&node.types[0].shape, axis, indices, shape.rank());
    access.indirect = Some(indirect);
    let dtype = node.types[0].dtype;
    body.store_access(register, dtype, access, Slot::Stored(id), StoreKind::AddInPlace);
    let mut lowered = body.finish("scatter_add".to_string(), Vec::new());
    lowered.zeroed.push(id);
    lowered.single = true;
    lowered
}

/// A readable name: the ops that the group stores.
fn name_of(graph: &Graph, fusion: &Fusion, group: usize) -> String {
    let stored = fusion.groups[group].nodes.iter().filter(|id| fusion.stored[id.0 as usize]);
    let names: Vec<&str> = stored.map(|&id| graph.node(id).op.name()).take(3).collect();
    format!("g{group}_{}", names.join("_"))
}

impl Body<'_> {
    fn finish(self, name: String, combines: Vec<(NodeId, Reduce)>) -> Lowered {
        let kernel = Kernel {
            name,
            space: self.space.order.iter().map(|&axis| self.space.shape[axis]).collect(),
            parallel: self.space.parallel,
            args: self.args,
            code: self.code,
            sources: self.sources,
            reductions: self.reductions,
            stores: self.stores,
        };
        let mut strict = self.strict;
        strict.resize(kernel.code.len(), false);
        let kernel = arrange::arrange(coalesce::coalesce(kernel));
        let draft = Draft { kernel, strict, exact: self.exact }.without_absorbed();
        let Draft { kernel, exact, .. } = contract::contract(divide::divide(draft));
        debug_assert_eq!(kernel.verify(), Ok(()), "{kernel}");
        Lowered { kernel, slots: self.slots, combines, zeroed: Vec::new(), single: false, exact }
    }

    fn store(&mut self, value: Value, view: &View, slot: Slot, kind: StoreKind) {
        let register = self.compute(value);
        let dtype = self.graph.ty(value).dtype;
        self.store_register(register, dtype, view, slot, kind);
    }

    fn store_register(
        &mut self,
        register: Reg,
        dtype: evenkeel_ir::DType,
        view: &View,
        slot: Slot,
        kind: StoreKind,
    ) {
        let access =
            Access { arg: 0, offset: view.offset, strides: self.space.strides(view), indirect: None };
        self.store_access(register, dtype, access, slot, kind);
    }

    fn store_access(
        &mut self,
        value: Reg,
        dtype: evenkeel_ir::DType,
        mut access: Access,
        slot: Slot,
        kind: StoreKind,
    ) {
        let role = match kind {
            StoreKind::Write => Role::Output,
            StoreKind::Accumulate(_) => Role::Partial,
            StoreKind::AddInPlace => Role::InOut,
        };
        access.arg = self.argument(slot, dtype, role);
        self.stores.push(Store { access, value, kind });
    }

    fn argument(&mut self, slot: Slot, dtype: evenkeel_ir::DType, role: Role) -> u32 {
        if let Some(found) = self.slots.iter().position(|s| *s == slot) {
            return found as u32;
        }
        let name = match slot {
            Slot::Stored(id) => self.node_name(id),
            Slot::Partial(id) => format!("partial{}", id.0),
        };
        self.slots.push(slot);
        self.args.push(Arg { name, dtype, role });
        self.slots.len() as u32 - 1
    }

    fn node_name(&self, id: NodeId) -> String {
        match self.graph.node(id).op {
            Op::Input(index) => self.graph.inputs()[index as usize].name.clone(),
            _ => format!("v{}", id.0),
        }
    }
}
