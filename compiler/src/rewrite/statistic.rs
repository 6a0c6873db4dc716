//! Proposes composites for nodes whose cone contains a reduction.
//!
//! Each reduction names axes and an argument; the argument or what it is made of is a candidate
//! `x`, each constant that is added or clamped with is a candidate eps. The normal form decides.

use super::cone::{Cone, Constants, Cut};
use super::constants::number;
use super::normal::Number;
use evenkeel_ir::op::{Attr, Attrs, Binary, Composite, EpsKind, Unary};
use evenkeel_ir::{Axes, Graph, Node, Op, Value};
use std::ops::Mul;

/// The most cuts that are tried for one node.
const CUTS: usize = 6;
/// The most ops of a spelling.
const LONGEST: usize = 28;
/// The most values of eps that are tried for one cut.
const EPSILONS: usize = 6;

/// A cut and the axes to try with it.
pub(crate) struct Site {
    /// The operand.
    pub(crate) x: Value,
    /// The axes of the statistic.
    pub(crate) axes: Axes,
    /// Other candidates with these axes and the shape of `x`.
    others: Vec<Value>,
}

/// A composite that a root may be, times a gain if there is one.
#[derive(Clone)]
pub(crate) struct Proposal {
    pub(crate) op: Composite,
    pub(crate) attrs: Attrs,
    pub(crate) operands: Vec<Value>,
    pub(crate) gain: Option<Value>,
}

/// Operands and axes worth trying with their cuts, the largest function first.
///
/// A composite has one operand of the shape of its index space; the others are smaller. So a
/// cut with a neighbor of the shape of `x` is no composite of `x`.
pub(crate) fn sites(graph: &Graph, constants: &Constants, cone: &Cone) -> Vec<(Site, Cut)> {
    let all = candidates(graph, cone).into_iter().filter_map(|site| {
        let cut = cone.cut(graph, constants, site.x)?;
        let other = |v: &Value| graph.ty(*v).shape != graph.ty(site.x).shape;
        (cut.between.len() <= LONGEST && cut.beside.iter().all(other)).then_some((site, cut))
    });
    all.take(CUTS).collect()
}

fn candidates(graph: &Graph, cone: &Cone) -> Vec<Site> {
    let mut arguments: Vec<(Value, Axes)> = Vec::new();
    for node in cone.nodes.iter().map(|id| graph.node(*id)) {
        let Some(axes) = axes_of(node) else { continue };
        let shape = &graph.ty(node.inputs[0]).shape;
        let axes = Axes::new(axes.iter().filter(|axis| !shape[*axis].is_one()));
        arguments.push((node.inputs[0], axes));
        for inner in pieces(graph, node.inputs[0]) {
            arguments.push((inner, axes));
        }
    }
    let mut sets: Vec<Axes> = arguments.iter().map(|(_, axes)| *axes).collect();
    sets.sort();
    sets.dedup();
    if sets.len() > 1 {
        let union = sets.iter().fold(0, |mask, axes| mask | axes.mask());
        arguments.extend(arguments.clone().into_iter().map(|(x, _)| (x, Axes::from_mask(union))));
    }
    arguments.sort();
    arguments.dedup();
    let fits = |(x, axes): &(Value, Axes)| {
        let ty = graph.ty(*x);
        let varies = |axis: usize| axis < ty.rank() && !ty.shape[axis].is_one();
        ty.dtype.is_float() && !axes.is_empty() && axes.iter().all(varies)
    };
    arguments.retain(fits);
    let alike = |x: Value, axes: Axes| {
        let same = |(y, other): &&(Value, Axes)| *y != x && *other == axes && graph.ty(*y) == graph.ty(x);
        arguments.iter().filter(same).map(|(y, _)| *y).collect()
    };
    arguments.iter().map(|&(x, axes)| Site { x, axes, others: alike(x, axes) }).collect()
}

/// The axes of a reduction or of a named statistic.
fn axes_of(node: &Node) -> Option<Axes> {
    match &node.op {
        Op::Reduce(_, axes) => Some(*axes),
        Op::Composite(op, attrs) if *op != Composite::ArgMax => Some(attrs.axes),
        _ => None,
    }
}

/// Values that an argument of a reduction is made of, two levels deep, of the same shape.
fn pieces(graph: &Graph, argument: Value) -> Vec<Value> {
    let operands = |value: Value| {
        let node = graph.node(value.node);
        let inner = matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Composite(..));
        if inner { node.inputs.to_vec() } else { Vec::new() }
    };
    let mut found = operands(argument);
    let deeper: Vec<Value> = found.iter().flat_map(|v| operands(*v)).collect();
    found.extend(deeper);
    found.retain(|v| graph.ty(*v).shape == graph.ty(argument).shape);
    found
}

