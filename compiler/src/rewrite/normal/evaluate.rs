//! Numbers for forms: what the fuzz test compares with the interpreter.
//!
//! Every value is an array over the whole index space, the last axis innermost. Start at
//! [`Evaluator::form`].

use super::form::{Atom, AtomId, AxisMask, Form, Normalizer, Product};
use super::rational::Number;
use evenkeel_ir::{Op, Reduce};
use std::collections::HashMap;

/// The value of an op that is no unary, binary or constant.
const UNKNOWN: f64 = f64::NAN;

/// Evaluates forms on one assignment of symbols.
pub(crate) struct Evaluator<'n> {
    pub(crate) normalizer: &'n Normalizer,
    /// Extents of the index space, with the axis bit of each.
    pub(crate) space: Vec<(usize, AxisMask)>,
    /// Values of the symbols.
    pub(crate) symbols: HashMap<u32, Vec<f64>>,
    /// The largest magnitude that was met.
    pub(crate) largest: f64,
    /// Relative error of every sum, alternating.
    pub(crate) noise: f64,
}

impl Evaluator<'_> {
    fn len(&self) -> usize {
        self.space.iter().map(|(extent, _)| extent).product()
    }

    /// The value of a form.
    pub(crate) fn form(&mut self, form: Form) -> Vec<f64> {
        let mut total = vec![0.0; self.len()];
        for (product, factor) in self.normalizer.terms(form).iter() {
            let value = self.product(product, factor.value());
            self.noise = -self.noise;
            for (sum, x) in total.iter_mut().zip(value) {
                self.largest = self.largest.max(x.abs());
                *sum += x * (1.0 + self.noise);
            }
        }
        total
    }

    fn product(&mut self, product: &Product, factor: f64) -> Vec<f64> {
        let mut value = vec![factor; self.len()];
        for &(atom, exponent) in product {
            let power = self.power(atom, exponent);
            value.iter_mut().zip(power).for_each(|(x, p)| *x *= p);
        }
        value
    }

    fn power(&mut self, atom: AtomId, exponent: Number) -> Vec<f64> {
        let e = exponent.value();
        if let Atom::Exp(form) = self.normalizer.fact(atom).atom {
            return self.form(form).into_iter().map(|x| (e * x).exp()).collect();
        }
        self.atom(atom).into_iter().map(|x| if exponent == Number::ONE { x } else { x.powf(e) }).collect()
    }

    fn atom(&mut self, atom: AtomId) -> Vec<f64> {
        let constant = |s: &Self, x: f64| vec![x; s.len()];
        match &self.normalizer.fact(atom).atom {
            Atom::Symbol(id, ..) => self.symbols[id].clone(),
            Atom::Prime(prime) => constant(self, *prime as f64),
            Atom::Pi => constant(self, std::f64::consts::PI),
            Atom::Batch => constant(self, UNKNOWN),
            Atom::Exp(form) => self.form(*form).into_iter().map(f64::exp).collect(),
            Atom::Base(form) | Atom::Large(form) => self.form(*form),
            Atom::Sum(axes, product) => {
                let body = self.product(product, 1.0);
                self.over(*axes, &body, Reduce::Sum)
            }
            Atom::Reduce(op, axes, form) => {
                let body = self.form(*form);
                self.over(*axes, &body, *op)
            }
            Atom::Opaque(op, operands) => {
                let operands: Vec<Vec<f64>> = operands.iter().map(|form| self.form(*form)).collect();
                (0..self.len()).map(|i| opaque(op, operands.iter().map(|x| x[i]).collect())).collect()
            }
        }
    }

    /// A reduction whose result is spread over the reduced axes.
    fn over(&self, axes: AxisMask, x: &[f64], op: Reduce) -> Vec<f64> {
        let group = |mut place: usize| {
            let mut key = 0;
            for &(extent, bit) in self.space.iter().rev() {
                let digit = if axes & bit == 0 { place % extent } else { 0 };
                (key, place) = (key * extent + digit, place / extent);
            }
            key
        };
        let member = |(a, b): (f64, f64)| match op {
            Reduce::Sum => a + b,
            Reduce::Max => a.max(b),
            Reduce::Min => a.min(b),
        };
        let mut groups: HashMap<usize, f64> = HashMap::new();
        for (place, &value) in x.iter().enumerate() {
            let entry = groups.get(&group(place)).map_or(value, |known| member((*known, value)));
            groups.insert(group(place), entry);
        }
        (0..x.len()).map(|place| groups[&group(place)]).collect()
    }
}

fn opaque(op: &Op, operands: Vec<f64>) -> f64 {
    match op {
        Op::Unary(op) => (op.def().eval)(operands[0]),
        Op::Binary(op) => (op.def().eval)(operands[0], operands[1]),
        Op::Const(number, _) => number.get(),
        Op::StopGradient => operands[0],
        _ => UNKNOWN,
    }
}
