//! Checking the loops and timing them.

use super::operands::Operands;
use super::{backward, images, rows};
use crate::prepared::Prepared;
use evenkeel::bench::{Case, Kind, Layer, layers};
use evenkeel_runtime::{Tensor, ceilings};
use std::arch::x86_64::_mm_sfence;
use std::error::Error;
use std::time::{Duration, Instant};

/// Largest difference from evenkeel's result, relative to its largest number.
const TOLERANCE: f32 = 1e-5;
/// Calls of a contender in a round: the first meets what the others left in the caches.
const CALLS: usize = 3;
/// The shape for rows of features.
const ROWS: &[&[u64]] = &[&[2048, 768]];
/// The shape for rows of logits.
const LOGITS: &[&[u64]] = &[&[512, 32000]];
/// The shapes for images.
const IMAGES: &[&[u64]] = &[&[8, 64, 56, 56], &[32, 256, 14, 14]];

/// A loop for one thread; it needs AVX-512.
type Loop = unsafe fn(&Operands<'_>, &mut [&mut [f32]]);

/// A layer, whether with gradients, and its loops; the second one writes past the caches.
type Row = (&'static str, bool, &'static [Loop]);

/// A loop, and the same writing past the caches.
macro_rules! both {
    ($module:ident::$name:ident) => {
        &[$module::$name::<false> as Loop, $module::$name::<true> as Loop]
    };
}

const LOOPS: &[Row] = &[
    ("layer_norm", false, both!(rows::layer_norm)),
    ("rms_norm", false, both!(rows::rms_norm)),
    ("softmax", false, both!(rows::softmax)),
    ("add_layer_norm", false, both!(rows::add_layer_norm)),
    ("layer_norm_gelu", false, both!(rows::layer_norm_gelu)),
    ("gelu", false, both!(rows::gelu_erf)),
    ("gelu_tanh", false, both!(rows::gelu_tanh)),
    ("silu", false, both!(rows::silu)),
    ("swiglu", false, both!(rows::swiglu)),
    ("dyt", false, both!(rows::dyt)),
    ("derf", false, both!(rows::derf)),
    ("scale_norm", false, both!(rows::scale_norm)),
    ("cross_entropy", false, &[rows::cross_entropy]),
    ("group_norm_silu", false, both!(images::group_norm_silu)),
    ("batch_norm_relu", false, both!(images::batch_norm_relu)),
    ("instance_norm", false, both!(images::instance_norm)),
    ("evonorm_s0", false, both!(images::evonorm_s0)),
    ("layer_norm", true, both!(backward::layer_norm)),
    ("rms_norm", true, both!(backward::rms_norm)),
];

/// Measures the layers whose names contain one of `names`, or all, each for about `budget`.
pub(crate) fn run(names: &[String], budget: Duration) -> Result<(), Box<dyn Error>> {
    if !std::is_x86_feature_detected!("avx512f") {
        return Err("the loops written by hand need AVX-512, which this processor does not have".into());
    }
    println!("one thread, f32; microseconds; ratio: speed as a fraction of that of the loop");
    println!(
        "{:42} {:>8} {:>8} {:>6} {:>8} {:>14} {:>9}",
        "layer", "ours", "loop", "ratio", "copy", "streamed copy", "error"
    );
    let mut ratios = Vec::new();
    for &(name, gradients, loops) in LOOPS {
        let layer = layers().iter().find(|layer| layer.name == name).ok_or(format!("no layer {name}"))?;
        for shape in shapes(layer) {
            let case = layer.case(shape, gradients)?;
            if names.is_empty() || names.iter().any(|name| case.name.contains(name)) {
                ratios.push(measure(&case, loops, budget)?);
            }
        }
    }
    if ratios.is_empty() {
        return Err(format!("no case with a loop is named {}", names.join(" or ")).into());
    }
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    println!("geometric mean of {} ratios: {mean:.2}; lowest: {lowest:.2}", ratios.len());
    Ok(())
}

fn shapes(layer: &Layer) -> &'static [&'static [u64]] {
    match layer.kind {
        Kind::Rows | Kind::LongRows => ROWS,
        Kind::Logits => LOGITS,
        Kind::Image => IMAGES,
    }
}

/// Checks and times one case, prints its line, and gives its ratio.
fn measure(case: &Case, loops: &[Loop], budget: Duration) -> Result<f64, Box<dyn Error>> {
    let mut ours = Prepared::new(case, 1)?;
    let inputs = ours.inputs.clone();
    let operands = Operands::new(&inputs)?;
    let mut results = ours.outputs.clone();
    let loops = if can_stream(&inputs, &results) { loops } else { &loops[..1] };
    let mut results: Vec<&mut [f32]> =
        results.iter_mut().map(Tensor::as_mut_slice).collect::<Result<_, _>>()?;
    let mut error: f32 = 0.0;
    for &one in loops {
        results.iter_mut().for_each(|result| result.fill(0.0));
        call(one, &operands, &mut results);
        error = error.max(difference(&ours.outputs, &results)?);
    }
    if error.is_nan() || error > TOLERANCE {
        return Err(format!("{}: the loop differs by {error:.1e}", case.name).into());
    }
    let (from, mut to) = (vec![1f32; ours.bytes() / 8], vec![0f32; ours.bytes() / 8]);
    let [mut own, mut hand, mut copy, mut streamed] = [f64::INFINITY; 4];
    let start = Instant::now();
    while start.elapsed() < budget || own == f64::INFINITY {
        own = own.min(shortest(|| ours.run().expect("it has run before")));
        for &one in loops {
            hand = hand.min(shortest(|| call(one, &operands, &mut results)));
        }
        copy = copy.min(shortest(|| ceilings::copy(&from, &mut to)));
        streamed = streamed.min(shortest(|| ceilings::copy_streaming(&from, &mut to)));
    }
    let name = &case.name;
    let ratio = hand / own;
    println!("{name:42} {own:8.1} {hand:8.1} {ratio:6.2} {copy:8.1} {streamed:14.1} {error:9.1e}");
    Ok(ratio)
}

/// Do all rows start where vectors that are written past the caches may?
fn can_stream(inputs: &[Tensor], results: &[Tensor]) -> bool {
    let sizes = inputs[0].sizes();
    let row: usize = if sizes.len() == 4 { sizes[2..].iter().product() } else { sizes[sizes.len() - 1] };
    row.is_multiple_of(16) && results.iter().all(|result| result.bytes().as_ptr().addr().is_multiple_of(64))
}

fn call(one: Loop, operands: &Operands<'_>, results: &mut [&mut [f32]]) {
    // SAFETY: `run` has seen that the processor has AVX-512
    unsafe { one(operands, results) };
    // what was written past the caches arrives before the clock stops
    // SAFETY: every x86-64 processor has this instruction
    unsafe { _mm_sfence() };
}

/// The shortest of a few calls, in microseconds.
fn shortest(mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..CALLS {
        let start = Instant::now();
        call();
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
    }
    best
}

/// The largest difference of any result, relative to its largest number.
fn difference(expected: &[Tensor], found: &[&mut [f32]]) -> Result<f32, Box<dyn Error>> {
    let mut worst: f32 = 0.0;
    for (expected, found) in expected.iter().zip(found) {
        let expected = expected.as_slice::<f32>()?;
        let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        for (expected, found) in expected.iter().zip(found.iter()) {
            let error = (expected - found).abs() / largest;
            worst = if error.is_nan() { error } else { worst.max(error) };
        }
    }
    Ok(worst)
}
