//! Finds named ops in graphs that spell them out.
//!
//! Every node is visited after its operands. The region above it becomes an e-graph: rules add
//! what they know, proposals for what the node may be are merged with it where the normal form
//! says so, and the cheapest expression replaces it. Inner statistics that no one else reads
//! vanish with the nodes that spelled them. Regions of one structure are solved once. Invariant:
//! a replaced node has the type of the node it replaces and equals it as a function of the
//! region's leaves. Start at [`recognize`].

use super::activation;
use super::cone::{Cone, Constants, Cut, Entry};
use super::details::{Details, Words, distinct};
use super::extract::{Extracted, PerElement, extract};
use super::fixed::as_fixed_norm;
use super::language::{Head, Settings};
use super::movement::settle;
use super::near::{NearMiss, near_misses};
use super::reader::has_algebra;
use super::recipe::Recipe;
use super::region::Region;
use super::rules::OPS_OF_RULES;
use super::statistic::{self, Proposal, Site};
use crate::CompileError;
use crate::pipeline::verified;
use evenkeel_ir::op::{Attrs, Binary, Composite, EpsKind};
use evenkeel_ir::{Graph, GraphBuilder, Node, NodeId, Op, Place, Provenance, Value};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::fmt;
use std::sync::Arc;

/// A graph in terms of named ops, and what was found.
#[derive(Clone, Debug)]
pub struct Recognized {
    /// The graph.
    pub graph: Graph,
    /// The named ops that were spelled out, in order.
    pub found: Vec<Found>,
    /// Spellings that are almost named ops, where that was asked for.
    pub nearly: Vec<NearMiss>,
}

/// A named op that was spelled out.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The op with its attributes.
    pub what: String,
    /// The ops of the user that it stands for, with their places; none where the user wrote it
    /// as such.
    pub from: Vec<(&'static str, Option<Place>)>,
    /// Rules that fired on the way.
    pub rules: Vec<&'static str>,
    /// Cost before and after, in flops and passes of one element.
    pub cost: (f64, f64),
    /// Where its last op was written.
    pub place: Option<Place>,
    /// The module that was running.
    pub path: Option<Arc<str>>,
    /// How it was found, where that was asked for.
    pub details: Option<Arc<Details>>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.from.is_empty() {
            let names = distinct(self.from.iter().map(|(name, _)| name.to_string()));
            write!(f, " from {}", names.join(", "))?;
        }
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " (in {path})")?;
        }
        if !self.rules.is_empty() {
            write!(f, "; rules: {}", self.rules.join(", "))?;
        }
        self.details.iter().try_for_each(|details| write!(f, "{details}"))
    }
}

/// Rewrites spellings to the named ops that they mean.
///
/// Takes and leaves a verified graph; inputs and outputs keep their order, names and types. What
/// is recognized as a named op gets its stable kernel and its derivative at kinks.
///
/// # Errors
/// Bugs of this pass.
pub fn recognize(graph: &Graph) -> Result<Recognized, CompileError> {
    run(graph, false)
}

/// As [`recognize`], with [`Details`] of what was found and with near misses.
///
/// # Errors
/// Bugs of this pass.
pub fn recognize_explained(graph: &Graph) -> Result<Recognized, CompileError> {
    let recognized = run(graph, true)?;
    Ok(Recognized { nearly: near_misses(&recognized.graph), ..recognized })
}

fn run(graph: &Graph, explain: bool) -> Result<Recognized, CompileError> {
    let settled = settle(graph).map_err(|source| CompileError::Pass { pass: "recognize", source })?;
    let graph = settled.as_ref().unwrap_or(graph);
    let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
    let mut work = Work { explain, ..Work::default() };
    work.b.reserve(graph.nodes().len());
    let mut values: HashMap<Value, Value> = HashMap::default();
    for (id, node) in graph.iter() {
        if !live[id.0 as usize] && !matches!(node.op, Op::Input(_)) {
            continue;
        }
        work.b.set_provenance(graph.provenance(id).clone());
        let operands: Vec<Value> = node.inputs.iter().map(|v| values[v]).collect();
        let value = match node.op {
            Op::Input(index) => {
                let input = &graph.inputs()[index as usize];
                work.b.input(input.name.clone(), input.ty.clone())
            }
            ref op => work
                .b
                .apply(op.clone(), &operands)
                .map_err(|source| CompileError::Pass { pass: "recognize", source })?,
        };
        let better = work.visit(value, graph.provenance(id));
        for result in 0..node.types.len() as u32 {
            let new = if result == 0 { better } else { Value { result, ..value } };
            values.insert(Value { node: id, result }, new);
        }
    }
    let outputs = graph.outputs().iter().map(|(name, v)| (name.clone(), values[v])).collect();
    work.finish(outputs)
}

