//! Interned sums of products over atoms.
//!
//! A [`Form`] names a sorted list of terms, a term is a coefficient and a sorted list of atoms
//! with exponents. Invariants: no coefficient and no exponent is zero; primes have exponents
//! in `(0, 1)`; atoms that stand for a sum ([`Atom::Base`]) have exponents below 1. Equal
//! forms have equal ids. Start at [`Normalizer::add`] and [`Normalizer::multiply`].

use super::rational::Number;
use evenkeel_ir::{Binary, Extent, Op, Reduce};
use rustc_hash::FxHashMap as HashMap;
use std::ops::{Add, Mul, Sub};
use std::rc::Rc;

/// A normal form in its [`Normalizer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form(pub(super) u32);

/// An atom in its [`Normalizer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::rewrite) struct AtomId(pub(super) u32);

/// A set of axes of the index space, one bit each.
pub type AxisMask = u64;

/// Atoms with exponents, sorted by atom.
pub(in crate::rewrite) type Product = Vec<(AtomId, Number)>;

/// A product and its coefficient.
pub(in crate::rewrite) type Term = (Product, Number);

/// What sums and products are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::rewrite) enum Atom {
    /// An opaque value: number, axes, and whether it is known not to be negative.
    Symbol(u32, AxisMask, bool),
    /// A prime, for radicals.
    Prime(i128),
    /// The ratio of a circle.
    Pi,
    /// The run-time batch size.
    Batch,
    /// The exponential of a primitive form.
    Exp(Form),
    /// A sum of at least two terms, to a power below 1.
    Base(Form),
    /// A form that grew too large to be multiplied out.
    Large(Form),
    /// The sum of a product over axes.
    Sum(AxisMask, Product),
    /// Another reduction over axes.
    Reduce(Reduce, AxisMask, Form),
    /// A function without algebra.
    Opaque(Op, Vec<Form>),
}

pub(in crate::rewrite) struct AtomFacts {
    pub(in crate::rewrite) atom: Atom,
    /// Axes that it may vary along.
    pub(in crate::rewrite) axes: AxisMask,
    /// Known not to be negative.
    pub(in crate::rewrite) nonnegative: bool,
}

/// The largest number of terms that a product is expanded to.
const TERM_LIMIT: usize = 48;

/// How many rewrites a form may cost before its parts stay opaque.
const STEP_LIMIT: usize = 800;

/// Interns forms and decides their equality.
#[derive(Default)]
pub struct Normalizer {
    pub(super) atoms: Vec<AtomFacts>,
    atom_ids: HashMap<Atom, AtomId>,
    forms: Vec<Rc<Vec<Term>>>,
    form_ids: HashMap<Rc<Vec<Term>>, Form>,
    /// Place from the last axis, and extent, of every bit of an [`AxisMask`].
    axes: Vec<(usize, Extent)>,
    /// Expanded integer powers and what they are powers of.
    pub(super) roots: HashMap<Form, (Form, i128)>,
    pub(super) steps: usize,
    /// How many more rewrites it may do, see [`Normalizer::extend`].
    extra_steps: usize,
}

impl Normalizer {
    /// An empty normalizer.
    pub fn new() -> Normalizer {
        Normalizer::default()
    }

    /// Allows more rewrites than one spelling needs.
    pub fn extend(&mut self, steps: usize) {
        self.extra_steps = steps;
    }

    /// Every atom that was met, in order.
    pub(in crate::rewrite) fn atom_ids(&self) -> impl Iterator<Item = AtomId> + use<> {
        (0..self.atoms.len() as u32).map(AtomId)
    }

    /// The bit of an axis, given its place from the last axis; none for extent 1 and beyond 64 axes.
    pub fn axis(&mut self, from_last: usize, extent: Extent) -> Option<AxisMask> {
        if extent.is_one() {
            return Some(0);
        }
        let known = self.axes.iter().position(|&axis| axis == (from_last, extent));
        let index = known.unwrap_or(self.axes.len());
        if index == self.axes.len() {
            self.axes.push((from_last, extent));
        }
        (index < AxisMask::BITS as usize).then(|| 1 << index)
    }

    /// The bit of an axis that was met before; none for others and for extent 1.
    pub fn known_axis(&self, from_last: usize, extent: Extent) -> Option<AxisMask> {
        let index = self.axes.iter().position(|&axis| axis == (from_last, extent))?;
        (index < AxisMask::BITS as usize).then(|| 1 << index)
    }

