//! Buffers and steps: the program without code.

use super::panels::Entry;
use super::{Plan, Planned, Unit, Work, chunking};
use crate::lower::product::{Operand, Sizes};
use crate::lower::view::dense_base;
use crate::lower::{Lowered, Slot};
use evenkeel_ir::program::{
    Buffer, BufferId, Launch, MAX_CHUNKS, Matrix, Panels, Part, Port, Product, Program, Step, Storage,
};
use evenkeel_ir::{DType, Extent, Graph, NodeId, Op, Value};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;

struct Assembler<'a> {
    graph: &'a Graph,
    program: Program,
    kernels: Vec<Planned>,
    stored: BTreeMap<NodeId, BufferId>,
    partials: BTreeMap<NodeId, BufferId>,
}

pub(super) fn assemble(
    graph: &Graph,
    units: Vec<Unit>,
    entries: &[Entry],
    updates: &[(usize, usize)],
    in_place: &[bool],
) -> Plan {
    let mut assembler = Assembler {
        graph,
        program: Program::default(),
        kernels: Vec::new(),
        stored: BTreeMap::new(),
        partials: BTreeMap::new(),
    };
    assembler.ports(updates);
    let copies = assembler.outputs(updates, in_place);
    for entry in entries {
        match *entry {
            Entry::Single(unit) => assembler.unit(&units[unit]),
            Entry::Panels { prologue, product, epilogue } => {
                let epilogue = epilogue.map(|(unit, ratio)| (&units[unit], ratio));
                assembler.panels(prologue.map(|unit| &units[unit]), &units[product], epilogue);
            }
        }
    }
    for (from, to) in copies {
        let from = assembler.buffer(from);
        assembler.program.steps.push(Step::Copy { from, to });
    }
    Plan { program: assembler.program, kernels: assembler.kernels }
}

