//! Result types of ops, and the errors of ill-typed uses.

use super::{Attr, Class, Composite, CustomVjp, Op, RandomKind, Subgraph};
use crate::dtype::DType;
use crate::error::IrError;
use crate::shape::{Axes, Extent, Shape, TensorType};
use smallvec::{SmallVec, smallvec};

/// Types of an op's results.
pub type Types = SmallVec<[TensorType; 1]>;

/// The types of an op's results for operands of these types.
///
/// # Errors
/// Wrong number of operands, shapes that do not fit, unsuitable element types, bad axes.
pub fn infer(op: &Op, operands: &[&TensorType]) -> Result<Types, IrError> {
    if let Op::Call(graph) = op {
        return call(op, graph, operands);
    }
    if let Op::CustomVjp(custom) = op {
        return custom_vjp(op, custom, operands);
    }
    let ty = infer_one(op, operands)?;
    limited(op.name(), &ty.shape)?;
    Ok(smallvec![ty])
}

/// Checks rank and number of elements of a shape.
///
/// # Errors
/// More than [`TensorType::MAX_RANK`] axes, or too many elements.
pub fn limited(op: &'static str, shape: &Shape) -> Result<(), IrError> {
    let limit = |what: &'static str, found: u64, limit: u64| {
        if found <= limit { Ok(()) } else { Err(IrError::TooLarge { op, what, limit }) }
    };
    let elements = shape.0.iter().fold(1u64, |product, extent| product.saturating_mul(extent.scale.max(1)));
    let power = shape.0.iter().map(|extent| u64::from(extent.power)).sum();
    limit("the number of axes", shape.rank() as u64, TensorType::MAX_RANK as u64)?;
    limit("the number of elements", elements, TensorType::MAX_ELEMENTS)?;
    limit("the power of N in a number of elements", power, TensorType::MAX_POWER)
}

fn infer_one(op: &Op, operands: &[&TensorType]) -> Result<TensorType, IrError> {
    arity(op, operands)?;
    match op {
        Op::Input(_) => Err(IrError::MisplacedInput),
        Op::Const(_, dtype) | Op::Size(_, dtype) => Ok(TensorType::scalar(*dtype)),
        Op::Iota { rank, axis, extent } => iota(op, *rank, *axis, *extent),
        Op::Random { kind, ty, .. } => random(op, *kind, ty, operands[0]),
        Op::Unary(f) => {
            class(op, f.def().class, operands[0])?;
            Ok(operands[0].clone())
        }
        Op::Binary(f) => binary(op, f.def().class, f.def().gives_bool, operands),
        Op::Select => select(op, operands),
        Op::Cast(dtype) => Ok(TensorType::new(*dtype, operands[0].shape.clone())),
        Op::StopGradient => Ok(operands[0].clone()),
        Op::Reduce(_, axes) => {
            class(op, Class::Number, operands[0])?;
            reduced(op, operands[0], *axes)
        }
        Op::Reshape(shape) => reshape(operands[0], shape),
        Op::Transpose(perm) => transpose(op, perm, operands[0]),
        Op::Broadcast(shape) => broadcast_to(op, operands[0], shape),
        Op::Slice { axis, start, length, stride } => {
            slice(op, *axis, [*start, *length, *stride], operands[0])
        }
        Op::Pad { axis, low, high, interior } => pad(op, *axis, [*low, *high, *interior], operands[0]),
        Op::Concat { axis } => concat(op, *axis, operands),
        Op::Flip(axes) => {
            axes_fit(op, *axes, operands[0])?;
            Ok(operands[0].clone())
        }
        Op::Dot { batch, lhs, rhs } => dot(op, *batch, [*lhs, *rhs], operands),
        Op::Gather { axis } => gather(op, *axis, operands),
        Op::ScatterAdd { axis, size } => scatter_add(op, *axis, *size, operands),
        Op::Composite(composite, attrs) => composite_type(op, *composite, attrs.axes, operands),
        Op::Call(_) | Op::CustomVjp(_) => unreachable!("handled by infer"),
    }
}

