//! What number a constant of a program stands for.
//!
//! Frontends print irrationals and fractions with the digits of f32; [`constant`] reads them as
//! what was meant. Short decimals (`1e-5`, `0.044715`) are taken literally. Two constants that
//! round to the same f32 are the same constant of an f32 program.
//!
//! In an f32 program an irrational may be off by [`NEAR`], because frontends compute it in f32, and a
//! fraction must round to the very same f32. In a program of any other type either must round to
//! the very same double: what differs is a number of the user's own and keeps all its digits.

use super::normal::{Form, Normalizer, Number};
use evenkeel_ir::DType;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI, FRAC_2_SQRT_PI, PI, SQRT_2};

/// How close an irrational that was computed in f32 comes to the real one: two units of the last place.
const NEAR: f64 = 2e-7;

/// Relative rounding of one f32.
const F32_ROUNDING: f64 = 6.1e-8;

/// `value = factor * 2^two * pi^pi`
struct Irrational {
    value: f64,
    factor: (i128, i128),
    two: (i128, i128),
    pi: (i128, i128),
}

const IRRATIONALS: &[Irrational] = &[
    Irrational { value: SQRT_2, factor: (1, 1), two: (1, 2), pi: (0, 1) },
    Irrational { value: FRAC_1_SQRT_2, factor: (1, 2), two: (1, 2), pi: (0, 1) },
    Irrational { value: 0.797_884_560_802_865_4, factor: (1, 1), two: (1, 2), pi: (-1, 2) },
    Irrational { value: 1.595_769_121_605_730_7, factor: (2, 1), two: (1, 2), pi: (-1, 2) },
    Irrational { value: 0.398_942_280_401_432_7, factor: (1, 2), two: (1, 2), pi: (-1, 2) },
    Irrational { value: FRAC_2_SQRT_PI, factor: (2, 1), two: (0, 1), pi: (-1, 2) },
    Irrational { value: FRAC_2_PI, factor: (2, 1), two: (0, 1), pi: (-1, 1) },
    Irrational { value: PI, factor: (1, 1), two: (0, 1), pi: (1, 1) },
];

/// Products that frontends fold into one constant.
const FOLDED: &[(f64, f64)] = &[
    // selu: scale * alpha
    (1.0507009873554805, 1.6732632423543772),
    // gelu_tanh: sqrt(2/pi) * 0.044715
    (0.797_884_560_802_865_4, 0.044715),
];

/// The form of a constant of this element type; none for infinities and NaN.
pub(crate) fn constant(normalizer: &mut Normalizer, value: f64, dtype: DType) -> Option<Form> {
    if !value.is_finite() {
        return None;
    }
    let folded = |(a, b): &&(f64, f64)| is_close(value.abs(), a * b, F32_ROUNDING, dtype);
    if let Some((a, b)) = FOLDED.iter().find(folded) {
        let (a, b) = (constant(normalizer, *a, dtype)?, constant(normalizer, *b, dtype)?);
        let product = normalizer.multiply(a, b);
        return Some(normalizer.scale(product, Number::int(if value < 0.0 { -1 } else { 1 })));
    }
    let near = |row: &&Irrational| is_close(value.abs(), row.value, NEAR, dtype);
    if let Some(row) = IRRATIONALS.iter().find(near) {
        let two = normalizer.number(Number::int(2));
        let two = normalizer.pow(two, Number::ratio(row.two.0, row.two.1));
        let pi = normalizer.pi();
        let pi = normalizer.pow(pi, Number::ratio(row.pi.0, row.pi.1));
        let product = normalizer.multiply(two, pi);
        let sign = if value < 0.0 { -1 } else { 1 };
        return Some(normalizer.scale(product, Number::ratio(sign * row.factor.0, row.factor.1)));
    }
    Some(match root_of(value, dtype) {
        Some((radicand, exponent)) => {
            let radicand = normalizer.number(radicand);
            let root = normalizer.pow(radicand, exponent);
            normalizer.scale(root, Number::int(if value < 0.0 { -1 } else { 1 }))
        }
        None => normalizer.number(number(value, dtype)),
    })
}

/// Whether a constant stands for what rounds to this double: in f32 up to a relative error.
fn is_close(value: f64, exact: f64, error: f64, dtype: DType) -> bool {
    if dtype == DType::F32 { (value / exact - 1.0).abs() < error } else { value == exact }
}

/// The largest integer whose root is looked for: an extent.
const LARGEST_RADICAND: f64 = 65536.0;

/// `(n, 1/2)` or `(n, -1/2)` for a constant with all digits that is `n^(1/2)` or `n^(-1/2)`.
fn root_of(value: f64, dtype: DType) -> Option<(Number, Number)> {
    let of = |x: f64| {
        let radicand = (x * x).round();
        let fits = (2.0..=LARGEST_RADICAND).contains(&radicand) && radicand.sqrt().fract() != 0.0;
        (fits && (x * x / radicand - 1.0).abs() < NEAR).then_some(radicand)
    };
    let size = value.abs();
    let single = dtype == DType::F32;
    let whole = || of(size).filter(|n| single || n.sqrt() == size).map(|n| (n, Number::HALF));
    let inverse = || of(1.0 / size).filter(|n| single || is_inverse_root(size, *n));
    let inverse = || inverse().map(|n| (n, Number::ratio(-1, 2)));
    let (radicand, exponent) = has_all_digits(value, dtype).then(|| whole().or_else(inverse))??;
    Some((Number::int(radicand as i128), exponent))
}

