//! The body of a kernel: values of the graph as scalar code.

use super::view::{View, resolve};
use super::{Slot, Space};
use crate::fuse::{Class, Fusion, ReductionKind};
use evenkeel_ir::eval::eval_at;
use evenkeel_ir::kernel::{Access, Arg, Indirect, Reduction, Role, Source, Store, Stride};
use evenkeel_ir::scalar::{Compare, Inst, Reg, ScalarFn, ScalarType};
use evenkeel_ir::{
    Axes, Binary, DType, Graph, GraphBuilder, NodeId, Op, Reduce, Shape, Unary, Value, random,
};
use smallvec::SmallVec;
use std::collections::HashMap;

pub(super) struct Body<'a> {
    pub(super) graph: &'a Graph,
    pub(super) fusion: &'a Fusion,
    group: Option<usize>,
    pub(super) space: Space,
    pub(super) code: ScalarFn,
    pub(super) sources: Vec<Source>,
    pub(super) reductions: Vec<Reduction>,
    pub(super) stores: Vec<Store>,
    pub(super) args: Vec<Arg>,
    pub(super) slots: Vec<Slot>,
    registers: HashMap<Value, Reg>,
    /// Registers whose code must stay as it is.
    pub(super) strict: Vec<bool>,
    /// The values whose bits must be the same in all kernels.
    pub(super) exact: Vec<(NodeId, Reg)>,
}