    /// How many elements some axes span.
    pub(in crate::rewrite) fn extent(&self, axes: AxisMask) -> Extent {
        let member =
            |(bit, &(_, extent)): (usize, &(usize, Extent))| (axes >> bit & 1 == 1).then_some(extent);
        Extent::product(self.axes.iter().enumerate().take(64).filter_map(member))
    }

    pub(super) fn intern(&mut self, terms: Vec<Term>) -> Form {
        let terms = Rc::new(terms);
        if let Some(&form) = self.form_ids.get(&terms) {
            return form;
        }
        let form = Form(self.forms.len() as u32);
        self.forms.push(terms.clone());
        self.form_ids.insert(terms, form);
        form
    }

    pub(in crate::rewrite) fn terms(&self, form: Form) -> Rc<Vec<Term>> {
        self.forms[form.0 as usize].clone()
    }

    pub(super) fn atom_id(&mut self, atom: Atom) -> AtomId {
        if let Some(&id) = self.atom_ids.get(&atom) {
            return id;
        }
        let (axes, nonnegative) = self.facts(&atom);
        let id = AtomId(self.atoms.len() as u32);
        self.atoms.push(AtomFacts { atom: atom.clone(), axes, nonnegative });
        self.atom_ids.insert(atom, id);
        id
    }

    fn facts(&self, atom: &Atom) -> (AxisMask, bool) {
        match atom {
            Atom::Symbol(_, axes, nonnegative) => (*axes, *nonnegative),
            Atom::Prime(_) | Atom::Pi | Atom::Batch => (0, true),
            Atom::Exp(form) => (self.axes_of(*form), true),
            Atom::Base(form) | Atom::Large(form) => (self.axes_of(*form), self.is_nonnegative(*form)),
            Atom::Sum(axes, product) => {
                (self.product_axes(product) & !axes, self.product_nonnegative(product))
            }
            Atom::Reduce(_, axes, form) => (self.axes_of(*form) & !axes, self.is_nonnegative(*form)),
            Atom::Opaque(op, operands) => {
                let axes = operands.iter().fold(0, |axes, &form| axes | self.axes_of(form));
                let nonnegative = match op {
                    Op::Unary(f) => f.def().range.0 >= 0.0,
                    Op::Binary(Binary::Max) => operands.iter().any(|&form| self.is_nonnegative(form)),
                    _ => false,
                };
                (axes, nonnegative)
            }
        }
    }

    /// An atom as a form.
    pub(super) fn atom(&mut self, atom: Atom) -> Form {
        let id = self.atom_id(atom);
        self.product(vec![(id, Number::ONE)], Number::ONE)
    }

    pub(in crate::rewrite) fn fact(&self, atom: AtomId) -> &AtomFacts {
        &self.atoms[atom.0 as usize]
    }

    pub(in crate::rewrite) fn product_axes(&self, product: &Product) -> AxisMask {
        product.iter().fold(0, |axes, (atom, _)| axes | self.fact(*atom).axes)
    }

    /// Axes that a form may vary along.
    pub fn axes_of(&self, form: Form) -> AxisMask {
        self.forms[form.0 as usize].iter().fold(0, |axes, (product, _)| axes | self.product_axes(product))
    }

    pub(in crate::rewrite) fn product_nonnegative(&self, product: &Product) -> bool {
        product.iter().all(|(atom, exponent)| self.fact(*atom).nonnegative || exponent.is_even())
    }

    /// True when a form is known not to be negative anywhere.
    pub fn is_nonnegative(&self, form: Form) -> bool {
        let terms = &self.forms[form.0 as usize];
        terms.iter().all(|(product, factor)| factor.is_positive() && self.product_nonnegative(product))
    }

    /// True when a form is known to be above zero everywhere.
    pub fn is_positive(&self, form: Form) -> bool {
        let never_zero = |(product, _): &Term| {
            product
                .iter()
                .all(|(atom, _)| matches!(self.fact(*atom).atom, Atom::Exp(_) | Atom::Prime(_) | Atom::Pi))
        };
        self.is_nonnegative(form) && self.forms[form.0 as usize].iter().any(never_zero)
    }

    /// A number.
    pub fn number(&mut self, number: Number) -> Form {
        self.product(Vec::new(), number)
    }

    /// The number that a form is, if it is one.
    pub fn as_number(&self, form: Form) -> Option<Number> {
        match self.forms[form.0 as usize].as_slice() {
            [] => Some(Number::ZERO),
            [(product, factor)] if product.is_empty() => Some(*factor),
            _ => None,
        }
    }

