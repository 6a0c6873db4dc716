//! Phrases of activations, guards, clamps, norms, softmaxes and losses, for `contract_fuzz`.

use super::programs::{Draft, EPS};
use evenkeel_ir::{Attrs, Axes, Binary, Composite, EpsKind, Reduce, Value};

impl Draft {
    /// `1 / (1 + exp(x))`, or its mirror image.
    fn fermi(&mut self, x: Value, mirrored: bool) -> Value {
        let x = if mirrored { self.b.neg(x) } else { x };
        let (one, e) = (self.exactly(1.0), self.b.exp(x));
        let total = self.b.add(one, e);
        if self.dice.one_in(2) { self.b.recip(total) } else { self.b.div(one, total) }
    }

    pub(super) fn activation(&mut self) -> Value {
        let x = self.draw();
        let (one, two) = (self.exactly(1.0), self.exactly(2.0));
        match self.dice.below(14) {
            phrase @ 0..7 => self.logistic(phrase, x, one),
            phrase => self.curve(phrase, x, one, two),
        }
    }

    /// Sigmoids and softpluses.
    fn logistic(&mut self, phrase: usize, x: Value, one: Value) -> Value {
        match phrase {
            0 => self.fermi(x, false),
            1 => self.fermi(x, true),
            2 => {
                let s = self.fermi(x, true);
                self.b.mul(x, s)
            }
            3 => {
                let f = self.fermi(x, false);
                self.b.log(f)
            }
            4 => {
                let e = self.b.exp(x);
                let total = self.b.add(e, one);
                self.b.div(e, total)
            }
            5 => {
                let e = self.b.exp(x);
                if self.dice.one_in(2) {
                    return self.b.log1p(e);
                }
                let total = self.b.add(one, e);
                self.b.log(total)
            }
            _ => {
                let (size, zero) = (self.b.abs(x), self.exactly(0.0));
                let (minus, top) = (self.b.neg(size), self.b.max(x, zero));
                let e = self.b.exp(minus);
                let l = self.b.log1p(e);
                self.b.add(top, l)
            }
        }
    }

    /// Other activations.
    fn curve(&mut self, phrase: usize, x: Value, one: Value, two: Value) -> Value {
        match phrase {
            7 => {
                let double = self.b.mul(two, x);
                let e = self.b.exp(double);
                let (above, below) = (self.b.sub(e, one), self.b.add(e, one));
                self.b.div(above, below)
            }
            8 => {
                let t = self.b.tanh(x);
                let square = if self.dice.one_in(2) { self.b.mul(t, t) } else { self.b.square(t) };
                if self.dice.one_in(2) { square } else { self.b.sub(one, square) }
            }
            9 => {
                let (s, minus) = (self.b.sigmoid(x), self.b.neg(x));
                let rest = if self.dice.one_in(2) { self.b.sub(one, s) } else { self.b.sigmoid(minus) };
                self.b.mul(s, rest)
            }
            10 => {
                let (e, l) = (self.b.exp(x), self.exactly(20.0));
                let (above, soft) = (self.b.gt(x, l), self.b.log1p(e));
                self.b.select(above, x, soft)
            }
            11 => {
                let soft = self.b.softplus(x);
                let t = self.b.tanh(soft);
                self.b.mul(x, t)
            }
            12 => {
                let (half, root) = (self.exactly(0.5), self.exactly(std::f64::consts::FRAC_1_SQRT_2));
                let scaled = self.b.mul(x, root);
                let erf = self.b.erf(scaled);
                let (h, t) = (self.b.mul(half, x), self.b.add(one, erf));
                self.b.mul(h, t)
            }
            _ => {
                let zero = self.exactly(0.0);
                let e = if self.dice.one_in(2) {
                    self.b.expm1(x)
                } else {
                    let e = self.b.exp(x);
                    self.b.sub(e, one)
                };
                let above = self.b.gt(x, zero);
                self.b.select(above, x, e)
            }
        }
    }

