//! Proposes named ops in a region, from what its normal forms are made of.
//!
//! A statistic is proposed for every argument of a reduction and every eps in sight, and added
//! only where its normal form is part of one that exists: the normal form decides. So are
//! softmax for sums of exponentials, sigmoid for `1 / (1 + e^-x)`, and, for every named value
//! `n`, `sum(h * n)` where a sum of `h` times what `n` is made of exists. Start at [`propose`].

use super::super::language::{Classes, Head, Settings, Term};
use super::super::normal::{Atom, AtomId, AxisMask, Form, Normalizer, Number, Product};
use super::super::region::Region;
use egg::{Id, Language};
use evenkeel_ir::Reduce;
use evenkeel_ir::op::{Binary, Composite, EpsKind, Real, Unary};
use rustc_hash::FxHashSet as HashSet;

/// How deep the argument of a reduction is searched for operands.
const DEPTH: usize = 3;
/// The longest sum that is an operand.
const LONGEST: usize = 4;

/// Adds the named ops that occur in the region.
pub(super) fn propose(region: &mut Region) {
    statistics(region);
    softmaxes(region);
    gates(region);
    region.classes.rebuild();
    projections(region);
    region.classes.rebuild();
    means(region);
    region.classes.rebuild();
}

/// A mean beside every sum.
fn means(region: &mut Region) {
    for id in classes(region) {
        for node in region.classes[id].nodes.clone() {
            if let Term::Apply(Head::Reduce(Reduce::Sum), operands) = node {
                region.add(Head::Composite(Composite::Mean, PLAIN), &operands);
            }
        }
    }
}

/// The attributes of composites without any.
const PLAIN: Settings = Settings { eps: Real::ZERO, eps_kind: EpsKind::Inside, correction: 0 };

/// Classes in order.
fn classes(region: &Region) -> Vec<Id> {
    let mut ids: Vec<Id> = region.classes.classes().map(|class| class.id).collect();
    ids.sort();
    ids
}

fn normalizer(region: &mut Region) -> &mut Normalizer {
    &mut region.classes.analysis.reader.normalizer
}

fn form(classes: &Classes, id: Id) -> Option<Form> {
    let facts = classes[id].data;
    facts.form.filter(|_| !facts.truth)
}

/// Operands that statistics may have: `(axes, class)`.
fn arguments(region: &Region) -> Vec<(AxisMask, Id)> {
    let classes_of = &region.classes;
    let mut found: Vec<(AxisMask, Id)> = Vec::new();
    for id in classes(region) {
        for node in &classes_of[id].nodes {
            let Term::Apply(Head::Reduce(Reduce::Sum) | Head::Composite(..), operands) = node else {
                continue;
            };
            let Some(axes) = classes_of[operands[0]].data.axes else { continue };
            let mut level = vec![classes_of.find(operands[1])];
            for _ in 0..=DEPTH {
                let fresh = level.iter().filter(|id| !found.contains(&(axes, **id))).copied();
                let fresh: Vec<Id> = fresh.filter(|id| varies(region, *id, axes)).collect();
                found.extend(fresh.iter().map(|id| (axes, *id)));
                level = fresh.iter().flat_map(|id| inner(classes_of, *id)).collect();
                level.sort();
                level.dedup();
            }
        }
    }
    found
}

fn varies(region: &Region, id: Id, axes: AxisMask) -> bool {
    let normalizer = &region.classes.analysis.reader.normalizer;
    form(&region.classes, id).is_some_and(|form| {
        normalizer.axes_of(form) & axes == axes && normalizer.terms(form).len() <= LONGEST
    })
}

/// Operands of the arithmetic that a class is.
fn inner(classes: &Classes, id: Id) -> Vec<Id> {
    let arithmetic = |term: &&Term| match term {
        Term::Apply(Head::Binary(op), _) => !op.def().gives_bool,
        Term::Apply(Head::Unary(op), _) => matches!(op, Unary::Square | Unary::Neg | Unary::Abs),
        Term::Apply(Head::Composite(..), _) => true,
        _ => false,
    };
    let nodes = classes[id].nodes.iter().filter(arithmetic);
    let operands = nodes.flat_map(|term| term.children().iter().map(|id| classes.find(*id)));
    operands.filter(|id| form(classes, *id).is_some()).collect()
}

