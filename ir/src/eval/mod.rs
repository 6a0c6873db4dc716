//! The oracle: runs a graph in f64, op by op, as simply as possible.
//!
//! Composites run by their decomposition, so the interpreter knows nothing that the rows do
//! not say. Start at [`eval`].

mod contract;
mod movement;
mod pointwise;
mod reduce;

use crate::dtype::DType;
use crate::graph::{Graph, GraphBuilder, Node, Value};
use crate::literal::{Data, Literal};
use crate::memory::can_allocate;
use crate::op::Op;
use crate::random;
use crate::shape::{Shape, TensorType};

/// Inputs that do not fit a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Wrong number of inputs.
    #[error("expected {expected} inputs, found {found}")]
    Count {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input of the wrong type.
    #[error("input {name}: expected {expected}{}, found {found}", batch_of(expected, *batch))]
    Type {
        /// Name of the input.
        name: String,
        /// Its declared type.
        expected: TensorType,
        /// The type given.
        found: TensorType,
        /// The batch size `N` that the inputs before it have.
        batch: u64,
    },
    /// More memory than there is.
    #[error("cannot allocate {bytes} bytes for the values of a graph")]
    Memory {
        /// What is needed.
        bytes: u64,
    },
}

/// The batch size, where a type depends on it.
fn batch_of(ty: &TensorType, batch: u64) -> String {
    let symbolic = ty.shape.0.iter().any(|extent| extent.known().is_none());
    if symbolic { format!(" with N = {batch}") } else { String::new() }
}

/// Finds the batch size that makes concrete sizes fit declared types.
///
/// Without a batch axis in the types the answer is 1.
///
/// # Errors
/// The first input that fits no batch size, or not the one of the inputs before it.
pub fn bind_batch<'a>(
    declared: impl IntoIterator<Item = (&'a str, &'a TensorType)>,
    found: &[TensorType],
) -> Result<u64, EvalError> {
    let declared: Vec<_> = declared.into_iter().collect();
    if declared.len() != found.len() {
        return Err(EvalError::Count { expected: declared.len(), found: found.len() });
    }
    let pairs =
        || declared.iter().zip(found).flat_map(|((_, want), have)| want.shape.0.iter().zip(&have.shape.0));
    let lowest = pairs().filter(|(want, _)| want.known().is_none()).min_by_key(|(want, _)| want.power);
    let batch = lowest.and_then(|(want, have)| want.batch_of(have.scale)).unwrap_or(1);
    for ((name, want), have) in declared.iter().zip(found) {
        let sizes_fit = want.rank() == have.rank()
            && want.shape.0.iter().zip(&have.shape.0).all(|(want, have)| want.at(batch) == have.scale);
        if !sizes_fit || want.dtype != have.dtype {
            return Err(EvalError::Type {
                name: (*name).into(),
                expected: (*want).clone(),
                found: have.clone(),
                batch,
            });
        }
    }
    Ok(batch)
}

/// Runs a graph on inputs in declaration order.
///
/// # Errors
/// Inputs whose number or types do not fit; no memory for the graph's values.
pub fn eval(graph: &Graph, inputs: &[Literal]) -> Result<Vec<Literal>, EvalError> {
    let types: Vec<TensorType> = inputs.iter().map(Literal::ty).collect();
    let batch = bind_batch(graph.inputs().iter().map(|i| (i.name.as_str(), &i.ty)), &types)?;
    check_memory(graph, batch)?;
    Ok(eval_at(graph, inputs, batch))
}

/// Asks the system for as much memory as the values of a graph need, because a failure later on
/// could not be reported.
///
/// # Errors
/// It refuses.
pub fn check_memory(graph: &Graph, batch: u64) -> Result<(), EvalError> {
    let bytes = |ty: &TensorType| ty.shape.elements().at(batch).saturating_mul(8);
    let types = graph.nodes().iter().flat_map(|node| &node.types);
    let bytes = types.map(bytes).fold(0, u64::saturating_add);
    if can_allocate(bytes) { Ok(()) } else { Err(EvalError::Memory { bytes }) }
}

/// Runs a graph for a batch size, on inputs that fit it; one value per output.
pub fn eval_at(graph: &Graph, inputs: &[Literal], batch: u64) -> Vec<Literal> {
    let values = eval_nodes(graph, inputs, batch);
    graph.outputs().iter().map(|(_, v)| values[v.node.0 as usize][v.result as usize].clone()).collect()
}

/// Runs a graph and keeps the results of every node.
pub fn eval_nodes(graph: &Graph, inputs: &[Literal], batch: u64) -> Vec<Vec<Literal>> {
    eval_nodes_by(graph, inputs, batch, |_, _, results| results)
}

/// As [`eval_nodes`], with the last word on the results of every node, given its operands: to round
/// them as a narrower type does, or to disturb them.
pub fn eval_nodes_by(
    graph: &Graph,
    inputs: &[Literal],
    batch: u64,
    mut revise: impl FnMut(&Node, &[&Literal], Vec<Literal>) -> Vec<Literal>,
) -> Vec<Vec<Literal>> {
    let mut values: Vec<Vec<Literal>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let operands: Vec<&Literal> =
            node.inputs.iter().map(|v| &values[v.node.0 as usize][v.result as usize]).collect();
        let results = match &node.op {
            Op::Input(index) => vec![inputs[*index as usize].clone()],
            _ => eval_node(graph, node, &operands, batch),
        };
        let results = revise(node, &operands, results);
        values.push(results);
    }
    values
}

