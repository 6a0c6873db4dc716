//! Loops over images, `[batch, channels, height, width]`, forward.

use super::operands::{Operands, take};
use super::rows::moments;
use super::vector::{Sum, gated, map};
use std::arch::x86_64::*;

/// Groups of channels.
const GROUPS: usize = 32;

/// Channels of an image, and numbers in one.
fn extents(operands: &Operands<'_>) -> (usize, usize) {
    (operands.sizes[1], operands.sizes[2] * operands.sizes[3])
}

/// `y = f(x scale + shift)` for one channel, where `(x - mean) deviation gain + bias` is that.
#[inline]
#[target_feature(enable = "avx512f")]
fn affine<const STREAM: bool>(
    x: &[f32],
    [mean, deviation]: [f32; 2],
    [gain, bias]: [f32; 2],
    y: &mut [f32],
    f: impl Fn(__m512) -> __m512,
) {
    let scale = deviation * gain;
    let (factor, shift) = (_mm512_set1_ps(scale), _mm512_set1_ps(bias - mean * scale));
    map::<STREAM, 1>([x], y, |[x]| f(_mm512_fmadd_ps(x, factor, shift)));
}

#[target_feature(enable = "avx512f")]
pub(crate) fn group_norm_silu<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, bias], [y]) = (operands.take(), take(outputs));
    let (channels, pixels) = extents(operands);
    let members = channels / GROUPS;
    let groups = x.chunks_exact(members * pixels).zip(y.chunks_exact_mut(members * pixels));
    for (number, (x, y)) in groups.enumerate() {
        let moments = moments(x);
        let first = number % GROUPS * members;
        for (member, (x, y)) in x.chunks_exact(pixels).zip(y.chunks_exact_mut(pixels)).enumerate() {
            let parameters = [gain[first + member], bias[first + member]];
            affine::<STREAM>(x, moments, parameters, y, |value| gated(value, value));
        }
    }
}

#[target_feature(enable = "avx512f")]
pub(crate) fn instance_norm<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, bias], [y]) = (operands.take(), take(outputs));
    let (channels, pixels) = extents(operands);
    let parameters = gain.iter().zip(bias).cycle().take(x.len() / pixels);
    debug_assert_eq!(gain.len(), channels);
    for ((x, y), (&gain, &bias)) in x.chunks_exact(pixels).zip(y.chunks_exact_mut(pixels)).zip(parameters) {
        affine::<STREAM>(x, moments(x), [gain, bias], y, |value| value);
    }
}

/// Channel by channel, so that one of them stays in the second cache.
#[target_feature(enable = "avx512f")]
pub(crate) fn batch_norm_relu<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, gain, bias], [y]) = (operands.take(), take(outputs));
    let (channels, pixels) = extents(operands);
    let (count, zero) = ((x.len() / channels) as f32, _mm512_setzero_ps());
    for channel in 0..channels {
        let places = (channel * pixels..x.len()).step_by(channels * pixels);
        let mut sum = Sum::zero();
        for at in places.clone() {
            sum.add([&x[at..at + pixels]], |sum, [x]| _mm512_add_ps(sum, x));
        }
        let mean = sum.total() / count;
        let (mut squares, center) = (Sum::zero(), _mm512_set1_ps(mean));
        for at in places.clone() {
            squares.add([&x[at..at + pixels]], |sum, [x]| {
                let distance = _mm512_sub_ps(x, center);
                _mm512_fmadd_ps(distance, distance, sum)
            });
        }
        let moments = [mean, 1.0 / (squares.total() / count + 1e-5).sqrt()];
        for at in places {
            let (x, y) = (&x[at..at + pixels], &mut y[at..at + pixels]);
            let parameters = [gain[channel], bias[channel]];
            affine::<STREAM>(x, moments, parameters, y, |value| _mm512_max_ps(value, zero));
        }
    }
}

#[target_feature(enable = "avx512f")]
pub(crate) fn evonorm_s0<const STREAM: bool>(operands: &Operands<'_>, outputs: &mut [&mut [f32]]) {
    let ([x, v, gain, bias], [y]) = (operands.take(), take(outputs));
    let (channels, pixels) = extents(operands);
    let members = channels / GROUPS;
    let groups = x.chunks_exact(members * pixels).zip(y.chunks_exact_mut(members * pixels));
    for (number, (x, y)) in groups.enumerate() {
        let [_, deviation] = moments(x);
        let first = number % GROUPS * members;
        for (member, (x, y)) in x.chunks_exact(pixels).zip(y.chunks_exact_mut(pixels)).enumerate() {
            let channel = first + member;
            let slope = _mm512_set1_ps(v[channel]);
            let (scale, shift) = (_mm512_set1_ps(deviation * gain[channel]), _mm512_set1_ps(bias[channel]));
            map::<STREAM, 1>([x], y, |[x]| _mm512_fmadd_ps(gated(x, _mm512_mul_ps(slope, x)), scale, shift));
        }
    }
}