fn arity(op: &Op, operands: &[&TensorType]) -> Result<(), IrError> {
    let expected = match op {
        Op::Input(_) | Op::Const(..) | Op::Size(..) | Op::Iota { .. } => 0,
        Op::Binary(_) | Op::Dot { .. } | Op::Gather { .. } | Op::ScatterAdd { .. } => 2,
        Op::Select => 3,
        Op::Composite(composite, _) => composite.def().inputs.len(),
        Op::Concat { .. } => operands.len().max(1),
        _ => 1,
    };
    if operands.len() == expected {
        return Ok(());
    }
    Err(IrError::Arity { op: op.name(), expected, found: operands.len() })
}

fn class(op: &Op, class: Class, operand: &TensorType) -> Result<(), IrError> {
    let (fits, expected) = match class {
        Class::Float => (operand.dtype.is_float(), "a float type"),
        Class::Number => (operand.dtype != DType::Bool, "a number type"),
        Class::Int => (operand.dtype.is_int(), "an integer type"),
        Class::Bool => (operand.dtype == DType::Bool, "bool"),
    };
    if fits {
        return Ok(());
    }
    Err(IrError::DType { op: op.name(), expected, found: operand.clone() })
}

fn same_dtype(op: &Op, lhs: &TensorType, rhs: &TensorType) -> Result<(), IrError> {
    if lhs.dtype == rhs.dtype {
        return Ok(());
    }
    Err(IrError::DTypes { op: op.name(), lhs: lhs.clone(), rhs: rhs.clone() })
}

fn joined(op: &Op, lhs: &TensorType, rhs: &TensorType) -> Result<Shape, IrError> {
    lhs.shape.broadcast(&rhs.shape).ok_or_else(|| IrError::Broadcast {
        op: op.name(),
        lhs: lhs.clone(),
        rhs: rhs.clone(),
        hint: broadcast_hint(&lhs.shape, &rhs.shape),
    })
}

/// Says how a user could have meant it, when ranks differ.
fn broadcast_hint(lhs: &Shape, rhs: &Shape) -> String {
    let (long, short) = if lhs.rank() >= rhs.rank() { (lhs, rhs) } else { (rhs, lhs) };
    if long.rank() == short.rank() {
        return String::new();
    }
    let mut row = short.clone();
    while row.rank() < long.rank() {
        row.0.insert(0, Extent::ONE);
    }
    format!("; an operand of lower rank stretches only to the shape of the other: reshape it, e.g. to {row}")
}

fn binary(op: &Op, of: Class, gives_bool: bool, operands: &[&TensorType]) -> Result<TensorType, IrError> {
    same_dtype(op, operands[0], operands[1])?;
    let comparison_of_bool = gives_bool && of == Class::Number && operands[0].dtype == DType::Bool;
    if !comparison_of_bool {
        class(op, of, operands[0])?;
    }
    let dtype = if gives_bool { DType::Bool } else { operands[0].dtype };
    Ok(TensorType::new(dtype, joined(op, operands[0], operands[1])?))
}

fn select(op: &Op, operands: &[&TensorType]) -> Result<TensorType, IrError> {
    class(op, Class::Bool, operands[0])?;
    same_dtype(op, operands[1], operands[2])?;
    let values = TensorType::new(operands[1].dtype, joined(op, operands[1], operands[2])?);
    let shape = joined(op, operands[0], &values)?;
    Ok(TensorType::new(values.dtype, shape))
}

fn axes_fit(op: &Op, axes: Axes, operand: &TensorType) -> Result<(), IrError> {
    match axes.iter().next_back() {
        Some(axis) if axis >= operand.rank() => {
            Err(IrError::Axis { op: op.name(), axis: axis as i64, operand: operand.clone() })
        }
        _ => Ok(()),
    }
}