/// Whether `n^(-1/2)` rounds to this double: the bounds of what does, `m 2^e` in integers, squared
/// and times n, lie on both sides of 1.
fn is_inverse_root(value: f64, n: f64) -> bool {
    let mantissa = u128::from(value.to_bits() & ((1 << 52) - 1) | 1 << 52);
    let exponent = (value.to_bits() >> 52) as i32 - 1075;
    let squared = |bound: u128| bound * bound * n as u128;
    let one = 1u128 << (2 - 2 * exponent);
    squared(2 * mantissa - 1) < one && one < squared(2 * mantissa + 1)
}

/// True for constants printed with every digit of their type: they are rounded.
fn has_all_digits(value: f64, dtype: DType) -> bool {
    let (text, full) =
        if dtype == DType::F32 { (format!("{:e}", value as f32), 7) } else { (format!("{value:e}"), 15) };
    text.split('e').next().unwrap_or("").chars().filter(char::is_ascii_digit).count() >= full
}

/// The rational that a constant stands for.
pub(crate) fn number(value: f64, dtype: DType) -> Number {
    let single = value as f32;
    let text = if dtype == DType::F32 { format!("{single:e}") } else { format!("{value:e}") };
    let fraction = if has_all_digits(value, dtype) { small_fraction(value, dtype) } else { None };
    fraction.or_else(|| Number::decimal(&text)).unwrap_or_else(|| Number::float(value))
}

/// `1/k`, `(k+1)/k`, or a fraction with a small denominator, that rounds to this value.
fn small_fraction(value: f64, dtype: DType) -> Option<Number> {
    let single = dtype == DType::F32;
    let close = |n: f64, d: f64| if single { (n / d) as f32 == value as f32 } else { n / d == value };
    let inverse = (1.0 / value).round();
    if inverse.abs() >= 1.0 && inverse.abs() < 1e6 && close(1.0, inverse) {
        return Some(Number::ratio(1, inverse as i128));
    }
    let excess = (1.0 / (value - 1.0)).round();
    if (1.0..1e6).contains(&excess) && close(excess + 1.0, excess) {
        return Some(Number::ratio(excess as i128 + 1, excess as i128));
    }
    let fits = |d: &i32| {
        let n = (value * f64::from(*d)).round();
        n != 0.0 && n.abs() < 1e3 && close(n, f64::from(*d))
    };
    let denominator = (1..=200).find(fits)?;
    Some(Number::ratio((value * f64::from(denominator)).round() as i128, denominator.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_as_meant() {
        assert_eq!(number(1e-5, DType::F32), Number::ratio(1, 100_000));
        assert_eq!(number(f64::from(1e-5f32), DType::F32), Number::ratio(1, 100_000));
        assert_eq!(number(1.0 / 768.0, DType::F32), Number::ratio(1, 768));
        assert_eq!(number(f64::from((1.0f32) / 6.0), DType::F32), Number::ratio(1, 6));
        assert_eq!(number(1.0 / 50176.0, DType::F64), Number::ratio(1, 50176));
        assert_eq!(number(0.044715, DType::F32), Number::ratio(8943, 200_000));
        assert_eq!(number(1.702, DType::F64), Number::ratio(851, 500));
    }

    #[test]
    fn rounded_irrationals_meet_and_others_do_not() {
        let mut n = Normalizer::new();
        let root = constant(&mut n, SQRT_2, DType::F64);
        assert_eq!(constant(&mut n, 1.414_213_538_169_860_8, DType::F32), root);
        assert_ne!(constant(&mut n, 1.4143, DType::F32), root);
        assert_eq!(constant(&mut n, f64::NAN, DType::F32), None);
        let two = n.number(Number::int(2));
        assert_eq!(Some(n.pow(two, Number::HALF)), root);
    }

    #[test]
    fn doubles_keep_their_digits_unless_they_are_the_root() {
        let mut n = Normalizer::new();
        // near the root of 152, of 1/2, near pi and a third; a unit beside each of the real ones
        let beside = |x: f64| [f64::from_bits(x.to_bits() - 1), f64::from_bits(x.to_bits() + 1)];
        let own = [12.328828412312345, 0.70710685, 3.1415929, 0.3333333333333334, 2.6457513];
        let reals = [152f64.sqrt(), FRAC_1_SQRT_2, PI, 1.0 / 3.0, 7f64.sqrt(), 0.057735026918962574];
        for value in own.into_iter().chain(reals.into_iter().flat_map(beside)) {
            let literal = Number::decimal(&format!("{value:e}")).expect("it is short");
            let form = n.number(literal);
            assert_eq!(constant(&mut n, value, DType::F64), Some(form), "{value}");
        }
        for value in reals {
            let literal = Number::decimal(&format!("{value:e}")).expect("it is short");
            let form = n.number(literal);
            assert_ne!(constant(&mut n, value, DType::F64), Some(form), "{value}");
        }
    }

    #[test]
    fn inverse_roots_are_told_from_their_neighbors() {
        for n in 2..=65536u32 {
            let near = 1.0 / f64::from(n).sqrt();
            let all = [near.to_bits() - 1, near.to_bits(), near.to_bits() + 1].map(f64::from_bits);
            let fits = all.iter().filter(|x| is_inverse_root(**x, n.into())).count();
            let square = f64::from(n).sqrt().fract() == 0.0;
            assert!(square || fits == 1, "{n}: {fits}");
        }
    }
}
