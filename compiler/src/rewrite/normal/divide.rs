//! Common factors and weak division: how sums are written as products.
//!
//! `P = D * Q + R` for a known divisor `Q` is found term by term (the algebraic division of
//! multi-level logic synthesis); the rest `R` is computed, so the equation always holds.
//! Start at [`Normalizer::weak_division`].

use super::form::{Atom, AtomId, Form, Normalizer, Product, Term};
use super::rational::Number;
use rustc_hash::FxHashMap as HashMap;
use std::ops::{Mul, Neg};

/// A constant factor: a number times a radical.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::rewrite) struct Lead {
    number: Number,
    radical: f64,
}

impl Lead {
    /// This factor over another.
    pub(in crate::rewrite) fn over(self, other: Lead) -> f64 {
        self.number.mul(other.number.recip()).value() * (self.radical / other.radical)
    }
}

/// How many atoms are tried as the factor of a part of a sum.
const PARTITIONS: usize = 2;

impl Normalizer {
    /// A form divided by the constant part of its first term, and that part.
    pub(in crate::rewrite) fn monic(&mut self, x: Form) -> Option<(Form, Lead)> {
        let (product, number) = self.terms(x).first()?.clone();
        let mut radical = 1.0;
        let mut inverse = Product::new();
        for (atom, exponent) in product {
            let base = match self.fact(atom).atom {
                Atom::Prime(prime) => prime as f64,
                Atom::Pi => std::f64::consts::PI,
                _ => continue,
            };
            radical *= base.powf(exponent.value());
            inverse.push((atom, exponent.neg()));
        }
        let inverse = self.reciprocal(inverse, number);
        Some((self.multiply(x, inverse), Lead { number, radical }))
    }

    /// `1 / number` times a product of constants.
    fn reciprocal(&mut self, inverse: Product, number: Number) -> Form {
        let (product, factor) = self.merge(&inverse, &Product::new());
        self.product(product, factor.mul(number.recip()))
    }

    /// A sum as `factor * rest`, where the factor holds the atoms that all terms share and the
    /// constants of the term that varies along most axes. None where nothing is shared.
    pub(in crate::rewrite) fn common_factor(&mut self, x: Form) -> Option<(Form, Form)> {
        let terms = self.terms(x);
        let mut shared = self.shared(&terms);
        let rank = |(product, _): &&Term| self.product_axes(product).count_ones();
        let (widest, number) = terms.iter().max_by_key(|t| (rank(t), usize::MAX - t.0.len()))?;
        let constants = widest.iter().filter(|(atom, _)| self.is_constant(*atom)).cloned();
        shared.extend(constants.collect::<Vec<_>>());
        shared.sort();
        let exact = terms.iter().all(|(_, factor)| matches!(factor, Number::Exact(..)));
        let factor = if exact { *number } else { Number::ONE };
        if shared.is_empty() && factor == Number::ONE {
            return None;
        }
        let inverse: Product = shared.iter().map(|(atom, e)| (*atom, e.neg())).collect();
        let inverse = self.reciprocal(inverse, factor);
        let rest = self.multiply(x, inverse);
        let fits = self.terms(rest).len() <= terms.len();
        fits.then(|| (self.product(shared, factor), rest))
    }

    /// True for atoms that are numbers.
    pub(in crate::rewrite) fn is_constant(&self, atom: AtomId) -> bool {
        matches!(self.fact(atom).atom, Atom::Prime(_) | Atom::Pi)
    }

    /// Atoms of every term, with the exponent that is nearest to zero; constants aside.
    fn shared(&self, terms: &[Term]) -> Product {
        let Some((first, _)) = terms.first() else { return Product::new() };
        let least = |&(atom, exponent): &(AtomId, Number)| {
            if self.is_constant(atom) {
                return None;
            }
            let mut least = exponent;
            for (product, _) in terms {
                let (_, other) = product.iter().find(|(a, _)| *a == atom)?;
                if other.is_positive() != least.is_positive() {
                    return None;
                }
                if other.abs().order(least.abs()).is_lt() {
                    least = *other;
                }
            }
            Some((atom, least))
        };
        first.iter().filter_map(least).collect()
    }

    /// A sum as terms with and without one atom, for the atoms that most but not all share.
    pub(in crate::rewrite) fn partitions(&mut self, x: Form) -> Vec<(Form, Form)> {
        let terms = self.terms(x);
        let mut counts: HashMap<(AtomId, bool), usize> = HashMap::default();
        for (atom, exponent) in terms.iter().flat_map(|(product, _)| product) {
            *counts.entry((*atom, exponent.is_positive())).or_default() += 1;
        }
        let mut atoms: Vec<(usize, (AtomId, bool))> = counts
            .into_iter()
            .filter(|((atom, _), count)| (2..terms.len()).contains(count) && !self.is_constant(*atom))
            .map(|(key, count)| (count, key))
            .collect();
        atoms.sort_by(|a, b| b.cmp(a));
        atoms.truncate(PARTITIONS);
        let split = |s: &mut Self, (atom, positive): (AtomId, bool)| {
            let has =
                |(product, _): &Term| product.iter().any(|(a, e)| *a == atom && e.is_positive() == positive);
            let (with, without): (Vec<Term>, Vec<Term>) = terms.iter().cloned().partition(has);
            (s.intern(with), s.intern(without))
        };
        atoms.into_iter().map(|(_, key)| split(self, key)).collect()
    }

    /// Quotient and rest of a sum by another sum; none where that does not make it shorter.
    pub(in crate::rewrite) fn weak_division(&mut self, x: Form, by: Form) -> Option<(Form, Form)> {
        let (terms, divisor) = (self.terms(x), self.terms(by));
        if x == by || divisor.len() < 2 || divisor.len() > terms.len() {
            return None;
        }
        let mut quotient: Option<Vec<Term>> = None;
        for (product, factor) in divisor.iter() {
            let inverse = factor.recip();
            let part = |(p, c): &Term| self.over(p, product).map(|(q, k)| (q, c.mul(k).mul(inverse)));
            let mut parts: Vec<Term> = terms.iter().filter_map(part).collect();
            if let Some(known) = quotient {
                parts.retain(|part| known.contains(part));
            }
            if parts.is_empty() {
                return None;
            }
            quotient = Some(parts);
        }
        let mut quotient = quotient?;
        quotient.sort();
        quotient.dedup();
        let quotient = self.intern(quotient);
        let product = self.multiply(quotient, by);
        let rest = self.subtract(x, product);
        let shorter = self.terms(rest).len() + divisor.len() <= terms.len() + 1;
        shorter.then_some((quotient, rest))
    }

    /// One product over another whose atoms it holds with at least the same exponents.
    pub(in crate::rewrite) fn over(&self, x: &Product, by: &Product) -> Option<(Product, Number)> {
        let holds = |(atom, e): &(AtomId, Number)| {
            x.iter().any(|(a, exponent)| {
                a == atom
                    && exponent.is_positive() == e.is_positive()
                    && !exponent.abs().order(e.abs()).is_lt()
            })
        };
        if !by.iter().all(holds) {
            return None;
        }
        let inverse = by.iter().map(|(atom, e)| (*atom, e.neg())).collect();
        Some(self.merge(x, &inverse))
    }
}
