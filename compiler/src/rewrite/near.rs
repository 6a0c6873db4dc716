//! Spellings that are almost a named op, and what differs: for `explain` only.
//!
//! A root that no op was recognized in is evaluated on a few numbers. An op within [`NEAR`] of it
//! is reported; where exchanging one constant makes the two equal, that constant is named.
//! Evaluation proves nothing, so nothing is rewritten here. Start at [`near_misses`].

use super::activation::{self, Function};
use super::cone::{Cone, Constants, Cut};
use super::details::place_of;
use super::found::{describe, is_named};
use super::reader::has_algebra;
use super::statistic::{self, Proposal, Site};
use evenkeel_ir::eval::eval_at;
use evenkeel_ir::op::Binary;
use evenkeel_ir::{Graph, GraphBuilder, Literal, NodeId, Op, Place, Real, Value};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::fmt;

/// How far the values of a near miss may be apart, relative to the largest.
const NEAR: f64 = 1e-2;
/// The same where one constant makes the difference.
const EXPLAINED: f64 = 0.1;
/// How far values that are equal up to rounding may be apart.
const EQUAL: f64 = 1e-7;
/// The batch size of evaluation.
const BATCH: u64 = 3;
/// The largest value that is evaluated.
const LARGEST: u64 = 1 << 16;
/// The most ops that a spelling is compared with.
const PROPOSALS: usize = 48;

/// A spelling that is almost a named op.
#[derive(Clone, Debug, PartialEq)]
pub struct NearMiss {
    /// The op with its attributes.
    pub what: String,
    /// What differs.
    pub why: String,
    /// Where the last op of the spelling was written.
    pub place: Option<Place>,
}

impl fmt::Display for NearMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "almost {}", self.what)?;
        self.place.iter().try_for_each(|place| write!(f, " at {place}"))?;
        write!(f, ": {}", self.why)
    }
}

/// Near misses of a graph in terms of named ops, in order.
pub(crate) fn near_misses(graph: &Graph) -> Vec<NearMiss> {
    let mut constants = Constants::default();
    constants.update(graph);
    let mut found: Vec<(NodeId, NearMiss)> = Vec::new();
    let mut covered: HashSet<NodeId> = HashSet::default();
    for (id, node) in graph.iter().rev() {
        let empty = node.types[0].shape.elements().known() == Some(0);
        let plain = has_algebra(graph, node) && !is_named(&node.op) && !constants.contains(id) && !empty;
        if !plain || covered.contains(&id) {
            continue;
        }
        let cone = Cone::above(graph, &constants, id);
        let near = of_element(graph, &constants, &cone).or_else(|| of_rows(graph, &constants, &cone));
        if let Some((what, why, between)) = near {
            covered.extend(between);
            found.push((id, NearMiss { what, why, place: graph.provenance(id).place }));
        }
    }
    found.sort_by_key(|(id, _)| *id);
    found.into_iter().map(|(_, near)| near).collect()
}

/// What it almost is, what differs, and its nodes.
type Near = (String, String, Vec<NodeId>);

/// The largest difference, relative to the largest value; none where one is not finite.
fn difference(a: &[f64], b: &[f64]) -> Option<f64> {
    let largest = a.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
    let differences = a.iter().zip(b).map(|(x, y)| (x - y).abs() / largest);
    let worst = differences.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
    worst.is_finite().then_some(worst)
}

/// Constants that some nodes read, with a node that does.
fn constants_of(graph: &Graph, between: &[NodeId]) -> Vec<(NodeId, f64, NodeId)> {
    let mut found: Vec<(NodeId, f64, NodeId)> = Vec::new();
    for &id in between {
        for input in &graph.node(id).inputs {
            if let Op::Const(number, _) = graph.op(*input)
                && !found.iter().any(|(known, ..)| *known == input.node)
            {
                found.push((input.node, number.get(), id));
            }
        }
    }
    found
}

/// `constant 1.7 of mul at f.ek:3:5 instead of 1.702`
fn exchanged(graph: &Graph, (reader, found): (NodeId, f64), wanted: f64) -> String {
    let reader = place_of(graph, Value { node: reader, result: 0 });
    match wanted {
        0.0 => format!("it adds {found:?} in {reader}, where the op adds nothing"),
        _ => format!("constant {found:?} of {reader} instead of {wanted:?}"),
    }
}