impl<'a> Body<'a> {
    pub(super) fn new(graph: &'a Graph, fusion: &'a Fusion, group: Option<usize>, space: Space) -> Body<'a> {
        Body {
            graph,
            fusion,
            group,
            space,
            code: ScalarFn::new(),
            sources: Vec::new(),
            reductions: Vec::new(),
            stores: Vec::new(),
            args: Vec::new(),
            slots: Vec::new(),
            registers: HashMap::new(),
            strict: Vec::new(),
            exact: Vec::new(),
        }
    }

    /// The reduced axes, as axes of the group's space.
    pub(super) fn reduced_axes(&self) -> Axes {
        Axes::new(self.space.order[self.space.parallel..].iter().copied())
    }

    /// The register of an operand: loaded if it is stored elsewhere, else computed here.
    pub(super) fn register(&mut self, value: Value) -> Reg {
        if let Some(&register) = self.registers.get(&value) {
            return register;
        }
        let own = self.group.is_some() && self.fusion.group_of[value.node.0 as usize] == self.group;
        let accumulated = self.fusion.reductions[value.node.0 as usize] == Some(ReductionKind::Accumulated);
        let register = if self.fusion.stored[value.node.0 as usize] && (!own || accumulated) {
            self.load(value)
        } else {
            self.compute(value)
        };
        self.registers.insert(value, register);
        register
    }

    /// The register of a value computed in this kernel, stored or not.
    pub(super) fn compute(&mut self, value: Value) -> Reg {
        let graph = self.graph;
        let node = graph.node(value.node);
        match self.fusion.classes[value.node.0 as usize] {
            Class::Input => self.load(value),
            Class::View => self.load_view(value),
            Class::Uniform => self.uniform(value),
            Class::Generated => self.generated(value.node),
            Class::Gather => {
                let Op::Gather { axis } = node.op else { unreachable!("a gather") };
                self.gather(node.inputs[0], node.inputs[1], axis.into(), node.types[0].rank())
            }
            Class::Reduction => {
                let Op::Reduce(op, axes) = node.op else { unreachable!("a reduction") };
                let picked = self.picked(op, node.inputs[0], axes);
                picked.unwrap_or_else(|| self.reduction(op, node.inputs[0]))
            }
            Class::Pointwise => self.pointwise(value.node),
            Class::Barrier => unreachable!("results of barriers are stored"),
        }
    }

    pub(super) fn reduction(&mut self, op: Reduce, value: Value) -> Reg {
        let input = self.register(value);
        let ty = self.code.ty(input);
        let follows = if op == Reduce::Sum { self.followed(value, input) } else { None };
        let reduction = Reduction { op, input, follows };
        let number = self.reductions.iter().position(|r| *r == reduction).unwrap_or_else(|| {
            self.reductions.push(reduction);
            self.reductions.len() - 1
        });
        self.parameter(Source::Reduced(number as u32), ty)
    }

    /// The maximum of `a` where a value computed here is `exp(a - maximum of a)`.
    fn followed(&self, value: Value, register: Reg) -> Option<u32> {
        let node = self.graph.node(value.node);
        let exponential = matches!(node.op, Op::Unary(Unary::Exp | Unary::ExpNonpositive));
        if !exponential || matches!(self.code.inst(register), Inst::Param { .. }) {
            return None;
        }
        let shifted = *self.registers.get(&node.inputs[0])?;
        let Inst::Sub(a, shift) = self.code.inst(shifted) else { return None };
        let Inst::Param { index, .. } = self.code.inst(shift) else { return None };
        let Source::Reduced(number) = self.sources[index as usize] else { return None };
        let maximum = self.reductions[number as usize];
        (maximum.op == Reduce::Max && maximum.input == a).then_some(number)
    }

    pub(super) fn parameter(&mut self, source: Source, ty: ScalarType) -> Reg {
        let index = self.sources.iter().position(|s| *s == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        self.code.param(index as u32, ty)
    }

    fn load(&mut self, value: Value) -> Reg {
        let (base, view) = resolve(self.graph, &self.fusion.stored, value).expect("a stored value");
        self.load_as(base, &view)
    }

    /// Loads a view; the view itself may be what is being stored.
    fn load_view(&mut self, value: Value) -> Reg {
        let node = self.graph.node(value.node);
        let (base, view) =
            resolve(self.graph, &self.fusion.stored, node.inputs[0]).expect("views have stored bases");
        let view = view.through(&node.op).expect("fusion stores what has no strided view");
        self.load_as(base, &view)
    }

    fn load_as(&mut self, base: NodeId, view: &View) -> Reg {
        let dtype = self.graph.node(base).types[0].dtype;
        let arg = self.argument(Slot::Stored(base), dtype, Role::Input);
        let strides = self.space.strides(view);
        let access = Access { arg, offset: view.offset, strides, indirect: None };
        self.parameter(Source::Load(access), register_type(dtype))
    }

    /// A number: folded where it does not depend on the batch size.
    fn uniform(&mut self, value: Value) -> Reg {
        let ty = register_type(self.graph.ty(value).dtype);
        if let Some(number) = known_number(self.graph, value) {
            return constant(&mut self.code, ty, number);
        }
        let node = self.graph.node(value.node);
        if let Op::Size(extent, _) = node.op {
            return self.parameter(Source::Size(extent), ty);
        }
        self.pointwise(value.node)
    }

    fn generated(&mut self, id: NodeId) -> Reg {
        let node = self.graph.node(id);
        match &node.op {
            Op::Iota { rank, axis, extent } => {
                let mut view =
                    View::dense(&Shape(SmallVec::from_elem(evenkeel_ir::Extent::ONE, (*rank).into())));
                view.shape.0[*axis as usize] = *extent;
                view.strides[*axis as usize] = Stride { scale: 1, power: 0 };
                let strides = self.space.strides(&view);
                self.parameter(Source::Position { strides }, ScalarType::I32)
            }
            Op::Random { kind, stream, ty } => {
                let seed = self.register(node.inputs[0]);
                let strides = self.space.strides(&View::dense(&ty.shape));
                let position = self.parameter(Source::Position { strides }, ScalarType::I32);
                self.code_of(id, &[seed, position], |k, bound| {
                    let low = k.convert(bound[0], ScalarType::I32);
                    let top = k.shift_right(bound[0], 32);
                    let high = k.convert(top, ScalarType::I32);
                    let words = random::bits(k, [low, high], *stream, bound[1]);
                    random::emit(k, *kind, register_type(ty.dtype), words)
                })
            }
            other => unreachable!("{} is not generated", other.name()),
        }
    }

    /// The access of `buffer` at axis `axis` by the element of `indices`, in a space whose last
    /// `rank` axes are those of the gathered (or scattered) value.
    pub(super) fn indexed(
        &mut self,
        buffer: &Shape,
        axis: usize,
        indices: Value,
        rank: usize,
    ) -> (Access, Indirect) {
        let index_rank = self.graph.ty(indices).rank();
        let (base, mut index_view) =
            resolve(self.graph, &self.fusion.stored, indices).expect("indices are stored");
        for _ in axis + index_rank..rank {
            index_view.shape.0.push(evenkeel_ir::Extent::ONE);
            index_view.strides.push(Stride::ZERO);
        }
        let register = self.load_as(base, &index_view);
        let dense = View::dense(buffer);
        let mut outer = dense.clone();
        outer.shape.0.remove(axis);
        let stride = outer.strides.remove(axis);
        for place in 0..index_rank {
            outer.shape.0.insert(axis + place, evenkeel_ir::Extent::ONE);
            outer.strides.insert(axis + place, Stride::ZERO);
        }
        let access =
            Access { arg: 0, offset: Stride::ZERO, strides: self.space.strides(&outer), indirect: None };
        (access, Indirect { register, stride, limit: buffer[axis] })
    }

    fn gather(&mut self, table: Value, indices: Value, axis: usize, rank: usize) -> Reg {
        let ty = self.graph.ty(table).clone();
        let (base, view) = resolve(self.graph, &self.fusion.stored, table).expect("tables are stored");
        debug_assert!(
            view.is_dense() && view.offset == Stride::ZERO,
            "fusion stores tables that are windows"
        );
        let (mut access, indirect) = self.indexed(&ty.shape, axis, indices, rank);
        access.arg = self.argument(Slot::Stored(base), ty.dtype, Role::Input);
        access.indirect = Some(indirect);
        self.parameter(Source::Load(access), register_type(ty.dtype))
    }

    fn pointwise(&mut self, id: NodeId) -> Reg {
        let node = self.graph.node(id);
        let operands: SmallVec<[Reg; 3]> = node.inputs.iter().map(|&v| self.register(v)).collect();
        self.code_of(id, &operands, |k, bound| match &node.op {
            Op::Unary(f) => (f.def().emit)(k, bound[0]),
            Op::Binary(f) => binary(k, *f, bound[0], bound[1]),
            Op::Select => k.select(bound[0], bound[1], bound[2]),
            Op::Cast(dtype) => cast(k, bound[0], *dtype),
            Op::Broadcast(_) | Op::Reshape(_) => bound[0],
            other => unreachable!("{} is not pointwise", other.name()),
        })
    }

    /// The register that a value has already.
    pub(super) fn known(&self, value: Value) -> Option<Reg> {
        self.registers.get(&value).copied()
    }
}

