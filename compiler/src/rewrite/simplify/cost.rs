//! What e-nodes of a region cost: flops by the volume they run over, or what memory takes longer than
//! those; reductions, sweeps over the row, steps, and a penalty for sums that lose digits.

use super::super::language::{Classes, Head, Term};
use super::super::model::{Cost, Model, TRANSCENDENTAL, is_function};
use super::super::normal::{Atom, AtomId, AxisMask, Form, Normalizer, Number, Product};
use super::super::region::Region;
use super::super::tally::sweeps_of;
use crate::costs::Costs;
use egg::{Id, Language};
use evenkeel_ir::op::{Binary, Composite, Unary};
use rustc_hash::FxHashSet as HashSet;

/// The batch size that costs assume.
const BATCH: u64 = 1024;
/// Cost of an e-node however small it is.
const NODE: f64 = 2e-3;
/// Cost of a reduction beside its flops.
const REDUCTION: f64 = 0.5;
/// Steps that an accumulated sum costs beside its flops.
const COMBINE: f64 = 1.5;
/// Cost of a sum that loses digits.
const HAZARD: f64 = 1e3;

/// The cost of a region, in flops of one element of its index space.
pub(super) struct Volume<'c> {
    /// E-nodes that may lose digits, because the user wrote them and asked for strictness.
    pub(super) trusted: HashSet<Term>,
    /// Hazards are allowed.
    pub(super) approximate: bool,
    /// What work costs.
    costs: &'c Costs,
    /// Operations that take as long as reading what the region reads and writing what it gives.
    transfers: f64,
    /// The outermost axis, where sums over it are no statistics: they are accumulated, combined
    /// after the kernel, and what is made of them needs a kernel of its own.
    accumulated: AxisMask,
    /// Classes of named statistics that the graph has: their kernels survive rows of huge numbers.
    named: HashSet<Id>,
}

impl<'c> Volume<'c> {
    /// The costs of a region.
    pub(super) fn of(
        region: &Region,
        trusted: HashSet<Term>,
        approximate: bool,
        costs: &'c Costs,
    ) -> Volume<'c> {
        let classes = &region.classes;
        let meaning = &classes.analysis;
        let normalizer = &meaning.reader.normalizer;
        let rank = meaning.space.rank();
        let outermost = (0..rank).find(|&axis| !meaning.space[axis].is_one());
        let outer = outermost.and_then(|axis| normalizer.known_axis(rank - 1 - axis, meaning.space[axis]));
        let outer = outer.unwrap_or(0);
        let wide = region.roots.iter().filter_map(|root| classes[*root].data.form);
        let statistic = wide.filter(|form| spans(classes, normalizer.axes_of(*form))).any(|form| {
            normalizer.terms(form).iter().any(|(product, _)| sums_over(normalizer, product, outer))
        });
        let named = named(region);
        let moved = transfers(region);
        let transfers = moved * costs.transfer(moved * space_volume(classes));
        let accumulated = if statistic { 0 } else { outer };
        Volume { trusted, approximate, costs, transfers, accumulated, named }
    }

    /// True for arithmetic that no kernel of the region does on its way: on parameters alone, or
    /// on accumulated sums.
    fn needs_kernel(&self, classes: &Classes, class: Id, head: Head) -> bool {
        let normalizer = &classes.analysis.reader.normalizer;
        let Some(form) = classes[class].data.form else { return false };
        let axes = normalizer.axes_of(form);
        let terms = normalizer.terms(form);
        let parameters = !reduces(normalizer, form);
        let accumulated = terms.iter().any(|(product, _)| sums_over(normalizer, product, self.accumulated));
        let small = axes != 0 && !spans(classes, axes);
        !is_reduction(head) && ((small && parameters) || (axes & self.accumulated == 0 && accumulated))
    }

    /// Cost of a reduction beside its flops.
    fn reduction(&self, classes: &Classes, head: Head, operands: &[Id]) -> f64 {
        let over = classes[operands[0]].data.axes.unwrap_or(0);
        match is_reduction(head) {
            true if over & self.accumulated != 0 => COMBINE * self.costs.step(),
            true => REDUCTION,
            false => 0.0,
        }
    }
}