fn eval_node(graph: &Graph, node: &Node, operands: &[&Literal], batch: u64) -> Vec<Literal> {
    let owned = || operands.iter().map(|&x| x.clone()).collect::<Vec<_>>();
    match &node.op {
        Op::Call(callee) => eval_at(&callee.0, &owned(), batch),
        Op::CustomVjp(custom) => eval_at(&custom.forward.0, &owned(), batch),
        Op::Composite(..) => eval_at(&decomposed(graph, node), &owned(), batch),
        op => vec![eval_op(op, &node.types[0], operands, batch)],
    }
}

/// The decomposition of a composite node as a graph of its operands.
pub fn decomposed(graph: &Graph, node: &Node) -> Graph {
    let Op::Composite(composite, attrs) = &node.op else { panic!("{} is not a composite", node.op.name()) };
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> =
        node.inputs.iter().enumerate().map(|(i, &v)| b.input(format!("x{i}"), graph.ty(v).clone())).collect();
    let result = (composite.def().decompose)(&mut b, &inputs, attrs);
    b.finish([("y".to_string(), result)])
}

fn scalar(dtype: DType, number: f64) -> Literal {
    let data = if dtype.is_int() { Data::Int(vec![number as i64]) } else { Data::Float(vec![number]) };
    Literal { dtype, sizes: vec![], data }
}

fn eval_op(op: &Op, ty: &TensorType, operands: &[&Literal], batch: u64) -> Literal {
    let sizes = ty.shape.at(batch);
    match op {
        Op::Input(_) | Op::Call(_) | Op::CustomVjp(_) | Op::Composite(..) => {
            unreachable!("handled by eval_node")
        }
        Op::Const(number, dtype) => scalar(*dtype, number.get()),
        Op::Size(extent, dtype) => scalar(*dtype, extent.at(batch) as f64),
        Op::Iota { .. } => {
            Literal::ints(ty.dtype, &sizes, (0..sizes.iter().product::<usize>() as i64).collect())
        }
        Op::Random { kind, stream, .. } => {
            random::fill(*kind, *stream, operands[0].to_ints()[0], ty.dtype, &sizes)
        }
        Op::Unary(f) => pointwise::unary(*f, ty.dtype, operands[0]),
        Op::Binary(f) => pointwise::binary(*f, ty.dtype, &sizes, operands),
        Op::Select => pointwise::select(&sizes, operands),
        Op::Cast(dtype) => pointwise::cast(*dtype, operands[0]),
        Op::StopGradient => operands[0].clone(),
        Op::Reduce(f, axes) => reduce::reduce(*f, *axes, &sizes, operands[0]),
        Op::Reshape(_) => Literal { sizes, ..operands[0].clone() },
        Op::Transpose(perm) => movement::transpose(perm, &sizes, operands[0]),
        Op::Broadcast(_) => movement::broadcast(&sizes, operands[0]),
        Op::Slice { axis, start, stride, .. } => movement::slice(*axis, *start, *stride, &sizes, operands[0]),
        Op::Pad { axis, low, interior, .. } => movement::pad(*axis, *low, *interior, &sizes, operands[0]),
        Op::Concat { axis } => movement::concat(*axis, &sizes, operands),
        Op::Flip(axes) => movement::flip(*axes, operands[0]),
        Op::Dot { batch: axes, lhs, rhs } => contract::dot((*axes).into(), *lhs, *rhs, &sizes, operands),
        Op::Gather { axis } => contract::gather((*axis).into(), &sizes, operands),
        Op::ScatterAdd { axis, .. } => contract::scatter_add((*axis).into(), &sizes, operands),
    }
}

/// Row-major strides of sizes.
fn strides(sizes: &[usize]) -> Vec<usize> {
    Shape::of(sizes).strides().iter().map(|s| s.scale as usize).collect()
}

/// Calls `visit` with every multi-index of `sizes` in row-major order.
fn for_each_index(sizes: &[usize], mut visit: impl FnMut(&[usize])) {
    let total: usize = sizes.iter().product();
    let mut index = vec![0; sizes.len()];
    for _ in 0..total {
        visit(&index);
        for axis in (0..sizes.len()).rev() {
            index[axis] += 1;
            if index[axis] < sizes[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// The position in an operand of `sizes` that a result index reads when the operand is stretched.
fn stretched_offset(index: &[usize], sizes: &[usize]) -> usize {
    let offset = index.len() - sizes.len();
    let at = |axis: usize| {
        if sizes[axis] == 1 { 0 } else { index[axis + offset] }
    };
    (0..sizes.len()).fold(0, |position, axis| position * sizes[axis] + at(axis))
}

/// Picks elements: the result at each index is the operand at `position(index)`.
fn pick(sizes: &[usize], operand: &Literal, position: impl Fn(&[usize]) -> Option<usize>) -> Literal {
    fn collect<T: Copy + Default>(
        sizes: &[usize],
        from: &[T],
        position: impl Fn(&[usize]) -> Option<usize>,
    ) -> Vec<T> {
        let mut to = Vec::with_capacity(sizes.iter().product());
        for_each_index(sizes, |index| to.push(position(index).map_or(T::default(), |p| from[p])));
        to
    }
    let data = match &operand.data {
        Data::Float(from) => Data::Float(collect(sizes, from, position)),
        Data::Int(from) => Data::Int(collect(sizes, from, position)),
    };
    Literal { dtype: operand.dtype, sizes: sizes.to_vec(), data }
}