    pub(super) fn guard(&mut self) -> Value {
        let (x, y, zero, eps) = (self.draw(), self.draw(), self.exactly(0.0), self.number(EPS));
        match self.dice.below(7) {
            0 => {
                let compare = self.dice.pick(&[Binary::Gt, Binary::Ge, Binary::Ne]);
                let fine = self.b.binary(compare, x, zero);
                let value = match self.dice.below(5) {
                    0 => self.b.div(y, x),
                    1 => self.b.log(x),
                    2 => self.b.sqrt(x),
                    3 => self.b.recip(x),
                    _ => {
                        let l = self.b.log(x);
                        self.b.mul(x, l)
                    }
                };
                self.b.select(fine, value, zero)
            }
            1 => {
                let (one, is_zero) = (self.exactly(1.0), self.b.eq(x, zero));
                let safe = self.b.select(is_zero, one, x);
                self.b.div(y, safe)
            }
            2 => {
                let safe = self.b.max(x, eps);
                self.b.div(y, safe)
            }
            3 => {
                let size = self.b.abs(x);
                let safe = self.b.add(size, eps);
                self.b.div(y, safe)
            }
            4 => {
                let (fine, minus) = (self.b.ge(x, zero), self.b.neg(eps));
                let signed = self.b.select(fine, eps, minus);
                let safe = self.b.add(x, signed);
                self.b.div(y, safe)
            }
            5 => {
                let (size, limit) = (self.b.abs(x), self.exactly(1e30));
                let fine = self.b.lt(size, limit);
                self.b.select(fine, x, zero)
            }
            _ => {
                let e = self.b.exp(x);
                let fine = self.b.gt(e, zero);
                let value = if self.dice.one_in(2) { self.b.div(y, e) } else { self.b.mul(e, x) };
                self.b.select(fine, value, zero)
            }
        }
    }

    pub(super) fn clamp(&mut self) -> Value {
        let mut x = self.draw();
        if self.dice.one_in(2) {
            let factor = self.number(&[3.0, 0.1, 7.0, 2.0]);
            x = if self.dice.one_in(2) { self.b.div(x, factor) } else { self.b.mul(x, factor) };
        }
        let (zero, three, six) = (self.exactly(0.0), self.exactly(3.0), self.exactly(6.0));
        match self.dice.below(6) {
            0 => self.b.max(x, zero),
            1 => {
                let top = self.b.max(x, zero);
                self.b.min(top, six)
            }
            2 | 3 => {
                let shifted = self.b.add(x, three);
                let above = self.b.max(shifted, zero);
                let clamped = self.b.min(above, six);
                let gate = self.b.div(clamped, six);
                if self.dice.one_in(2) { self.b.mul(x, gate) } else { gate }
            }
            4 => {
                let slope = self.number(&[0.01, 0.2]);
                let scaled = self.b.mul(slope, x);
                self.b.max(x, scaled)
            }
            _ => {
                let (low, high) = (self.number(&[-1.0, -2.0, 1e-4]), self.number(&[1.0, 2.0, 10.0]));
                let above = self.b.max(x, low);
                self.b.min(above, high)
            }
        }
    }

    /// `1 / sqrt(v + eps)` in some spelling, times x.
    fn divided_by_root(&mut self, x: Value, v: Value) -> Value {
        let (eps, half) = (self.number(&EPS[..3]), self.exactly(-0.5));
        let raised = if self.dice.one_in(4) { self.b.max(v, eps) } else { self.b.add(v, eps) };
        match self.dice.below(4) {
            0 => {
                let root = self.b.sqrt(raised);
                self.b.div(x, root)
            }
            1 => {
                let inverse = self.b.rsqrt(raised);
                self.b.mul(x, inverse)
            }
            2 => {
                let inverse = self.b.pow(raised, half);
                self.b.mul(x, inverse)
            }
            _ => {
                let root = self.b.sqrt(v);
                let raised = self.b.add(root, eps);
                self.b.div(x, raised)
            }
        }
    }