impl Model for Volume<'_> {
    fn cost(&self, classes: &Classes, class: Id, term: &Term) -> Cost {
        let Term::Apply(head, operands) = term else { return Cost { arithmetic: 0.0, rest: 1e-3 } };
        let normalizer = &classes.analysis.reader.normalizer;
        let form = |id: &Id| classes[*id].data.form;
        let mask = |id: &Id| form(id).map_or(0, |form| normalizer.axes_of(form));
        let axes = operands.iter().chain([&class]).fold(0, |axes, id| axes | mask(id));
        let share = volume(normalizer, axes) / space_volume(classes);
        let reduction = self.reduction(classes, *head, operands);
        let launch = if self.needs_kernel(classes, class, *head) { self.costs.step() } else { 0.0 };
        let hazard =
            !self.approximate && !self.trusted.contains(term) && loses_digits(classes, *head, operands);
        let renamed = self.named.contains(&classes.find(class)) && !matches!(head, Head::Composite(..));
        let penalty = if hazard || renamed { HAZARD } else { 0.0 };
        Cost { arithmetic: flops(*head) * share, rest: reduction + launch + NODE + penalty }
    }

    fn sweeps(&self, term: &Term) -> u32 {
        sweeps_of(term)
    }

    fn sweep(&self) -> f64 {
        self.costs.sweep()
    }

    fn transfers(&self) -> f64 {
        self.transfers
    }
}

/// Values that a region reads and writes, for each element of its index space.
fn transfers(region: &Region) -> f64 {
    let classes = &region.classes;
    let normalizer = &classes.analysis.reader.normalizer;
    let share = |id: Id| {
        let axes = classes[id].data.form.map_or(0, |form| normalizer.axes_of(form));
        volume(normalizer, axes) / space_volume(classes)
    };
    let is_leaf = |id: &Id| classes[*id].nodes.iter().any(|term| matches!(term, Term::Leaf(_)));
    let leaves = classes.classes().map(|class| class.id).filter(is_leaf);
    leaves.chain(region.roots.iter().copied()).map(share).sum()
}

fn volume(normalizer: &Normalizer, axes: AxisMask) -> f64 {
    normalizer.extent(axes).at(BATCH).max(1) as f64
}

fn space_volume(classes: &Classes) -> f64 {
    let elements = classes.analysis.space.elements();
    elements.at(BATCH).max(1) as f64
}

fn is_reduction(head: Head) -> bool {
    match head {
        Head::Composite(op, _) => op != Composite::FixedNorm,
        head => matches!(head, Head::Reduce(_)),
    }
}

/// Flops of one element; named ops of one operand share their statistics, so each counts
/// little more than what is its own.
fn flops(head: Head) -> f64 {
    match head {
        Head::Indicator | Head::StopGradient => 0.0,
        Head::Select | Head::Reduce(_) => 1.0,
        Head::Binary(Binary::Div) => 4.0,
        Head::Binary(Binary::Pow) => 40.0,
        Head::Binary(_) => 1.0,
        Head::Unary(Unary::Recip | Unary::Sqrt | Unary::Rsqrt) => 4.0,
        Head::Unary(op) if is_function(op) => 14.0,
        Head::Unary(op) if TRANSCENDENTAL.contains(&op) => 12.0,
        Head::Unary(_) => 1.0,
        Head::Composite(op, _) => match op {
            Composite::Mean | Composite::Center | Composite::RmsUnit | Composite::L2Norm => 1.0,
            Composite::Rrms | Composite::Rnorm | Composite::Rstd => 1.5,
            Composite::RmsNorm | Composite::Standardize => 1.5,
            Composite::Var => 3.0,
            Composite::LayerNorm | Composite::FixedNorm => 3.5,
            // they share one exponential
            Composite::Softmax => 14.0,
            Composite::LogSoftmax | Composite::LogSumExp => 3.0,
            Composite::ArgMax => 1.0,
        },
    }
}

