//! Vectors of 16 numbers: walking slices with them, and the functions that activations need.
//!
//! Functions of one vector are good to about 4 units in the last place over the values that the
//! layers are measured with. They are safe to call where AVX-512 is known to be there.

use std::arch::x86_64::*;

/// Numbers in a vector.
pub(crate) const LANES: usize = 16;
/// Independent partial sums, enough to hide the latency of an addition.
const CHAINS: usize = 4;

/// The vector at a place; every slice holds one there.
macro_rules! load {
    ($slices:expr, $at:expr) => {
        // SAFETY: callers of the macro have checked that each slice holds 16 numbers from `$at` on
        $slices.map(|slice| unsafe { _mm512_loadu_ps(slice.as_ptr().add($at)) })
    };
}

/// The last, incomplete vector; its other lanes are 0.
macro_rules! load_rest {
    ($slices:expr, $at:expr, $mask:expr) => {
        // SAFETY: the mask ends where the slices end, and lanes outside it are not read
        $slices.map(|slice| unsafe { _mm512_maskz_loadu_ps($mask, slice.as_ptr().add($at)) })
    };
}

/// The mask of the first lanes.
fn first(lanes: usize) -> __mmask16 {
    ((1u32 << lanes) - 1) as __mmask16
}

/// The common length of slices.
fn common_length<const N: usize>(slices: [&[f32]; N]) -> usize {
    let length = slices[0].len();
    assert!(slices.iter().all(|slice| slice.len() == length), "operands have one length");
    length
}

/// `y = f(inputs)`, element by element. With `STREAM`, whole vectors are written past the caches.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn map<const STREAM: bool, const N: usize>(
    inputs: [&[f32]; N],
    y: &mut [f32],
    f: impl Fn([__m512; N]) -> __m512,
) {
    let length = common_length(inputs);
    assert_eq!(length, y.len(), "the result is as long as the operands");
    let whole = length / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        store::<STREAM>(y, at, f(load!(inputs, at)));
    }
    if whole < length {
        let mask = first(length - whole);
        let value = f(load_rest!(inputs, whole, mask));
        // SAFETY: the mask ends where `y` ends
        unsafe { _mm512_mask_storeu_ps(y.as_mut_ptr().add(whole), mask, value) }
    }
}

/// The vector at a place.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load(x: &[f32], at: usize) -> __m512 {
    let from = x[at..at + LANES].as_ptr();
    // SAFETY: 16 numbers are there
    unsafe { _mm512_loadu_ps(from) }
}

/// Writes a vector to a place, past the caches with `STREAM`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store<const STREAM: bool>(y: &mut [f32], at: usize, value: __m512) {
    let to = y[at..at + LANES].as_mut_ptr();
    // SAFETY: there is room for 16 numbers; loops stream only where all their rows are aligned
    unsafe { if STREAM { _mm512_stream_ps(to, value) } else { _mm512_storeu_ps(to, value) } }
}

/// A sum in several vectors, which are added up at the end.
pub(crate) struct Sum([__m512; CHAINS]);

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn zero() -> Sum {
        Sum([_mm512_setzero_ps(); CHAINS])
    }

    /// Goes on with `f(sum so far, inputs)` over all elements.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn add<const N: usize>(
        &mut self,
        inputs: [&[f32]; N],
        f: impl Fn(__m512, [__m512; N]) -> __m512,
    ) {
        let length = common_length(inputs);
        let Sum(chains) = self;
        let mut at = 0;
        while at + CHAINS * LANES <= length {
            for (number, chain) in chains.iter_mut().enumerate() {
                *chain = f(*chain, load!(inputs, at + number * LANES));
            }
            at += CHAINS * LANES;
        }
        while at + LANES <= length {
            chains[0] = f(chains[0], load!(inputs, at));
            at += LANES;
        }
        if at < length {
            let mask = first(length - at);
            chains[1] = _mm512_mask_mov_ps(chains[1], mask, f(chains[1], load_rest!(inputs, at, mask)));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn total(&self) -> f32 {
        let Sum([a, b, c, d]) = *self;
        _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)))
    }
}

/// Sums `f(sum so far, inputs)` over all elements.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn sum_by<const N: usize>(inputs: [&[f32]; N], f: impl Fn(__m512, [__m512; N]) -> __m512) -> f32 {
    let mut sum = Sum::zero();
    sum.add(inputs, f);
    sum.total()
}

/// The sum of a slice.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn sum(x: &[f32]) -> f32 {
    sum_by([x], |sum, [x]| _mm512_add_ps(sum, x))
}

