//! Simplification after differentiation: derives the compact backward of any layer.
//!
//! A [`scope`] becomes an e-graph with several roots. Rules add facts, [`propose`] names what
//! the normal forms are made of, the [`factory`] writes the roots as products of what exists,
//! and the extractor picks the cheapest expressions under [`cost`], the input among them. Equal
//! scopes are solved once. Takes and leaves a verified graph. Start at [`simplify`].

mod cost;
mod factory;
mod propose;
mod scope;

use super::cone::{Cone, Constants, Entry};
use super::details::{Details, Words, cuts, distinct, leaf_name, list, place_of};
use super::extract::{Extracted, extract};
use super::language::Term;
use super::model::{TRANSCENDENTAL, is_function};
use super::recipe::{Built, Recipe, shaped};
use super::region::Region;
use super::rule::Tier;
use super::ruleset::Allowed;
use crate::CompileError;
use crate::pipeline::{Options, verified};
use cost::Volume;
use egg::Language;
use evenkeel_ir::{Composite, Graph, GraphBuilder, NodeId, Op, Place, Value};
use factory::Factory;
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use scope::{Scope, scopes};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Rewrites of the normal form that a scope may cost.
const STEPS: usize = 20_000;

/// The share of the cost that must be left at most for a change to be made.
const WORTH: f64 = 0.98;
/// The same for scopes with named norms: their derivatives are compact already, and survive
/// rows of huge numbers.
const WORTH_NAMED: f64 = 0.85;

/// A simplified graph, and what was simplified.
#[derive(Clone, Debug)]
pub struct Simplified {
    /// The graph.
    pub graph: Graph,
    /// The scopes that changed, in order.
    pub scopes: Vec<Change>,
    /// The scopes that stay as they are, where that was asked for.
    pub kept: Vec<Kept>,
}

/// A scope that stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// How many ops it has.
    pub ops: usize,
    /// Where the first and the last of its ops were written.
    pub places: Option<(Place, Place)>,
    /// Why.
    pub why: &'static str,
    /// What it reads and why it ends there.
    pub cuts: Vec<String>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ops stay as they are", self.ops)?;
        if let Some((first, last)) = &self.places {
            write!(f, ", from {first} to {last}")?;
        }
        write!(f, ": {}", self.why)?;
        list(f, "ends at", &self.cuts)
    }
}

impl Simplified {
    /// A graph as it is.
    pub fn unchanged(graph: &Graph) -> Simplified {
        Simplified { graph: graph.clone(), scopes: Vec::new(), kept: Vec::new() }
    }
}

/// A scope that changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Ops before and after.
    pub ops: (usize, usize),
    /// Cost before and after, in flops of one element.
    pub cost: (f64, f64),
    /// Rules that fired.
    pub rules: Vec<&'static str>,
    /// Where the first of its ops was written.
    pub place: Option<Place>,
    /// How it changed, where that was asked for.
    pub details: Option<Arc<Details>>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { ops, cost, rules, place, details } = self;
        write!(f, "{} ops become {}, cost {:.1} becomes {:.1}", ops.0, ops.1, cost.0, cost.1)?;
        if let Some(place) = place {
            write!(f, ", first at {place}")?;
        }
        if !rules.is_empty() {
            write!(f, "; rules: {}", rules.join(", "))?;
        }
        details.iter().try_for_each(|details| write!(f, "{details}"))
    }
}

/// Simplifies every scope of a graph.
///
/// Inputs and outputs keep their order, names and types.
///
/// # Errors
/// Bugs of this pass.
pub fn simplify(graph: &Graph) -> Result<Simplified, CompileError> {
    simplify_with(graph, &Options::default())
}

/// As [`simplify`], by the rules, the float contract and the costs of these options: with
/// [`Tier::Exact`] the graph stays as it is, with [`Tier::Reassociates`] only sums and products change.
///
/// # Errors
/// Bugs of this pass.
pub fn simplify_with(graph: &Graph, options: &Options) -> Result<Simplified, CompileError> {
    let Options { rules, float, costs, .. } = options;
    run(graph, Allowed { rules, float: *float, costs, explain: false })
}