fn register_type(dtype: DType) -> ScalarType {
    dtype.scalar().expect("compile checks that element types are executable")
}

fn binary(k: &mut ScalarFn, f: Binary, x: Reg, y: Reg) -> Reg {
    let compares_masks = k.ty(x) == ScalarType::Mask && f.def().class != evenkeel_ir::op::Class::Bool;
    if !compares_masks {
        return (f.def().emit)(k, x, y);
    }
    let (x, y) = (cast(k, x, DType::I32), cast(k, y, DType::I32));
    (f.def().emit)(k, x, y)
}

fn constant(k: &mut ScalarFn, ty: ScalarType, number: f64) -> Reg {
    match ty {
        ScalarType::F32 | ScalarType::F64 => k.float(ty, number),
        ScalarType::I32 => k.i32(number as i32),
        ScalarType::I64 => k.i64(number as i64),
        ScalarType::Mask => k.push(Inst::Const(evenkeel_ir::scalar::Constant::Mask(number != 0.0))),
    }
}

fn cast(k: &mut ScalarFn, x: Reg, to: DType) -> Reg {
    let (from, to) = (k.ty(x), register_type(to));
    match (from, to) {
        _ if from == to => x,
        (ScalarType::Mask, _) => {
            let (one, zero) = (constant(k, to, 1.0), constant(k, to, 0.0));
            k.select(x, one, zero)
        }
        (_, ScalarType::Mask) => {
            let zero = k.zero(from);
            k.compare(Compare::Ne, x, zero)
        }
        _ => k.convert(x, to),
    }
}

/// The value of scalar arithmetic on constants and known extents.
fn known_number(graph: &Graph, value: Value) -> Option<f64> {
    fn copy(graph: &Graph, b: &mut GraphBuilder, value: Value) -> Option<Value> {
        let node = graph.node(value.node);
        if matches!(node.op, Op::Size(extent, _) if extent.known().is_none()) {
            return None;
        }
        let inputs: Option<SmallVec<[Value; 3]>> = node.inputs.iter().map(|&v| copy(graph, b, v)).collect();
        Some(b.op(node.op.clone(), &inputs?))
    }
    let mut b = GraphBuilder::new();
    let copied = copy(graph, &mut b, value)?;
    let result = b.finish([(String::new(), copied)]);
    Some(eval_at(&result, &[], 1)[0].float_at(0))
}
