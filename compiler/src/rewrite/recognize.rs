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
use super::details::{Details, Words, distinct};
use super::extract::{Extracted, extract};
use super::fixed::as_fixed_norm;
use super::found::{Found, describe, is_named, listed, nodes_of, written_at, written_ops};
use super::language::{Head, Settings};
use super::model::PerElement;
use super::movement::settle;
use super::near::{NearMiss, near_misses};
use super::reader::has_algebra;
use super::recipe::Recipe;
use super::region::Region;
use super::rule::Tier;
use super::ruleset::{Allowed, Rules};
use super::statistic::{self, Proposal, Site};
use crate::pipeline::verified;
use crate::{CompileError, Costs};
use evenkeel_ir::op::{Attrs, Binary, Composite};
use evenkeel_ir::{Graph, GraphBuilder, NodeId, Op, Provenance, Value};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
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
    run(graph, Allowed { rules, float, costs: &Costs::REFERENCE, explain: false })
}

/// As [`recognize_with`], with [`Details`] of what was found and with near misses.
///
/// # Errors
/// Bugs of this pass.
pub fn recognize_explained(graph: &Graph, rules: &Rules, float: Tier) -> Result<Recognized, CompileError> {
    let recognized = run(graph, Allowed { rules, float, costs: &Costs::REFERENCE, explain: true })?;
    Ok(Recognized { nearly: near_misses(&recognized.graph), ..recognized })
}

fn run(graph: &Graph, allowed: Allowed<'_>) -> Result<Recognized, CompileError> {
    let settled = settle(graph).map_err(|source| CompileError::Pass { pass: "recognize", source })?;
    let graph = settled.as_ref().unwrap_or(graph);
    let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
    let mut work = Work::new(allowed);
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
            let attempts: &[Search] = &[by_rules, as_activation, as_statistic, as_fixed];
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
        let nodes = nodes_of(self.b.graph(), &cone, &operands);
        let ops = written_ops(self.b.graph(), &nodes, &self.found);
        let new = self.b.apply(op, &operands).ok()?;
        self.constants.update(self.b.graph());
        let (what, Provenance { place, path }) = (format!("{name}, a composite of yours,"), from.clone());
        self.found.insert(
            new.node,
            Found { what, from: ops, rules: vec![], cost: (0.0, 0.0), place, path, details: None },
        );
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
        let nodes = nodes_of(self.b.graph(), cone, &leaves);
        let ops = written_ops(self.b.graph(), &nodes, &self.found);
        let inner: Vec<Arc<Details>> =
            nodes.iter().filter_map(|id| self.found.get(id)?.details.clone()).collect();
        let new = solution.recipe.emit(&mut self.b, &leaves, &ty)?;
        self.constants.update(self.b.graph());
        let by_rule =
            || (!solution.rules.is_empty() && !leaves.contains(&new)).then(|| self.b.graph().op(new).name());
        let named = describe(self.b.graph().op(new));
        if let Some(what) = named.or_else(|| by_rule().map(str::to_string)) {
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
        let Extracted { expression, roots: places, before, after } =
            extract(&region.classes, &region.written, &roots, &PerElement);
        if after >= before - 1e-9 {
            return None;
        }
        let number = |leaf: &Value| values.iter().position(|v| v == leaf).map(|place| place as u32);
        let leaves: Option<Vec<u32>> = region.leaves.iter().map(number).collect();
        let words = allowed.explain.then(|| Words::new(graph, &region, &[], allowed));
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
fn by_rules(graph: &Graph, constants: &Constants, cone: &Cone, allowed: Allowed<'_>) -> Attempt {
    let root = graph.node(cone.root).op.name();
    let present: HashSet<&str> = cone.nodes.iter().map(|id| graph.node(*id).op.name()).collect();
    if !allowed.may_fire(root, &present) {
        return None;
    }
    let (region, fired) = Region::whole(graph, constants, cone)?.saturate(allowed);
    // the normal form may know what a rule would find, which then has nothing left to merge
    let is_root = |v: &Value| region.class(*v).is_some_and(|class| region.root_is(class));
    let is_identity = graph.node(cone.root).inputs.iter().any(is_root);
    (!fired.is_empty() || is_identity).then_some((region, fired))
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

/// Proposes the norm with given statistics.
fn as_fixed(graph: &Graph, constants: &Constants, cone: &Cone, _: Allowed<'_>) -> Attempt {
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
