//! Finds named ops in graphs that spell them out.
//!
//! Every node is visited after its operands. The region above it becomes an e-graph: rules add
//! what they know, proposals for what the node may be are merged with it where the normal form
//! says so, and the cheapest expression replaces it. Inner statistics that no one else reads
//! vanish with the nodes that spelled them. Regions of one structure are solved once. Invariant:
//! a replaced node has the type of the node it replaces and equals it as a function of the
//! region's leaves. Start at [`recognize`].

use super::activation;
use super::composite::{Finder, Match};
use super::cone::{Cone, Constants, Cut, Entry};
use super::extract::{Extracted, PerElement, extract};
use super::language::{Head, Settings};
use super::movement::settle;
use super::reader::has_algebra;
use super::recipe::Recipe;
use super::region::Region;
use super::rule::Tier;
use super::ruleset::{Allowed, Rules};
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
}

/// A named op that was spelled out.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The op with its attributes.
    pub what: String,
    /// The ops of the user that it stands for; none where the user wrote it as such.
    pub from: Vec<&'static str>,
    /// Rules that fired on the way.
    pub rules: Vec<&'static str>,
    /// Cost before and after, in flops and passes of one element.
    pub cost: (f64, f64),
    /// Where its last op was written.
    pub place: Option<Place>,
    /// The module that was running.
    pub path: Option<Arc<str>>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.from.is_empty() {
            write!(f, " from {}", self.from.join(", "))?;
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
        Ok(())
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
    recognize_with(graph, &Rules::standard(), Tier::default())
}

/// As [`recognize`], by these rules and under this float contract: below [`Tier::Finite`] nothing
/// becomes a named op except by a rule.
///
/// # Errors
/// Bugs of this pass.
pub fn recognize_with(graph: &Graph, rules: &Rules, float: Tier) -> Result<Recognized, CompileError> {
    let settled = settle(graph).map_err(|source| CompileError::Pass { pass: "recognize", source })?;
    let graph = settled.as_ref().unwrap_or(graph);
    let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
    let mut work = Work::new(Allowed { rules, float });
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
}

struct Work<'r> {
    allowed: Allowed<'r>,
    finder: Finder<'r>,
    b: GraphBuilder,
    constants: Constants,
    memo: HashMap<Vec<Entry>, Option<Solution>>,
    /// The same for what rules of the user see.
    across: HashMap<Vec<Entry>, Option<Solution>>,
    found: HashMap<NodeId, Found>,
}

impl<'r> Work<'r> {
    fn new(allowed: Allowed<'r>) -> Work<'r> {
        Work {
            allowed,
            finder: Finder::new(allowed.composites()),
            b: GraphBuilder::new(),
            constants: Constants::default(),
            memo: HashMap::default(),
            across: HashMap::default(),
            found: HashMap::default(),
        }
    }

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
        if let Some(found) = self.finder.find(graph, &self.constants, value.node) {
            return self.call(value, found, from).unwrap_or(value);
        }
        let cone = Cone::above(graph, &self.constants, value.node);
        let (structure, values) = cone.structure(graph, &self.constants);
        if !self.memo.contains_key(&structure) {
            let attempts: &[Search] = &[by_rules, as_activation, as_statistic];
            let attempts = if self.allowed.names_ops() { attempts } else { &attempts[..1] };
            let solution = solve(graph, &self.constants, &cone, &values, self.allowed, attempts);
            self.memo.insert(structure.clone(), solution);
        }
        match self.memo[&structure].clone() {
            Some(solution) => self.replace(value, &cone, &values, solution, from).unwrap_or(value),
            None => self.across(value, from).unwrap_or(value),
        }
    }

    /// Calls a composite of the user.
    fn call(&mut self, value: Value, found: Match, from: &Provenance) -> Option<Value> {
        let (name, op, operands) = found;
        let cone = Cone::across(self.b.graph(), &self.constants, value.node);
        let ops = written_ops(self.b.graph(), &cone, &operands, &self.found);
        let new = self.b.apply(op, &operands).ok()?;
        self.constants.update(self.b.graph());
        let (what, Provenance { place, path }) = (format!("{name}, a composite of yours,"), from.clone());
        self.found.insert(new.node, Found { what, from: ops, rules: vec![], cost: (0.0, 0.0), place, path });
        Some(new)
    }

    /// Rules of the user may match where values of different origin meet.
    fn across(&mut self, value: Value, from: &Provenance) -> Option<Value> {
        let graph = self.b.graph();
        if !self.allowed.has_own(graph.op(value).name()) {
            return None;
        }
        let cone = Cone::across(graph, &self.constants, value.node);
        let (structure, values) = cone.structure(graph, &self.constants);
        if !self.across.contains_key(&structure) {
            let solution = solve(graph, &self.constants, &cone, &values, self.allowed, &[by_rules]);
            self.across.insert(structure.clone(), solution);
        }
        let solution = self.across[&structure].clone()?;
        self.replace(value, &cone, &values, solution, from)
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
        let ops = written_ops(self.b.graph(), cone, &leaves, &self.found);
        let new = solution.recipe.emit(&mut self.b, &leaves, &ty)?;
        self.constants.update(self.b.graph());
        let by_rule =
            || (!solution.rules.is_empty() && !leaves.contains(&new)).then(|| self.b.graph().op(new).name());
        if let Some(what) = describe(self.b.graph(), new).or_else(|| by_rule().map(str::to_string)) {
            let Provenance { place, path } = from.clone();
            let found = Found { what, from: ops, rules: solution.rules, cost: solution.cost, place, path };
            self.found.insert(new.node, found);
        }
        Some(new)
    }

