//! Reductions, and functions whose only algebra is symmetry or scale.
//!
//! Sums are linear: factors that do not vary along the summed axes leave, axes that nothing
//! varies along become their extent. Minima are written with maxima, and the maximum of a
//! piecewise linear function with a number is a sum of hinges. Start at [`Normalizer::sum`].

use super::form::{Atom, AtomId, AxisMask, Form, Normalizer, Product};
use super::rational::Number;
use evenkeel_ir::op::{Binary, Real, Unary};
use evenkeel_ir::{Op, Reduce};
use std::ops::{Add, Mul, Sub};

/// `constant + slope * x + sum(weight * max(x, knot))`
struct Hinges {
    x: Form,
    constant: Number,
    slope: Number,
    hinges: Vec<(Number, Number)>,
}

impl Normalizer {
    /// Sum over axes of the index space.
    pub fn sum(&mut self, axes: AxisMask, x: Form) -> Form {
        let mut total = self.number(Number::ZERO);
        for (product, factor) in self.terms(x).iter() {
            let (inside, outside): (Product, Product) =
                product.iter().partition(|(atom, _)| self.fact(*atom).axes & axes != 0);
            let varying = axes & self.product_axes(&inside);
            let count = self.size(self.extent(axes & !varying));
            let outside = self.product(outside, *factor);
            let mut term = self.multiply(outside, count);
            if !inside.is_empty() {
                let sum = self.sum_atom(varying, inside);
                term = self.multiply(term, sum);
            }
            total = self.add(total, term);
        }
        total
    }

    /// The sum of a product all of whose atoms vary along `axes`; nested sums become one.
    fn sum_atom(&mut self, axes: AxisMask, product: Product) -> Form {
        if let [(atom, Number::ONE)] = product[..]
            && let Atom::Sum(inner, body) = self.fact(atom).atom.clone()
            && inner & axes == 0
        {
            return self.atom(Atom::Sum(axes | inner, body));
        }
        self.atom(Atom::Sum(axes, product))
    }

    /// Another reduction over axes of the index space.
    pub fn reduce(&mut self, op: Reduce, axes: AxisMask, x: Form) -> Form {
        let axes = axes & self.axes_of(x);
        if axes == 0 { x } else { self.atom(Atom::Reduce(op, axes, x)) }
    }

    /// A function without algebra.
    pub fn opaque(&mut self, op: Op, operands: Vec<Form>) -> Form {
        self.atom(Atom::Opaque(op, operands))
    }

    /// An odd function: the sign stands outside.
    pub fn odd(&mut self, op: Unary, x: Form) -> Form {
        if self.as_number(x) == Some(Number::ZERO) {
            return x;
        }
        let (_, lead) = self.primitive(x);
        let sign = if lead.is_positive() { Number::ONE } else { Number::int(-1) };
        let inside = self.scale(x, sign);
        let atom = self.opaque(Op::Unary(op), vec![inside]);
        self.scale(atom, sign)
    }

    /// 1 where `x` is above 0, else 0.
    pub fn step(&mut self, x: Form) -> Form {
        if self.as_number(x).is_some() {
            return self.opaque(Op::Unary(Unary::Step), vec![x]);
        }
        let negative = self.scale(x, Number::int(-1));
        if self.is_positive(x) || self.is_positive(negative) {
            let above = self.is_positive(x);
            return self.number(if above { Number::ONE } else { Number::ZERO });
        }
        let (_, lead) = self.primitive(x);
        let inside = self.scale(x, lead.abs().recip());
        self.opaque(Op::Unary(Unary::Step), vec![inside])
    }

    /// 1 where `x` is above `y`, else 0.
    pub fn exceeds(&mut self, x: Form, y: Form) -> Form {
        let difference = self.subtract(x, y);
        self.step(difference)
    }

    /// The smaller of two: `x + y - max(x, y)`.
    pub fn min(&mut self, x: Form, y: Form) -> Form {
        let (sum, max) = (self.add(x, y), self.max(x, y));
        self.subtract(sum, max)
    }

