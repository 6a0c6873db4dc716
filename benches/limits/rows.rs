//! Loops over rows of features, forward.

use super::operands::{Operands, take};
use super::vector::{erf, exp, gated, gelu, largest, map, sum, sum_by, sum_of_squares, tanh};
use std::arch::x86_64::*;

/// Mean of a row and `1 / sqrt(var + 1e-5)`, in two passes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn moments(x: &[f32]) -> [f32; 2] {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    [mean, 1.0 / (sum_of_squares(x, mean) / count + 1e-5).sqrt()]
}

/// `y = f((x - mean) / sqrt(var + 1e-5) * gain + bias)` for one row.
#[inline]
#[target_feature(enable = "avx512f")]
fn standardize<const STREAM: bool>(
    x: &[f32],
    [gain, bias]: [&[f32]; 2],
    y: &mut [f32],
    f: impl Fn(__m512) -> __m512,
) {
    let [mean, deviation] = moments(x).map(|number| _mm512_set1_ps(number));
    map::<STREAM, 3>([x, gain, bias], y, |[x, gain, bias]| {
        f(_mm512_fmadd_ps(_mm512_mul_ps(_mm512_sub_ps(x, mean), deviation), gain, bias))
    });
}

#[target_feature(enable = "avx512f")]
pub(crate) fn layer_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, bias], [y]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        standardize::<STREAM>(x, [gain, bias], y, |value| value);
    }
}

#[target_feature(enable = "avx512f")]
pub(crate) fn layer_norm_gelu<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, bias], [y]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        standardize::<STREAM>(x, [gain, bias], y, |value| gelu(value));
    }
}

/// The sum of both is kept in a row of its own, so that streaming it does not cost reading it back.
#[target_feature(enable = "avx512f")]
pub(crate) fn add_layer_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, residual, gain, bias], [y, total]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    let inputs = x.chunks_exact(columns).zip(residual.chunks_exact(columns));
    let outputs = y.chunks_exact_mut(columns).zip(total.chunks_exact_mut(columns));
    let mut row = vec![0.0; columns];
    for ((x, residual), (y, total)) in inputs.zip(outputs) {
        if STREAM {
            map::<false, 2>([x, residual], &mut row, |[x, residual]| _mm512_add_ps(x, residual));
            map::<true, 1>([&row], total, |[value]| value);
            standardize::<true>(&row, [gain, bias], y, |value| value);
        } else {
            map::<false, 2>([x, residual], total, |[x, residual]| _mm512_add_ps(x, residual));
            standardize::<false>(total, [gain, bias], y, |value| value);
        }
    }
}

#[target_feature(enable = "avx512f")]
pub(crate) fn rms_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain], [y]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let scale = _mm512_set1_ps(1.0 / (sum_of_squares(x, 0.0) / columns as f32 + 1e-6).sqrt());
        map::<STREAM, 2>([x, gain], y, |[x, gain]| _mm512_mul_ps(_mm512_mul_ps(x, scale), gain));
    }
}

#[target_feature(enable = "avx512f")]
pub(crate) fn scale_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, scale], [y]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let scale = _mm512_set1_ps(scale[0] / (sum_of_squares(x, 0.0) + 1e-6).sqrt());
        map::<STREAM, 1>([x], y, |[x]| _mm512_mul_ps(x, scale));
    }
}

/// Exponentials are kept in a row of their own, which stays in the first cache.
#[target_feature(enable = "avx512f")]
pub(crate) fn softmax<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x], [y]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    let mut row = vec![0.0; columns];
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let shift = _mm512_set1_ps(largest(x));
        map::<false, 1>([x], &mut row, |[x]| exp(_mm512_sub_ps(x, shift)));
        let scale = _mm512_set1_ps(1.0 / sum(&row));
        map::<STREAM, 1>([&row], y, |[e]| _mm512_mul_ps(e, scale));
    }
}

/// One pass over the logits, block by block, with the sum for the largest one so far.
#[target_feature(enable = "avx512f")]
pub(crate) fn cross_entropy(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    /// As many logits as the first cache surely holds.
    const BLOCK: usize = 1024;
    let ([x], [loss]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    let mut losses = 0.0;
    for (x, &target) in x.chunks_exact(columns).zip(operands.targets) {
        let (mut highest, mut total) = (f32::NEG_INFINITY, 0.0);
        for block in x.chunks(BLOCK) {
            let before = highest;
            highest = highest.max(largest(block));
            let shift = _mm512_set1_ps(highest);
            let added = sum_by([block], |sum, [x]| _mm512_add_ps(sum, exp(_mm512_sub_ps(x, shift))));
            total = total * (before - highest).exp() + added;
        }
        losses += highest + total.ln() - x[target as usize];
    }
    loss[0] = losses / operands.targets.len() as f32;
}

#[target_feature(enable = "avx512f")]
pub(crate) fn gelu_erf<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x], [y]) = (operands.take(), take(outputs));
    map::<STREAM, 1>([x], y, |[x]| gelu(x));
}

/// `(1 + tanh(t)) / 2` is the sigmoid of `2 t`.
#[target_feature(enable = "avx512f")]
pub(crate) fn gelu_tanh<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x], [y]) = (operands.take(), take(outputs));
    // 2 sqrt(2 / pi), and 0.044715 times that
    let (linear, cubic) = (_mm512_set1_ps(1.595_769), _mm512_set1_ps(0.071_354_82));
    map::<STREAM, 1>([x], y, |[x]| {
        let slope = _mm512_fmadd_ps(_mm512_mul_ps(x, x), cubic, linear);
        gated(x, _mm512_mul_ps(x, slope))
    });
}

#[target_feature(enable = "avx512f")]
pub(crate) fn silu<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x], [y]) = (operands.take(), take(outputs));
    map::<STREAM, 1>([x], y, |[x]| gated(x, x));
}

#[target_feature(enable = "avx512f")]
pub(crate) fn swiglu<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([a, b], [y]) = (operands.take(), take(outputs));
    map::<STREAM, 2>([a, b], y, |[a, b]| gated(_mm512_mul_ps(a, b), a));
}

/// `f(alpha x) * gain + bias`.
#[inline]
#[target_feature(enable = "avx512f")]
fn squashed<const STREAM: bool>(
    operands: &Operands<'_>,
    outputs: &mut [&mut [f32]],
    f: impl Fn(__m512) -> __m512,
) {
    let ([x, alpha, gain, bias], [y]) = (operands.take(), take(outputs));
    let (columns, alpha) = (operands.columns(), _mm512_set1_ps(alpha[0]));
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        map::<STREAM, 3>([x, gain, bias], y, |[x, gain, bias]| {
            _mm512_fmadd_ps(f(_mm512_mul_ps(x, alpha)), gain, bias)
        });
    }
}

#[target_feature(enable = "avx512f")]
pub(crate) fn dyt<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    squashed::<STREAM>(operands, outputs, |x| tanh(x));
}

#[target_feature(enable = "avx512f")]
pub(crate) fn derf<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    squashed::<STREAM>(operands, outputs, |x| erf(x));
}
