//! Forms as text: `x*v^(-1/2) - mean@1(x)*v^(-1/2)  where v = mean@1(x^2) - mean@1(x)^2 + 1/100000`.
//!
//! Sums of several terms below a power get a letter, so that a form stays one line per letter;
//! what counts they have as factors moves out of them.
//! Start at [`FormText::lines`].

use super::form::{Atom, AtomId, AxisMask, Form, Normalizer, Product, Term};
use super::rational::Number;
use std::fmt;
use std::ops::{Add, Mul};

/// The most terms of a sum that are written.
const TERMS: usize = 16;
/// Letters for sums below a power.
const LETTERS: [&str; 8] = ["q", "r", "s", "t", "u", "v", "w", "z"];

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Exact(n, 1) => write!(f, "{n}"),
            Number::Exact(n, d) => write!(f, "{n}/{d}"),
            Number::Float(_) => write!(f, "{:?}", self.value()),
        }
    }
}

/// How much there is to read in a number.
fn size(number: Number) -> u128 {
    match number {
        Number::Exact(n, d) => n.unsigned_abs().saturating_add(d.unsigned_abs()),
        Number::Float(_) => u128::MAX,
    }
}

/// The root of the square of a rational.
fn square_root(square: Number) -> Option<Number> {
    let Number::Exact(n, d) = square else { return None };
    let root = |x: i128| u128::try_from(x).ok().map(u128::isqrt).filter(|root| root * root == x as u128);
    Some(Number::ratio(root(n)? as i128, root(d)? as i128))
}

/// Writes forms with the names of symbols and axes.
pub(in crate::rewrite) struct FormText<'n> {
    normalizer: &'n Normalizer,
    /// Symbols with their names.
    names: &'n [(Form, String)],
    axes: &'n dyn Fn(AxisMask) -> String,
    /// Sums with a letter, in the order of their first use, and what each is divided by.
    lettered: Vec<(AtomId, Number)>,
}