    pub(super) fn norm(&mut self) -> Value {
        let (x, axes) = (self.table(), self.axes());
        if self.dice.one_in(3) {
            let square = self.b.mul(x, x);
            let v = if self.dice.one_in(3) { self.b.sum(square, axes) } else { self.mean(square, axes) };
            return self.divided_by_root(x, v);
        }
        if self.dice.one_in(6) {
            let attrs = Attrs::over(axes).eps(1e-5, EpsKind::Inside);
            let op = self.dice.pick(&[Composite::Standardize, Composite::RmsUnit, Composite::L2Norm]);
            return self.b.composite(op, &[x], attrs);
        }
        let mean = self.mean(x, axes);
        let centered = self.b.sub(x, mean);
        let v = if self.dice.one_in(3) {
            let (square, squared) = (self.b.square(x), self.b.square(mean));
            let moment = self.mean(square, axes);
            self.b.sub(moment, squared)
        } else {
            let square = self.b.square(centered);
            self.mean(square, axes)
        };
        let unit = self.divided_by_root(centered, v);
        let (g, y) = (self.draw(), self.draw());
        if self.dice.one_in(2) {
            return unit;
        }
        let scaled = self.b.mul(unit, g);
        self.b.add(scaled, y)
    }

    pub(super) fn softmax(&mut self) -> Value {
        let (x, axes) = (self.table(), Axes::new([1]));
        let (top, shifts) = (self.b.reduce(Reduce::Max, x, axes), !self.dice.one_in(3));
        let top = if self.dice.one_in(2) { self.b.stop_gradient(top) } else { top };
        let shifted = if shifts { self.b.sub(x, top) } else { x };
        let e = self.b.exp(shifted);
        let total = self.b.sum(e, axes);
        match self.dice.below(5) {
            0 => self.b.div(e, total),
            1 => {
                let p = self.b.div(e, total);
                self.b.log(p)
            }
            2 => {
                let l = self.b.log(total);
                self.b.sub(shifted, l)
            }
            3 => {
                let l = self.b.log(total);
                if shifts { self.b.add(top, l) } else { l }
            }
            _ => self.b.composite(Composite::Softmax, &[x], Attrs::over(axes)),
        }
    }

    pub(super) fn loss(&mut self) -> Value {
        let (x, y, one) = (self.draw(), self.draw(), self.exactly(1.0));
        match self.dice.below(5) {
            0 => {
                let minus = self.b.neg(x);
                let (hit, miss) = (self.b.log_sigmoid(x), self.b.log_sigmoid(minus));
                let (t, rest) = (self.b.step(y), self.b.sub(one, y));
                let other = self.b.sub(one, t);
                let other = if self.dice.one_in(2) { other } else { rest };
                let (a, c) = (self.b.mul(t, hit), self.b.mul(other, miss));
                let total = self.b.add(a, c);
                self.b.neg(total)
            }
            1 => {
                let (zero, size) = (self.exactly(0.0), self.b.abs(x));
                let (top, product, minus) = (self.b.max(x, zero), self.b.mul(x, y), self.b.neg(size));
                let e = self.b.exp(minus);
                let (l, linear) = (self.b.log1p(e), self.b.sub(top, product));
                self.b.add(linear, l)
            }
            2 => {
                let (d, half) = (self.b.sub(x, y), self.exactly(0.5));
                let (size, square) = (self.b.abs(d), self.b.square(d));
                let (near, inner) = (self.b.lt(size, one), self.b.mul(half, square));
                let outer = self.b.sub(size, half);
                self.b.select(near, inner, outer)
            }
            3 => {
                let (p, q) = (self.b.sigmoid(x), self.b.sigmoid(y));
                let (lp, lq) = (self.b.log(p), self.b.log(q));
                let d = self.b.sub(lp, lq);
                self.b.mul(p, d)
            }
            _ => {
                let (p, product) = (self.b.sigmoid(x), self.b.mul(x, y));
                let (rest, e) = (self.b.sub(one, p), self.b.exp(product));
                let (a, c) = (self.b.log(rest), self.b.log1p(e));
                self.b.add(a, c)
            }
        }
    }
}
