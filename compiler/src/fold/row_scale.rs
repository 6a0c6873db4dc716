//! The scale of a row behind the product: `(r x) W^T = r (x W^T)`.
//!
//! The product then reads `x` itself, and the next elementwise kernel multiplies. Where `x` is so
//! large that the norm was what kept the product finite, the product overflows. Not part of
//! [`Fold::safe`](super::Fold::safe) for that, and because it did not pay where it was measured.

use super::Findings;
use super::context::Context;
use super::linear::Linear;
use super::rebuild::{Rebuild, padded_shape};
use evenkeel_ir::{Attrs, Binary, Composite, NodeId, Op, Value};

/// How a row is scaled.
#[derive(Clone, Copy)]
enum Scale {
    /// By a norm's inverse root.
    Root(Composite, Attrs),
    /// By a value.
    Times(Value),
    /// By the inverse of a value.
    Over(Value),
}

/// Finds scaled rows that linears read.
pub(super) fn find(cx: &Context<'_>) -> Findings {
    let mut findings = Findings::default();
    for (id, node) in cx.graph.iter() {
        let readers: Vec<Linear> =
            cx.readers(id).iter().filter_map(|reader| Linear::of(cx, *reader)).collect();
        if readers.is_empty() {
            continue;
        }
        if let Op::Composite(op @ (Composite::Standardize | Composite::LayerNorm), _) = node.op {
            let reason = format!(
                "{} centers: the product of rows that are not cancels where the mean is large",
                op.name()
            );
            findings.refuse(cx.graph, id, reason);
            continue;
        }
        let Some((x, scale)) = scaled(cx, id) else { continue };
        match obstacle(cx, id, scale, &readers) {
            Some(reason) => findings.refuse(cx.graph, id, reason),
            None => {
                findings.done(
                    cx.graph,
                    id,
                    format!("the row scale of {} behind {}", node.op.name(), cx.describe(readers[0].id)),
                );
                for linear in readers {
                    findings.replace(linear.id, Box::new(move |r| apply(r, &linear, x, scale)));
                }
            }
        }
    }
    findings
}

/// The value whose rows a node scales, and by what.
fn scaled(cx: &Context<'_>, id: NodeId) -> Option<(Value, Scale)> {
    let node = cx.node(id);
    let row = |place: usize| {
        let (x, r) = (node.inputs[1 - place], node.inputs[place]);
        let shape = padded_shape(&cx.graph.ty(r).shape, node.types[0].rank());
        let full = *cx.graph.ty(x) == node.types[0] && shape != node.types[0].shape;
        (full && !cx.is_fixed(r)).then_some((x, r))
    };
    match node.op {
        Op::Composite(Composite::RmsUnit, attrs) => {
            Some((node.inputs[0], Scale::Root(Composite::Rrms, attrs)))
        }
        Op::Composite(Composite::L2Norm, attrs) => {
            Some((node.inputs[0], Scale::Root(Composite::Rnorm, attrs)))
        }
        Op::Binary(Binary::Mul) => row(1).or_else(|| row(0)).map(|(x, r)| (x, Scale::Times(r))),
        Op::Binary(Binary::Div) => row(1).map(|(x, r)| (x, Scale::Over(r))),
        _ => None,
    }
}

/// Which side condition fails.
fn obstacle(cx: &Context<'_>, id: NodeId, scale: Scale, readers: &[Linear]) -> Option<String> {
    let data = &cx.node(id).types[0].shape;
    let shape = match scale {
        Scale::Root(_, attrs) => data.reduced(&attrs.axes),
        Scale::Times(r) | Scale::Over(r) => padded_shape(&cx.graph.ty(r).shape, data.rank()),
    };
    if let Some(linear) = readers.iter().find(|linear| linear.shape_over_rows(&shape).is_none()) {
        return Some(format!("its scale varies along axes that {} sums over", cx.describe(linear.id)));
    }
    if cx.is_output(id) {
        return Some(format!("it is {}", cx.describe_output(id)));
    }
    if let Some(other) = cx.readers(id).iter().find(|other| Linear::of(cx, **other).is_none()) {
        return Some(format!("it is also read by {}", cx.describe(*other)));
    }
    readers.iter().find_map(|linear| no_kernel(cx, linear))
}

/// Why no elementwise kernel can scale the rows of a product.
fn no_kernel(cx: &Context<'_>, linear: &Linear) -> Option<String> {
    if cx.is_output(linear.id) {
        return Some(format!(
            "{} is {}: no kernel follows",
            cx.describe(linear.id),
            cx.describe_output(linear.id)
        ));
    }
    let elementwise = |op: &Op| op.is_pointwise() || matches!(op, Op::Composite(..) | Op::Reduce(..));
    let other = cx.readers(linear.id).iter().find(|reader| !elementwise(&cx.node(**reader).op))?;
    Some(format!("{} is read by {}: no kernel between", cx.describe(linear.id), cx.describe(*other)))
}

fn apply(r: &mut Rebuild<'_>, linear: &Linear, x: Value, scale: Scale) -> Value {
    let (data, weight) = (r.at(x), r.at(linear.weight));
    let product = linear.product(r, data, weight);
    let factor = match scale {
        Scale::Root(op, attrs) => r.b.composite(op, &[data], attrs),
        Scale::Times(v) | Scale::Over(v) => {
            let rank = r.b.ty(data).rank();
            r.padded(v, rank)
        }
    };
    let shape = linear.shape_over_rows(&r.b.ty(factor).shape).expect("the factor fits");
    let factor = r.b.reshape(factor, &shape);
    match scale {
        Scale::Over(_) => r.b.div(product, factor),
        Scale::Root(..) | Scale::Times(_) => r.b.mul(product, factor),
    }
}