fn apart(difference: f64) -> String {
    format!("values differ by up to {difference:.0e} of the largest")
}

/// A named function of one element.
fn of_element(graph: &Graph, constants: &Constants, cone: &Cone) -> Option<Near> {
    let root = Value { node: cone.root, result: 0 };
    for &x in cone.gates.iter().rev().filter(|x| graph.ty(**x) == graph.ty(root)) {
        let Some(cut) = cone.cut(graph, constants, x).filter(|cut| cut.beside.is_empty()) else { continue };
        let Some(values) = activation::samples(graph, &cut.between, x, None) else { continue };
        let mut near: Vec<(f64, Function)> = activation::named_rows()
            .filter_map(|function| Some((difference(&function.samples(), &values)?, function)))
            .filter(|(difference, function)| {
                *difference < EXPLAINED && !function.is_among(graph, &cut.between)
            })
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        near.retain(|(difference, _)| *difference > EQUAL);
        let explained = |(_, function): &(f64, Function)| {
            Some((function.to_string(), element_why(graph, &cut, x, *function)?))
        };
        let nearest = || near.first().filter(|(difference, _)| *difference < NEAR);
        let closest = || nearest().map(|(difference, function)| (function.to_string(), apart(*difference)));
        if let Some((what, why)) = near.iter().find_map(explained).or_else(closest) {
            return Some((what, why, cut.between));
        }
    }
    None
}

/// The constant that makes the difference.
fn element_why(graph: &Graph, cut: &Cut, x: Value, function: Function) -> Option<String> {
    let wanted = function.numbers(graph.ty(x).dtype);
    constants_of(graph, &cut.between).into_iter().find_map(|(constant, found, reader)| {
        let close = wanted.iter().filter(|wanted| (found / **wanted - 1.0).abs() < 0.1);
        let fits = |wanted: &&f64| {
            let values = activation::samples(graph, &cut.between, x, Some((constant, **wanted)));
            values.and_then(|values| difference(&function.samples(), &values)).is_some_and(|d| d < EQUAL)
        };
        close.copied().find(|wanted| fits(&wanted)).map(|wanted| exchanged(graph, (reader, found), wanted))
    })
}

/// A named composite.
fn of_rows(graph: &Graph, constants: &Constants, cone: &Cone) -> Option<Near> {
    statistic::sites(graph, constants, cone).iter().find_map(|site| {
        let trial = Trial { graph, constants, root: cone.root, site: &site.0, cut: &site.1 };
        let mut proposals = statistic::proposals(graph, constants, cone, (&site.0, &site.1), false);
        proposals.retain(|p| !trial.has(p));
        proposals.truncate(PROPOSALS);
        let spelled = trial.spelled(None)?;
        let mut near: Vec<(f64, &Proposal)> = proposals
            .iter()
            .filter_map(|p| Some((difference(&spelled, &trial.named(p)?)?, p)))
            .filter(|(difference, _)| *difference < EXPLAINED)
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let explained = near.iter().find_map(|(_, p)| Some((*p, trial.why(p)?)));
        let (proposal, why) = explained.or_else(|| {
            let (least, nearest) = near.first().filter(|(difference, _)| *difference < NEAR)?;
            let why = if *least < EQUAL { "equal on samples, but not proved".into() } else { apart(*least) };
            Some((*nearest, why))
        })?;
        let what = describe(&Op::Composite(proposal.op, proposal.attrs))?;
        Some((what, why, site.1.between.clone()))
    })
}

/// A spelling that is evaluated.
struct Trial<'g> {
    graph: &'g Graph,
    constants: &'g Constants,
    root: NodeId,
    site: &'g Site,
    cut: &'g Cut,
}

