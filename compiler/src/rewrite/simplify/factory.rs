//! Turns normal forms back into e-nodes, in several ways each.
//!
//! A form is first written out as a sum of products of classes that exist, then factored:
//! common factors, the atoms that most terms share, weak division by every sum that has a
//! class. What is added lands in the class of its form, so a bad proposal costs nodes and never
//! correctness: the normal form decides. No new exponential or logarithm is ever made. Start at [`Factory::factor_roots`].

use super::super::language::{Head, Term};
use super::super::model::is_function;
use super::super::normal::{Atom, AtomId, Form, Lead, Number, Product};
use super::super::region::Region;
use egg::Id;
use evenkeel_ir::op::{Binary, Composite, Real, Unary};
use evenkeel_ir::{Extent, Op, Reduce};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// Beyond so many e-nodes nothing is added.
const NODE_LIMIT: usize = 1500;
/// How many divisions of a sum are kept.
const DIVISIONS: usize = 3;
/// The longest sum that is factored.
const LONGEST: usize = 40;
/// The longest sum that divides others.
const LONGEST_DIVISOR: usize = 12;

/// Makes e-nodes for forms.
pub(super) struct Factory<'r> {
    region: &'r mut Region,
    /// Sums, and named products, that have a class.
    divisors: Vec<Form>,
    /// Classes by form over its leading coefficient, and that coefficient.
    monic: HashMap<Form, (Id, Lead)>,
    factored: HashSet<Form>,
    /// Forms that are being built.
    open: HashSet<Form>,
}

