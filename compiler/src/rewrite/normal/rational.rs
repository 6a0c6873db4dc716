//! Numbers of the normal form: exact rationals, and floats once exactness is lost.
//!
//! Invariant: an [`Number::Exact`] is in lowest terms with a positive denominator. Arithmetic
//! that would overflow gives a [`Number::Float`], which equals only a float of the same bits: lost
//! exactness can hide an equality, never invent one. Start at [`Number::ratio`].

use std::cmp::Ordering;
use std::ops::{Add, Mul, Neg, Sub};

/// A coefficient or an exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Number {
    /// Numerator and denominator.
    Exact(i128, i128),
    /// Bits of an f64.
    Float(u64),
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number::Exact(0, 1);
    /// One.
    pub const ONE: Number = Number::Exact(1, 1);
    /// One half.
    pub const HALF: Number = Number::Exact(1, 2);

    /// An integer.
    pub const fn int(value: i128) -> Number {
        Number::Exact(value, 1)
    }

    /// A fraction; `denominator` is not 0.
    pub fn ratio(numerator: i128, denominator: i128) -> Number {
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        let (Ok(divisor), true) = (i128::try_from(divisor), divisor != 0) else {
            return Number::float(numerator as f64 / denominator as f64);
        };
        let sign = if denominator < 0 { -1 } else { 1 };
        match ((numerator / divisor).checked_mul(sign), (denominator / divisor).checked_mul(sign)) {
            (Some(n), Some(d)) => Number::Exact(n, d),
            _ => Number::float(numerator as f64 / denominator as f64),
        }
    }

    /// A float that has no exact value here.
    pub fn float(value: f64) -> Number {
        Number::Float((value + 0.0).to_bits())
    }

    /// The value as a float.
    pub fn value(self) -> f64 {
        match self {
            Number::Exact(n, d) => n as f64 / d as f64,
            Number::Float(bits) => f64::from_bits(bits),
        }
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self == Number::ZERO || self == Number::Float(0)
    }

    /// True for numbers above zero.
    pub fn is_positive(self) -> bool {
        self.value() > 0.0
    }

    /// The integer that it is, if it is one.
    pub fn as_int(self) -> Option<i128> {
        match self {
            Number::Exact(n, 1) => Some(n),
            _ => None,
        }
    }

    /// True for even integers.
    pub fn is_even(self) -> bool {
        self.as_int().is_some_and(|n| n % 2 == 0)
    }

    /// Magnitude.
    pub fn abs(self) -> Number {
        if self.is_positive() { self } else { self.neg() }
    }

    /// Reciprocal of a number that is not zero.
    pub fn recip(self) -> Number {
        match self {
            Number::Exact(n, d) => Number::ratio(d, n),
            Number::Float(_) => Number::float(1.0 / self.value()),
        }
    }

    /// Integer power of a number that is not zero.
    pub fn powi(self, exponent: i128) -> Number {
        if exponent.unsigned_abs() > 64 {
            return Number::float(self.value().powf(exponent as f64));
        }
        let base = if exponent < 0 { self.recip() } else { self };
        (0..exponent.unsigned_abs()).fold(Number::ONE, |product, _| product.mul(base))
    }

    /// The largest integer that is not above it.
    pub fn floor(self) -> i128 {
        match self {
            Number::Exact(n, d) => n.div_euclid(d),
            Number::Float(_) => self.value().floor() as i128,
        }
    }

    /// Order by value.
    pub fn order(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Exact(a, b), Number::Exact(c, d)) if b == d => a.cmp(&c),
            _ => self.value().total_cmp(&other.value()),
        }
    }

    /// The number that a decimal such as `1.5e-6` writes.
    pub fn decimal(text: &str) -> Option<Number> {
        let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let power = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        let scale = 10i128.checked_pow(power.unsigned_abs())?;
        Some(if power < 0 {
            Number::ratio(mantissa, scale)
        } else {
            Number::Exact(mantissa.checked_mul(scale)?, 1)
        })
    }
}

impl Add for Number {
    type Output = Number;

    fn add(self, other: Number) -> Number {
        let exact = || match (self, other) {
            (Number::Exact(a, b), Number::Exact(c, d)) => {
                let n = a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?;
                Some(Number::ratio(n, b.checked_mul(d)?))
            }
            _ => None,
        };
        exact().unwrap_or_else(|| Number::float(self.value() + other.value()))
    }
}

impl Mul for Number {
    type Output = Number;

    fn mul(self, other: Number) -> Number {
        let exact = || match (self, other) {
            (Number::Exact(a, b), Number::Exact(c, d)) => {
                let (left, right) = (Number::ratio(a, d), Number::ratio(c, b));
                let (Number::Exact(a, d), Number::Exact(c, b)) = (left, right) else { return None };
                Some(Number::Exact(a.checked_mul(c)?, b.checked_mul(d)?))
            }
            _ => None,
        };
        exact().unwrap_or_else(|| Number::float(self.value() * other.value()))
    }
}

impl Sub for Number {
    type Output = Number;

    fn sub(self, other: Number) -> Number {
        self.add(other.neg())
    }
}

impl Neg for Number {
    type Output = Number;

    fn neg(self) -> Number {
        self.mul(Number::int(-1))
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(Number::decimal("1e-5"), Some(Number::ratio(1, 100_000)));
        assert_eq!(Number::decimal("-0.044715"), Some(Number::ratio(-8943, 200_000)));
        assert_eq!(Number::decimal("1e-300"), None);
    }

    #[test]
    fn overflow_gives_a_float() {
        let huge = Number::int(i128::MAX);
        assert!(matches!(huge * huge, Number::Float(_)));
        assert!(matches!(huge + Number::HALF, Number::Float(_)));
        assert_eq!(Number::ratio(1, 3) + Number::ratio(1, 6), Number::HALF);
        assert_eq!(Number::ratio(-1, 2).floor(), -1);
    }
}