fn axis_fits(op: &Op, axis: u8, operand: &TensorType) -> Result<(), IrError> {
    if usize::from(axis) < operand.rank() {
        return Ok(());
    }
    Err(IrError::Axis { op: op.name(), axis: axis.into(), operand: operand.clone() })
}

fn reduced(op: &Op, operand: &TensorType, axes: Axes) -> Result<TensorType, IrError> {
    axes_fit(op, axes, operand)?;
    Ok(TensorType::new(operand.dtype, operand.shape.reduced(&axes)))
}

fn iota(op: &Op, rank: u8, axis: u8, extent: Extent) -> Result<TensorType, IrError> {
    let mut shape = Shape(SmallVec::from_elem(Extent::ONE, rank.into()));
    let ty = TensorType::new(DType::I32, shape.clone());
    axis_fits(op, axis, &ty)?;
    shape.0[axis as usize] = extent;
    Ok(TensorType::new(DType::I32, shape))
}

fn random(op: &Op, kind: RandomKind, ty: &TensorType, seed: &TensorType) -> Result<TensorType, IrError> {
    if seed.dtype != DType::I64 || seed.rank() != 0 {
        return Err(IrError::DType { op: op.name(), expected: "a scalar i64 seed", found: seed.clone() });
    }
    let fits = if kind == RandomKind::Bits { ty.dtype == DType::I32 } else { ty.dtype.is_float() };
    if fits {
        return Ok(ty.clone());
    }
    let expected = if kind == RandomKind::Bits { "i32 results" } else { "float results" };
    Err(IrError::DType { op: op.name(), expected, found: ty.clone() })
}

fn reshape(operand: &TensorType, shape: &Shape) -> Result<TensorType, IrError> {
    if operand.shape.elements() != shape.elements() {
        return Err(IrError::Reshape {
            from: operand.clone(),
            from_elements: operand.shape.elements(),
            to: shape.clone(),
            to_elements: shape.elements(),
        });
    }
    Ok(TensorType::new(operand.dtype, shape.clone()))
}

fn transpose(op: &Op, perm: &[u8], operand: &TensorType) -> Result<TensorType, IrError> {
    let inside = perm.iter().all(|&axis| usize::from(axis) < operand.rank());
    let distinct = || Axes::new(perm.iter().map(|&axis| axis.into())) == Axes::all(operand.rank());
    if perm.len() != operand.rank() || !inside || !distinct() {
        return Err(IrError::Permutation { op: op.name(), perm: perm.to_vec(), operand: operand.clone() });
    }
    let shape = Shape(perm.iter().map(|&axis| operand.shape[axis as usize]).collect());
    Ok(TensorType::new(operand.dtype, shape))
}

fn broadcast_to(op: &Op, operand: &TensorType, shape: &Shape) -> Result<TensorType, IrError> {
    let target = TensorType::new(operand.dtype, shape.clone());
    if operand.shape.broadcast(shape).as_ref() != Some(shape) {
        return Err(IrError::Broadcast {
            op: op.name(),
            lhs: operand.clone(),
            rhs: target,
            hint: String::new(),
        });
    }
    Ok(target)
}

/// The size of an axis that an op cuts or pads; it must be known when compiling.
fn known_axis(op: &Op, axis: u8, operand: &TensorType) -> Result<u64, IrError> {
    axis_fits(op, axis, operand)?;
    let batch = || IrError::BatchAxis { op: op.name(), axis: axis.into(), operand: operand.clone() };
    operand.shape[axis as usize].known().ok_or_else(batch)
}

fn with_axis(operand: &TensorType, axis: u8, extent: Extent) -> TensorType {
    let mut ty = operand.clone();
    ty.shape.0[axis as usize] = extent;
    ty
}

