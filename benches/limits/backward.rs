//! Loops forward and backward, with the gradients of parameters.
//!
//! One walk over the rows does both directions: a row of `x` and of `dy` stays in the first cache,
//! and so do the sums over rows.

use super::operands::{Operands, take};
use super::rows::moments;
use super::vector::{LANES, load, map, store, sum_of_squares};
use std::arch::x86_64::*;

/// Adds a vector to the sums at a place.
#[inline]
#[target_feature(enable = "avx512f")]
fn add(sums: &mut [f32], at: usize, value: __m512) {
    store::<false>(sums, at, _mm512_add_ps(load(sums, at), value));
}

/// With `u = (x - mean) deviation` and `g = dy gain`: `y = u gain + bias`,
/// `dx = (g - mean(g) - u mean(g u)) deviation`, `dgain = sum(dy u)`, `dbias = sum(dy)`.
#[target_feature(enable = "avx512f")]
pub(crate) fn layer_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, bias, dy], [y, dx, dgain, dbias]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    let share = 1.0 / columns as f32;
    dgain.fill(0.0);
    dbias.fill(0.0);
    let inputs = x.chunks_exact(columns).zip(dy.chunks_exact(columns));
    let outputs = y.chunks_exact_mut(columns).zip(dx.chunks_exact_mut(columns));
    for ((x, dy), (y, dx)) in inputs.zip(outputs) {
        let [mean, deviation] = moments(x).map(|number| _mm512_set1_ps(number));
        let [mut sum, mut product] = [_mm512_setzero_ps(); 2];
        for at in (0..columns).step_by(LANES) {
            let (unit, gain, dy) =
                (_mm512_mul_ps(_mm512_sub_ps(load(x, at), mean), deviation), load(gain, at), load(dy, at));
            store::<STREAM>(y, at, _mm512_fmadd_ps(unit, gain, load(bias, at)));
            let g = _mm512_mul_ps(dy, gain);
            sum = _mm512_add_ps(sum, g);
            product = _mm512_fmadd_ps(g, unit, product);
            add(dgain, at, _mm512_mul_ps(dy, unit));
            add(dbias, at, dy);
        }
        let sum = _mm512_set1_ps(_mm512_reduce_add_ps(sum) * share);
        let product = _mm512_set1_ps(_mm512_reduce_add_ps(product) * share);
        map::<STREAM, 3>([x, dy, gain], dx, |[x, dy, gain]| {
            let unit = _mm512_mul_ps(_mm512_sub_ps(x, mean), deviation);
            let rest = _mm512_fnmadd_ps(unit, product, _mm512_fmsub_ps(dy, gain, sum));
            _mm512_mul_ps(rest, deviation)
        });
    }
}

/// With `u = x scale` and `g = dy gain`: `y = u gain`, `dx = (g - u mean(g u)) scale`,
/// `dgain = sum(dy u)`.
#[target_feature(enable = "avx512f")]
pub(crate) fn rms_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, dy], [y, dx, dgain]) = (operands.take(), take(outputs));
    let columns = operands.columns();
    let share = 1.0 / columns as f32;
    dgain.fill(0.0);
    let inputs = x.chunks_exact(columns).zip(dy.chunks_exact(columns));
    let outputs = y.chunks_exact_mut(columns).zip(dx.chunks_exact_mut(columns));
    for ((x, dy), (y, dx)) in inputs.zip(outputs) {
        let scale = _mm512_set1_ps(1.0 / (sum_of_squares(x, 0.0) * share + 1e-6).sqrt());
        let mut product = _mm512_setzero_ps();
        for at in (0..columns).step_by(LANES) {
            let (unit, gain, dy) = (_mm512_mul_ps(load(x, at), scale), load(gain, at), load(dy, at));
            store::<STREAM>(y, at, _mm512_mul_ps(unit, gain));
            product = _mm512_fmadd_ps(_mm512_mul_ps(dy, gain), unit, product);
            add(dgain, at, _mm512_mul_ps(dy, unit));
        }
        let product = _mm512_set1_ps(_mm512_reduce_add_ps(product) * share);
        map::<STREAM, 3>([x, dy, gain], dx, |[x, dy, gain]| {
            let rest = _mm512_fnmadd_ps(_mm512_mul_ps(x, scale), product, _mm512_mul_ps(dy, gain));
            _mm512_mul_ps(rest, scale)
        });
    }
}