/// Composites that the root may be, with their operands, in the order to try: those of the cut,
/// or (`beyond`) norms of functions of it, whose statistic may be that of the cut.
pub(crate) fn proposals(
    graph: &Graph,
    constants: &Constants,
    cone: &Cone,
    (site, cut): (&Site, &Cut),
    beyond: bool,
) -> Vec<Proposal> {
    let root = Value { node: cone.root, result: 0 };
    let (ty, x) = (graph.ty(root), graph.ty(site.x));
    let reduced = x.shape.reduced(&site.axes);
    if !cut.between.iter().all(|id| may_spell(&graph.node(*id).op)) {
        return Vec::new();
    }
    let features = Features::of(graph, constants, cut, site);
    let mut found = Vec::new();
    for &op in Composite::ALL {
        let one_per_row = ONE_PER_ROW.contains(&op);
        let fits =
            ty.dtype == x.dtype && ty.shape == if one_per_row { reduced.clone() } else { x.shape.clone() };
        if !fits || !features.allow(op) || (beyond && (one_per_row || !features.root)) {
            continue;
        }
        let inner = |v: &&Value| cut.between.contains(&v.node) && v.node != cone.root;
        let arguments: Vec<Value> =
            if beyond { site.others.iter().filter(inner).copied().collect() } else { vec![site.x] };
        for operands in arguments.iter().flat_map(|x| operands(op, *x, &cut.beside)) {
            for attrs in attributes(op, site, &features, || epsilons(graph, constants, cut, site)) {
                found.push(Proposal { op, attrs, operands: operands.clone(), gain: None });
            }
        }
    }
    found.extend(scaled(&found, &features, &cut.beside));
    // the most specific first, and of one op the plain divisor first
    found.sort_by_key(|p| (usize::MAX - p.operands.len(), p.gain.is_some(), p.attrs.correction, p.op));
    found
}

/// The inverse root whose form is part of that of a norm.
pub(crate) fn part_of(op: Composite) -> Option<Composite> {
    match op {
        Composite::Standardize | Composite::LayerNorm => Some(Composite::Rstd),
        Composite::RmsUnit | Composite::RmsNorm => Some(Composite::Rrms),
        Composite::L2Norm => Some(Composite::Rnorm),
        _ => None,
    }
}

/// Norms without a gain of their own, times the one neighbor.
fn scaled(plain: &[Proposal], features: &Features, beside: &[Value]) -> Vec<Proposal> {
    let [gain] = beside else { return Vec::new() };
    let norms = plain.iter().filter(|p| p.operands.len() == 1 && features.root);
    norms.map(|p| Proposal { gain: Some(*gain), ..p.clone() }).collect()
}

/// Ops that spellings of composites are made of.
fn may_spell(op: &Op) -> bool {
    match op {
        Op::Unary(op) => SPELLING.contains(op),
        Op::Binary(op) => !op.def().gives_bool,
        Op::Reduce(..) | Op::Broadcast(_) | Op::Reshape(_) | Op::StopGradient => true,
        Op::Composite(op, _) => *op != Composite::ArgMax,
        _ => false,
    }
}

const SPELLING: [Unary; 11] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Square,
    Unary::Sqrt,
    Unary::Rsqrt,
    Unary::Recip,
    Unary::Exp,
    Unary::Expm1,
    Unary::Log,
    Unary::Log1p,
    Unary::Relu,
];

const ONE_PER_ROW: [Composite; 6] = [
    Composite::Mean,
    Composite::Var,
    Composite::Rstd,
    Composite::Rrms,
    Composite::Rnorm,
    Composite::LogSumExp,
];

/// What occurs between a cut and the root.
struct Features {
    exponential: bool,
    root: bool,
    square: bool,
    /// A divisor may be n - 1.
    unbiased: bool,
}

impl Features {
    fn of(graph: &Graph, constants: &Constants, cut: &Cut, site: &Site) -> Features {
        let mut features = Features { exponential: false, root: false, square: false, unbiased: false };
        let count = graph.ty(site.x).shape.extent_of(&site.axes).known();
        for id in &cut.between {
            let inputs = graph.node(*id).inputs.iter();
            let numbers = inputs.filter(|v| constants.contains(v.node));
            features.unbiased |= numbers.into_iter().any(|v| may_be_unbiased(graph, *v, count));
            match &graph.node(*id).op {
                Op::Unary(Unary::Exp) => features.exponential = true,
                Op::Unary(Unary::Sqrt | Unary::Rsqrt) => features.root = true,
                Op::Unary(Unary::Square) | Op::Binary(Binary::Mul) => features.square = true,
                Op::Binary(Binary::Pow) => (features.root, features.square) = (true, true),
                Op::Composite(op, attrs) => {
                    features.unbiased |= attrs.correction != 0;
                    features.exponential |= !op.def().attrs.contains(&Attr::Eps) && SOFT.contains(op);
                    features.root |= op.def().attrs.contains(&Attr::Eps);
                    features.square |= op.def().attrs.len() > 1;
                }
                _ => {}
            }
        }
        features
    }

