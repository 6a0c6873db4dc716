//! The operations of the IR: a few families, each with a table of rows or a closed list.
//!
//! The same [`Op`] labels graph nodes and e-nodes and is the hash-consing key, so it is
//! `Eq + Ord + Hash`. [`infer`] gives result types; the mathematics of a row is in its row.
//! Not here: how an op is executed ([`crate::eval()`] and the compiler).

pub mod attrs;
pub mod binary;
pub mod composite;
mod infer;
pub mod reduce;
mod table;
pub mod unary;

pub use attrs::{Attrs, EpsKind, Real};
pub use binary::{Binary, BinaryDef, BinaryMethods};
pub use composite::{Attr, Composite, CompositeDef};
pub use infer::{Types, infer, limited};
pub use reduce::{Reduce, ReduceDef};
pub use unary::{Class, Derivative, Unary, UnaryDef, UnaryMethods};

use crate::dtype::DType;
use crate::graph::Graph;
use crate::shape::{Axes, Extent, Shape, TensorType};
use smallvec::SmallVec;
use std::sync::Arc;

/// A graph held by an op, compared by its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subgraph(pub Arc<Graph>);

/// What a random op produces from its seed and the position of the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RandomKind {
    /// 32 random bits as an i32.
    Bits,
    /// Uniform in `[0, 1)`, a multiple of 2^-24 (f32) or 2^-31 (f64).
    Uniform,
    /// Standard normal by the Box-Muller transform.
    Normal,
}

impl RandomKind {
    /// Every kind with its name in the text form.
    pub const NAMES: [(RandomKind, &'static str); 3] = [
        (RandomKind::Bits, "random_bits"),
        (RandomKind::Uniform, "random_uniform"),
        (RandomKind::Normal, "random_normal"),
    ];

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        RandomKind::NAMES[self as usize].1
    }
}

/// Forward and backward of a function whose derivative the user wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomVjp {
    /// From the node's operands to its results followed by residuals.
    pub forward: Subgraph,
    /// From residuals and cotangents of the results to the cotangents of the first
    /// `differentiable` operands, followed by new state.
    pub backward: Subgraph,
    /// How many outputs of `forward` are results; the others are residuals.
    pub results: u32,
    /// How many operands receive a cotangent; the others are state.
    pub differentiable: u32,
}

/// An operation. Its operands are the inputs of the node that carries it; its fields are its
/// attributes, each explained with its variant.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// The graph input with this position.
    Input(u32),
    /// A scalar constant of this type; integers and truth values are exact up to 2^53.
    Const(Real, DType),
    /// An extent as a scalar number.
    Size(Extent, DType),
    /// Positions (i32) along one axis of a tensor of this rank whose other axes have size 1.
    Iota { rank: u8, axis: u8, extent: Extent },
    /// Random numbers from a scalar i64 seed; `stream` tells draws with one seed apart.
    Random { kind: RandomKind, stream: u64, ty: TensorType },
    /// A function of one element.
    Unary(Unary),
    /// A function of two elements.
    Binary(Binary),
    /// `condition ? x : y` for each element.
    Select,
    /// Conversion to another element type; float to integer truncates towards zero and saturates.
    Cast(DType),
    /// The identity, with no derivative through it.
    StopGradient,
    /// A reduction over axes, which keep size 1.
    Reduce(Reduce, Axes),
    /// The same elements in row-major order under another shape.
    Reshape(Shape),
    /// Axis `i` of the result is axis `perm[i]` of the operand.
    Transpose(SmallVec<[u8; 4]>),
    /// Stretches axes of size 1 and adds leading axes.
    Broadcast(Shape),
    /// Elements `start, start + stride, ...` (`length` of them) along one axis.
    Slice { axis: u8, start: u64, length: u64, stride: u64 },
    /// Zeros before, after and between (`interior`) the elements along one axis.
    Pad { axis: u8, low: u64, high: u64, interior: u64 },
    /// The operands one after another along an axis.
    Concat { axis: u8 },
    /// Reverses the order along axes.
    Flip(Axes),
    /// Product summed over `lhs` axes of the first and `rhs` axes of the second operand
    /// (paired in ascending order); the first `batch` axes of both are a common batch.
    /// Result axes: batch, free axes of the first, free axes of the second.
    Dot { batch: u8, lhs: Axes, rhs: Axes },
    /// `gather(x, indices)`: slices of `x` along `axis` at `indices`, whose axes replace `axis`.
    /// An index outside `0..n` gives NaN (floats) or 0.
    Gather { axis: u8 },
    /// `scatter_add(updates, indices)`: the transpose of gather into zeros with `size` along
    /// `axis`; an index outside `0..size` is dropped.
    ScatterAdd { axis: u8, size: Extent },
    /// A named composite.
    Composite(Composite, Attrs),
    /// The results of a graph applied to the operands.
    Call(Subgraph),
    /// The results and residuals of a function with a derivative of its own.
    CustomVjp(Box<CustomVjp>),
}

impl Op {
    /// The graphs that it holds.
    pub fn subgraphs(&self) -> impl Iterator<Item = &Subgraph> {
        let (first, second) = match self {
            Op::Call(callee) => (Some(callee), None),
            Op::CustomVjp(custom) => (Some(&custom.forward), Some(&custom.backward)),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }

    /// The op's name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Const(..) => "const",
            Op::Size(..) => "size",
            Op::Iota { .. } => "iota",
            Op::Random { kind, .. } => kind.name(),
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::StopGradient => "stop_gradient",
            Op::Reduce(op, _) => op.name(),
            Op::Reshape(_) => "reshape",
            Op::Transpose(_) => "transpose",
            Op::Broadcast(_) => "broadcast",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Concat { .. } => "concat",
            Op::Flip(_) => "flip",
            Op::Dot { .. } => "dot",
            Op::Gather { .. } => "gather",
            Op::ScatterAdd { .. } => "scatter_add",
            Op::Composite(op, _) => op.name(),
            Op::Call(_) => "call",
            Op::CustomVjp(_) => "custom_vjp",
        }
    }

    /// True where the bits of an operand decide: it is compared, rounded to an integer, or looked for
    /// among its own elements ([`Reduce`] with ties). Two kernels that compute such an operand must
    /// agree on all of its bits.
    pub fn jumps(&self) -> bool {
        match self {
            Op::Unary(f) => f.def().jumps,
            Op::Binary(f) => f.def().gives_bool && f.def().class != Class::Bool,
            Op::Cast(to) => !to.is_float(),
            Op::Reduce(op, _) => op.def().weight.is_some(),
            _ => false,
        }
    }

    /// True for ops that compute each element from the elements at the same position.
    pub fn is_pointwise(&self) -> bool {
        matches!(self, Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::StopGradient)
    }
}