/// As [`simplify_with`], with [`Details`] of what changed and the scopes that did not.
///
/// # Errors
/// Bugs of this pass.
pub fn simplify_explained(graph: &Graph, options: &Options) -> Result<Simplified, CompileError> {
    let Options { rules, float, costs, .. } = options;
    run(graph, Allowed { rules, float: *float, costs, explain: true })
}

fn run(graph: &Graph, allowed: Allowed<'_>) -> Result<Simplified, CompileError> {
    if !allowed.reorders() {
        return Ok(Simplified::unchanged(graph));
    }
    let mut memo = Memo::default();
    let first = round(graph, &mut memo, allowed)?;
    if !first.1 {
        return Ok(first.0);
    }
    let (second, _) = round(&first.0.graph, &mut memo, allowed)?;
    let scopes = first.0.scopes.into_iter().chain(second.scopes).collect();
    Ok(Simplified { graph: second.graph, scopes, kept: second.kept })
}

/// Simplifies every scope once; true when something outside of scopes is no longer needed, so
/// that what only that needed may be simpler now.
fn round(graph: &Graph, memo: &mut Memo, allowed: Allowed<'_>) -> Result<(Simplified, bool), CompileError> {
    let mut constants = Constants::default();
    constants.update(graph);
    let mut plan = Plan {
        graph,
        solved: Vec::new(),
        of_root: HashMap::default(),
        inner: HashSet::default(),
        kept: Vec::new(),
    };
    for scope in scopes(graph, &constants) {
        let cone =
            Cone { root: scope.nodes[scope.nodes.len() - 1], nodes: scope.nodes.clone(), gates: vec![] };
        let (entries, values) = cone.structure(graph, &constants);
        let number = |v: &Value| values.iter().position(|known| known == v).map(|place| place as u32);
        let roots: Vec<u32> = scope.roots.iter().filter_map(number).collect();
        let solution = memo
            .entry((entries, roots))
            .or_insert_with(|| solve(graph, &constants, &scope, &values, allowed).map(Rc::new))
            .clone();
        if let Some(solution) = solution {
            plan.add(&scope, &values, solution);
        } else if allowed.explain {
            plan.kept.push(kept(graph, &scope));
        }
    }
    plan.rebuild()
}

/// How many nodes are not constant.
fn computed(graph: &Graph) -> usize {
    let mut constants = Constants::default();
    constants.update(graph);
    graph.iter().filter(|(id, _)| !constants.contains(*id)).count()
}

/// Solutions by structure.
type Memo = HashMap<Key, Option<Rc<Solution>>>;

/// What a scope is, apart from where it stands: ops with local operands, and the roots.
type Key = (Vec<Entry>, Vec<u32>);

/// What replaces a scope.
struct Solution {
    recipe: Recipe,
    /// The term of each root.
    roots: Vec<usize>,
    /// For each leaf, its number in the structure.
    leaves: Vec<u32>,
    ops: usize,
    cost: (f64, f64),
    rules: Vec<&'static str>,
    details: Option<Arc<Details>>,
}

/// What is said of a scope that stays.
fn kept(graph: &Graph, scope: &Scope) -> Kept {
    let places: Vec<Place> = scope.nodes.iter().filter_map(|id| graph.provenance(*id).place).collect();
    let order = |place: &&Place| (place.line, place.column);
    let (first, last) = (places.iter().min_by_key(order), places.iter().max_by_key(order));
    let names: Vec<String> = scope.leaves.iter().map(|leaf| leaf_name(graph, *leaf)).collect();
    let cuts = cuts(graph, names.iter().map(String::as_str), &scope.leaves, &scope.reasons);
    let why = match is_as_rows_wrote(graph, &scope.nodes) {
        true => "a derivative that is compact already",
        false => "nothing was found that is cheaper by enough",
    };
    Kept { ops: scope.nodes.len(), places: first.copied().zip(last.copied()), why, cuts }
}

