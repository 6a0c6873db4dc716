//! Scales and shifts by parameters into the linears after them: gain and bias of a norm,
//! standardized inputs, BatchNorm in use before a linear.
//!
//! `(gain u + bias) W^T = u (gain W)^T + W bias`, where gain varies along the summed axes only
//! and every reader is a linear. The unit norm that is left is one value for all readers, so
//! norms of one input with different gains share it, and the gradients of gain and bias come from
//! that of the weight: with `P = dy^T u`, `dW = gain P` and `dgain = sum_out W P`.

use super::Findings;
use super::affine::{Affine, Step};
use super::context::Context;
use super::linear::Linear;
use super::rebuild::{Rebuild, padded_shape, to_rank, trimmed_shape};
use evenkeel_ir::{Attrs, Binary, Composite, NodeId, Op, Shape, Value};

/// What is scaled and shifted.
#[derive(Clone, Copy)]
enum Source {
    Value(Value),
    /// A norm without gain and bias.
    Unit(Composite, Attrs, Value),
}

/// A value that is `steps` of a source.
#[derive(Clone)]
struct Scaled {
    source: Source,
    steps: Vec<Step>,
}

/// Finds values whose readers are all linears.
pub(super) fn find(cx: &Context<'_>) -> Findings {
    let mut findings = Findings::default();
    for (id, node) in cx.graph.iter() {
        let readers: Vec<Linear> =
            cx.readers(id).iter().filter_map(|reader| Linear::of(cx, *reader)).collect();
        if readers.is_empty() || cx.is_fixed(Value { node: id, result: 0 }) {
            continue;
        }
        if let Some(reason) = varying_gain(cx, id, &readers[0]) {
            findings.refuse(cx.graph, id, reason);
            continue;
        }
        let Some(scaled) = scaled(cx, id) else { continue };
        match obstacle(cx, id, &scaled, &readers) {
            Some(reason) => findings.refuse(cx.graph, id, reason),
            None => {
                let into: Vec<String> = readers.iter().map(|linear| cx.describe(linear.id)).collect();
                let what = format!("scale and shift of {} into {}", node.op.name(), into.join(", "));
                findings.done(cx.graph, id, what);
                for linear in readers {
                    let scaled = scaled.clone();
                    findings.replace(linear.id, Box::new(move |r| scaled.apply(r, &linear)));
                }
            }
        }
    }
    findings
}

/// The unit norm behind a norm whose gain and bias are parameters.
fn unit(cx: &Context<'_>, id: NodeId) -> Option<Scaled> {
    let node = cx.node(id);
    let Op::Composite(op, attrs) = node.op else { return None };
    let unit = match op {
        Composite::LayerNorm => Composite::Standardize,
        Composite::RmsNorm => Composite::RmsUnit,
        _ => return None,
    };
    let affine: Option<Vec<Value>> = node.inputs[1..].iter().map(|v| cx.fixed(*v)).collect();
    let affine = affine?;
    let mut steps = vec![Step::Mul(affine[0])];
    steps.extend(affine.get(1).map(|bias| Step::Add(*bias)));
    Some(Scaled { source: Source::Unit(unit, attrs, node.inputs[0]), steps })
}

/// The scaled value that a node is; none where nothing scales it.
fn scaled(cx: &Context<'_>, id: NodeId) -> Option<Scaled> {
    let mut steps = Vec::new();
    let mut at = Value { node: id, result: 0 };
    let (source, first) = loop {
        let own = at.node == id || cx.only_reader(at.node).is_some();
        match (unit(cx, at.node), Step::back(cx, at.node)) {
            (Some(unit), _) if own => break (unit.source, unit.steps),
            (_, Some((step, from))) if own => {
                steps.push(step);
                at = from;
            }
            _ => break (Source::Value(at), Vec::new()),
        }
    };
    let steps: Vec<Step> = first.into_iter().chain(steps.into_iter().rev()).collect();
    let scales = steps.iter().any(|step| !step.is_shift());
    scales.then_some(Scaled { source, steps })
}