/// What replaces the root of a region, in terms of the values of its structure.
#[derive(Clone, Debug)]
struct Solution {
    recipe: Recipe,
    /// For each leaf, its number in the structure.
    leaves: Vec<u32>,
    rules: Vec<&'static str>,
    cost: (f64, f64),
    details: Option<Arc<Details>>,
}

#[derive(Default)]
struct Work {
    /// Ask for details.
    explain: bool,
    b: GraphBuilder,
    constants: Constants,
    memo: HashMap<Vec<Entry>, Option<Solution>>,
    found: HashMap<NodeId, Found>,
}

impl Work {
    /// The value that stands for a node from now on.
    fn visit(&mut self, value: Value, from: &Provenance) -> Value {
        self.constants.update(self.b.graph());
        let graph = self.b.graph();
        let node = graph.node(value.node);
        if self.constants.contains(value.node)
            || !has_algebra(graph, node)
            || graph.ty(value).shape.elements().known() == Some(0)
        {
            return value;
        }
        let cone = Cone::above(graph, &self.constants, value.node);
        let (structure, values) = cone.structure(graph, &self.constants);
        if !self.memo.contains_key(&structure) {
            let solution = solve(graph, &self.constants, &cone, &values, self.explain);
            self.memo.insert(structure.clone(), solution);
        }
        match self.memo[&structure].clone() {
            Some(solution) => self.replace(value, &cone, &values, solution, from).unwrap_or(value),
            None => value,
        }
    }

    fn replace(
        &mut self,
        value: Value,
        cone: &Cone,
        values: &[Value],
        solution: Solution,
        from: &Provenance,
    ) -> Option<Value> {
        let leaves: Vec<Value> = solution.leaves.iter().map(|&number| values[number as usize]).collect();
        let ty = self.b.ty(value).clone();
        let nodes = nodes_of(self.b.graph(), cone, &leaves);
        let ops = written_ops(self.b.graph(), &nodes, &self.found);
        let inner: Vec<Arc<Details>> =
            nodes.iter().filter_map(|id| self.found.get(id)?.details.clone()).collect();
        let new = solution.recipe.emit(&mut self.b, &leaves, &ty)?;
        self.constants.update(self.b.graph());
        if let Some(what) = describe(self.b.graph().op(new)) {
            let Provenance { place, path } = from.clone();
            let Solution { rules, cost, details, .. } = solution;
            let written = |details: Arc<Details>| {
                let written = ops.iter().map(|(name, place)| written_at(name, *place)).collect();
                let steps = inner.iter().flat_map(|inner| inner.steps.clone());
                let steps = distinct(steps.chain(details.steps.iter().cloned()));
                Arc::new(Details { written, steps, ..(*details).clone() })
            };
            let details = details.map(written);
            let found = Found { what, from: ops, rules, cost, place, path, details };
            self.found.insert(new.node, found);
        }
        Some(new)
    }

    /// Drops what no output needs.
    fn finish(self, outputs: Vec<(String, Value)>) -> Result<Recognized, CompileError> {
        let Work { b, found, .. } = self;
        let graph = b.finish(outputs);
        let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
        let found = listed(&graph, found, &live);
        Ok(Recognized { graph: verified("recognize", graph.pruned())?, found, nearly: Vec::new() })
    }
}

/// Every live named op, in order, with how it was found.
fn listed(graph: &Graph, mut found: HashMap<NodeId, Found>, live: &[bool]) -> Vec<Found> {
    let named = |(id, node): (NodeId, &Node)| {
        if !live[id.0 as usize] || !is_named(&node.op) {
            return found.remove(&id).filter(|_| live[id.0 as usize]);
        }
        let what = describe(&node.op)?;
        let Provenance { place, path } = graph.provenance(id).clone();
        let written =
            Found { what, from: vec![], rules: vec![], cost: (0.0, 0.0), place, path, details: None };
        Some(found.remove(&id).unwrap_or(written))
    };
    graph.iter().filter_map(named).collect()
}