/// Stabilizers in sight: small constants that are added, those of composites, and none.
fn epsilons(region: &Region) -> Vec<(Real, EpsKind)> {
    let mut found = vec![(Real::new(0.0), EpsKind::Inside)];
    let mut add = |eps| {
        if !found.contains(&eps) {
            found.push(eps);
        }
    };
    for id in classes(region) {
        for node in &region.classes[id].nodes {
            match node {
                Term::Apply(Head::Binary(Binary::Add), operands) => {
                    let numbers = operands.iter().filter_map(|id| region.classes[*id].data.number);
                    numbers.filter(|n| (0.0..0.5).contains(&n.get())).for_each(|n| add((n, EpsKind::Inside)));
                }
                Term::Apply(Head::Composite(_, settings), _) => add((settings.eps, settings.eps_kind)),
                _ => {}
            }
        }
    }
    found
}

/// Atoms of the forms of all classes.
fn atoms_in_use(region: &Region) -> HashSet<AtomId> {
    let normalizer = &region.classes.analysis.reader.normalizer;
    let forms = region.classes.classes().filter_map(|class| class.data.form);
    forms
        .flat_map(|form| {
            let terms = normalizer.terms(form);
            terms.iter().flat_map(|(product, _)| product.iter().map(|(atom, _)| *atom)).collect::<Vec<_>>()
        })
        .collect()
}

/// A statistic and what is added with it.
const FAMILIES: [(Composite, &[Composite]); 3] = [
    (Composite::Rstd, &[Composite::Rstd, Composite::Standardize, Composite::Center]),
    (Composite::Rrms, &[Composite::Rrms, Composite::RmsUnit]),
    (Composite::Rnorm, &[Composite::Rnorm, Composite::L2Norm]),
];

fn statistics(region: &mut Region) {
    let used = atoms_in_use(region);
    if !used.iter().any(|atom| matches!(normalizer(region).fact(*atom).atom, Atom::Base(_))) {
        return; // no root, no quotient
    }
    let settings = settings(region);
    for (axes, x) in arguments(region) {
        let Some(operand) = form(&region.classes, x) else { continue };
        for &settings in &settings {
            for (statistic, members) in FAMILIES {
                if settings.correction == 1 && statistic != Composite::Rstd {
                    continue;
                }
                let form = region.classes.analysis.statistic(statistic, settings, axes, operand);
                if form.is_some_and(|form| occurs(region, form, &used)) {
                    members.iter().for_each(|op| add_composite(region, *op, settings, axes, x));
                }
            }
        }
    }
}

/// Attributes to try: every eps in sight, and `n - 1` where a composite of the region has it.
fn settings(region: &Region) -> Vec<Settings> {
    let corrected = |term: &Term| matches!(term, Term::Apply(Head::Composite(_, settings), _) if settings.correction == 1);
    let any = region.classes.classes().any(|class| class.nodes.iter().any(corrected));
    let corrections: &[u8] = if any { &[0, 1] } else { &[0] };
    let with = |(eps, eps_kind): (Real, EpsKind)| {
        corrections.iter().map(move |&correction| Settings { eps, eps_kind, correction })
    };
    epsilons(region).into_iter().flat_map(with).collect()
}

/// True when a form is one power of an atom that is in use.
fn occurs(region: &Region, form: Form, used: &HashSet<AtomId>) -> bool {
    let terms = region.classes.analysis.reader.normalizer.terms(form);
    match terms.as_slice() {
        [(product, _)] => {
            let normalizer = &region.classes.analysis.reader.normalizer;
            let mut atoms = product.iter().map(|(atom, _)| *atom).filter(|a| !normalizer.is_constant(*a));
            atoms.next().is_some_and(|atom| used.contains(&atom)) && atoms.next().is_none()
        }
        _ => false,
    }
}

fn add_composite(region: &mut Region, op: Composite, settings: Settings, axes: AxisMask, x: Id) {
    let settings = if op == Composite::Center { PLAIN } else { settings };
    let axes = region.classes.add(Term::Axes(axes));
    region.add(Head::Composite(op, settings), &[axes, x]);
}

/// Softmax where a sum holds nothing but exponentials.
fn softmaxes(region: &mut Region) {
    for atom in normalizer(region).atom_ids().collect::<Vec<_>>() {
        let Atom::Sum(axes, product) = normalizer(region).fact(atom).atom.clone() else { continue };
        let Some(exponent) = exponent(normalizer(region), &product) else { continue };
        let Some(x) = region.classes.analysis.class_of(exponent) else { continue };
        for op in [Composite::Softmax, Composite::LogSoftmax, Composite::LogSumExp] {
            add_composite(region, op, PLAIN, axes, x);
        }
    }
}