impl<'r> Factory<'r> {
    /// A factory that knows the classes of a region.
    pub(super) fn new(region: &'r mut Region) -> Factory<'r> {
        let mut known: Vec<(bool, Form, Id, bool)> = region
            .classes
            .classes()
            .filter_map(|class| {
                let named = class.nodes.iter().any(is_named);
                let mean = class.nodes.iter().any(is_mean);
                class.data.form.filter(|_| !class.data.truth).map(|form| (!mean, form, class.id, named))
            })
            .collect();
        known.sort();
        let mut factory = Factory {
            region,
            divisors: Vec::new(),
            monic: HashMap::default(),
            factored: HashSet::default(),
            open: HashSet::default(),
        };
        for (_, form, id, named) in known {
            factory.note(form, id);
            let terms = factory.region.classes.analysis.reader.normalizer.terms(form);
            let sum = (2..=LONGEST_DIVISOR).contains(&terms.len());
            if sum || (named && terms.len() == 1 && terms[0].0.len() > 1) {
                factory.divisors.push(form);
            }
        }
        factory
    }

    /// Writes and factors the forms of the roots.
    pub(super) fn factor_roots(&mut self) {
        self.split_powers();
        for root in self.region.roots.clone() {
            let facts = self.region.classes[root].data;
            if let (Some(form), false) = (facts.form, facts.truth) {
                self.class(form);
            }
        }
        self.region.classes.rebuild();
    }

    /// Writes higher powers as products of lower ones, and roots as inverses of inverse roots.
    fn split_powers(&mut self) {
        let forms = self.region.classes.classes().filter_map(|class| class.data.form);
        let mut forms: Vec<Form> = forms.collect();
        forms.sort();
        for form in forms {
            let terms = self.normalizer().terms(form);
            if let [(product, factor)] = terms.as_slice()
                && let [(_, exponent)] = product.as_slice()
                && (*exponent == Number::HALF || exponent.abs().order(Number::ONE).is_gt())
            {
                self.build(product, *factor, form);
            }
        }
    }

    fn note(&mut self, form: Form, id: Id) {
        let normalizer = &mut self.region.classes.analysis.reader.normalizer;
        if let Some((monic, lead)) = normalizer.monic(form) {
            self.monic.entry(monic).or_insert((id, lead));
        }
    }

    fn full(&self) -> bool {
        self.region.classes.total_number_of_nodes() > NODE_LIMIT
    }

    fn normalizer(&mut self) -> &mut super::super::normal::Normalizer {
        &mut self.region.classes.analysis.reader.normalizer
    }

    fn apply(&mut self, head: Head, operands: &[Id]) -> Id {
        self.region.add(head, operands)
    }

    fn number(&mut self, number: f64) -> Id {
        self.region.classes.add(Term::Number(Real::new(number)))
    }

    fn multiply(&mut self, a: Id, b: Id) -> Id {
        self.apply(Head::Binary(Binary::Mul), &[a, b])
    }

    /// The class of a form, written out and factored where that is possible.
    fn class(&mut self, form: Form) -> Option<Id> {
        let known = self.region.classes.analysis.class_of(form);
        if known.is_none() && !self.open.insert(form) {
            return None;
        }
        let id = match known.or_else(|| self.scaled(form)) {
            Some(id) => Some(id),
            None => self.written(form),
        };
        self.open.remove(&form);
        let id = id?;
        if known.is_none() {
            self.note(form, id);
        } else if !self.factored.contains(&form) {
            self.written(form);
        }
        self.factor(form);
        Some(self.region.classes.find(id))
    }

    /// A class that equals the form up to a factor, times that factor.
    fn scaled(&mut self, form: Form) -> Option<Id> {
        let (id, factor) = self.multiple(form)?;
        if factor == 1.0 {
            return Some(id);
        }
        if factor == -1.0 {
            return Some(self.apply(Head::Unary(Unary::Neg), &[id]));
        }
        let factor = self.number(factor);
        Some(self.multiply(factor, id))
    }

    /// The form as a class that is there times a constant.
    fn multiple(&mut self, form: Form) -> Option<(Id, f64)> {
        let (monic, lead) = self.normalizer().monic(form)?;
        let (id, own) = *self.monic.get(&monic)?;
        Some((id, near_integer(lead.over(own))))
    }

    /// The form as a sum of products.
    fn written(&mut self, form: Form) -> Option<Id> {
        let terms = self.normalizer().terms(form);
        if let [(product, factor)] = terms.as_slice() {
            return self.build(product, *factor, form);
        }
        if terms.len() > LONGEST || self.full() {
            return None;
        }
        let mut sum: Option<Id> = None;
        for (product, factor) in terms.iter() {
            let negative = sum.is_some() && !factor.is_positive();
            let factor = if negative { factor.abs() } else { *factor };
            let term = self.product(product, factor)?;
            let op = if negative { Binary::Sub } else { Binary::Add };
            sum = Some(match sum {
                Some(sum) => self.apply(Head::Binary(op), &[sum, term]),
                None => term,
            });
        }
        Some(sum.unwrap_or_else(|| self.number(0.0)))
    }

    /// A product of classes: named products first, then atoms, those that vary least first.
    fn product(&mut self, product: &Product, factor: Number) -> Option<Id> {
        let form = self.normalizer().product(product.clone(), factor);
        let known = self.region.classes.analysis.class_of(form);
        match known.or_else(|| self.scaled(form)) {
            Some(known) => Some(known),
            None => self.build(product, factor, form),
        }
    }

    fn build(&mut self, product: &Product, factor: Number, form: Form) -> Option<Id> {
        let (mut rest, mut factor) = (product.clone(), factor);
        let mut factors: Vec<(u32, Id)> = Vec::new();
        while let Some((divisor, quotient, correction)) = self.named_part(&rest, form) {
            let id = self.region.classes.analysis.class_of(divisor)?;
            factors.push((self.rank(divisor), id));
            (rest, factor) = (quotient, factor * correction);
        }
        let mut constant = 1.0;
        for (atom, exponent) in rest {
            match self.constant(atom, exponent) {
                Some(value) => constant *= value,
                None => {
                    let (rank, id, own) = self.power(atom, exponent, form)?;
                    constant *= own;
                    factors.push((rank, id));
                }
            }
        }
        let constant = near_integer(factor.value() * constant);
        if constant != 1.0 || factors.is_empty() {
            factors.push((0, self.number(constant)));
        }
        factors.sort();
        factors.into_iter().map(|(_, id)| id).reduce(|a, b| self.multiply(a, b))
    }

    /// How many axes a form varies along.
    fn rank(&mut self, form: Form) -> u32 {
        self.normalizer().axes_of(form).count_ones()
    }

    /// The largest named product that divides this one, the quotient and its coefficient.
    fn named_part(&mut self, product: &Product, form: Form) -> Option<(Form, Product, Number)> {
        let normalizer = &self.region.classes.analysis.reader.normalizer;
        let mut best: Option<(usize, Form, Product, Number)> = None;
        for &divisor in self.divisors.iter().filter(|divisor| **divisor != form) {
            let terms = normalizer.terms(divisor);
            let [(named, lead)] = terms.as_slice() else { continue };
            let longer = best.as_ref().is_none_or(|(length, ..)| *length < named.len());
            if let (true, Some((rest, k))) = (longer, normalizer.over(product, named)) {
                best = Some((named.len(), divisor, rest, k * lead.recip()));
            }
        }
        best.map(|(_, divisor, rest, k)| (divisor, rest, k))
    }

    /// The value of a power of a constant atom.
    fn constant(&mut self, atom: AtomId, exponent: Number) -> Option<f64> {
        match self.normalizer().fact(atom).atom {
            Atom::Prime(prime) => Some((prime as f64).powf(exponent.value())),
            Atom::Pi => Some(std::f64::consts::PI.powf(exponent.value())),
            _ => None,
        }
    }

    /// A power of an atom as a class times a constant, and how many axes it varies along; in
    /// another way than as `whole`.
    fn power(&mut self, atom: AtomId, exponent: Number, whole: Form) -> Option<(u32, Id, f64)> {
        let rank = self.normalizer().fact(atom).axes.count_ones();
        let own = self.normalizer().product(vec![(atom, exponent)], Number::ONE);
        let apart = self.normalizer().monic(own)?.0 != self.normalizer().monic(whole)?.0;
        if let Some((known, own)) = self.known_power(atom, exponent).filter(|_| apart) {
            return Some((rank, known, own));
        }
        let halves = (exponent + exponent).as_int()?;
        for step in [2, 1].into_iter().filter(|step| halves % step == 0) {
            let unit = Number::ratio(step * halves.signum(), 2);
            if unit == exponent {
                continue;
            }
            if let Some((known, own)) = self.known_power(atom, unit) {
                let count = halves.abs() / step;
                return Some((rank, self.raise(known, Number::int(count))?, own.powi(count as i32)));
            }
        }
        if let (Number::HALF, Some((known, own))) = (exponent, self.known_power(atom, Number::ratio(-1, 2))) {
            return Some((rank, self.apply(Head::Unary(Unary::Recip), &[known]), own.recip()));
        }
        if matches!(self.normalizer().fact(atom).atom, Atom::Exp(_)) {
            return None; // a power of an exponential overflows where the exponential does not
        }
        let base = match self.normalizer().fact(atom).atom {
            Atom::Base(inner) | Atom::Large(inner) => self.known(inner),
            _ => self.known_power(atom, Number::ONE),
        };
        if let Some((base, own)) = base {
            return Some((rank, self.raise(base, exponent)?, own.powf(exponent.value())));
        }
        let base = self.atom(atom)?;
        Some((rank, self.raise(base, exponent)?, 1.0))
    }

    /// A power of an atom as a class that is there times a constant.
    fn known_power(&mut self, atom: AtomId, exponent: Number) -> Option<(Id, f64)> {
        let form = self.normalizer().product(vec![(atom, exponent)], Number::ONE);
        self.known(form)
    }

    /// A form as a class that is there times a constant.
    fn known(&mut self, form: Form) -> Option<(Id, f64)> {
        match self.region.classes.analysis.class_of(form) {
            Some(known) => Some((known, 1.0)),
            None => self.multiple(form),
        }
    }

    /// An integer or half-integer power of a class.
    fn raise(&mut self, base: Id, exponent: Number) -> Option<Id> {
        let halves = (exponent + exponent).as_int()?;
        if halves.unsigned_abs() > 8 {
            return None;
        }
        let unit = match (halves % 2 != 0, halves > 0) {
            (true, true) => self.apply(Head::Unary(Unary::Sqrt), &[base]),
            (true, false) => self.apply(Head::Unary(Unary::Rsqrt), &[base]),
            (false, true) => base,
            (false, false) => self.apply(Head::Unary(Unary::Recip), &[base]),
        };
        let count = if halves % 2 == 0 { halves.unsigned_abs() / 2 } else { halves.unsigned_abs() };
        let square = |s: &mut Self, x| s.apply(Head::Unary(Unary::Square), &[x]);
        Some(match count {
            0 | 1 => unit,
            2 => square(self, unit),
            3 => {
                let two = square(self, unit);
                self.multiply(two, unit)
            }
            4 => {
                let two = square(self, unit);
                square(self, two)
            }
            _ => (1..count).fold(unit, |product, _| self.multiply(product, unit)),
        })
    }

    /// The class of an atom.
    fn atom(&mut self, atom: AtomId) -> Option<Id> {
        let form = self.normalizer().product(vec![(atom, Number::ONE)], Number::ONE);
        let known = self.region.classes.analysis.class_of(form);
        if let Some(known) = known.or_else(|| self.scaled(form)) {
            return Some(known);
        }
        let fact = self.normalizer().fact(atom).atom.clone();
        let id = match fact {
            Atom::Batch => self.region.classes.add(Term::Size(Extent::BATCH)),
            Atom::Base(inner) | Atom::Large(inner) => self.class(inner)?,
            Atom::Sum(axes, product) => {
                let body = self.product(&product, Number::ONE)?;
                self.over_axes(Reduce::Sum, axes, body)
            }
            Atom::Reduce(op, axes, inner) => {
                let body = self.class(inner)?;
                self.over_axes(op, axes, body)
            }
            Atom::Opaque(op, operands) => self.opaque(&op, &operands)?,
            Atom::Symbol(..) | Atom::Exp(_) | Atom::Prime(_) | Atom::Pi => return None,
        };
        self.note(form, id);
        Some(id)
    }

    fn over_axes(&mut self, op: Reduce, axes: u64, body: Id) -> Id {
        let axes = self.region.classes.add(Term::Axes(axes));
        self.apply(Head::Reduce(op), &[axes, body])
    }

    /// A function that costs little.
    fn opaque(&mut self, op: &Op, operands: &[Form]) -> Option<Id> {
        let head = match op {
            Op::Unary(op @ (Unary::Abs | Unary::Step | Unary::Sign)) => Head::Unary(*op),
            Op::Binary(op) if !op.def().gives_bool => Head::Binary(*op),
            _ => return None,
        };
        let ids: Option<Vec<Id>> = operands.iter().map(|form| self.class(*form)).collect();
        Some(self.apply(head, &ids?))
    }

    /// Adds products that equal a sum.
    fn factor(&mut self, form: Form) {
        let length = self.normalizer().terms(form).len();
        if !(2..=LONGEST).contains(&length) || self.full() || !self.factored.insert(form) {
            return;
        }
        for (product, factor) in self.normalizer().terms(form).iter() {
            let term = self.normalizer().product(product.clone(), *factor);
            self.class(term);
        }
        if let Some((factor, rest)) = self.normalizer().common_factor(form) {
            let parts = self.single(factor).zip(self.class(rest));
            if let Some((a, b)) = parts {
                self.multiply(a, b);
            }
        }
        if length > 2 {
            for (with, without) in self.normalizer().partitions(form) {
                if let Some((a, b)) = self.class(with).zip(self.class(without)) {
                    self.add(a, b);
                }
            }
        }
        self.divisions(form);
    }

    /// The class of a form of one term.
    fn single(&mut self, form: Form) -> Option<Id> {
        let terms = self.normalizer().terms(form);
        let (product, factor) = terms.first()?;
        self.product(product, *factor)
    }

    fn add(&mut self, a: Id, b: Id) -> Id {
        self.apply(Head::Binary(Binary::Add), &[a, b])
    }

    /// Adds the shortest `D Q + R` over known sums `Q`.
    fn divisions(&mut self, form: Form) {
        let mut found: Vec<(usize, Form, Form, Form)> = Vec::new();
        for divisor in self.divisors.clone() {
            if let Some((quotient, rest)) = self.normalizer().weak_division(form, divisor) {
                let length = |s: &mut Self, form| s.normalizer().terms(form).len();
                found.push((length(self, quotient) + length(self, rest), divisor, quotient, rest));
            }
        }
        found.sort();
        found.truncate(DIVISIONS);
        for (_, divisor, quotient, rest) in found {
            self.division(divisor, quotient, rest);
        }
    }

    fn division(&mut self, divisor: Form, quotient: Form, rest: Form) -> Option<Id> {
        let by = self.region.classes.analysis.class_of(divisor)?;
        let product = match self.normalizer().as_number(quotient) {
            Some(Number::ONE) => by,
            _ => {
                let quotient = self.class(quotient)?;
                self.multiply(quotient, by)
            }
        };
        if self.normalizer().terms(rest).is_empty() {
            return Some(product);
        }
        let rest = self.class(rest)?;
        Some(self.add(product, rest))
    }
}

/// A product of radicals that is an integer, or one over an integer, but for rounding.
fn near_integer(x: f64) -> f64 {
    let near = |y: f64| (x / y - 1.0).abs() < 1e-14;
    match (x.round(), 1.0 / (1.0 / x).round()) {
        (whole, _) if near(whole) => whole,
        (_, inverse) if near(inverse) => inverse,
        _ => x,
    }
}

/// True for means, which cannot overflow where sums do.
fn is_mean(term: &Term) -> bool {
    matches!(term, Term::Apply(Head::Composite(Composite::Mean, _), _))
}

/// True for e-nodes with a name of their own, which products are built around.
fn is_named(term: &Term) -> bool {
    match term {
        Term::Apply(Head::Composite(op, _), _) => *op != Composite::Mean,
        Term::Apply(Head::Unary(op), _) => is_function(*op),
        Term::Apply(Head::Reduce(Reduce::Sum), _) => true,
        _ => false,
    }
}