fn has_compact(graph: &Graph, nodes: &[NodeId]) -> bool {
    nodes.iter().any(|id| is_compact(&graph.node(*id).op))
}

/// True where all there is are compact derivatives as their rows wrote them.
fn is_as_rows_wrote(graph: &Graph, nodes: &[NodeId]) -> bool {
    has_compact(graph, nodes) && !nodes.iter().any(|id| is_transcendental(&graph.node(*id).op))
}

fn solve(
    graph: &Graph,
    constants: &Constants,
    scope: &Scope,
    values: &[Value],
    allowed: Allowed<'_>,
) -> Option<Solution> {
    let Scope { nodes, roots, leaves, reasons } = scope;
    if is_as_rows_wrote(graph, nodes) {
        return None;
    }
    let named = has_compact(graph, nodes);
    let region = Region::new(graph, constants, nodes, roots, leaves.clone(), STEPS)?;
    if roots.iter().zip(&region.roots).any(|(root, class)| hides(graph, constants, &region, *root, *class)) {
        return None;
    }
    let (mut region, rules) = region.saturate(allowed);
    if allowed.names_ops() {
        propose::propose(&mut region);
    }
    Factory::new(&mut region).factor_roots();
    let trusted = if allowed.names_ops() { HashSet::default() } else { as_written(&region) };
    let model = Volume::of(&region, trusted, allowed.float == Tier::Approximate, allowed.costs);
    let Extracted { expression, roots, before, after } =
        extract(&region.classes, &region.written, &region.roots, &model);
    if after >= before * if named { WORTH_NAMED } else { WORTH } {
        return None;
    }
    let number = |leaf: &Value| values.iter().position(|v| v == leaf).map(|place| place as u32);
    let leaves: Option<Vec<u32>> = region.leaves.iter().map(number).collect();
    let recipe = Recipe::new(&region, &expression);
    let words = allowed.explain.then(|| Words::new(graph, &region, reasons, allowed));
    let details = words.map(|words| {
        let written = distinct(nodes.iter().map(|&node| place_of(graph, Value { node, result: 0 })));
        Arc::new(Details { written, ..words.details(&expression, &roots, &rules) })
    });
    let roots: Vec<usize> = roots.into_iter().map(usize::from).collect();
    let ops = recipe.ops();
    Some(Solution { recipe, roots, leaves: leaves?, ops, cost: (before, after), rules, details })
}

/// The e-nodes that the user wrote.
fn as_written(region: &Region) -> HashSet<Term> {
    let mut ids: Vec<egg::Id> = Vec::new();
    let mut written = HashSet::default();
    for term in region.written.as_ref() {
        let own = term.clone().map_children(|id| ids[usize::from(id)]);
        ids.push(region.classes.lookup(own.clone()).expect("what is written is in the e-graph"));
        written.insert(own);
    }
    written
}

/// True for a root that is a number whatever its operands are, unless one is NaN.
fn hides(graph: &Graph, constants: &Constants, region: &Region, root: Value, class: egg::Id) -> bool {
    let form = region.classes[class].data.form;
    let number = form.and_then(|form| region.classes.analysis.reader.normalizer.as_number(form));
    number.is_some() && !graph.node(root.node).inputs.iter().all(|v| constants.contains(v.node))
}

/// True for functions around which there is something to find beside a compact derivative.
fn is_transcendental(op: &Op) -> bool {
    matches!(op, Op::Unary(op) if is_function(*op) || TRANSCENDENTAL.contains(op))
}

/// True for statistics with a derivative of their own.
fn is_compact(op: &Op) -> bool {
    matches!(op, Op::Composite(op, _) if op.def().vjp.is_some() && *op != Composite::Mean)
}

/// A solved scope in its place.
struct Solved {
    solution: Rc<Solution>,
    leaves: Vec<Value>,
    built: Built,
    change: Change,
}

/// What becomes of the nodes of a graph.
struct Plan<'g> {
    graph: &'g Graph,
    solved: Vec<Solved>,
    /// Scope and place among its roots.
    of_root: HashMap<NodeId, (usize, usize)>,
    /// Nodes of solved scopes, built only where nothing else will do.
    inner: HashSet<NodeId>,
    kept: Vec<Kept>,
}