/// The exponent of a product of exponentials.
fn exponent(normalizer: &mut Normalizer, product: &Product) -> Option<Form> {
    let mut sum = normalizer.number(Number::ZERO);
    for (atom, power) in product {
        let Atom::Exp(inner) = normalizer.fact(*atom).atom else { return None };
        let part = normalizer.scale(inner, *power);
        sum = normalizer.add(sum, part);
    }
    Some(sum)
}

/// Sigmoid and silu of `x`, and `1 - sigmoid(x)`, where `1 + e^-x` occurs below.
fn gates(region: &mut Region) {
    for atom in normalizer(region).atom_ids().collect::<Vec<_>>() {
        let Atom::Base(base) = normalizer(region).fact(atom).atom else { continue };
        let Some(x) = gate_operand(normalizer(region), base) else { continue };
        let opposite = normalizer(region).scale(x, Number::int(-1));
        for form in [x, opposite] {
            let Some(x) = region.classes.analysis.class_of(form) else { continue };
            let gate = region.add(Head::Unary(Unary::Sigmoid), &[x]);
            let one = region.classes.add(Term::Number(Real::new(1.0)));
            region.add(Head::Binary(Binary::Sub), &[one, gate]);
            region.add(Head::Unary(Unary::Silu), &[x]);
        }
    }
}

/// `x` of `1 + e^-x`.
fn gate_operand(normalizer: &mut Normalizer, base: Form) -> Option<Form> {
    let terms = normalizer.terms(base);
    let [first, second] = terms.as_slice() else { return None };
    let one = |(product, factor): &(Product, Number)| product.is_empty() && *factor == Number::ONE;
    let (product, factor) = if one(first) { second } else { first };
    if !(one(first) || one(second)) || *factor != Number::ONE {
        return None;
    }
    let exponent = exponent(normalizer, product)?;
    Some(normalizer.scale(exponent, Number::int(-1)))
}

/// Composites whose values gradients are projected on.
const NAMED: [Composite; 4] =
    [Composite::Standardize, Composite::RmsUnit, Composite::L2Norm, Composite::Softmax];

/// Adds `sum(h * n)` for named values `n`.
fn projections(region: &mut Region) {
    let mut named: Vec<(Id, Form, AxisMask)> = Vec::new();
    for id in classes(region) {
        for node in &region.classes[id].nodes {
            let Term::Apply(Head::Composite(op, _), operands) = node else { continue };
            let axes = region.classes[operands[0]].data.axes;
            if let (true, Some(axes), Some(form)) = (NAMED.contains(op), axes, form(&region.classes, id)) {
                named.push((id, form, axes));
            }
        }
    }
    for atom in normalizer(region).atom_ids().collect::<Vec<_>>() {
        let Atom::Sum(axes, product) = normalizer(region).fact(atom).atom.clone() else { continue };
        for &(id, form, own) in named.iter().filter(|(_, _, own)| axes & own != 0) {
            project(region, (axes, &product), (id, form, own));
        }
    }
}

/// `sum(h * n)` where the product is `h` times what varies in a term of `n`.
fn project(
    region: &mut Region,
    (axes, product): (AxisMask, &Product),
    (id, named, own): (Id, Form, AxisMask),
) -> Option<Id> {
    let normalizer = &mut region.classes.analysis.reader.normalizer;
    let terms = normalizer.terms(named);
    let varying = |term: &(Product, Number)| -> Product {
        term.0.iter().filter(|(atom, _)| normalizer.fact(*atom).axes & own != 0).cloned().collect()
    };
    let part = terms.iter().map(varying).find(|part| !part.is_empty())?;
    let (rest, _) = normalizer.over(product, &part)?;
    if rest.is_empty() || rest == part {
        return None;
    }
    let rest = normalizer.product(rest, Number::ONE);
    let rest = region.classes.analysis.class_of(rest)?;
    let body = region.add(Head::Binary(Binary::Mul), &[rest, id]);
    let axes = region.classes.add(Term::Axes(axes));
    Some(region.add(Head::Reduce(Reduce::Sum), &[axes, body]))
}