fn slice(
    op: &Op,
    axis: u8,
    [start, length, stride]: [u64; 3],
    operand: &TensorType,
) -> Result<TensorType, IrError> {
    let size = known_axis(op, axis, operand)?;
    let span = if length == 0 { 0 } else { (length - 1).saturating_mul(stride).saturating_add(1) };
    if start.saturating_add(span) > size || !(1..=TensorType::MAX_ELEMENTS).contains(&stride) {
        return Err(IrError::Slice { axis: axis.into(), start, length, stride, operand: operand.clone() });
    }
    Ok(with_axis(operand, axis, Extent::fixed(length)))
}

fn pad(
    op: &Op,
    axis: u8,
    [low, high, interior]: [u64; 3],
    operand: &TensorType,
) -> Result<TensorType, IrError> {
    let size = known_axis(op, axis, operand)?;
    if interior > TensorType::MAX_ELEMENTS {
        let (what, limit) = ("the interior padding", TensorType::MAX_ELEMENTS);
        return Err(IrError::TooLarge { op: op.name(), what, limit });
    }
    let between = size.saturating_sub(1).saturating_mul(interior);
    let padded = [high, size, between].into_iter().fold(low, u64::saturating_add);
    Ok(with_axis(operand, axis, Extent::fixed(padded)))
}

fn concat(op: &Op, axis: u8, operands: &[&TensorType]) -> Result<TensorType, IrError> {
    let mut total = 0;
    for operand in operands {
        total = known_axis(op, axis, operand)?.saturating_add(total);
        same_dtype(op, operands[0], operand)?;
        let same = |ty: &TensorType| with_axis(ty, axis, Extent::ONE).shape;
        if operand.rank() != operands[0].rank() || same(operand) != same(operands[0]) {
            return Err(IrError::Concat {
                axis: axis.into(),
                lhs: operands[0].clone(),
                rhs: (*operand).clone(),
            });
        }
    }
    Ok(with_axis(operands[0], axis, Extent::fixed(total)))
}

fn dot(op: &Op, batch: u8, contracted: [Axes; 2], operands: &[&TensorType]) -> Result<TensorType, IrError> {
    let (lhs, rhs) = (operands[0], operands[1]);
    class(op, Class::Float, lhs)?;
    same_dtype(op, lhs, rhs)?;
    axes_fit(op, contracted[0], lhs)?;
    axes_fit(op, contracted[1], rhs)?;
    let batch = Axes::all(batch as usize);
    axes_fit(op, batch, lhs)?;
    axes_fit(op, batch, rhs)?;
    let paired = |(a, b): (usize, usize)| lhs.shape[a] == rhs.shape[b];
    let apart = contracted.iter().all(|axes| axes.mask() & batch.mask() == 0);
    if !apart || !batch.iter().all(|axis| paired((axis, axis))) {
        return Err(IrError::Leading { lhs: lhs.clone(), rhs: rhs.clone(), batch: batch.len() as u8 });
    }
    let sizes_agree = contracted[0].len() == contracted[1].len()
        && contracted[0].iter().zip(contracted[1].iter()).all(paired);
    if !sizes_agree {
        let inner = |ty: &TensorType, axes: Axes| ty.shape.extent_of(&axes);
        return Err(IrError::InnerSize {
            lhs: lhs.clone(),
            rhs: rhs.clone(),
            lhs_size: inner(lhs, contracted[0]),
            rhs_size: inner(rhs, contracted[1]),
        });
    }
    let free = |ty: &TensorType, axes: Axes| -> Vec<Extent> {
        (0..ty.rank())
            .filter(|&axis| !axes.contains(axis) && !batch.contains(axis))
            .map(|axis| ty.shape[axis])
            .collect()
    };
    let mut shape: SmallVec<[Extent; 4]> = batch.iter().map(|axis| lhs.shape[axis]).collect();
    shape.extend(free(lhs, contracted[0]));
    shape.extend(free(rhs, contracted[1]));
    Ok(TensorType::new(lhs.dtype, Shape(shape)))
}

