//! Times of what can be repeated: the shortest of several repetitions, and how far they spread.

use crate::error::Error;
use crate::nn::Parameters;
use crate::session::{Jit, Tensors, Tree};
use evenkeel_runtime::Tensor;
use std::time::{Duration, Instant};

/// Into how many repetitions a budget of time is divided.
pub const REPETITIONS: u32 = 5;
/// Calls that are shorter are timed several together, so that the clock does not count.
const SHORTEST: Duration = Duration::from_micros(20);

/// How long a call takes, in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The shortest time in each repetition: how far they spread is the noise.
    pub repetitions: Vec<f64>,
}

impl Timing {
    /// The shortest time of a call.
    pub fn micros(&self) -> f64 {
        self.repetitions.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The rate for so many bytes per call, in bytes per nanosecond.
    pub fn gigabytes_per_second(&self, bytes: usize) -> f64 {
        bytes as f64 / self.micros() / 1e3
    }
}

/// Times a compiled closure on these tensors for about `budget`, after one call that does not count.
///
/// # Errors
/// Tensors of other types than it was compiled for.
///
/// # Examples
/// ```
/// use evenkeel::bench::bench;
/// use evenkeel::prelude::*;
/// use std::time::Duration;
///
/// let x = Tensor::full(&[32, 768], 1f32);
/// let softmax = jit((), |_: &(), x: Var| x.softmax(-1)).compile(&x)?;
/// let timing = bench(&softmax, &x, Duration::from_millis(5))?;
/// assert!(timing.repetitions.iter().all(|&time| time >= timing.micros()));
/// println!("{:.1} us, {:.1} GB/s", timing.micros(), timing.gigabytes_per_second(2 * 32 * 768 * 4));
/// # Ok::<(), evenkeel::Error>(())
/// ```
pub fn bench<M, L>(compiled: &Jit<M, L>, inputs: impl Tensors, budget: Duration) -> Result<Timing, Error>
where
    M: Parameters,
    L: Tree<Leaf = usize>,
{
    let mut tensors: Vec<&Tensor> = Vec::new();
    inputs.visit(&mut |tensor| tensors.push(tensor));
    time(|| compiled.run(&tensors[..]).map(drop), budget)
}

/// Times anything that can be called again and again for about `budget`, after one call that does
/// not count.
///
/// # Errors
/// Those of the calls.
pub fn time<E>(mut call: impl FnMut() -> Result<(), E>, budget: Duration) -> Result<Timing, E> {
    let mut clock = Clock::of(&mut call)?;
    let repetitions = (0..REPETITIONS).map(|_| {
        clock.best = f64::INFINITY;
        clock.run_for(budget / REPETITIONS, &mut call)?;
        Ok(clock.best)
    });
    Ok(Timing { repetitions: repetitions.collect::<Result<_, E>>()? })
}

/// The time that this fraction of calls keeps.
pub(super) fn quantile(times: &mut [f64], fraction: f64) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * fraction).round() as usize]
}

/// The time of one call, in microseconds.
pub(super) fn micros<E>(call: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    call()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// The shortest time so far of one thing that is called again and again.
pub(super) struct Clock {
    calls: u32,
    /// The shortest time of a call, in microseconds.
    pub(super) best: f64,
}

impl Clock {
    /// Calls twice, to warm up and to see how many calls fill a sample.
    pub(super) fn of<E>(mut call: impl FnMut() -> Result<(), E>) -> Result<Clock, E> {
        call()?;
        let start = Instant::now();
        call()?;
        let once = start.elapsed().max(Duration::from_nanos(10));
        Ok(Clock { calls: SHORTEST.div_duration_f64(once).ceil().max(1.0) as u32, best: f64::INFINITY })
    }

    /// Times samples for so long, one at least, and keeps the shortest time of a call.
    pub(super) fn run_for<E>(
        &mut self,
        budget: Duration,
        mut call: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let begin = Instant::now();
        loop {
            let start = Instant::now();
            for _ in 0..self.calls {
                call()?;
            }
            self.best = self.best.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(self.calls));
            if begin.elapsed() >= budget {
                return Ok(());
            }
        }
    }
}