/// Classes of the named statistics of the region as written.
fn named(region: &Region) -> HashSet<Id> {
    let mut ids: Vec<Id> = Vec::new();
    let mut named = HashSet::default();
    for term in region.written.as_ref() {
        let own = term.clone().map_children(|id| ids[usize::from(id)]);
        let id = region.classes.lookup(own).expect("what is written is in the e-graph");
        if matches!(term, Term::Apply(Head::Composite(op, _), _) if op.def().vjp.is_some() && *op != Composite::Mean)
        {
            named.insert(id);
        }
        ids.push(id);
    }
    named
}

/// True for values along all axes of the region.
fn spans(classes: &Classes, axes: AxisMask) -> bool {
    classes.analysis.axes(axes).len() == classes.analysis.space.0.iter().filter(|e| !e.is_one()).count()
}

/// True for sums whose operands are large where the result is small: a moment minus the square
/// of another, a value minus its mean after each was scaled.
fn loses_digits(classes: &Classes, head: Head, operands: &[Id]) -> bool {
    let normalizer = &classes.analysis.reader.normalizer;
    let form = |place: usize| classes[operands[place]].data.form;
    match head {
        Head::Binary(Binary::Add | Binary::Sub) => {
            let (Some(a), Some(b)) = (form(0), form(1)) else { return false };
            let sign = if head == Head::Binary(Binary::Sub) { Number::int(-1) } else { Number::ONE };
            let either =
                |test: fn(&Normalizer, Form, Form) -> bool| test(normalizer, a, b) || test(normalizer, b, a);
            cancels(normalizer, a, b, sign) || either(uncentered) || either(outside_sums)
        }
        _ => false,
    }
}

/// True for products with a sum over this axis.
fn sums_over(normalizer: &Normalizer, product: &Product, axis: AxisMask) -> bool {
    let over = |atom: AtomId| matches!(normalizer.fact(atom).atom, Atom::Sum(axes, _) if axes & axis != 0);
    product.iter().any(|(atom, _)| over(*atom))
}

/// True for forms with a reduction anywhere inside.
fn reduces(normalizer: &Normalizer, form: Form) -> bool {
    let atom = |(atom, _): &(AtomId, Number)| match &normalizer.fact(*atom).atom {
        Atom::Sum(..) | Atom::Reduce(..) => true,
        Atom::Exp(inner) | Atom::Base(inner) | Atom::Large(inner) => reduces(normalizer, *inner),
        Atom::Opaque(_, operands) => operands.iter().any(|form| reduces(normalizer, *form)),
        Atom::Symbol(..) | Atom::Prime(_) | Atom::Pi | Atom::Batch => false,
    };
    normalizer.terms(form).iter().any(|(product, _)| product.iter().any(atom))
}

fn has_sum(normalizer: &Normalizer, product: &Product) -> bool {
    product.iter().any(|(atom, _)| matches!(normalizer.fact(*atom).atom, Atom::Sum(..)))
}

/// True when a nonnegative moment is subtracted from another.
fn cancels(normalizer: &Normalizer, a: Form, b: Form, sign: Number) -> bool {
    let moments = |form: Form, sign: Number| -> Vec<bool> {
        let terms = normalizer.terms(form);
        let moment = |(product, factor): &(Product, Number)| {
            let reduced = has_sum(normalizer, product) && normalizer.product_nonnegative(product);
            reduced.then_some(factor.is_positive() == sign.is_positive())
        };
        terms.iter().filter_map(moment).collect()
    };
    let (a, b) = (moments(a, Number::ONE), moments(b, sign));
    a.iter().any(|positive| b.contains(&!positive))
}

