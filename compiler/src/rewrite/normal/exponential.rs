//! Exponentials and logarithms, and quotients of polynomials in one exponential.
//!
//! `exp` splits a sum by the axes that its terms vary along, so that a shift along no reduced
//! axis cancels in softmax while an activation keeps one exponential. `tanh` and `sigmoid` are
//! such quotients, reduced to partial fractions. Start at [`Normalizer::exp`].

use super::form::{Atom, AtomId, AxisMask, Form, Normalizer, Product, Term};
use super::rational::Number;
use evenkeel_ir::Op;
use evenkeel_ir::op::Unary;
use std::ops::{Mul, Neg};

/// A place where a product can be divided by a base: `base^-k * exp^j`.
struct Fraction {
    base_atom: AtomId,
    base: Form,
    /// The term of the base that is eliminated.
    eliminated: usize,
}

impl Normalizer {
    /// `e^x`
    pub fn exp(&mut self, x: Form) -> Form {
        let mut result = self.number(Number::ONE);
        let mut groups: Vec<(AxisMask, Vec<Term>)> = Vec::new();
        for (product, factor) in self.terms(x).iter() {
            if let [(atom, Number::ONE)] = product[..]
                && let Atom::Opaque(Op::Unary(Unary::Log), operands) = self.fact(atom).atom.clone()
            {
                let power = self.pow(operands[0], *factor);
                result = self.multiply(result, power);
                continue;
            }
            // numbers stay apart: exp(1) is one more constant
            let axes = if product.is_empty() { AxisMask::MAX } else { self.product_axes(product) };
            let term = (product.clone(), *factor);
            match groups.iter_mut().find(|(known, _)| *known == axes) {
                Some((_, terms)) => terms.push(term),
                None => groups.push((axes, vec![term])),
            }
        }
        for (_, terms) in groups {
            let form = self.intern(terms);
            let (primitive, lead) = self.primitive(form);
            let atom = self.atom_id(Atom::Exp(primitive));
            let factor = self.product(vec![(atom, lead)], Number::ONE);
            result = self.multiply(result, factor);
        }
        result
    }

    /// Natural logarithm.
    pub fn log(&mut self, x: Form) -> Form {
        let factored = self.factored(x, false);
        let one = self.number(Number::ONE);
        let mut result = self.number(Number::ZERO);
        for (part, factor) in [(factored.base, Number::ONE), (self.number(factored.factor), Number::ONE)] {
            let log = self.log_of_part(part, one);
            let log = self.scale(log, factor);
            result = self.add(result, log);
        }
        for (atom, exponent) in factored.content {
            let log = self.log_of_atom(atom);
            let log = self.scale(log, exponent);
            result = self.add(result, log);
        }
        result
    }

    fn log_of_part(&mut self, part: Form, one: Form) -> Form {
        if part == one {
            return self.number(Number::ZERO);
        }
        let terms = self.terms(part);
        if let [(product, Number::ONE)] = terms.as_slice()
            && let [(atom, exponent)] = product[..]
            && (exponent == Number::ONE || matches!(self.fact(atom).atom, Atom::Base(_)))
        {
            let log = self.log_of_atom(atom);
            return self.scale(log, exponent);
        }
        self.atom(Atom::Opaque(Op::Unary(Unary::Log), vec![part]))
    }

    fn log_of_atom(&mut self, atom: AtomId) -> Form {
        match self.fact(atom).atom.clone() {
            Atom::Exp(form) => form,
            Atom::Base(form) => self.atom(Atom::Opaque(Op::Unary(Unary::Log), vec![form])),
            _ => {
                let form = self.product(vec![(atom, Number::ONE)], Number::ONE);
                self.atom(Atom::Opaque(Op::Unary(Unary::Log), vec![form]))
            }
        }
    }

    /// `1 - 2 / (1 + e^2x)`
    pub fn tanh(&mut self, x: Form) -> Form {
        let (one, double) = (self.number(Number::ONE), self.scale(x, Number::int(2)));
        let e = self.exp(double);
        let sum = self.add(one, e);
        let inverse = self.pow(sum, Number::int(-1));
        let part = self.scale(inverse, Number::int(-2));
        self.add(one, part)
    }

    /// Replaces `base^-k * exp^j` by partial fractions wherever `exp^j` can be divided.
    pub(super) fn reduce_fractions(&mut self, x: Form) -> Form {
        let terms = self.terms(x);
        if self.exhausted() || terms.iter().all(|(product, _)| self.fraction(product).is_none()) {
            return x;
        }
        let mut total = self.number(Number::ZERO);
        for (product, factor) in terms.iter() {
            let term = match self.fraction(product) {
                None => self.product(product.clone(), *factor),
                Some(fraction) => self.divide(product, *factor, &fraction),
            };
            total = self.add(total, term);
        }
        total
    }

    fn fraction(&self, product: &Product) -> Option<Fraction> {
        product.iter().find_map(|&(base_atom, exponent)| {
            let Atom::Base(base) = self.fact(base_atom).atom else { return None };
            if exponent.order(Number::int(-1)).is_gt() {
                return None;
            }
            let terms = self.terms(base);
            let exponential = self.only_exponential(&terms)?;
            let power = product.iter().find(|(atom, _)| *atom == exponential)?.1;
            let eliminated = self.eliminated(&terms, power)?;
            Some(Fraction { base_atom, base, eliminated })
        })
    }

    /// The one exponential that a sum is a polynomial in.
    fn only_exponential(&self, terms: &[Term]) -> Option<AtomId> {
        let mut found = None;
        for (product, _) in terms.iter().filter(|(product, _)| !product.is_empty()) {
            let [(atom, power)] = product[..] else { return None };
            let fits = matches!(self.fact(atom).atom, Atom::Exp(_)) && power.is_positive();
            if !fits || *found.get_or_insert(atom) != atom {
                return None;
            }
        }
        found
    }

    /// The term to eliminate: the constant for a negative power, the highest for a power that
    /// reaches its degree.
    fn eliminated(&self, terms: &[Term], power: Number) -> Option<usize> {
        if !power.is_positive() {
            return terms.iter().position(|(product, _)| product.is_empty());
        }
        let degree = |(product, _): &Term| product.first().map_or(Number::ZERO, |(_, power)| *power);
        let highest = (0..terms.len()).max_by(|&a, &b| degree(&terms[a]).order(degree(&terms[b])))?;
        power.order(degree(&terms[highest])).is_ge().then_some(highest)
    }

    /// `q * t * base^-k = q * (base^(1-k) - rest * base^-k)`, where `base = t + rest`.
    fn divide(&mut self, product: &Product, factor: Number, fraction: &Fraction) -> Form {
        let terms = self.terms(fraction.base);
        let (target, target_factor) = &terms[fraction.eliminated];
        let inverse: Product = target.iter().map(|(atom, e)| (*atom, e.neg())).collect();
        let (quotient, correction) = self.merge(product, &inverse);
        let factor = factor.mul(correction).mul(target_factor.recip());
        let base: Product = vec![(fraction.base_atom, Number::ONE)];
        let (first, correction) = self.merge(&quotient, &base);
        let first = self.product(first, factor.mul(correction));
        let mut total = self.reduce_fractions(first);
        for (place, (rest, rest_factor)) in terms.iter().enumerate() {
            if place == fraction.eliminated {
                continue;
            }
            self.steps += 1;
            let (part, correction) = self.merge(&quotient, rest);
            let part = self.product(part, factor.mul(correction).mul(*rest_factor).neg());
            let part = self.reduce_fractions(part);
            total = self.add(total, part);
        }
        total
    }
}