impl Assembler<'_> {
    fn ports(&mut self, updates: &[(usize, usize)]) {
        let graph = self.graph;
        self.program.inputs = graph
            .inputs()
            .iter()
            .map(|i| Port { name: i.name.clone(), ty: i.ty.clone(), place: None })
            .collect();
        let port = |(name, value): &(String, Value)| Port {
            name: name.clone(),
            ty: graph.ty(*value).clone(),
            place: graph.provenance(value.node).place,
        };
        self.program.outputs = graph.outputs().iter().map(port).collect();
        self.program.updates = updates.iter().map(|&(o, i)| (o as u32, i as u32)).collect();
    }

    fn add_buffer(&mut self, name: String, dtype: DType, elements: Extent, storage: Storage) -> BufferId {
        self.program.buffers.push(Buffer { name, dtype, elements, storage });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    /// Gives output values their buffers; what cannot be written there directly is copied at the end.
    fn outputs(&mut self, updates: &[(usize, usize)], in_place: &[bool]) -> Vec<(NodeId, BufferId)> {
        let mut copies = Vec::new();
        let updates: HashMap<usize, (usize, bool)> =
            updates.iter().zip(in_place).map(|(&(output, input), &fits)| (output, (input, fits))).collect();
        for (number, (name, value)) in self.graph.outputs().iter().enumerate() {
            let ty = self.graph.ty(*value);
            let (dtype, elements) = (ty.dtype, ty.shape.elements());
            let update = updates.get(&number);
            let base = dense_base(self.graph, *value);
            let source = &self.graph.node(base).op;
            if update.is_some_and(|&(input, _)| *source == Op::Input(input as u32)) {
                continue;
            }
            let buffer = self.add_buffer(name.clone(), dtype, elements, Storage::Output(number as u32));
            let direct = update.is_none_or(|&(_, fits)| fits) && !matches!(source, Op::Input(_));
            if !direct || self.stored.contains_key(&base) {
                copies.push((base, buffer));
            } else {
                self.stored.insert(base, buffer);
            }
        }
        copies
    }

    /// The buffer of a stored node, made on first use.
    fn buffer(&mut self, id: NodeId) -> BufferId {
        if let Some(&buffer) = self.stored.get(&id) {
            return buffer;
        }
        let node = self.graph.node(id);
        let (dtype, elements) = (node.types[0].dtype, node.types[0].shape.elements());
        let (name, storage) = match node.op {
            Op::Input(index) => (self.graph.inputs()[index as usize].name.clone(), Storage::Input(index)),
            _ => (format!("v{}", id.0), Storage::Arena { first: u32::MAX, last: 0 }),
        };
        let buffer = self.add_buffer(name, dtype, elements, storage);
        self.stored.insert(id, buffer);
        buffer
    }

    fn slot(&mut self, slot: Slot) -> BufferId {
        let Slot::Partial(id) = slot else {
            let Slot::Stored(id) = slot else { unreachable!("two kinds of slots") };
            return self.buffer(id);
        };
        if let Some(&buffer) = self.partials.get(&id) {
            return buffer;
        }
        let ty = &self.graph.node(id).types[0];
        let elements = ty.shape.elements().times(Extent::fixed(MAX_CHUNKS));
        let storage = Storage::Arena { first: u32::MAX, last: 0 };
        let buffer = self.add_buffer(format!("partial{}", id.0), ty.dtype, elements, storage);
        self.partials.insert(id, buffer);
        buffer
    }

    fn launch(&mut self, unit: &Unit, lowered: &Lowered, multiple: u64, panels_of: Option<String>) -> Launch {
        let buffers: SmallVec<[BufferId; 8]> = lowered.slots.iter().map(|&slot| self.slot(slot)).collect();
        let partials = lowered.slots.iter().enumerate().filter_map(|(arg, slot)| match slot {
            Slot::Partial(id) => Some((arg as u32, self.graph.node(*id).types[0].shape.elements())),
            Slot::Stored(_) => None,
        });
        let volatile =
            lowered.slots.iter().map(|slot| matches!(slot, Slot::Stored(id) if unit.overwrites.contains(id)));
        let launch = Launch {
            code: self.kernels.len() as u32,
            buffers,
            numbers: SmallVec::new(),
            partials: partials.collect(),
            chunking: chunking(&lowered.kernel, multiple, lowered.single),
        };
        let (kernel, volatile) = (lowered.kernel.clone(), volatile.collect());
        self.kernels.push(Planned { kernel, volatile, panels_of, ops: unit.ops.clone() });
        launch
    }

    fn unit(&mut self, unit: &Unit) {
        let Work::Kernels(kernels) = &unit.work else { return self.panels(None, unit, None) };
        for lowered in kernels {
            for &id in &lowered.zeroed {
                let buffer = self.buffer(id);
                self.program.steps.push(Step::Zero { buffer });
            }
            let launch = self.launch(unit, lowered, 1, None);
            self.program.steps.push(Step::Kernels(vec![launch]));
            self.combines(lowered, 1);
        }
    }

    fn combines(&mut self, lowered: &Lowered, multiple: u64) {
        let chunking = chunking(&lowered.kernel, multiple, lowered.single);
        let mut parts = Vec::new();
        for &(id, op) in &lowered.combines {
            let (partials, out) = (self.slot(Slot::Partial(id)), self.buffer(id));
            let elements = self.graph.node(id).types[0].shape.elements();
            parts.push(Part { op, partials, out, elements, chunking });
        }
        if !parts.is_empty() {
            self.program.steps.push(Step::Combine(parts));
        }
    }

    /// A product with the kernels on its panels.
    fn panels(&mut self, prologue: Option<&Unit>, product: &Unit, epilogue: Option<(&Unit, u64)>) {
        let Work::Product { node, lhs, rhs, left, right } = &product.work else { unreachable!("a product") };
        let mut attach = |kernel: &Unit, multiple| {
            let Work::Kernels(kernels) = &kernel.work else {
                unreachable!("products have kernels around them")
            };
            self.launch(kernel, &kernels[0], multiple, Some(format!("v{}", node.0)))
        };
        let prologue = prologue.map(|kernel| attach(kernel, 1));
        let after = epilogue.map(|(kernel, ratio)| attach(kernel, ratio));
        let product = self.product(*node, [lhs, rhs], [left, right]);
        self.program.steps.push(Step::Product(Box::new(Panels { prologue, product, epilogue: after })));
        if let Some((Unit { work: Work::Kernels(kernels), .. }, ratio)) = epilogue {
            self.combines(&kernels[0], ratio);
        }
    }

    fn product(&mut self, id: NodeId, operands: [&Operand; 2], sizes: [&Sizes; 2]) -> Product {
        let [lhs, rhs] = operands;
        let [left, right] = sizes;
        let (lhs_buffer, rhs_buffer, out) = (self.buffer(lhs.base), self.buffer(rhs.base), self.buffer(id));
        let matrix = |buffer, o: &Operand, row_stride, column_stride| Matrix {
            buffer,
            row_stride,
            column_stride,
            batch_stride: o.batch,
            offset: o.offset,
        };
        Product {
            name: format!("v{}", id.0),
            dtype: self.graph.node(id).types[0].dtype,
            batch: left.batch,
            rows: left.free,
            columns: right.free,
            inner: left.inner,
            lhs: matrix(lhs_buffer, lhs, lhs.free, lhs.inner),
            rhs: matrix(rhs_buffer, rhs, rhs.inner, rhs.free),
            out: Matrix {
                buffer: out,
                row_stride: right.free,
                column_stride: Extent::ONE,
                batch_stride: left.free.times(right.free),
                offset: Extent::fixed(0),
            },
        }
    }
}