/// `mean at src/model.rs:3:8`
fn written_at(name: &str, place: Option<Place>) -> String {
    format!("{name}{}", place.map(|place| format!(" at {place}")).unwrap_or_default())
}

/// The nodes between the leaves and the root, in order.
fn nodes_of(graph: &Graph, cone: &Cone, leaves: &[Value]) -> Vec<NodeId> {
    let mut pending = vec![cone.root];
    let mut seen = Vec::new();
    while let Some(id) = pending.pop() {
        let is_leaf = leaves.iter().any(|leaf| leaf.node == id);
        if seen.contains(&id) || is_leaf || !has_algebra(graph, graph.node(id)) {
            continue;
        }
        seen.push(id);
        pending.extend(graph.node(id).inputs.iter().map(|v| v.node));
    }
    seen.sort();
    seen
}

/// The user's ops among some nodes, in order, each once; those of parts that were recognized
/// before included.
fn written_ops(
    graph: &Graph,
    nodes: &[NodeId],
    found: &HashMap<NodeId, Found>,
) -> Vec<(&'static str, Option<Place>)> {
    let mut names: Vec<(&'static str, Option<Place>)> = Vec::new();
    for id in nodes {
        let node = graph.node(*id);
        let own = [(node.op.name(), graph.provenance(*id).place)];
        let all: &[_] = found.get(id).map_or(&own, |found| &found.from);
        for written in all.iter().filter(|(name, _)| !matches!(*name, "const" | "size" | "broadcast")) {
            if !names.contains(written) {
                names.push(*written);
            }
        }
    }
    names
}

/// `layer_norm over axes 1, eps 1e-5 inside the root, divisor n`
pub(crate) fn describe(op: &Op) -> Option<String> {
    match op {
        Op::Composite(op, attrs) => {
            let axes: Vec<String> = attrs.axes.iter().map(|axis| axis.to_string()).collect();
            let over =
                if axes.is_empty() { String::new() } else { format!(" over axes {}", axes.join(", ")) };
            let mut text = format!("{}{over}", op.name());
            let reads = |attr| op.def().attrs.contains(&attr);
            if reads(evenkeel_ir::op::Attr::Eps) {
                let place = match attrs.eps_kind {
                    EpsKind::Inside => "inside the root",
                    EpsKind::Outside => "outside the root",
                    EpsKind::Clamp => "as a clamp",
                };
                text += &format!(", eps {:e} {place}", attrs.eps.get());
            }
            if reads(evenkeel_ir::op::Attr::Correction) {
                text += if attrs.correction == 0 { ", divisor n" } else { ", divisor n - 1" };
            }
            Some(text)
        }
        Op::Unary(op) if op.def().definition.is_some() => Some(op.name().to_string()),
        _ => None,
    }
}

/// A region in which the root has an alternative, and the rules that fired.
type Attempt = Option<(Region, Vec<&'static str>)>;

/// Looks for something better than what the cone says.
fn solve(
    graph: &Graph,
    constants: &Constants,
    cone: &Cone,
    values: &[Value],
    explain: bool,
) -> Option<Solution> {
    let attempts: [fn(&Graph, &Constants, &Cone) -> Attempt; 4] =
        [by_rules, as_activation, as_statistic, as_fixed];
    attempts.iter().find_map(|attempt| {
        let (mut region, rules) = attempt(graph, constants, cone)?;
        region.classes.rebuild();
        let roots = [region.root()];
        let Extracted { expression, roots: places, before, after } =
            extract(&region.classes, &region.written, &roots, &PerElement);
        if after >= before - 1e-9 {
            return None;
        }
        let number = |leaf: &Value| values.iter().position(|v| v == leaf).map(|place| place as u32);
        let leaves: Option<Vec<u32>> = region.leaves.iter().map(number).collect();
        let words = explain.then(|| Words::new(graph, &region, &[]));
        let details = words.map(|words| Arc::new(words.details(&expression, &places, &rules)));
        Some(Solution {
            recipe: Recipe::new(&region, &expression),
            leaves: leaves?,
            rules,
            cost: (before, after),
            details,
        })
    })
}

/// Runs the rules over the whole cone, if the ops of one of them are all there.
fn by_rules(graph: &Graph, constants: &Constants, cone: &Cone) -> Attempt {
    let root = graph.node(cone.root).op.name();
    let present: HashSet<&str> = cone.nodes.iter().map(|id| graph.node(*id).op.name()).collect();
    let applies = |ops: &Vec<&str>| ops[0] == root && ops.iter().all(|op| present.contains(op));
    if !OPS_OF_RULES.iter().any(applies) {
        return None;
    }
    let (region, fired) = Region::whole(graph, constants, cone)?.saturate();
    // the normal form may know what a rule would find, which then has nothing left to merge
    let is_root = |v: &Value| region.class(*v).is_some_and(|class| region.root_is(class));
    let is_identity = graph.node(cone.root).inputs.iter().any(is_root);
    (!fired.is_empty() || is_identity).then_some((region, fired))
}

/// True for ops that stand for nothing larger. A mean may be a variance.
pub(crate) fn is_named(op: &Op) -> bool {
    match op {
        Op::Unary(op) => op.def().definition.is_some(),
        Op::Composite(op, _) => *op != Composite::Mean,
        _ => false,
    }
}

/// Proposes named functions of one element.
fn as_activation(graph: &Graph, constants: &Constants, cone: &Cone) -> Attempt {
    if is_named(&graph.node(cone.root).op) {
        return None;
    }
    activation::proposals(graph, constants, cone).into_iter().find_map(|(function, x)| {
        let cut = cone.cut(graph, constants, x)?;
        let mut region = Region::between(graph, constants, cone, x, &cut)?;
        let proposed = function.add(&mut region, x)?;
        if region.root_is(proposed) {
            return Some((region, vec![]));
        }
        if !activation::equal_by_cases(graph, constants, cone, function, x) {
            return None;
        }
        region.classes.union(region.root(), proposed);
        Some((region, vec!["cases"]))
    })
}

/// Proposes composites.
fn as_statistic(graph: &Graph, constants: &Constants, cone: &Cone) -> Attempt {
    let root = Value { node: cone.root, result: 0 };
    if is_named(graph.op(root)) {
        return None;
    }
    let sites = statistic::sites(graph, constants, cone);
    let attempt = |beyond: bool| {
        sites.iter().find_map(|(site, cut)| statistic_at(graph, constants, cone, (site, cut), beyond))
    };
    let is_product = matches!(graph.op(root), Op::Binary(Binary::Mul | Binary::Div));
    attempt(false).or_else(|| if is_product { attempt(true) } else { None })
}

/// Proposes the norm with given statistics.
fn as_fixed(graph: &Graph, constants: &Constants, cone: &Cone) -> Attempt {
    as_fixed_norm(graph, constants, cone).map(|region| (region, vec![]))
}

/// Proposes composites of one operand.
fn statistic_at(
    graph: &Graph,
    constants: &Constants,
    cone: &Cone,
    (site, cut): (&Site, &Cut),
    beyond: bool,
) -> Attempt {
    let proposals = statistic::proposals(graph, constants, cone, (site, cut), beyond);
    if proposals.is_empty() {
        return None;
    }
    let mut region = Region::between(graph, constants, cone, site.x, cut)?;
    let axes = region.axes(&graph.ty(site.x).shape, site.axes);
    let mut plausible: HashMap<(Composite, Attrs, Value), bool> = HashMap::default();
    for Proposal { op, attrs, operands, gain } in proposals {
        if *graph.op(Value { node: cone.root, result: 0 }) == Op::Composite(op, attrs) {
            continue;
        }
        let ids: Option<Vec<_>> = operands.iter().map(|v| region.class(*v)).collect();
        let Some(ids) = ids else { continue };
        let all: Vec<_> = std::iter::once(axes).chain(ids).collect();
        let settings = Settings::of(&attrs);
        if let Some(part) = statistic::part_of(op) {
            let known = plausible.entry((part, attrs, operands[0]));
            if !*known.or_insert_with(|| region.root_contains(Head::Composite(part, settings), &all[..2])) {
                continue;
            }
        }
        let gain = gain.and_then(|gain| region.class(gain));
        if !region.root_equals(Head::Composite(op, settings), &all, gain) {
            continue;
        }
        let mut proposed = region.add(Head::Composite(op, settings), &all);
        if let Some(gain) = gain {
            proposed = region.add(Head::Binary(Binary::Mul), &[proposed, gain]);
        }
        if region.root_is(proposed) {
            return Some((region, vec![]));
        }
    }
    None
}