/// True when `x * s` meets `mean(x) * s` and `s` is not a number: centering comes first.
fn uncentered(normalizer: &Normalizer, a: Form, b: Form) -> bool {
    let (a, b) = (normalizer.terms(a), normalizer.terms(b));
    let mean_times = |terms: &[(Product, Number)], x: AtomId, rest: &Product| {
        terms.iter().any(|(product, _)| {
            let mean = |(atom, e): &&(AtomId, Number)| *e == Number::ONE && is_sum_of(normalizer, *atom, x);
            product.iter().find(mean).is_some_and(|(mean, _)| without(product, *mean) == *rest)
        })
    };
    a.iter().filter(|(product, _)| product.len() > 1).any(|(product, _)| {
        let symbol = |(atom, e): &&(AtomId, Number)| {
            matches!(normalizer.fact(*atom).atom, Atom::Symbol(..)) && *e == Number::ONE
        };
        product.iter().filter(symbol).any(|&(x, _)| {
            let rest = without(product, x);
            mean_times(&b, x, &rest) && !mean_times(&a, x, &rest)
        })
    })
}

/// True when `sum(x * g)` meets `sum(g)` times a statistic of `x`: a difference that was taken element
/// by element is taken between sums, as in a covariance in one pass.
fn outside_sums(normalizer: &Normalizer, a: Form, b: Form) -> bool {
    let (a, b) = (normalizer.terms(a), normalizer.terms(b));
    let with_statistic = |product: &Product, over: AxisMask, g: AtomId, x: AtomId| {
        let statistic =
            |atom: AtomId| normalizer.fact(atom).axes & over == 0 && mentions(normalizer, atom, x);
        product.iter().any(|&(sum, power)| {
            power == Number::ONE
                && is_sum_of(normalizer, sum, g)
                && product.iter().any(|&(other, _)| other != sum && statistic(other))
        })
    };
    let meets = |over: AxisMask, x: AtomId, g: AtomId| {
        let either = |product| with_statistic(product, over, g, x) || with_statistic(product, over, x, g);
        b.iter().any(|(product, _)| either(product))
    };
    a.iter().flat_map(|(product, _)| product).any(|(atom, _)| match &normalizer.fact(*atom).atom {
        Atom::Sum(over, body) => matches!(body.as_slice(), [(x, _), (g, _)] if meets(*over, *x, *g)),
        _ => false,
    })
}

/// True for an atom with another anywhere inside.
fn mentions(normalizer: &Normalizer, atom: AtomId, wanted: AtomId) -> bool {
    let within = |form: Form| {
        let terms = normalizer.terms(form);
        terms.iter().flat_map(|(product, _)| product).any(|(atom, _)| mentions(normalizer, *atom, wanted))
    };
    atom == wanted
        || match &normalizer.fact(atom).atom {
            Atom::Sum(_, body) => body.iter().any(|(atom, _)| mentions(normalizer, *atom, wanted)),
            Atom::Exp(form) | Atom::Base(form) | Atom::Large(form) | Atom::Reduce(_, _, form) => {
                within(*form)
            }
            Atom::Opaque(_, operands) => operands.iter().any(|form| within(*form)),
            Atom::Symbol(..) | Atom::Prime(_) | Atom::Pi | Atom::Batch => false,
        }
}

/// A product without one of its atoms.
fn without(product: &Product, atom: AtomId) -> Product {
    product.iter().filter(|(other, _)| *other != atom).cloned().collect()
}

/// True for the sum of one atom.
fn is_sum_of(normalizer: &Normalizer, atom: AtomId, x: AtomId) -> bool {
    match &normalizer.fact(atom).atom {
        Atom::Sum(_, body) => matches!(body.as_slice(), [(only, Number::ONE)] if *only == x),
        _ => false,
    }
}