    /// The larger of two.
    pub fn max(&mut self, x: Form, y: Form) -> Form {
        let difference = self.subtract(x, y);
        let opposite = self.scale(difference, Number::int(-1));
        if self.is_nonnegative(difference) {
            return x;
        }
        if self.is_nonnegative(opposite) {
            return y;
        }
        if self.is_lowest(x) || self.is_lowest(y) {
            return if self.is_lowest(x) { y } else { x };
        }
        match (self.as_number(x), self.as_number(y)) {
            (Some(a), Some(b)) => self.number(if a.order(b).is_ge() { a } else { b }),
            (None, Some(knot)) => self.max_with_number(x, knot),
            (Some(knot), None) => self.max_with_number(y, knot),
            (None, None) if x == y => x,
            (None, None) => self.max_atom(x, y),
        }
    }

    /// True for minus infinity.
    fn is_lowest(&self, x: Form) -> bool {
        let terms = self.terms(x);
        let [(product, Number::ONE)] = terms.as_slice() else { return false };
        let [(atom, Number::ONE)] = product[..] else { return false };
        let lowest = |number: &Real| number.get() == f64::NEG_INFINITY;
        matches!(&self.fact(atom).atom, Atom::Opaque(Op::Const(number, _), _) if lowest(number))
    }

    fn max_atom(&mut self, x: Form, y: Form) -> Form {
        let mut operands = vec![x, y];
        operands.sort();
        self.opaque(Op::Binary(Binary::Max), operands)
    }

    fn max_with_number(&mut self, x: Form, knot: Number) -> Form {
        if !knot.is_positive() && self.is_nonnegative(x) {
            return x;
        }
        if knot.is_positive() && self.is_square_root(x) {
            let (square, level) = (self.pow(x, Number::int(2)), knot * knot);
            let larger = self.max_with_number(square, level);
            return self.pow(larger, Number::HALF);
        }
        match self.hinges(x).and_then(|linear| linear.max(knot)) {
            Some(hinges) => self.form_of_hinges(hinges),
            None => {
                let knot = self.number(knot);
                self.max_atom(x, knot)
            }
        }
    }

    /// True for a root that is never negative where it is defined.
    fn is_square_root(&self, x: Form) -> bool {
        let terms = self.terms(x);
        let [(product, factor)] = terms.as_slice() else { return false };
        let halves = |(_, e): &(AtomId, Number)| (*e + *e).as_int().is_some();
        let never_negative = |(atom, e): &(AtomId, Number)| {
            self.fact(*atom).nonnegative || e.is_even() || e.as_int().is_none()
        };
        let fractional = product.iter().any(|(_, e)| e.as_int().is_none());
        factor.is_positive() && fractional && product.iter().all(halves) && product.iter().all(never_negative)
    }

    /// Reads a form as a piecewise linear function of one form.
    fn hinges(&mut self, form: Form) -> Option<Hinges> {
        let mut argument = None;
        let (mut constant, mut hinges, mut rest) = (Number::ZERO, Vec::new(), Vec::new());
        for (product, factor) in self.terms(form).iter() {
            if product.is_empty() {
                constant = *factor;
                continue;
            }
            match self.hinge(product) {
                Some((x, knot)) if *argument.get_or_insert(x) == x => hinges.push((knot, *factor)),
                Some(_) => return None,
                None => rest.push((product.clone(), *factor)),
            }
        }
        if rest.is_empty() {
            return Some(Hinges { x: argument?, constant, slope: Number::ZERO, hinges });
        }
        let rest = self.intern(rest);
        let (primitive, slope) = self.primitive(rest);
        let x = argument.unwrap_or(primitive);
        (x == primitive).then_some(Hinges { x, constant, slope, hinges })
    }