fn gather(op: &Op, axis: u8, operands: &[&TensorType]) -> Result<TensorType, IrError> {
    let (table, indices) = (operands[0], operands[1]);
    axis_fits(op, axis, table)?;
    class(op, Class::Int, indices)?;
    let mut shape = table.shape.clone();
    shape.0.remove(axis.into());
    shape.0.insert_from_slice(axis.into(), &indices.shape.0);
    Ok(TensorType::new(table.dtype, shape))
}

fn scatter_add(op: &Op, axis: u8, size: Extent, operands: &[&TensorType]) -> Result<TensorType, IrError> {
    let (updates, indices) = (operands[0], operands[1]);
    class(op, Class::Float, updates)?;
    class(op, Class::Int, indices)?;
    let (axis, end) = (axis as usize, axis as usize + indices.rank());
    if end > updates.rank() || updates.shape.0[axis..end] != indices.shape.0[..] {
        return Err(IrError::Scatter { axis, updates: updates.clone(), indices: indices.clone() });
    }
    let mut shape = updates.shape.clone();
    shape.0.drain(axis..end);
    shape.0.insert(axis, size);
    Ok(TensorType::new(updates.dtype, shape))
}

fn composite_type(
    op: &Op,
    composite: Composite,
    axes: Axes,
    operands: &[&TensorType],
) -> Result<TensorType, IrError> {
    let x = operands[0];
    class(op, Class::Float, x)?;
    let of_rows = composite.def().attrs.contains(&Attr::Axes);
    let row = if of_rows { reduced(op, x, axes)? } else { x.clone() };
    for operand in &operands[1..] {
        same_dtype(op, x, operand)?;
        if joined(op, x, operand)? != x.shape {
            return Err(IrError::Broadcast {
                op: op.name(),
                lhs: x.clone(),
                rhs: (*operand).clone(),
                hint: String::new(),
            });
        }
    }
    if composite == Composite::ArgMax && axes.len() != 1 {
        return Err(IrError::OneAxis { op: op.name(), axes });
    }
    Ok(match composite {
        Composite::Mean | Composite::Var | Composite::Rstd | Composite::Rrms => row,
        Composite::Rnorm | Composite::LogSumExp => row,
        Composite::ArgMax => TensorType::new(DType::I32, row.shape),
        _ => x.clone(),
    })
}

fn check_operands(op: &Op, graph: &Subgraph, operands: &[&TensorType]) -> Result<(), IrError> {
    let inputs = graph.0.inputs();
    if inputs.len() != operands.len() {
        return Err(IrError::Arity { op: op.name(), expected: inputs.len(), found: operands.len() });
    }
    for (input, &operand) in inputs.iter().zip(operands) {
        if &input.ty != operand {
            let (name, expected) = (input.name.clone(), input.ty.clone());
            return Err(IrError::CallType { op: op.name(), input: name, expected, found: operand.clone() });
        }
    }
    Ok(())
}

fn call(op: &Op, graph: &Subgraph, operands: &[&TensorType]) -> Result<Types, IrError> {
    check_operands(op, graph, operands)?;
    Ok(graph.0.output_types().cloned().collect())
}

fn custom_vjp(op: &Op, custom: &CustomVjp, operands: &[&TensorType]) -> Result<Types, IrError> {
    check_operands(op, &custom.forward, operands)?;
    let results: Types = custom.forward.0.output_types().cloned().collect();
    let (shown, residuals) = results.split_at((custom.results as usize).min(results.len()));
    let expected: Vec<&TensorType> = residuals.iter().chain(shown).collect();
    check_operands(op, &custom.backward, &expected)?;
    let gradients = custom.backward.0.output_types();
    for (gradient, &operand) in gradients.zip(operands).take(custom.differentiable as usize) {
        if gradient != operand {
            let (expected, found) = (operand.clone(), gradient.clone());
            return Err(IrError::CallType { op: op.name(), input: "gradient".into(), expected, found });
        }
    }
    Ok(results)
}
