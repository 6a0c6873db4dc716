//! A program beside another process that runs it as well: threads that wait for each other must not
//! stall when a machine has more of them than cores.
//!
//! `evenkeel bench` starts the other process; here is what both do, and what becomes of the times.

use super::layers::layers;
use super::measure::{Loaded, Runner, inputs};
use super::record::{Figures, Row};
use super::timing::{REPETITIONS, Timing, micros, quantile};
use crate::error::Error;
use evenkeel_compiler::Options;
use std::time::{Duration, Instant};

/// Name of the row.
pub const CROWD: &str = "crowd";
/// The layer and its shape: some 200 microseconds.
const LAYER: (&str, [u64; 2]) = ("softmax", [2048, 768]);

/// Calls the layer again and again for so long; the time of each call, in microseconds. `ready` is
/// called before the first that counts.
///
/// # Errors
/// None that users cause.
pub fn calls(threads: usize, budget: Duration, ready: impl FnOnce()) -> Result<Vec<f64>, Error> {
    let layer = layers().iter().find(|layer| layer.name == LAYER.0).expect("it is in the table");
    let case = layer.case(&LAYER.1, false)?;
    let loaded = Loaded::compile(&case, threads, &Options::default())?;
    let inputs = inputs(&loaded.graph, case.batch);
    let mut runner = Runner::new(loaded.executable, &inputs);
    runner.run()?;
    ready();
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < budget || times.is_empty() {
        times.push(micros(|| runner.run())?);
    }
    Ok(times)
}

/// Times calls alone and beside another process in turns; `other` starts that process, which runs
/// [`calls`], and gives what ends it when dropped.
///
/// # Errors
/// Those of `other`.
pub fn crowd<G, E: From<Error>>(
    threads: usize,
    budget: Duration,
    mut other: impl FnMut() -> Result<G, E>,
) -> Result<Row, E> {
    let budget = budget / (2 * REPETITIONS);
    let (mut quiet, mut crowded, mut medians) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        quiet.append(&mut calls(threads, budget, || ())?);
        let running = other()?;
        let mut times = calls(threads, budget, || ())?;
        drop(running);
        medians.push(quantile(&mut times, 0.5));
        crowded.append(&mut times);
    }
    let figures = Figures::Crowd {
        quiet_mean_micros: mean(&quiet),
        quiet_p99_micros: quantile(&mut quiet, 0.99),
        mean_micros: mean(&crowded),
        p50_micros: quantile(&mut crowded, 0.5),
        p99_micros: quantile(&mut crowded, 0.99),
        longest_micros: quantile(&mut crowded, 1.0),
    };
    Ok(Row::new(CROWD, threads, Timing { repetitions: medians }, figures))
}

fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / times.len() as f64
}
