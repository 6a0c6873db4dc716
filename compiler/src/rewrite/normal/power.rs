//! Rational powers, and the content of sums.
//!
//! The base of a power is primitive: common atoms and the leading coefficient stand outside, so
//! that `(s/n + e)^-1/2` and `sqrt(n) (s + n e)^-1/2` meet. Laws that hold only where both sides
//! are defined (`sqrt(x)^2 = x`) are used; laws that can change a defined value are not.
//! Start at [`Normalizer::pow`].

use super::form::{Atom, AtomId, Form, Normalizer, Product, Term};
use super::rational::Number;
use evenkeel_ir::Op;
use evenkeel_ir::op::Unary;
use std::ops::{Mul, Neg, Sub};

/// A sum as `factor * content * base`.
pub(super) struct Factored {
    pub(super) factor: Number,
    pub(super) content: Product,
    pub(super) base: Form,
}

impl Normalizer {
    /// A form to a constant power.
    pub fn pow(&mut self, x: Form, exponent: Number) -> Form {
        if exponent.is_zero() {
            return self.number(Number::ONE);
        }
        if exponent == Number::ONE {
            return x;
        }
        let terms = self.terms(x);
        match terms.as_slice() {
            [] if exponent.is_positive() => x,
            [] => self.base(x, exponent),
            [term] => self.pow_of_product(x, term, exponent),
            _ => self.pow_of_sum(x, exponent),
        }
    }

    /// `form^exponent` as one atom.
    fn base(&mut self, form: Form, exponent: Number) -> Form {
        let atom = self.atom_id(Atom::Base(form));
        self.product(vec![(atom, exponent)], Number::ONE)
    }

    fn pow_of_product(&mut self, x: Form, (product, factor): &Term, exponent: Number) -> Form {
        let integral = exponent.as_int().is_some();
        let unsafe_atoms =
            product.iter().filter(|(atom, e)| !self.fact(*atom).nonnegative && !e.is_even()).count();
        let allowed = integral || (factor.is_positive() && unsafe_atoms <= 1);
        if !allowed {
            return self.base(x, exponent);
        }
        let mut result = self.pow_of_number(*factor, exponent);
        for &(atom, e) in product {
            let power = self.pow_of_atom(atom, e, exponent);
            result = self.multiply(result, power);
        }
        result
    }

    /// `(atom^inner)^outer`
    fn pow_of_atom(&mut self, atom: AtomId, inner: Number, outer: Number) -> Form {
        let exponent = inner.mul(outer);
        let fact = self.fact(atom);
        let keeps_sign =
            outer.as_int().is_some() || fact.nonnegative || !inner.is_even() || exponent.is_even();
        match fact.atom.clone() {
            Atom::Opaque(Op::Unary(Unary::Abs), operands) if exponent.is_even() => {
                self.pow(operands[0], exponent)
            }
            Atom::Prime(prime) => self.pow_of_number(Number::int(prime), exponent),
            _ if keeps_sign => self.atom_to(atom, exponent),
            _ => {
                let x = self.atom_to(atom, Number::ONE);
                let size = self.abs(x);
                self.pow(size, exponent)
            }
        }
    }

    /// An atom to a power, expanded where the atom is a sum.
    pub(super) fn atom_to(&mut self, atom: AtomId, exponent: Number) -> Form {
        let form = self.product(vec![(atom, exponent)], Number::ONE);
        self.expand_bases(form)
    }

    /// `|x|`; known signs and even powers leave it.
    pub fn abs(&mut self, x: Form) -> Form {
        if let Some((low, high)) = self.bounds_of(x) {
            match (low >= 0.0, high <= 0.0) {
                (true, _) => return x,
                (_, true) => return self.scale(x, Number::int(-1)),
                _ => {}
            }
        }
        let terms = self.terms(x);
        let [(product, factor)] = terms.as_slice() else {
            return self.abs_of_sum(x);
        };
        let (plain, signed): (Product, Product) =
            product.iter().partition(|(atom, e)| self.fact(*atom).nonnegative || e.is_even());
        let outside = self.product(plain, factor.abs());
        if signed.is_empty() {
            return outside;
        }
        let inside = self.product(signed, Number::ONE);
        let size = self.atom(Atom::Opaque(Op::Unary(Unary::Abs), vec![inside]));
        self.multiply(outside, size)
    }

