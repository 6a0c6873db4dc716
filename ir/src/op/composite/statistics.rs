//! Statistics of a row, as kernels compute them.
//!
//! Plain sums serve most rows: `m = sum(x / n)`, `v = sum((x - m)^2) / n`. The others are summed again:
//! rows with squares that overflow or are no numbers, and rows with a mean so far from 0 that its
//! rounding shows. No other row has a part in these sums, so that code may skip them
//! ([`Kernel::idle`](crate::kernel::Kernel::idle)). Rows are scaled there by a power of two where
//! squares would overflow, and centered twice: `m2 = mean(x - m)`, `v = mean((x - m)^2) - m2^2`, and
//! x-hat is rebuilt from the pair `(m, m2)`.

use super::moments::{count, divisor, mean_kernel};
use super::root::scaled_inverse_root;
use super::{Attrs, GraphBuilder, Value};
use crate::op::Reduce;

/// Sums of squares below this leave room for products with them.
const LARGEST_SUM: f64 = 1e36;
/// Standard deviations from 0 within which the rounding of a mean does not show in what is centered
/// by it.
const FARTHEST_MEAN: f64 = 4.0;

/// Rows whose plain sums serve, and what stands in for those of the others.
struct Plain {
    /// Is the row one of them?
    fine: Value,
    /// The power of two that keeps squares of the row finite: 1 for ordinary rows.
    scale: Value,
}

impl Plain {
    /// Rows that are fine, and scales of those without finite sums of squares.
    fn of(b: &mut GraphBuilder, x: Value, attrs: &Attrs, fine: Value, finite: Value) -> Plain {
        let mut extreme = |op: Reduce, nothing: f64| {
            let nothing = b.number(x, nothing);
            let others = b.select(finite, nothing, x);
            b.reduce(op, others, attrs.axes)
        };
        let highest = extreme(Reduce::Max, f64::NEG_INFINITY);
        let lowest = extreme(Reduce::Min, f64::INFINITY);
        let depth = b.neg(lowest);
        let top = b.max(highest, depth);
        Plain { fine, scale: b.range_scale(top) }
    }

    /// A sum over the rows that are not fine; 0 for those that are.
    fn sum_of_others(&self, b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Value {
        let zero = b.number(x, 0.0);
        let others = b.select(self.fine, zero, x);
        b.sum(others, attrs.axes)
    }
}

/// Mean and variance: of plain sums where the row is fine, else of the corrected two-pass scheme.
pub(super) struct Statistics {
    /// The power of two that multiplied what was squared.
    pub(super) scale: Value,
    /// x less its mean as first computed.
    centered: Value,
    /// What that still is off by, times the scale.
    offset: Value,
    /// Variance of `scale * x`.
    pub(super) var: Value,
}

impl Statistics {
    pub(super) fn of(b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Statistics {
        let (share, mean) = (share(b, x, attrs), mean_kernel(b, &[x], attrs));
        let c = b.sub(x, mean);
        let square = b.square(c);
        let squares = b.sum(square, attrs.axes);
        let finite = is_finite(b, squares);
        let near = is_near(b, mean, squares, share);
        let fine = b.and(finite, near);
        let plain = Plain::of(b, x, attrs, fine, finite);
        let cs = b.mul(c, plain.scale);
        let square = b.square(cs);
        let (sum, others) = (plain.sum_of_others(b, cs, attrs), plain.sum_of_others(b, square, attrs));
        let squares = b.select(fine, squares, others);
        let (offset, q) = (b.mul(sum, share), b.mul(squares, share));
        let error = b.square(offset);
        let v = b.sub(q, error);
        // what rounding leaves of a constant row is not a variance
        let (zero, rounding) = (b.number(v, 0.0), b.number(v, 2.4e-7));
        let least = b.mul(q, rounding);
        let constant = b.lt(v, least);
        let v = b.select(constant, zero, v);
        Statistics { scale: plain.scale, centered: c, offset, var: corrected(b, x, v, attrs) }
    }

    /// `centered / sqrt(var)`, with eps as its kind says, and the factor that led there.
    pub(super) fn unit(self, b: &mut GraphBuilder, attrs: &Attrs) -> [Value; 2] {
        let scaled = scaled_inverse_root(b, self.var, self.scale, attrs);
        let r = b.mul(scaled, self.scale);
        let (unit, shift) = (b.mul(self.centered, r), b.mul(self.offset, scaled));
        [b.sub(unit, shift), r]
    }
}

/// `1 / n`. Of no elements the variance is 0 / 0 without a correction, and with one 0, as are the sums.
fn share(b: &mut GraphBuilder, x: Value, attrs: &Attrs) -> Value {
    let mut n = count(b, x, attrs);
    let known = b.ty(x).shape.extent_of(&attrs.axes).known();
    if attrs.correction != 0 && known.is_none_or(|n| n == 0) {
        let one = b.number(n, 1.0);
        n = b.max(n, one);
    }
    b.recip(n)
}

/// Is a sum of squares one to be used?
fn is_finite(b: &mut GraphBuilder, squares: Value) -> Value {
    let most = b.number(squares, LARGEST_SUM);
    b.lt(squares, most)
}

/// Is a mean near enough to 0, by the squares around it, for its rounding not to matter?
fn is_near(b: &mut GraphBuilder, mean: Value, squares: Value, share: Value) -> Value {
    let far = b.number(squares, FARTHEST_MEAN * FARTHEST_MEAN);
    let (var, square) = (b.mul(squares, share), b.square(mean));
    let limit = b.mul(var, far);
    b.le(square, limit)
}

/// `v * n / (n - correction)`
fn corrected(b: &mut GraphBuilder, x: Value, v: Value, attrs: &Attrs) -> Value {
    if attrs.correction == 0 {
        return v;
    }
    let n = count(b, x, attrs);
    let d = divisor(b, x, attrs);
    let ratio = b.div(n, d);
    b.mul(v, ratio)
}

/// The inverse root of the second moment, or of the mean of squares.
pub(super) fn inverse_root_of_squares(b: &mut GraphBuilder, x: Value, attrs: &Attrs, mean: bool) -> Value {
    let square = b.square(x);
    let squares = b.sum(square, attrs.axes);
    let fine = is_finite(b, squares);
    let plain = Plain::of(b, x, attrs, fine, fine);
    let xs = b.mul(x, plain.scale);
    let square = b.square(xs);
    let others = plain.sum_of_others(b, square, attrs);
    let mut q = b.select(fine, squares, others);
    if mean {
        let n = count(b, x, attrs);
        let share = b.recip(n);
        q = b.mul(q, share);
    }
    let r = scaled_inverse_root(b, q, plain.scale, attrs);
    b.mul(r, plain.scale)
}