impl Plan<'_> {
    fn add(&mut self, scope: &Scope, values: &[Value], solution: Rc<Solution>) {
        let place = scope.nodes.iter().find_map(|id| self.graph.provenance(*id).place);
        for (place, root) in scope.roots.iter().enumerate() {
            self.of_root.insert(root.node, (self.solved.len(), place));
        }
        self.inner.extend(&scope.nodes);
        let ops = (scope.nodes.len(), solution.ops);
        let Solution { cost, rules, details, .. } = &*solution;
        let change = Change { ops, cost: *cost, rules: rules.clone(), place, details: details.clone() };
        let leaves = solution.leaves.iter().map(|&number| values[number as usize]).collect();
        self.solved.push(Solved { built: Built::new(&solution.recipe), solution, leaves, change });
    }

    fn rebuild(mut self) -> Result<(Simplified, bool), CompileError> {
        let graph = self.graph;
        let mut b = GraphBuilder::new();
        b.reserve(graph.nodes().len());
        let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
        let mut values: HashMap<Value, Value> = HashMap::default();
        values.reserve(graph.nodes().len());
        for (id, node) in graph.iter() {
            b.set_provenance(graph.provenance(id).clone());
            if let Op::Input(index) = node.op {
                let input = &graph.inputs()[index as usize];
                let value = b.input(input.name.clone(), input.ty.clone());
                values.insert(Value { node: id, result: 0 }, value);
                continue;
            }
            if !live[id.0 as usize] {
                continue;
            }
            if self.inner.contains(&id) {
                self.root(&mut b, &mut values, id);
            } else {
                self.original(&mut b, &mut values, id)?;
            }
        }
        let outputs: Result<Vec<_>, CompileError> = graph
            .outputs()
            .iter()
            .map(|(name, v)| Ok((name.clone(), self.value(&mut b, &mut values, *v)?)))
            .collect();
        let outside = b.finish(outputs?);
        let pruned = verified("simplify", outside.pruned())?;
        let dropped = computed(&pruned) < computed(&outside);
        let scopes = self.solved.into_iter().map(|solved| solved.change).collect();
        Ok((Simplified { graph: pruned, scopes, kept: self.kept }, dropped))
    }

    /// Builds a root of a solved scope from its recipe, if its leaves are there.
    fn root(&mut self, b: &mut GraphBuilder, values: &mut HashMap<Value, Value>, id: NodeId) -> Option<()> {
        let &(scope, place) = self.of_root.get(&id)?;
        let root = Value { node: id, result: 0 };
        let Solved { solution, leaves, built, .. } = &mut self.solved[scope];
        let leaves: Vec<Option<Value>> = leaves.iter().map(|leaf| values.get(leaf).copied()).collect();
        let value = solution.recipe.part(b, &leaves, solution.roots[place], built)?;
        let value = shaped(b, value, self.graph.ty(root))?;
        values.insert(root, value);
        Some(())
    }

    /// Builds a node as it was.
    fn original(
        &mut self,
        b: &mut GraphBuilder,
        values: &mut HashMap<Value, Value>,
        id: NodeId,
    ) -> Result<(), CompileError> {
        let node = self.graph.node(id);
        let operands: Result<Vec<Value>, CompileError> =
            node.inputs.iter().map(|v| self.value(b, values, *v)).collect();
        let value = b
            .apply(node.op.clone(), &operands?)
            .map_err(|source| CompileError::Pass { pass: "simplify", source })?;
        for result in 0..node.types.len() as u32 {
            values.insert(Value { node: id, result }, Value { result, ..value });
        }
        Ok(())
    }

    /// A value of the old graph in the new one.
    fn value(
        &mut self,
        b: &mut GraphBuilder,
        values: &mut HashMap<Value, Value>,
        v: Value,
    ) -> Result<Value, CompileError> {
        if !values.contains_key(&v) {
            self.original(b, values, v.node)?;
        }
        Ok(values[&v])
    }
}