    fn abs_of_sum(&mut self, x: Form) -> Form {
        if self.is_nonnegative(x) {
            return x;
        }
        let (primitive, lead) = self.primitive(x);
        let size = self.atom(Atom::Opaque(Op::Unary(Unary::Abs), vec![primitive]));
        self.scale(size, lead.abs())
    }

    /// A form divided by its leading coefficient, and that coefficient.
    pub(super) fn primitive(&mut self, x: Form) -> (Form, Number) {
        let lead = self.lead(x);
        (self.scale(x, lead.recip()), lead)
    }

    /// The coefficient of the first term that is not a number.
    fn lead(&self, x: Form) -> Number {
        let terms = self.terms(x);
        terms
            .iter()
            .find(|(product, _)| !product.is_empty())
            .or(terms.first())
            .map_or(Number::ONE, |term| term.1)
    }

    /// A number to a power: exact radicals of small numbers, else a float.
    fn pow_of_number(&mut self, number: Number, exponent: Number) -> Form {
        if let Some(power) = exponent.as_int() {
            return self.number(number.powi(power));
        }
        let radical = |s: &mut Self| match number {
            Number::Exact(n @ 1..=0xff_ffff_ffff, d @ 1..=0xff_ffff_ffff) => {
                let (top, bottom) = (s.radical(n, exponent)?, s.radical(d, exponent.neg())?);
                Some(s.multiply(top, bottom))
            }
            _ => None,
        };
        radical(self).unwrap_or_else(|| self.number(Number::float(number.value().powf(exponent.value()))))
    }

    /// `n^exponent` by the prime factors of `n`; none where a factor is large.
    fn radical(&mut self, n: i128, exponent: Number) -> Option<Form> {
        let mut result = self.number(Number::ONE);
        for (prime, count) in prime_factors(n)? {
            let power = exponent.mul(Number::int(count));
            let whole = power.floor();
            let rest = power.sub(Number::int(whole));
            let factor = Number::int(prime).powi(whole);
            let mut product = Vec::new();
            if !rest.is_zero() {
                product.push((self.atom_id(Atom::Prime(prime)), rest));
            }
            let power = self.product(product, factor);
            result = self.multiply(result, power);
        }
        Some(result)
    }

    fn pow_of_sum(&mut self, x: Form, exponent: Number) -> Form {
        let count = self.terms(x).len();
        if let Some(power @ 2..=4) = exponent.as_int()
            && count.pow(power as u32) <= 48
        {
            let product = (1..power).fold(x, |product, _| self.multiply(product, x));
            self.roots.entry(product).or_insert((x, power));
            return product;
        }
        if let Some(&(root, power)) = self.roots.get(&x)
            && (exponent.as_int().is_some() || self.is_nonnegative(root))
        {
            return self.pow(root, exponent.mul(Number::int(power)));
        }
        let integral = exponent.as_int().is_some();
        let Factored { factor, content, base } = self.factored(x, integral);
        let powered: Product = content.iter().map(|(atom, e)| (*atom, e.mul(exponent))).collect();
        let content = self.product(powered, Number::ONE);
        let content = self.expand_bases(content);
        let factor = self.pow_of_number(factor, exponent);
        let base = match self.terms(base).len() {
            0 | 1 => self.pow(base, exponent),
            _ => {
                let atom = self.base(base, exponent);
                self.expand_bases(atom)
            }
        };
        let outside = self.multiply(content, factor);
        self.multiply(outside, base)
    }