/// Why a gain cannot move, if it is not a parameter.
fn varying_gain(cx: &Context<'_>, id: NodeId, reader: &Linear) -> Option<String> {
    let node = cx.node(id);
    let per_feature = |v: &&Value| {
        let shape = padded_shape(&cx.graph.ty(**v).shape, node.types[0].rank());
        shape != node.types[0].shape && reader.shape_over_inputs(&shape).is_some()
    };
    let varying = |v: &&Value| cx.fixed(**v).is_none();
    let gain = match node.op {
        Op::Composite(Composite::LayerNorm | Composite::RmsNorm, _) => node.inputs[1..].iter().find(varying),
        Op::Binary(Binary::Mul | Binary::Div) => node.inputs.iter().filter(varying).find(per_feature),
        _ => None,
    };
    gain.map(|gain| format!("its gain or bias depends on {}", cx.data_behind(*gain)))
}

/// Which side condition fails.
fn obstacle(cx: &Context<'_>, id: NodeId, scaled: &Scaled, readers: &[Linear]) -> Option<String> {
    if cx.is_output(id) {
        return Some(format!("it is {}", cx.describe_output(id)));
    }
    if let Some(other) = cx.readers(id).iter().find(|other| Linear::of(cx, **other).is_none()) {
        let needs = match cx.node(*other).op {
            Op::Dot { .. } => "whose other operand is not a parameter",
            _ => "which needs its scale",
        };
        return Some(format!("it is also read by {}, {needs}", cx.describe(*other)));
    }
    readers.iter().find_map(|linear| unfit(cx, id, scaled, linear))
}

fn unfit(cx: &Context<'_>, id: NodeId, scaled: &Scaled, linear: &Linear) -> Option<String> {
    if linear.is_batched() {
        return Some(format!("{} has a weight per batch entry", cx.describe(linear.id)));
    }
    let rank = cx.node(id).types[0].rank();
    let fits = |p: Value| linear.shape_over_inputs(&padded_shape(&cx.graph.ty(p).shape, rank)).is_some();
    let factors = scaled.steps.iter().filter_map(|step| step.factor());
    let wrong = factors.into_iter().any(|p| !fits(p));
    wrong.then(|| format!("its scale varies along axes that {} does not sum over", cx.describe(linear.id)))
}

impl Scaled {
    /// The product with the scale in its weight, plus the product of the shift.
    fn apply(&self, r: &mut Rebuild<'_>, linear: &Linear) -> Value {
        let data = match self.source {
            Source::Value(value) => r.at(value),
            Source::Unit(op, attrs, x) => {
                let x = r.at(x);
                r.b.composite(op, &[x], attrs)
            }
        };
        let rank = r.b.ty(data).rank();
        let Affine { scale, shift } = Affine::of(r, &self.steps, linear.weight);
        let weight = r.at(linear.weight);
        let folded = match scale {
            Some(scale) => {
                let shape = linear
                    .shape_over_inputs(&padded_shape(&r.b.ty(scale).shape, rank))
                    .expect("each factor fits");
                let scale = r.b.reshape(scale, &shape);
                r.b.mul(weight, scale)
            }
            None => weight,
        };
        let product = linear.product(r, data, folded);
        let Some(shift) = shift else { return product };
        let full = stretched(&r.b.ty(shift).shape, &r.b.ty(data).shape, linear);
        let shift = r.b.broadcast(shift, &full);
        let moved = linear.product(r, shift, weight);
        let rank = trimmed_shape(&r.b.ty(moved).shape).rank();
        let moved = to_rank(&mut r.b, moved, rank);
        r.b.add(product, moved)
    }
}

/// The shape of a shift along all summed axes of the data.
fn stretched(shift: &Shape, data: &Shape, linear: &Linear) -> Shape {
    let mut shape = padded_shape(shift, data.rank());
    linear.data_axes().iter().for_each(|axis| shape.0[axis] = data[axis]);
    shape
}
