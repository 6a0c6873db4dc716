//! Norms that undo what stands before them.
//!
//! | before | after | where |
//! |---|---|---|
//! | `LN(x + k)`, `LN(center(x))` | `LN(x)` | k constant along the norm's axes, any eps |
//! | `LN_e(a x)`, `RMS_e(a x)` | the same of `x` with eps `e / a^2` (inside) or `e / a` | a constant number > 0 |
//! | `LN_0(LN_0(x))`, `RMS_0(LN_0(x))`, `LN_0(RMS_0(x))` | `LN_0(x)` | both eps 0, same axes |
//! | `softmax(x + k)` | `softmax(x)` | k constant along the axes; ours shifts by the maximum itself |

use super::Findings;
use super::context::Context;
use super::rebuild::padded_shape;
use evenkeel_ir::{Attrs, Binary, Composite, EpsKind, Op, Value};

/// Another operand and other attributes for a composite.
type Instead = (Composite, Attrs, Value);
/// A pattern, or why it nearly matched; nothing where it does not look alike.
type Match = Option<Result<Instead, String>>;

/// Finds norms with a redundant operand.
pub(super) fn find(cx: &Context<'_>) -> Findings {
    let mut findings = Findings::default();
    for (id, node) in cx.graph.iter() {
        let Op::Composite(op, attrs) = node.op else { continue };
        let x = node.inputs[0];
        let found = [shifted, centered, rescaled, twice].iter().find_map(|pattern| pattern(cx, op, attrs, x));
        match found {
            Some(Ok((new, attrs, operand))) => {
                findings.done(
                    cx.graph,
                    id,
                    format!(
                        "{} of {} needs no {}",
                        op.name(),
                        cx.describe(x.node),
                        cx.node(x.node).op.name()
                    ),
                );
                findings.replace(
                    id,
                    Box::new(move |r| {
                        let mut operands: Vec<Value> =
                            r.graph.node(id).inputs.iter().map(|v| r.at(*v)).collect();
                        operands[0] = r.at(operand);
                        r.b.composite(new, &operands, attrs)
                    }),
                );
            }
            Some(Err(reason)) => findings.refuse(cx.graph, id, reason),
            None => {}
        }
    }
    findings
}

/// Is the composite blind to what is added along its axes?
fn ignores_shifts(op: Composite) -> bool {
    use Composite::{Center, LayerNorm, LogSoftmax, Rstd, Softmax, Standardize, Var};
    matches!(op, LayerNorm | Standardize | Rstd | Var | Center | Softmax | LogSoftmax)
}

/// `x + k`, `x - k`, `k + x`.
fn shifted(cx: &Context<'_>, op: Composite, attrs: Attrs, x: Value) -> Match {
    let node = cx.node(x.node);
    let kept: &[usize] = match node.op {
        Op::Binary(Binary::Add) => &[0, 1],
        Op::Binary(Binary::Sub) => &[0],
        _ => return None,
    };
    let whole = |place: &usize| cx.graph.ty(node.inputs[*place]) == cx.graph.ty(x);
    let constant = |place: usize| is_constant_along(cx, node.inputs[place], attrs, &node.types[0]);
    let place = *kept.iter().find(|place| whole(place) && constant(1 - **place))?;
    let name = op.name();
    if ignores_shifts(op) {
        return Some(Ok((op, attrs, node.inputs[place])));
    }
    let norm = matches!(op, Composite::RmsNorm | Composite::RmsUnit | Composite::L2Norm);
    norm.then(|| Err(format!("{name} does not center: the shift by {} changes it", cx.describe(x.node))))
}

/// Does a value keep size 1 along the axes of a norm of a value of type `of`?
fn is_constant_along(cx: &Context<'_>, k: Value, attrs: Attrs, of: &evenkeel_ir::TensorType) -> bool {
    let shape = padded_shape(&cx.graph.ty(k).shape, of.rank());
    attrs.axes.iter().all(|axis| shape[axis].is_one())
}

fn centered(cx: &Context<'_>, op: Composite, attrs: Attrs, x: Value) -> Match {
    let node = cx.node(x.node);
    let Op::Composite(Composite::Center, inner) = node.op else { return None };
    let constant = attrs.axes.mask() & !inner.axes.mask() == 0;
    match constant {
        _ if !ignores_shifts(op) => None,
        true => Some(Ok((op, attrs, node.inputs[0]))),
        false => Some(Err(format!("the mean that {} subtracts varies along the axes", cx.describe(x.node)))),
    }
}

/// `a x` with a number `a`.
fn rescaled(cx: &Context<'_>, op: Composite, attrs: Attrs, x: Value) -> Match {
    use Composite::{L2Norm, LayerNorm, RmsNorm, RmsUnit, Standardize};
    if !matches!(op, L2Norm | LayerNorm | RmsNorm | RmsUnit | Standardize) {
        return None;
    }
    let (factor, operand) = factor(cx, x)?;
    if factor.is_nan() || factor <= 0.0 {
        return Some(Err(format!("the factor {factor} of {} is not positive", cx.describe(x.node))));
    }
    let eps = match attrs.eps_kind {
        EpsKind::Inside => attrs.eps.get() / (factor * factor),
        EpsKind::Outside | EpsKind::Clamp => attrs.eps.get() / factor,
    };
    let sound =
        eps.is_finite() && factor.is_finite() && ((1e-30..=1e30).contains(&eps) || attrs.eps.get() == 0.0);
    if !sound {
        return Some(Err(format!("eps {eps:e} of the rescaled norm leaves the range of f32")));
    }
    Some(Ok((op, attrs.eps(eps, attrs.eps_kind), operand)))
}

/// The number that a value is multiplied by, and what it multiplies.
fn factor(cx: &Context<'_>, x: Value) -> Option<(f64, Value)> {
    let node = cx.node(x.node);
    let number = |place: usize| match cx.graph.op(node.inputs[place]) {
        Op::Const(number, _) => Some(number.get()),
        _ => None,
    };
    match node.op {
        Op::Binary(Binary::Mul) => {
            let left = number(0).map(|a| (a, node.inputs[1]));
            left.or_else(|| number(1).map(|a| (a, node.inputs[0])))
        }
        Op::Binary(Binary::Div) => number(1).map(|a| (1.0 / a, node.inputs[0])),
        _ => None,
    }
}

/// A norm of a norm.
fn twice(cx: &Context<'_>, op: Composite, attrs: Attrs, x: Value) -> Match {
    use Composite::{LayerNorm, RmsNorm, RmsUnit, Standardize};
    let node = cx.node(x.node);
    let Op::Composite(inner @ (Standardize | RmsUnit), below) = node.op else { return None };
    let result = match (op, inner) {
        (Standardize | LayerNorm, Standardize | RmsUnit) => op,
        (RmsUnit, Standardize) => Standardize,
        (RmsUnit, RmsUnit) => RmsUnit,
        (RmsNorm, RmsUnit) => RmsNorm,
        _ => return None,
    };
    if below.axes != attrs.axes {
        return Some(Err(format!("{} normalizes other axes", cx.describe(x.node))));
    }
    if below.eps.get() != 0.0 || attrs.eps.get() != 0.0 {
        return Some(Err(format!("{} before it has the same axes, but eps is not 0", cx.describe(x.node))));
    }
    if below.correction != attrs.correction {
        return Some(Err(format!("{} divides by another count", cx.describe(x.node))));
    }
    Some(Ok((result, attrs, node.inputs[0])))
}