    fn allow(&self, op: Composite) -> bool {
        match op {
            Composite::ArgMax | Composite::FixedNorm => false,
            _ if SOFT.contains(&op) => self.exponential,
            Composite::Mean | Composite::Center => !self.exponential && !self.root,
            Composite::Var => !self.exponential && !self.root && self.square,
            _ => !self.exponential && self.root && self.square,
        }
    }
}

/// True for constants that may be `n - 1`, `1 / (n - 1)` or `n / (n - 1)`, and for those computed
/// from others.
fn may_be_unbiased(graph: &Graph, constant: Value, count: Option<u64>) -> bool {
    let (Op::Const(number, _), Some(count)) = (graph.op(constant), count) else {
        return !matches!(graph.op(constant), Op::Const(..) | Op::Size(..));
    };
    let (x, n) = (number.get(), count as f64);
    [n - 1.0, 1.0 / (n - 1.0), n / (n - 1.0)].iter().any(|y| (x / y - 1.0).abs() < 1e-6)
}

const SOFT: [Composite; 3] = [Composite::Softmax, Composite::LogSoftmax, Composite::LogSumExp];

/// Ways to choose the operands beside `x`.
fn operands(op: Composite, x: Value, beside: &[Value]) -> Vec<Vec<Value>> {
    match op.def().inputs.len() {
        1 => vec![vec![x]],
        count if beside.len() > count => vec![],
        2 => beside.iter().map(|&gain| vec![x, gain]).collect(),
        _ => {
            let pairs = beside.iter().flat_map(|&gain| beside.iter().map(move |&bias| (gain, bias)));
            pairs
                .filter(|(gain, bias)| gain != bias || beside.len() == 1)
                .map(|(gain, bias)| vec![x, gain, bias])
                .collect()
        }
    }
}

fn attributes(
    op: Composite,
    site: &Site,
    features: &Features,
    epsilons: impl Fn() -> Vec<(f64, EpsKind)>,
) -> Vec<Attrs> {
    let base = Attrs::over(site.axes);
    let reads = |attr: Attr| op.def().attrs.contains(&attr);
    let with_eps: Vec<Attrs> = if reads(Attr::Eps) && features.root {
        epsilons().into_iter().map(|(eps, kind)| base.eps(eps, kind)).collect()
    } else {
        vec![base]
    };
    let corrections: &[u8] = if reads(Attr::Correction) && features.unbiased { &[0, 1] } else { &[0] };
    corrections.iter().flat_map(|c| with_eps.iter().map(|attrs| attrs.correction(*c))).collect()
}

/// Candidates for eps: constants that are added, as they are and per element; those of maxima;
/// those of statistics that were recognized before; and none.
fn epsilons(graph: &Graph, constants: &Constants, cut: &Cut, site: &Site) -> Vec<(f64, EpsKind)> {
    let mut found: Vec<(f64, EpsKind)> = Vec::new();
    let mut add = |eps: f64, kind| {
        if eps > 0.0 && !found.contains(&(eps, kind)) {
            found.push((eps, kind));
        }
    };
    let count = graph.ty(site.x).shape.extent_of(&site.axes).known();
    for node in cut.between.iter().map(|id| graph.node(*id)) {
        if let Op::Composite(_, attrs) = &node.op {
            add(attrs.eps.get(), attrs.eps_kind);
        }
        let Op::Binary(op) = &node.op else { continue };
        for eps in node.inputs.iter().filter(|v| constants.contains(v.node)).filter_map(|v| scalar(graph, *v))
        {
            match op {
                Binary::Add | Binary::Sub if eps < 1.0 || count.is_some() => {
                    add(eps, EpsKind::Inside);
                    add(eps, EpsKind::Outside);
                    for scaled in count.iter().flat_map(|n| per_element(eps, *n, graph.ty(site.x).dtype)) {
                        add(scaled, EpsKind::Inside);
                    }
                }
                Binary::Max => {
                    add(eps, EpsKind::Clamp);
                    add(shortest(eps.sqrt()), EpsKind::Clamp);
                }
                _ => {}
            }
        }
    }
    found.truncate(EPSILONS);
    found.push((0.0, EpsKind::Inside));
    found
}

fn per_element(eps: f64, count: u64, dtype: evenkeel_ir::DType) -> [f64; 2] {
    let (eps, count) = (number(eps, dtype), Number::int(count.into()));
    [eps.mul(count.recip()).value(), eps.mul(count).value()]
}

/// The number with the fewest digits that an f32 tells from its neighbors.
fn shortest(x: f64) -> f64 {
    format!("{:e}", x as f32).parse().unwrap_or(x)
}

fn scalar(graph: &Graph, value: Value) -> Option<f64> {
    match graph.op(value) {
        Op::Const(number, _) => Some(number.get()),
        _ => None,
    }
}
