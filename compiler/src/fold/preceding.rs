//! Scales and shifts by parameters into the linear before them: BatchNorm with running
//! statistics, Unified Norm in use, LayerScale, SkipInit.
//!
//! `scale * (x W^T + b) + shift = x (scale W)^T + (scale b + shift)`. Scale varies along axes of
//! the weight only, and nothing else reads what is between.

use super::Findings;
use super::affine::{Affine, Step};
use super::context::Context;
use super::linear::Linear;
use super::rebuild::{Rebuild, padded_shape};
use evenkeel_ir::{Axes, Composite, NodeId, Op, Value};

/// A product and the steps after it.
struct Chain {
    linear: Linear,
    steps: Vec<Step>,
    end: NodeId,
}

/// Finds linears followed by parameters.
pub(super) fn find(cx: &Context<'_>) -> Findings {
    let mut findings = Findings::default();
    let ids: Vec<NodeId> = cx.graph.iter().map(|(id, _)| id).collect();
    for linear in ids.into_iter().filter_map(|id| Linear::of(cx, id)) {
        let chain = walk(cx, linear, &mut findings);
        let shifts = chain.steps.iter().filter(|step| step.is_shift()).count();
        if shifts < chain.steps.len() || shifts > 1 {
            let ops = names(cx, &chain);
            findings.done(
                cx.graph,
                chain.end,
                format!("{ops} into the weight and bias of {}", cx.describe(chain.linear.id)),
            );
            findings.replace(chain.end, Box::new(move |r| chain.apply(r)));
        }
    }
    findings
}

/// Follows a product as far as parameters scale and shift it.
fn walk(cx: &Context<'_>, linear: Linear, findings: &mut Findings) -> Chain {
    let mut chain = Chain { end: linear.id, linear, steps: Vec::new() };
    let reason = loop {
        let Some(next) = cx.only_reader(chain.end) else { break shared(cx, &chain) };
        let value = Value { node: chain.end, result: 0 };
        let Some(step) = Step::of(cx, next, value) else { break varying(cx, &chain.linear, next, value) };
        if !fits(cx, &chain.linear, step) {
            break Some(format!("{} varies along axes that the weight lacks", cx.describe(next)));
        }
        chain.steps.push(step);
        chain.end = next;
    };
    if let Some(reason) = reason {
        findings.refuse(cx.graph, chain.linear.id, reason);
    }
    chain
}

/// May the factor of a step move into the weight?
fn fits(cx: &Context<'_>, linear: &Linear, step: Step) -> bool {
    let rank = cx.node(linear.id).types[0].rank();
    let shape = step.factor().map(|p| padded_shape(&cx.graph.ty(p).shape, rank));
    shape.is_none_or(|shape| linear.shape_over_outputs(&shape).is_some())
}

/// Why a chain ends at a value that several nodes read, if one of them would continue it.
fn shared(cx: &Context<'_>, chain: &Chain) -> Option<String> {
    let value = Value { node: chain.end, result: 0 };
    let scales = |id: &&NodeId| {
        Step::of(cx, **id, value).is_some_and(|step| !step.is_shift() && fits(cx, &chain.linear, step))
    };
    let reader = cx.readers(chain.end).iter().find(scales)?;
    let other = cx.other_reader(chain.end, Some(*reader))?;
    Some(format!("{} needs the product to itself, but {other}", cx.describe(*reader)))
}

/// Why a scale that looks constant is not.
fn varying(cx: &Context<'_>, linear: &Linear, next: NodeId, value: Value) -> Option<String> {
    let node = cx.node(next);
    match &node.op {
        Op::Composite(Composite::LayerNorm | Composite::Standardize, attrs) => {
            let own = linear.result_axes();
            let of_batch = node.inputs[0] == value && disjoint(attrs.axes, own);
            of_batch
                .then(|| format!("the statistics of {} are of the batch, not constants", cx.describe(next)))
        }
        Op::Binary(_) => {
            let other = *node.inputs.iter().find(|v| **v != value && !cx.is_fixed(**v))?;
            let shape = padded_shape(&cx.graph.ty(other).shape, node.types[0].rank());
            let constant = shape != node.types[0].shape && linear.shape_over_outputs(&shape).is_some();
            constant.then(|| format!("{} depends on {}", cx.describe(next), cx.data_behind(other)))
        }
        _ => None,
    }
}

fn disjoint(a: Axes, b: Axes) -> bool {
    a.mask() & b.mask() == 0
}

/// `sub, mul, add`
fn names(cx: &Context<'_>, chain: &Chain) -> String {
    let mut names = Vec::new();
    let mut at = chain.linear.id;
    while at != chain.end {
        at = cx.only_reader(at).expect("a chain has single readers");
        names.push(cx.node(at).op.name());
    }
    names.join(", ")
}

impl Chain {
    /// The product with the steps in its weight, plus what they add.
    fn apply(&self, r: &mut Rebuild<'_>) -> Value {
        let Chain { linear, steps, .. } = self;
        let rank = r.graph.node(linear.id).types[0].rank();
        let Affine { scale, shift } = Affine::of(r, steps, linear.weight);
        let (data, mut weight) = (r.at(linear.data), r.at(linear.weight));
        if let Some(scale) = scale {
            let shape = linear
                .shape_over_outputs(&padded_shape(&r.b.ty(scale).shape, rank))
                .expect("each factor fits");
            let scale = r.b.reshape(scale, &shape);
            weight = r.b.mul(weight, scale);
        }
        let product = linear.product(r, data, weight);
        shift.map_or(product, |shift| r.b.add(product, shift))
    }
}