    /// Drops what no output needs.
    fn finish(self, outputs: Vec<(String, Value)>) -> Result<Recognized, CompileError> {
        let Work { b, found, .. } = self;
        let graph = b.finish(outputs);
        let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
        let mut pruned = GraphBuilder::new();
        let mut values: HashMap<Value, Value> = HashMap::default();
        for (id, node) in graph.iter() {
            if !live[id.0 as usize] && !matches!(node.op, Op::Input(_)) {
                continue;
            }
            pruned.set_provenance(graph.provenance(id).clone());
            let operands: Vec<Value> = node.inputs.iter().map(|v| values[v]).collect();
            let value = match node.op {
                Op::Input(index) => {
                    let input = &graph.inputs()[index as usize];
                    pruned.input(input.name.clone(), input.ty.clone())
                }
                ref op => pruned
                    .apply(op.clone(), &operands)
                    .map_err(|source| CompileError::Pass { pass: "recognize", source })?,
            };
            for result in 0..node.types.len() as u32 {
                values.insert(Value { node: id, result }, Value { result, ..value });
            }
        }
        let outputs: Vec<_> = graph.outputs().iter().map(|(name, v)| (name.clone(), values[v])).collect();
        let kept = listed(&graph, found, &live);
        let graph = verified("recognize", pruned.finish(outputs))?;
        Ok(Recognized { graph, found: kept })
    }
}

/// Every live named op, in order, with how it was found.
fn listed(graph: &Graph, mut found: HashMap<NodeId, Found>, live: &[bool]) -> Vec<Found> {
    let named = |(id, node): (NodeId, &Node)| {
        if !live[id.0 as usize] || !is_named(&node.op) {
            return found.remove(&id).filter(|_| live[id.0 as usize]);
        }
        let what = describe(graph, Value { node: id, result: 0 })?;
        let Provenance { place, path } = graph.provenance(id).clone();
        let written = Found { what, from: vec![], rules: vec![], cost: (0.0, 0.0), place, path };
        Some(found.remove(&id).unwrap_or(written))
    };
    graph.iter().filter_map(named).collect()
}

/// Names of the user's ops between the leaves and the root, in order, each once; those of parts
/// that were recognized before included.
fn written_ops(
    graph: &Graph,
    cone: &Cone,
    leaves: &[Value],
    found: &HashMap<NodeId, Found>,
) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
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
    for id in seen {
        let node = graph.node(id);
        let own = [node.op.name()];
        let all: &[&'static str] = found.get(&id).map_or(&own, |found| &found.from);
        for name in all.iter().filter(|name| !matches!(**name, "const" | "size" | "broadcast")) {
            if !names.contains(name) {
                names.push(name);
            }
        }
    }
    names
}

/// `layer_norm over axes 1, eps 1e-5 inside the root, divisor n`
fn describe(graph: &Graph, value: Value) -> Option<String> {
    match graph.op(value) {
        Op::Composite(op, attrs) => {
            let axes: Vec<String> = attrs.axes.iter().map(|axis| axis.to_string()).collect();
            let mut text = format!("{} over axes {}", op.name(), axes.join(", "));
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

/// Looks for an alternative to the root of a cone.
type Search = fn(&Graph, &Constants, &Cone, Allowed<'_>) -> Attempt;

/// Looks for something better than what the cone says.
fn solve(
    graph: &Graph,
    constants: &Constants,
    cone: &Cone,
    values: &[Value],
    allowed: Allowed<'_>,
    attempts: &[Search],
) -> Option<Solution> {
    attempts.iter().find_map(|attempt| {
        let (mut region, rules) = attempt(graph, constants, cone, allowed)?;
        region.classes.rebuild();
        let roots = [region.root()];
        let Extracted { expression, before, after, .. } =
            extract(&region.classes, &region.written, &roots, &PerElement);
        if after >= before - 1e-9 {
            return None;
        }
        let number = |leaf: &Value| values.iter().position(|v| v == leaf).map(|place| place as u32);
        let leaves: Option<Vec<u32>> = region.leaves.iter().map(number).collect();
        Some(Solution {
            recipe: Recipe::new(&region, &expression),
            leaves: leaves?,
            rules,
            cost: (before, after),
        })
    })
}

/// Runs the rules over the whole cone, if the ops of one of them are all there.
fn by_rules(graph: &Graph, constants: &Constants, cone: &Cone, allowed: Allowed<'_>) -> Attempt {
    let root = graph.node(cone.root).op.name();
    let present: HashSet<&str> = cone.nodes.iter().map(|id| graph.node(*id).op.name()).collect();
    if !allowed.may_fire(root, &present) {
        return None;
    }
    let (region, fired) = Region::whole(graph, constants, cone)?.saturate(allowed);
    (!fired.is_empty()).then_some((region, fired))
}

/// True for ops that stand for nothing larger. A mean may be a variance.
fn is_named(op: &Op) -> bool {
    match op {
        Op::Unary(op) => op.def().definition.is_some(),
        Op::Composite(op, _) => *op != Composite::Mean,
        _ => false,
    }
}

/// Proposes named functions of one element.
fn as_activation(graph: &Graph, constants: &Constants, cone: &Cone, _: Allowed<'_>) -> Attempt {
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
fn as_statistic(graph: &Graph, constants: &Constants, cone: &Cone, _: Allowed<'_>) -> Attempt {
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
