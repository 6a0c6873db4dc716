//! Bounds of forms, where symbols have bounds: what proofs by cases know about signs.
//!
//! Bounds are never too narrow but for rounding; without bounded symbols there are none.
//! Start at [`Normalizer::bounds_of`].

use super::form::{Atom, AtomId, AxisMask, Form, Normalizer};
use super::rational::Number;

/// Closed, with infinities for no bound.
pub(super) type Interval = (f64, f64);

const ANY: Interval = (f64::NEG_INFINITY, f64::INFINITY);

impl Normalizer {
    /// An opaque value between two numbers.
    pub fn bounded_symbol(&mut self, id: u32, axes: AxisMask, low: f64, high: f64) -> Form {
        let atom = self.atom_id(Atom::Symbol(id, axes, low >= 0.0));
        self.bounds.insert(atom, known((low, high)));
        self.product(vec![(atom, Number::ONE)], Number::ONE)
    }

    /// Numbers that a form lies between; none where no symbol is bounded.
    pub(super) fn bounds_of(&self, form: Form) -> Option<Interval> {
        if self.bounds.is_empty() {
            return None;
        }
        let term = |(product, factor): &(Vec<(AtomId, Number)>, Number)| {
            let constant = (factor.value(), factor.value());
            product.iter().fold(constant, |all, (atom, e)| times(all, power(self.atom_bounds(*atom), *e)))
        };
        let sum = |a: Interval, b: Interval| known((a.0 + b.0, a.1 + b.1));
        Some(self.terms(form).iter().map(term).fold((0.0, 0.0), sum))
    }

    fn atom_bounds(&self, atom: AtomId) -> Interval {
        let fact = self.fact(atom);
        let other = if fact.nonnegative { (0.0, f64::INFINITY) } else { ANY };
        match &fact.atom {
            Atom::Symbol(..) => self.bounds.get(&atom).copied().unwrap_or(other),
            Atom::Prime(prime) => (*prime as f64, *prime as f64),
            Atom::Exp(form) => self.bounds_of(*form).map_or(other, |(low, high)| (low.exp(), high.exp())),
            Atom::Base(form) => self.bounds_of(*form).unwrap_or(other),
            _ => other,
        }
    }
}

/// Bounds that are numbers; others say nothing.
fn known((low, high): Interval) -> Interval {
    if low.is_nan() || high.is_nan() { ANY } else { (low, high) }
}

/// A product of bounds; what is 0 stays 0.
fn times(x: Interval, y: Interval) -> Interval {
    let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
    let ends = [product(x.0, y.0), product(x.0, y.1), product(x.1, y.0), product(x.1, y.1)];
    if ends.iter().any(|end| end.is_nan()) {
        return ANY;
    }
    (ends.into_iter().fold(f64::INFINITY, f64::min), ends.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

fn power((low, high): Interval, exponent: Number) -> Interval {
    let e = exponent.value();
    let integral = exponent.as_int().is_some();
    if low < 0.0 && (e < 0.0 || !integral) {
        return ANY;
    }
    let (a, b) = (low.powf(e), high.powf(e));
    if exponent.is_even() && low < 0.0 && high > 0.0 {
        return (0.0, a.max(b));
    }
    if a.is_nan() || b.is_nan() { ANY } else { (a.min(b), a.max(b)) }
}