impl<'n> FormText<'n> {
    /// Text of forms of a normalizer.
    pub(in crate::rewrite) fn new(
        normalizer: &'n Normalizer,
        names: &'n [(Form, String)],
        axes: &'n dyn Fn(AxisMask) -> String,
    ) -> FormText<'n> {
        FormText { normalizer, names, axes, lettered: Vec::new() }
    }

    /// A form, then one line per letter in it.
    pub(in crate::rewrite) fn lines(mut self, form: Form) -> Vec<String> {
        let mut lines = vec![self.sum(form, Number::ONE)];
        let mut place = 0;
        while let Some(&(atom, scale)) = self.lettered.get(place) {
            let (Atom::Base(inner) | Atom::Large(inner)) = self.normalizer.fact(atom).atom else { break };
            let text = self.sum(inner, scale.recip());
            lines.push(format!("where {} = {text}", self.letter(place)));
            place += 1;
        }
        lines
    }

    /// The number that a sum below a power is divided by to read well: of 1, `n` and `n^2` for the
    /// counts `n` of its sums that with the simplest factors.
    fn scale(&self, form: Form) -> Number {
        let terms = self.normalizer.terms(form);
        let atoms = terms.iter().flat_map(|(product, _)| product);
        let counts = atoms.filter_map(|(atom, _)| match &self.normalizer.fact(*atom).atom {
            Atom::Sum(axes, _) => self.normalizer.extent(*axes).known(),
            _ => None,
        });
        let counts = counts.map(|n| Number::int(n.into())).flat_map(|n| [n, n.mul(n)]);
        let cost = |scale: &Number| {
            let factor = |(product, factor): &Term| self.means(product, factor.mul(scale.recip())).0.abs();
            let factors: Vec<Number> =
                terms.iter().map(factor).filter(|factor| *factor != Number::ONE).collect();
            (factors.len(), factors.into_iter().map(size).fold(0, u128::saturating_add))
        };
        std::iter::once(Number::ONE).chain(counts).min_by_key(cost).unwrap_or(Number::ONE)
    }

    /// A letter that is no name.
    fn letter(&self, place: usize) -> String {
        let free = LETTERS.iter().filter(|letter| !self.names.iter().any(|(_, name)| name == *letter));
        free.map(ToString::to_string).nth(place).unwrap_or_else(|| format!("q{place}"))
    }

    fn sum(&mut self, form: Form, factor: Number) -> String {
        let terms = self.normalizer.terms(form);
        let mut text = String::new();
        for (product, own) in terms.iter().take(TERMS) {
            let (negative, term) = self.term(&(product.clone(), own.mul(factor)));
            text += match (text.is_empty(), negative) {
                (true, true) => "-",
                (true, false) => "",
                (false, true) => " - ",
                (false, false) => " + ",
            };
            text += &term;
        }
        match terms.len() {
            0 => "0".to_string(),
            count if count > TERMS => format!("{text} + {} more terms", count - TERMS),
            _ => text,
        }
    }

    /// True for a term below zero, and its magnitude.
    fn term(&mut self, (product, factor): &Term) -> (bool, String) {
        let mut square = factor.mul(*factor);
        for (atom, exponent) in product {
            let doubled = exponent.add(*exponent).as_int();
            if let (Some(power), Some(base)) = (doubled, self.number_below(*atom)) {
                square = square.mul(base.powi(power));
            }
        }
        let (magnitude, root) = match square_root(square) {
            Some(root) => (root, None),
            None => (Number::ONE, Some(square)),
        };
        let (magnitude, means) = self.means(product, magnitude);
        let mut parts: Vec<String> = root.iter().map(|square| format!("({square})^(1/2)")).collect();
        for ((atom, exponent), mean) in product.iter().zip(means) {
            let halves = exponent.add(*exponent).as_int().is_some();
            match (&self.normalizer.fact(*atom).atom, self.number_below(*atom)) {
                (Atom::Prime(_), _) if halves => {}
                (_, Some(scale)) if !halves && scale != Number::ONE => {
                    let base = self.atom(*atom, mean);
                    parts.push(format!("({scale}*{base})^({exponent})"));
                }
                _ => parts.push(self.power(*atom, *exponent, mean)),
            }
        }
        if magnitude != Number::ONE || parts.is_empty() {
            parts.insert(0, magnitude.to_string());
        }
        (!factor.is_zero() && !factor.is_positive(), parts.join("*"))
    }

    /// The number that an atom is, or that is taken out of the sum that has its letter.
    fn number_below(&mut self, atom: AtomId) -> Option<Number> {
        match self.normalizer.fact(atom).atom {
            Atom::Prime(prime) => Some(Number::int(prime)),
            Atom::Base(_) | Atom::Large(_) => {
                let place = self.place(atom);
                Some(self.lettered[place].1)
            }
            _ => None,
        }
    }

    /// The place of the letter of a sum.
    fn place(&mut self, atom: AtomId) -> usize {
        let known = self.lettered.iter().position(|(known, _)| *known == atom);
        known.unwrap_or_else(|| {
            let scale = match self.normalizer.fact(atom).atom {
                Atom::Base(inner) => self.scale(inner),
                _ => Number::ONE,
            };
            self.lettered.push((atom, scale));
            self.lettered.len() - 1
        })
    }

    /// Which sums are means, and what then is left of the factor.
    fn means(&self, product: &Product, mut factor: Number) -> (Number, Vec<bool>) {
        let mut means = Vec::new();
        for (atom, exponent) in product {
            let count = match (&self.normalizer.fact(*atom).atom, exponent.as_int()) {
                (Atom::Sum(axes, _), Some(power)) => {
                    self.normalizer.extent(*axes).known().map(|n| Number::int(n.into()).powi(power))
                }
                _ => None,
            };
            let scaled = count.map(|count| factor.mul(count)).filter(|scaled| size(*scaled) < size(factor));
            means.push(scaled.is_some());
            factor = scaled.unwrap_or(factor);
        }
        (factor, means)
    }

    fn power(&mut self, atom: AtomId, exponent: Number, mean: bool) -> String {
        let base = self.atom(atom, mean);
        match exponent {
            Number::ONE => base,
            Number::Exact(n, 1) if n > 0 => format!("{base}^{n}"),
            _ => format!("{base}^({exponent})"),
        }
    }

    fn atom(&mut self, id: AtomId, mean: bool) -> String {
        let normalizer = self.normalizer;
        match &normalizer.fact(id).atom {
            Atom::Symbol(number, ..) => self.symbol(id).unwrap_or_else(|| format!("x{number}")),
            Atom::Prime(prime) => prime.to_string(),
            Atom::Pi => "pi".to_string(),
            Atom::Batch => "N".to_string(),
            Atom::Exp(inner) => format!("exp({})", self.sum(*inner, Number::ONE)),
            Atom::Base(_) | Atom::Large(_) => {
                let place = self.place(id);
                self.letter(place)
            }
            Atom::Sum(axes, product) => {
                let name = if mean { "mean" } else { "sum" };
                let (_, body) = self.term(&(product.clone(), Number::ONE));
                format!("{name}{}({body})", (self.axes)(*axes))
            }
            Atom::Reduce(op, axes, inner) => {
                format!("{}{}({})", op.name(), (self.axes)(*axes), self.sum(*inner, Number::ONE))
            }
            Atom::Opaque(op, operands) => {
                let operands: Vec<String> =
                    operands.iter().map(|form| self.sum(*form, Number::ONE)).collect();
                format!("{}({})", op.name(), operands.join(", "))
            }
        }
    }

    fn symbol(&self, id: AtomId) -> Option<String> {
        let is_own = |form: Form| match self.normalizer.terms(form).as_slice() {
            [(product, Number::ONE)] => *product == [(id, Number::ONE)],
            _ => false,
        };
        self.names.iter().find(|(form, _)| is_own(*form)).map(|(_, name)| name.clone())
    }
}
