//! A network of LayerNorms over a residual stream as one of RMSNorms.
//!
//! `LN(x) = RMS(x)` where every row of `x` has mean zero. A stream has it where everything that
//! is added to it has: linears whose weight and bias are centred over their outputs, tables
//! whose rows are, parameters that are. All readers of the stream must be norms (or the next
//! addition), because its values change. Source: Jiang et al. 2023, arXiv:2305.14858.

use super::Findings;
use super::context::Context;
use super::linear::Linear;
use super::rebuild::Rebuild;
use evenkeel_ir::{Attrs, Axes, Binary, Composite, Extent, NodeId, Op, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How a value of a stream comes about.
#[derive(Clone)]
enum Role {
    /// From values of the stream at these places; other operands stay.
    Inner(Vec<usize>),
    /// From a weight, centred along these of its axes.
    Product(Linear, Axes),
    /// From rows of a table.
    Table,
    /// Of mean zero already.
    Centered,
}

/// Values of one width that are zero-mean together.
#[derive(Default)]
struct Stream {
    roles: BTreeMap<NodeId, Role>,
    norms: BTreeSet<NodeId>,
}

/// Why a stream cannot be centred, and where.
type Obstacle = (NodeId, String);

/// Finds streams that only LayerNorms read.
pub(super) fn find(cx: &Context<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut done: BTreeSet<NodeId> = BTreeSet::new();
    for (id, _) in cx.graph.iter().filter(|(id, _)| layer_norm(cx, *id).is_some()) {
        if done.contains(&id) || cx.is_fixed(cx.node(id).inputs[0]) {
            continue;
        }
        match stream(cx, cx.node(id).inputs[0]) {
            Ok(stream) if stream.writers() > 0 => {
                let (norms, writers) = (stream.norms.len(), stream.writers());
                let what = format!(
                    "{norms} LayerNorms to RMSNorms by centring what {writers} linears and tables write"
                );
                findings.done(cx.graph, id, what);
                done.extend(&stream.norms);
                stream.apply(cx, &mut findings);
            }
            Ok(_) => {}
            Err((at, reason)) => findings.refuse(cx.graph, at, reason),
        }
    }
    findings
}

/// The attributes of a LayerNorm over the last axis.
fn layer_norm(cx: &Context<'_>, id: NodeId) -> Option<Attrs> {
    let node = cx.node(id);
    let Op::Composite(Composite::LayerNorm | Composite::Standardize, attrs) = node.op else { return None };
    let last = Axes::new([node.types[0].rank().checked_sub(1)?]);
    (attrs.axes == last && attrs.correction == 0 && !node.inputs[1..].contains(&node.inputs[0]))
        .then_some(attrs)
}

/// The last extent of a value.
fn width(cx: &Context<'_>, value: Value) -> Option<Extent> {
    cx.graph.ty(value).shape.0.last().copied()
}

/// Everything that must have mean zero together with a value.
fn stream(cx: &Context<'_>, start: Value) -> Result<Stream, Obstacle> {
    let mut stream = Stream::default();
    let mut pending = vec![start];
    while let Some(value) = pending.pop() {
        let id = value.node;
        if stream.roles.contains_key(&id) {
            continue;
        }
        let role = role(cx, value).map_err(|reason| (id, reason))?;
        if let Role::Inner(places) = &role {
            let operands = places.iter().map(|place| cx.node(id).inputs[*place]);
            pending.extend(operands.filter(|v| !cx.is_fixed(*v)));
        }
        let changes = !matches!(role, Role::Centered);
        stream.roles.insert(id, role);
        if changes {
            pending.extend(stream.read_by(cx, value)?);
        }
    }
    Ok(stream)
}

/// How a value can be centred, or why it cannot.
fn role(cx: &Context<'_>, value: Value) -> Result<Role, String> {
    let node = cx.node(value.node);
    let Some(last) = node.types[0].rank().checked_sub(1) else {
        return Err(format!("{} has no rows", node.op.name()));
    };
    match &node.op {
        Op::Binary(Binary::Add | Binary::Sub) => {
            let narrow = node.inputs.iter().any(|v| width(cx, *v) != width(cx, value));
            if narrow {
                Err("a shift of whole rows moves their mean".into())
            } else {
                Ok(Role::Inner(vec![0, 1]))
            }
        }
        Op::Binary(Binary::Mul | Binary::Div) => row_scaled(cx, value),
        Op::Unary(evenkeel_ir::Unary::Neg) => Ok(Role::Inner(vec![0])),
        Op::Reshape(_) | Op::Broadcast(_) if width(cx, node.inputs[0]) == width(cx, value) => {
            Ok(Role::Inner(vec![0]))
        }
        Op::Dot { .. } => match Linear::of(cx, value.node) {
            Some(linear) => {
                let axes = linear.weight_axes(Axes::new([last]));
                let axes = axes.ok_or("the product keeps the width of its data, not of its weight")?;
                Ok(Role::Product(linear, axes))
            }
            None => Err("a product whose weight is not a parameter cannot be centred".into()),
        },
        Op::Gather { axis } => table(cx, value, (*axis).into()),
        Op::Composite(Composite::Standardize | Composite::Center, attrs)
            if attrs.axes == Axes::new([last]) =>
        {
            Ok(Role::Centered)
        }
        Op::Composite(Composite::LayerNorm | Composite::RmsNorm | Composite::RmsUnit, _) => {
            Err("post-norm: the stream holds the result of a norm with a gain".into())
        }
        Op::Select => Err("elementwise dropout or selection does not keep the mean of a row".into()),
        Op::Input(index) => {
            Err(format!("input {} is data, which no weight centers", cx.graph.inputs()[*index as usize].name))
        }
        op => Err(format!("{} writes to the stream and cannot be centred", op.name())),
    }
}

/// Products with a factor per row keep a mean of zero.
fn row_scaled(cx: &Context<'_>, value: Value) -> Result<Role, String> {
    let node = cx.node(value.node);
    let per_row = |place: usize| width(cx, node.inputs[place]).is_none_or(|extent| extent.is_one());
    match node.op {
        _ if per_row(1) => Ok(Role::Inner(vec![0])),
        Op::Binary(Binary::Mul) if per_row(0) => Ok(Role::Inner(vec![1])),
        _ => Err("an elementwise factor does not keep the mean of a row".into()),
    }
}

fn table(cx: &Context<'_>, value: Value, axis: usize) -> Result<Role, String> {
    let table = cx.node(value.node).inputs[0];
    if !cx.is_fixed(table) {
        return Err("rows of a value that is not a parameter cannot be centred".into());
    }
    let keeps = axis + 1 < cx.graph.ty(table).rank();
    if keeps { Ok(Role::Table) } else { Err("the gathered axis is that of the norm".into()) }
}

impl Stream {
    /// How many weights and tables change.
    fn writers(&self) -> usize {
        self.roles.values().filter(|role| matches!(role, Role::Product(..) | Role::Table)).count()
    }

    /// Checks the readers of a value that changes; gives those that are of the stream as well.
    fn read_by(&mut self, cx: &Context<'_>, value: Value) -> Result<Vec<Value>, Obstacle> {
        if cx.is_output(value.node) {
            return Err((value.node, format!("the stream is {}", cx.describe_output(value.node))));
        }
        let mut inner = Vec::new();
        for &reader in cx.readers(value.node) {
            let node = cx.node(reader);
            let result = Value { node: reader, result: 0 };
            let passes = |role: Role| match role {
                Role::Inner(places) => {
                    node.inputs.iter().enumerate().all(|(i, v)| *v != value || places.contains(&i))
                }
                _ => false,
            };
            if layer_norm(cx, reader).is_some() && node.inputs[0] == value {
                self.norms.insert(reader);
            } else if role(cx, result).is_ok_and(passes) {
                inner.push(result);
            } else {
                let reason =
                    format!("the stream is also read by {}, which needs its mean", cx.describe(reader));
                return Err((value.node, reason));
            }
        }
        Ok(inner)
    }

    fn apply(self, cx: &Context<'_>, findings: &mut Findings) {
        for (id, role) in self.roles {
            match role {
                Role::Inner(places) => {
                    let fixed: Vec<bool> = cx
                        .node(id)
                        .inputs
                        .iter()
                        .enumerate()
                        .map(|(i, v)| places.contains(&i) && cx.is_fixed(*v))
                        .collect();
                    if fixed.contains(&true) {
                        findings.replace(id, Box::new(move |r| with_centered(r, id, &fixed)));
                    }
                }
                Role::Product(linear, axes) => findings.replace(
                    id,
                    Box::new(move |r| {
                        let (data, weight) = (r.at(linear.data), r.at(linear.weight));
                        let weight = r.b.composite(Composite::Center, &[weight], Attrs::over(axes));
                        linear.product(r, data, weight)
                    }),
                ),
                Role::Table => findings.replace(id, Box::new(move |r| with_centered(r, id, &[true, false]))),
                Role::Centered => {}
            }
        }
        self.norms.into_iter().for_each(|id| findings.replace(id, Box::new(move |r| rms(r, id))));
    }
}

/// The node with some operands centred along their last axis.
fn with_centered(r: &mut Rebuild<'_>, id: NodeId, which: &[bool]) -> Value {
    let node = r.graph.node(id).clone();
    let mut operands = Vec::new();
    for (v, center) in node.inputs.iter().zip(which) {
        let mut value = r.at(*v);
        if *center {
            let last = r.b.ty(value).rank() - 1;
            value = r.b.composite(Composite::Center, &[value], Attrs::over(Axes::new([last])));
        }
        operands.push(value);
    }
    r.b.op(node.op, &operands)
}

/// The RMSNorm of a LayerNorm.
fn rms(r: &mut Rebuild<'_>, id: NodeId) -> Value {
    let node = r.graph.node(id).clone();
    let Op::Composite(op, attrs) = node.op else { unreachable!("a norm is a composite") };
    let operands: Vec<Value> = node.inputs.iter().map(|v| r.at(*v)).collect();
    if op == Composite::Standardize {
        return r.b.composite(Composite::RmsUnit, &operands, attrs);
    }
    let scaled = r.b.composite(Composite::RmsNorm, &operands[..2], attrs);
    r.b.add(scaled, operands[2])
}