    /// Takes common atoms and the leading coefficient out of a sum. Unless `integral`, only
    /// atoms that are not negative, and only a positive factor.
    pub(super) fn factored(&mut self, x: Form, integral: bool) -> Factored {
        let content = self.content(x, integral);
        let inverse: Product = content.iter().map(|(atom, e)| (*atom, e.neg())).collect();
        let inverse = self.product(inverse, Number::ONE);
        let base = self.multiply(x, inverse);
        let lead = self.lead(base);
        let sign = if integral && !self.orientation(base).is_positive() { -1 } else { 1 };
        let factor = lead.abs().mul(Number::int(sign));
        let base = self.scale(base, factor.recip());
        Factored { factor, content, base }
    }

    /// A coefficient whose sign is that of the sum where there is no better guess: the number's
    /// (an eps), else that of a term that is never negative (a sum of squares), else the first.
    /// Radicands keep their sign under it, so integral and other powers share one base.
    fn orientation(&self, x: Form) -> Number {
        let terms = self.terms(x);
        let odd = |(atom, e): &(AtomId, Number)| !e.is_even() && self.fact(*atom).nonnegative;
        let number = terms.iter().find(|(product, _)| product.is_empty());
        let square = || terms.iter().find(|(p, _)| self.product_nonnegative(p) && p.iter().any(odd));
        number.or_else(square).or(terms.first()).map_or(Number::ONE, |term| term.1)
    }

    /// The smallest exponent of every atom over all terms of a sum.
    fn content(&self, x: Form, integral: bool) -> Product {
        let terms = self.terms(x);
        let exponent_in = |product: &Product, atom| {
            product.iter().find(|(a, _)| *a == atom).map_or(Number::ZERO, |(_, exponent)| *exponent)
        };
        let mut content = Product::new();
        for (atom, _) in terms.iter().flat_map(|(product, _)| product) {
            let fact = self.fact(*atom);
            let usable = (integral || fact.nonnegative) && !matches!(fact.atom, Atom::Prime(_));
            if !usable || content.iter().any(|(known, _)| known == atom) {
                continue;
            }
            let exponents = terms.iter().map(|(product, _)| exponent_in(product, *atom));
            let least = exponents.min_by(|a, b| a.order(*b)).unwrap_or(Number::ZERO);
            content.push((*atom, least));
        }
        content.retain(|(_, exponent)| !exponent.is_zero());
        content.sort();
        content
    }

    /// Multiplies out bases whose exponent reached 1.
    pub(super) fn expand_bases(&mut self, x: Form) -> Form {
        let terms = self.terms(x);
        let site = |s: &Self, product: &Product| {
            product.iter().position(|(a, e)| e.floor() >= 1 && matches!(s.fact(*a).atom, Atom::Base(_)))
        };
        if terms.iter().all(|(product, _)| site(self, product).is_none()) {
            return x;
        }
        let mut total = self.number(Number::ZERO);
        for (product, factor) in terms.iter() {
            let mut term = match site(self, product) {
                None => self.product(product.clone(), *factor),
                Some(place) => self.expand_base(product.clone(), *factor, place),
            };
            term = self.expand_bases(term);
            total = self.add(total, term);
        }
        total
    }

    fn expand_base(&mut self, mut product: Product, factor: Number, place: usize) -> Form {
        let (atom, exponent) = product[place];
        let Atom::Base(base) = self.fact(atom).atom else { return self.product(product, factor) };
        let rest = exponent.sub(Number::ONE);
        if rest.is_zero() {
            product.remove(place);
        } else {
            product[place].1 = rest;
        }
        let remaining = self.product(product, factor);
        self.multiply(remaining, base)
    }
}

/// The largest prime that is tried as a divisor.
const LARGEST_DIVISOR: i128 = 1000;

/// Prime factors with multiplicity; none where two of them are large.
fn prime_factors(mut n: i128) -> Option<Vec<(i128, i128)>> {
    let mut factors = Vec::new();
    let mut candidate = 2;
    while candidate * candidate <= n {
        let mut count = 0;
        while n % candidate == 0 {
            n /= candidate;
            count += 1;
        }
        if count > 0 {
            factors.push((candidate, count));
        }
        candidate += 1;
        if candidate > LARGEST_DIVISOR {
            return None;
        }
    }
    if n > 1 {
        factors.push((n, 1));
    }
    Some(factors)
}