/// The sum of squared distances from a center.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn sum_of_squares(x: &[f32], center: f32) -> f32 {
    let center = _mm512_set1_ps(center);
    sum_by([x], |sum, [x]| {
        let distance = _mm512_sub_ps(x, center);
        _mm512_fmadd_ps(distance, distance, sum)
    })
}

/// The largest number of a slice that is whole vectors long.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn largest(x: &[f32]) -> f32 {
    assert!(x.len().is_multiple_of(LANES), "maxima are taken of whole vectors");
    let mut chains = [_mm512_set1_ps(f32::NEG_INFINITY); CHAINS];
    for (number, at) in (0..x.len()).step_by(LANES).enumerate() {
        chains[number % CHAINS] = _mm512_max_ps(chains[number % CHAINS], load(x, at));
    }
    let pair = |a: usize, b: usize| _mm512_max_ps(chains[a], chains[b]);
    _mm512_reduce_max_ps(_mm512_max_ps(pair(0, 1), pair(2, 3)))
}

/// A polynomial by Horner's rule, highest power first.
#[inline]
#[target_feature(enable = "avx512f")]
fn polynomial<const N: usize>(coefficients: [f32; N], x: __m512) -> __m512 {
    let mut value = _mm512_set1_ps(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        value = _mm512_fmadd_ps(value, x, _mm512_set1_ps(coefficient));
    }
    value
}

/// `1 / x` by an estimate of 14 bits and one step of Newton's method.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn reciprocal(x: __m512) -> __m512 {
    let estimate = _mm512_rcp14_ps(x);
    _mm512_mul_ps(estimate, _mm512_fnmadd_ps(x, estimate, _mm512_set1_ps(2.0)))
}

/// `e^x`: the whole power of two apart, the rest by a polynomial
/// whose error is 1.1e-7.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn exp(x: __m512) -> __m512 {
    const COEFFICIENTS: [f32; 6] = [0.008_312_049, 0.041_894_5, 0.166_671_34, 0.499_992, 1.0, 1.0];
    let scaled = _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E));
    let power = _mm512_roundscale_ps::<0>(scaled);
    let rest = _mm512_fnmadd_ps(power, _mm512_set1_ps(std::f32::consts::LN_2), x);
    _mm512_scalef_ps(polynomial(COEFFICIENTS, rest), power)
}

/// `x / (1 + e^-t)`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn gated(x: __m512, t: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let e = exp(_mm512_sub_ps(_mm512_setzero_ps(), t));
    _mm512_mul_ps(x, reciprocal(_mm512_add_ps(one, e)))
}

/// `x p(x^2) / q(x^2)` for `|x|` up to a limit, beyond which the value stays.
#[inline]
#[target_feature(enable = "avx512f")]
fn odd_rational<const P: usize, const Q: usize>(x: __m512, limit: f32, p: [f32; P], q: [f32; Q]) -> __m512 {
    let x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(limit)), _mm512_set1_ps(-limit));
    let square = _mm512_mul_ps(x, x);
    let numerator = _mm512_mul_ps(x, polynomial(p, square));
    _mm512_mul_ps(numerator, reciprocal(polynomial(q, square)))
}

/// The hyperbolic tangent; the fit's error is 1.4e-8.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn tanh(x: __m512) -> __m512 {
    const P: [f32; 5] = [1.408_229_1e-8, 2.112_224_9e-5, 3.526_394e-3, 0.134_068_68, 1.0];
    const Q: [f32; 5] = [8.070_562e-7, 3.336_257e-4, 0.025_993_869, 0.467_401_9, 1.0];
    odd_rational(x, 8.6, P, Q)
}

/// The error function; the fit's error is 1.9e-8.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn erf(x: __m512) -> __m512 {
    const P: [f32; 6] = [
        2.050_084_5e-6,
        2.848_806e-4,
        3.765_561_6e-3,
        0.052_748_546,
        0.190_405_31,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const Q: [f32; 6] = [3.809_157_4e-5, 1.162_520_5e-3, 0.014_969_106, 0.114_108_615, 0.502_075_1, 1.0];
    odd_rational(x, 3.92, P, Q)
}

/// `x (1 + erf(x / sqrt(2))) / 2`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn gelu(x: __m512) -> __m512 {
    let half = _mm512_mul_ps(x, _mm512_set1_ps(0.5));
    let e = erf(_mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::FRAC_1_SQRT_2)));
    _mm512_fmadd_ps(half, e, half)
}