impl Trial<'_> {
    /// True where the spelling is a function of this op already.
    fn has(&self, proposal: &Proposal) -> bool {
        let is_it =
            |id: &NodeId| matches!(self.graph.node(*id).op, Op::Composite(op, _) if op == proposal.op);
        self.cut.between.iter().any(is_it)
    }

    fn operands(&self) -> Vec<Value> {
        std::iter::once(self.site.x).chain(self.cut.beside.iter().copied()).collect()
    }

    /// Fixed numbers: those of `x` are spread around 0.7, the others lie between 0.5 and 1.5.
    fn numbers(&self) -> Option<Vec<Literal>> {
        let number = |seed: usize, i: usize| ((i as f64 + 1.3) * (12.9 + seed as f64)).sin();
        let literal = |(seed, value): (usize, &Value)| {
            let ty = self.graph.ty(*value);
            let sizes = ty.shape.at(BATCH);
            let count: usize = sizes.iter().product();
            let (middle, width) = if seed == 0 { (0.7, 1.9) } else { (1.0, 0.5) };
            let data = (0..count).map(|i| middle + width * number(seed, i)).collect();
            (count as u64 <= LARGEST).then(|| Literal::floats(ty.dtype, &sizes, data))
        };
        self.operands().iter().enumerate().map(literal).collect()
    }

    fn inputs(&self, b: &mut GraphBuilder) -> HashMap<Value, Value> {
        let input =
            |(place, v): (usize, &Value)| (*v, b.input(format!("x{place}"), self.graph.ty(*v).clone()));
        self.operands().iter().enumerate().map(input).collect()
    }

    fn value(&self, b: GraphBuilder, result: Value) -> Option<Vec<f64>> {
        let graph = b.finish([("y".to_string(), result)]);
        Some(eval_at(&graph, &self.numbers()?, BATCH)[0].to_floats())
    }

    /// What the spelling gives, with another value of one constant.
    fn spelled(&self, exchange: Option<(NodeId, f64)>) -> Option<Vec<f64>> {
        let mut b = GraphBuilder::new();
        let mut values = self.inputs(&mut b);
        for (id, node) in self.graph.iter() {
            let own = Value { node: id, result: 0 };
            if !(self.constants.contains(id) || self.cut.between.contains(&id)) || values.contains_key(&own) {
                continue;
            }
            let op = match (&node.op, exchange) {
                (Op::Const(_, dtype), Some((constant, number))) if constant == id => {
                    Op::Const(Real::new(number), *dtype)
                }
                (op, _) => op.clone(),
            };
            let operands: Option<Vec<Value>> = node.inputs.iter().map(|v| values.get(v).copied()).collect();
            values.insert(own, b.apply(op, &operands?).ok()?);
        }
        let root = *values.get(&Value { node: self.root, result: 0 })?;
        self.value(b, root)
    }

    /// What a composite gives.
    fn named(&self, proposal: &Proposal) -> Option<Vec<f64>> {
        let mut b = GraphBuilder::new();
        let values = self.inputs(&mut b);
        let operands: Option<Vec<Value>> = proposal.operands.iter().map(|v| values.get(v).copied()).collect();
        let mut result = b.apply(Op::Composite(proposal.op, proposal.attrs), &operands?).ok()?;
        if let Some(gain) = proposal.gain {
            result = b.apply(Op::Binary(Binary::Mul), &[result, *values.get(&gain)?]).ok()?;
        }
        self.value(b, result)
    }

    /// The constant that makes the difference to a composite.
    fn why(&self, proposal: &Proposal) -> Option<String> {
        let named = self.named(proposal)?;
        let count = self.graph.ty(self.site.x).shape.extent_of(&self.site.axes).known();
        let counts = count.map(|n| n as f64).into_iter().flat_map(|n| [n, 1.0 / n, n - 1.0, 1.0 / (n - 1.0)]);
        let wanted: Vec<f64> = [0.0, 1.0, 2.0, 0.5, -0.5].into_iter().chain(counts).collect();
        constants_of(self.graph, &self.cut.between).into_iter().find_map(|(constant, found, reader)| {
            let fits = |wanted: &f64| {
                let values = self.spelled(Some((constant, *wanted)));
                values.and_then(|values| difference(&named, &values)).is_some_and(|d| d < EQUAL)
            };
            let wanted = wanted.iter().filter(|wanted| **wanted != found).find(|wanted| fits(wanted))?;
            Some(exchanged(self.graph, (reader, found), *wanted))
        })
    }
}