    /// Reads a product as `max(x, knot)`.
    fn hinge(&self, product: &Product) -> Option<(Form, Number)> {
        let [(atom, Number::ONE)] = product[..] else { return None };
        let Atom::Opaque(Op::Binary(Binary::Max), operands) = &self.fact(atom).atom else { return None };
        match (self.as_number(operands[0]), self.as_number(operands[1])) {
            (None, Some(knot)) => Some((operands[0], knot)),
            (Some(knot), None) => Some((operands[1], knot)),
            _ => None,
        }
    }

    fn form_of_hinges(&mut self, function: Hinges) -> Form {
        let mut form = self.number(function.constant);
        let linear = self.scale(function.x, function.slope);
        form = self.add(form, linear);
        for (knot, weight) in function.hinges {
            let knot = self.number(knot);
            let hinge = self.max_atom(function.x, knot);
            let hinge = self.scale(hinge, weight);
            form = self.add(form, hinge);
        }
        form
    }
}

impl Hinges {
    fn at(&self, x: Number) -> Number {
        let hinge =
            |&(knot, weight): &(Number, Number)| weight.mul(if x.order(knot).is_ge() { x } else { knot });
        self.hinges.iter().map(hinge).fold(self.constant.add(self.slope.mul(x)), Number::add)
    }

    /// Slope far above all knots.
    fn last_slope(&self) -> Number {
        self.hinges.iter().fold(self.slope, |slope, (_, weight)| slope.add(*weight))
    }

    /// The larger of this function and a number, where all of it is exact.
    fn max(mut self, level: Number) -> Option<Hinges> {
        self.hinges.sort_by(|a, b| a.0.order(b.0));
        let mut knots: Vec<Number> = self.hinges.iter().map(|(knot, _)| *knot).collect();
        self.add_crossings(&mut knots, level);
        knots.sort_by(|a, b| a.order(*b));
        knots.dedup();
        let (first, last) = (*knots.first()?, *knots.last()?);
        if knots.iter().any(|knot| matches!(knot, Number::Float(_))) {
            return None;
        }
        let clipped = |x: Number| {
            let y = self.at(x);
            if y.order(level).is_ge() { y } else { level }
        };
        let slope_between = |a: Number, b: Number| clipped(b).sub(clipped(a)).mul(b.sub(a).recip());
        let mut slopes = vec![slope_between(first.sub(Number::ONE), first)];
        slopes.extend(knots.windows(2).map(|pair| slope_between(pair[0], pair[1])));
        slopes.push(slope_between(last, last.add(Number::ONE)));
        let hinges: Vec<(Number, Number)> = knots
            .iter()
            .zip(slopes.windows(2))
            .map(|(&knot, pair)| (knot, pair[1].sub(pair[0])))
            .filter(|(_, weight)| !weight.is_zero())
            .collect();
        let mut result = Hinges { x: self.x, constant: Number::ZERO, slope: slopes[0], hinges };
        result.constant = clipped(first).sub(result.at(first));
        Some(result)
    }

    /// Adds the places where the function crosses a level.
    fn add_crossings(&self, knots: &mut Vec<Number>, level: Number) {
        let own: Vec<Number> = knots.clone();
        let root = |from: Number, slope: Number| {
            (!slope.is_zero()).then(|| from.add(level.sub(self.at(from)).mul(slope.recip())))
        };
        let (first, last) =
            (own.first().copied().unwrap_or(Number::ZERO), own.last().copied().unwrap_or(Number::ZERO));
        knots.extend(root(first, self.slope).filter(|x| own.is_empty() || x.order(first).is_lt()));
        knots.extend(root(last, self.last_slope()).filter(|x| x.order(last).is_gt()));
        for pair in own.windows(2) {
            let slope = self.at(pair[1]).sub(self.at(pair[0])).mul(pair[1].sub(pair[0]).recip());
            let inside = |x: &Number| x.order(pair[0]).is_gt() && x.order(pair[1]).is_lt();
            knots.extend(root(pair[0], slope).filter(inside));
        }
    }
}