    pub(in crate::rewrite) fn product(&mut self, product: Product, factor: Number) -> Form {
        self.intern(if factor.is_zero() { Vec::new() } else { vec![(product, factor)] })
    }

    /// An extent as a number.
    pub fn size(&mut self, extent: Extent) -> Form {
        let mut product = Vec::new();
        if extent.power > 0 {
            product.push((self.atom_id(Atom::Batch), Number::int(extent.power.into())));
        }
        self.product(product, Number::int(extent.scale.into()))
    }

    /// The ratio of a circle.
    pub fn pi(&mut self) -> Form {
        self.atom(Atom::Pi)
    }

    /// An opaque value.
    pub fn symbol(&mut self, id: u32, axes: AxisMask, nonnegative: bool) -> Form {
        self.atom(Atom::Symbol(id, axes, nonnegative))
    }

    /// Sum of two forms.
    pub fn add(&mut self, x: Form, y: Form) -> Form {
        let mut terms = (*self.terms(x)).clone();
        terms.extend(self.terms(y).iter().cloned());
        self.intern(collect(terms))
    }

    /// Product with a number.
    pub fn scale(&mut self, x: Form, factor: Number) -> Form {
        let scaled = self.terms(x).iter().map(|(product, c)| (product.clone(), c.mul(factor))).collect();
        self.intern(collect(scaled))
    }

    /// Difference of two forms.
    pub fn subtract(&mut self, x: Form, y: Form) -> Form {
        let negative = self.scale(y, Number::int(-1));
        self.add(x, negative)
    }

    /// Product of two forms.
    pub fn multiply(&mut self, x: Form, y: Form) -> Form {
        let (left, right) = (self.terms(x), self.terms(y));
        self.steps += left.len() * right.len();
        if left.len() * right.len() > TERM_LIMIT || (self.exhausted() && left.len() * right.len() > 1) {
            return self.multiply_large(x, y);
        }
        let mut terms = Vec::with_capacity(left.len() * right.len());
        for (product, factor) in left.iter() {
            for (other, other_factor) in right.iter() {
                let (product, correction) = self.merge(product, other);
                terms.push((product, factor.mul(*other_factor).mul(correction)));
            }
        }
        let form = self.intern(collect(terms));
        let form = self.expand_bases(form);
        self.reduce_fractions(form)
    }

    fn multiply_large(&mut self, x: Form, y: Form) -> Form {
        let wrap = |s: &mut Self, form: Form| {
            if s.terms(form).len() > 1 { s.atom(Atom::Large(form)) } else { form }
        };
        let size = |form: Form| (self.terms(form).len(), form);
        let (large, small) = if size(x) >= size(y) { (x, y) } else { (y, x) };
        let large = wrap(self, large);
        let small =
            if self.terms(small).len() > TERM_LIMIT || self.exhausted() { wrap(self, small) } else { small };
        self.multiply(large, small)
    }

    pub(super) fn exhausted(&self) -> bool {
        self.steps > STEP_LIMIT + self.extra_steps
    }

    /// Product of two products; integer parts of radicals become a factor.
    pub(super) fn merge(&self, x: &Product, y: &Product) -> (Product, Number) {
        let mut merged = Product::with_capacity(x.len() + y.len());
        let mut factor = Number::ONE;
        let (mut left, mut right) = (x.iter().peekable(), y.iter().peekable());
        while let Some(&&(atom, exponent)) = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
            (a, b) => a.or(b),
        } {
            let other = |item: &&(AtomId, Number)| item.0 == atom;
            let exponent = match (left.next_if(other), right.next_if(other)) {
                (Some(a), Some(b)) => a.1.add(b.1),
                _ => exponent,
            };
            let exponent = match self.fact(atom).atom {
                Atom::Prime(prime) => {
                    let whole = exponent.floor();
                    factor = factor.mul(Number::int(prime).powi(whole));
                    exponent.sub(Number::int(whole))
                }
                _ => exponent,
            };
            if !exponent.is_zero() {
                merged.push((atom, exponent));
            }
        }
        (merged, factor)
    }
}

/// Sorts terms and adds those with the same product.
fn collect(mut terms: Vec<Term>) -> Vec<Term> {
    terms.sort();
    let mut sums: Vec<Term> = Vec::with_capacity(terms.len());
    for (product, factor) in terms {
        match sums.last_mut() {
            Some((last, sum)) if *last == product => *sum = sum.add(factor),
            _ => sums.push((product, factor)),
        }
    }
    sums.retain(|(_, factor)| !factor.is_zero());
    sums
}
