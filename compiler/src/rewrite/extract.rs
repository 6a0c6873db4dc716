//! Chooses the cheapest expression from an e-graph, counting shared parts once.
//!
//! A choice picks one e-node per class. It starts from the e-nodes of the input, so the result is
//! never worse than the input, and from a greedy choice; hill climbing then changes one class at
//! a time. Ties keep the earlier choice, so the result is deterministic. Start at [`extract`].

use super::language::{Classes, Head, Term};
use egg::{Id, Language, RecExpr};
use evenkeel_ir::op::Unary;
use std::collections::{BTreeMap, BTreeSet};

/// A chosen e-node for every class that was met.
type Choice = BTreeMap<Id, Term>;

/// Cost of an e-node without its operands, in flops and passes of one element.
pub(crate) fn cost(term: &Term) -> f64 {
    const TRANSCENDENTAL: [Unary; 8] =
        [Unary::Exp, Unary::Expm1, Unary::Log, Unary::Log1p, Unary::Sin, Unary::Cos, Unary::Tanh, Unary::Erf];
    match term {
        Term::Leaf(_) | Term::Number(_) | Term::Size(_) | Term::Axes(_) => 0.0,
        Term::Apply(Head::Unary(op), _) if op.def().definition.is_some() => 0.9,
        Term::Apply(Head::Unary(op), _) if TRANSCENDENTAL.contains(op) => 2.0,
        Term::Apply(Head::Unary(_) | Head::Binary(_) | Head::Select, _) => 1.0,
        Term::Apply(Head::Indicator | Head::StopGradient, _) => 0.5,
        Term::Apply(Head::Reduce(_), _) => 3.0,
        Term::Apply(Head::Composite(..), operands) => 2.0 + 0.25 * operands.len() as f64,
    }
}

/// The cheapest expression of a class that is at most as dear as `input`, and the costs before
/// and after.
pub(crate) fn extract(classes: &Classes, input: &RecExpr<Term>, root: Id) -> (RecExpr<Term>, f64, f64) {
    let root = classes.find(root);
    let written = written(classes, input);
    let before = input.as_ref().iter().map(cost).sum();
    let starts = [written, greedy(classes)];
    let climbed = starts.into_iter().map(|start| climb(classes, start, root));
    let (best, after) = climbed.min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are two starts");
    (listing(classes, &best, root), before, after)
}

/// The choice that the input makes.
fn written(classes: &Classes, input: &RecExpr<Term>) -> Choice {
    let mut ids: Vec<Id> = Vec::new();
    let mut choice = Choice::new();
    for term in input.as_ref() {
        let term = term.clone().map_children(|id| ids[usize::from(id)]);
        let class = classes.lookup(term.clone()).expect("the input is in the e-graph");
        ids.push(class);
        choice.entry(class).or_insert_with(|| term.map_children(|id| classes.find(id)));
    }
    choice
}

/// The choice that minimizes the cost of every class as a tree.
fn greedy(classes: &Classes) -> Choice {
    let mut best: BTreeMap<Id, (f64, Term)> = BTreeMap::new();
    loop {
        let mut changed = false;
        for class in classes.classes() {
            for term in &class.nodes {
                let operands: Option<f64> =
                    term.children().iter().map(|id| Some(best.get(&classes.find(*id))?.0)).sum();
                let Some(operands) = operands else { continue };
                let sum = operands + cost(term);
                if best.get(&class.id).is_none_or(|(known, _)| sum < known - 1e-9) {
                    best.insert(class.id, (sum, term.clone().map_children(|id| classes.find(id))));
                    changed = true;
                }
            }
        }
        if !changed {
            return best.into_iter().map(|(id, (_, term))| (id, term)).collect();
        }
    }
}

/// Cost of everything that the root needs, shared parts once; none for a cycle or a gap.
fn total(classes: &Classes, choice: &Choice, root: Id) -> Option<f64> {
    let mut done = BTreeSet::new();
    let mut open = BTreeSet::new();
    visit(classes, choice, root, &mut open, &mut done)
}

fn visit(
    classes: &Classes,
    choice: &Choice,
    class: Id,
    open: &mut BTreeSet<Id>,
    done: &mut BTreeSet<Id>,
) -> Option<f64> {
    let class = classes.find(class);
    if done.contains(&class) {
        return Some(0.0);
    }
    if !open.insert(class) {
        return None;
    }
    let term = choice.get(&class)?;
    let mut sum = cost(term);
    for operand in term.children() {
        sum += visit(classes, choice, *operand, open, done)?;
    }
    open.remove(&class);
    done.insert(class);
    Some(sum)
}

/// Changes one class at a time as long as that makes the whole cheaper.
fn climb(classes: &Classes, mut choice: Choice, root: Id) -> (Choice, f64) {
    let mut best = total(classes, &choice, root).unwrap_or(f64::INFINITY);
    for (id, term) in greedy(classes) {
        choice.entry(id).or_insert(term);
    }
    loop {
        let mut improved = false;
        for class in classes.classes() {
            for term in &class.nodes {
                let term = term.clone().map_children(|id| classes.find(id));
                let old = choice.insert(class.id, term);
                match total(classes, &choice, root) {
                    Some(sum) if sum < best - 1e-9 => (best, improved) = (sum, true),
                    _ => {
                        old.map(|old| choice.insert(class.id, old));
                    }
                }
            }
        }
        if !improved {
            return (choice, best);
        }
    }
}

/// The chosen terms that the root needs, operands first.
fn listing(classes: &Classes, choice: &Choice, root: Id) -> RecExpr<Term> {
    let mut places = BTreeMap::new();
    let mut expression = RecExpr::default();
    place(classes, choice, root, &mut places, &mut expression);
    expression
}

fn place(
    classes: &Classes,
    choice: &Choice,
    class: Id,
    places: &mut BTreeMap<Id, Id>,
    expression: &mut RecExpr<Term>,
) -> Id {
    let class = classes.find(class);
    if let Some(known) = places.get(&class) {
        return *known;
    }
    let term = choice[&class].clone();
    let term = term.map_children(|id| place(classes, choice, id, places, expression));
    let id = expression.add(term);
    places.insert(class, id);
    id
}
