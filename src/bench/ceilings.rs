//! What this machine can do at best: rates of copying and reading per cache level, multiply-adds,
//! and the price of starting work on several threads.
//!
//! Figures are the best of many samples. A copy counts what it reads and what it writes. All threads
//! run at once, each on memory of its own; rates and operations are those of all together.

use super::machine::Machine;
use super::timing::time;
use evenkeel_runtime::{Gang, ceilings as loops};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A sample lasts about this long, so that waiting for the other threads does not count.
const SAMPLE: Duration = Duration::from_micros(300);

/// The ceilings of a machine for some thread counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Width of vectors that reached them.
    pub vector_bits: u32,
    /// One per thread count.
    pub threads: Vec<ThreadCeilings>,
}

/// The ceilings of so many threads together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadCeilings {
    /// How many threads.
    pub threads: usize,
    /// f32 multiplications and additions per nanosecond (a multiply-add is two).
    pub gigaflops: f64,
    /// What a job of one short chunk per thread takes longer than a chunk, in microseconds.
    pub fork_join_micros: f64,
    /// Rates per cache level, smallest first; the last is memory.
    pub levels: Vec<Level>,
}

/// Rates within a cache level, in bytes per nanosecond.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// `L1`, `L2`, `L3` or `memory`.
    pub name: String,
    /// Bytes of all threads together that were moved.
    pub measured_bytes: u64,
    /// Bytes that this level holds for these threads; none for memory.
    pub holds_bytes: Option<u64>,
    /// Reading.
    pub read: f64,
    /// Copying with ordinary stores.
    pub copy: f64,
    /// Copying with non-temporal stores.
    pub copy_streaming: f64,
}

impl Level {
    /// The better copy.
    pub fn best_copy(&self) -> f64 {
        self.copy.max(self.copy_streaming)
    }
}

impl ThreadCeilings {
    /// The smallest level that holds so many bytes.
    pub fn level(&self, bytes: u64) -> Option<&Level> {
        self.levels.iter().find(|level| level.holds_bytes.is_none_or(|holds| bytes <= holds))
    }
}

impl Ceilings {
    /// Measures this machine for some thread counts; each figure takes about `budget`.
    pub fn measure(machine: &Machine, threads: &[usize], budget: Duration) -> Ceilings {
        let of = |&threads: &usize| measure(machine, threads, budget);
        Ceilings { vector_bits: loops::vector_bits(), threads: threads.iter().map(of).collect() }
    }

    /// The ceilings of a thread count: those of the most threads up to it that were measured.
    pub fn of(&self, threads: usize) -> Option<&ThreadCeilings> {
        let fitting = self.threads.iter().filter(|ceilings| ceilings.threads <= threads);
        fitting.max_by_key(|ceilings| ceilings.threads)
    }
}

/// A level to measure: name, level of cache, bytes, and its size where the system does not tell.
/// Caches of levels 1 and 2 are each core's own.
const LEVELS: [(&str, u32, u64, u64); 3] =
    [("L1", 1, 16 << 10, 32 << 10), ("L2", 2, 512 << 10, 1 << 20), ("L3", 3, 8 << 20, 16 << 20)];
/// Bytes for which memory is measured.
const MEMORY: u64 = 256 << 20;

fn measure(machine: &Machine, threads: usize, budget: Duration) -> ThreadCeilings {
    let own = |level: u32| if level < 3 { threads as u64 } else { 1 };
    let caches = LEVELS.iter().map(|&(name, level, bytes, usual)| {
        let size = machine.cache(level).map_or(usual, |cache| cache.bytes);
        moving(name, bytes * own(level), Some(size * own(level)), threads, budget)
    });
    let levels = caches.chain([moving("memory", MEMORY, None, threads, budget)]).collect();
    ThreadCeilings {
        threads,
        gigaflops: gigaflops(threads, budget),
        fork_join_micros: fork_join(threads, budget),
        levels,
    }
}

/// Rates for so many bytes, half of them read and half of them written where they are copied.
fn moving(name: &str, bytes: u64, holds_bytes: Option<u64>, threads: usize, budget: Duration) -> Level {
    let half = bytes as usize / 2 / size_of::<f32>() / threads;
    let own = || (vec![1f32; half], vec![0f32; half]);
    let works: [Work<(Vec<f32>, Vec<f32>)>; 3] = [
        |(from, to)| {
            black_box(loops::read(black_box(from)) + loops::read(black_box(to)));
        },
        |(from, to)| loops::copy(black_box(from), black_box(to)),
        |(from, to)| loops::copy_streaming(black_box(from), black_box(to)),
    ];
    let moved = (half * threads * 2 * size_of::<f32>()) as f64;
    let [read, copy, copy_streaming] = nanos(threads, budget, own, works).map(|nanos| moved / nanos);
    Level { name: name.into(), measured_bytes: bytes, holds_bytes, read, copy, copy_streaming }
}

fn gigaflops(threads: usize, budget: Duration) -> f64 {
    const ROUNDS: u64 = 1000;
    let operations = loops::multiply_add(ROUNDS) * threads as u64;
    let chains: Work<()> = |()| {
        black_box(loops::multiply_add(ROUNDS));
    };
    operations as f64 / nanos(threads, budget, || (), [chains])[0]
}

/// Empty chunks would not do: the caller would run them all before another thread has heard of them.
fn fork_join(threads: usize, budget: Duration) -> f64 {
    const CHUNK: Duration = Duration::from_micros(5);
    let gang = Gang::shared(threads);
    let chunk = || {
        let start = Instant::now();
        while start.elapsed() < CHUNK {
            std::hint::spin_loop();
        }
    };
    let job = || -> Result<(), Infallible> {
        gang.run(threads, &|_, _| chunk());
        Ok(())
    };
    let Ok(timing) = time(job, budget);
    (timing.micros() - CHUNK.as_secs_f64() * 1e6).max(0.0)
}

type Work<T> = fn(&mut T);

/// Shortest times in which every thread does each work once, in nanoseconds; all threads do it at the
/// same time, on values of their own.
fn nanos<T, const N: usize>(
    threads: usize,
    budget: Duration,
    own: impl Fn() -> T + Sync,
    works: [Work<T>; N],
) -> [f64; N] {
    let gate = Gate { threads, arrived: AtomicUsize::new(0) };
    // how often every thread works in the next sample; the first thread decides, 0 ends
    let calls = AtomicUsize::new(0);
    let run = |first: bool| {
        let mut own = own();
        works.map(|work| {
            let wanted = calls_of_a_sample(|| work(&mut own));
            let (mut best, begin) = (f64::INFINITY, Instant::now());
            loop {
                if first {
                    let done = begin.elapsed() >= budget && best.is_finite();
                    calls.store(if done { 0 } else { wanted }, Ordering::Relaxed);
                }
                gate.wait();
                let (start, calls) = (Instant::now(), calls.load(Ordering::Relaxed));
                (0..calls).for_each(|_| work(&mut own));
                gate.wait();
                if calls == 0 {
                    return best;
                }
                best = best.min(start.elapsed().as_secs_f64() * 1e9 / calls as f64);
            }
        })
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(|| run(false))));
        run(true)
    })
}

/// Works twice, to warm up and to see how many calls fill a sample.
fn calls_of_a_sample(mut work: impl FnMut()) -> usize {
    work();
    let start = Instant::now();
    work();
    let once = start.elapsed().max(Duration::from_nanos(10));
    SAMPLE.div_duration_f64(once).ceil().max(1.0) as usize
}

/// Where threads wait for each other without sleeping, because waking would count.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
}

impl Gate {
    fn wait(&self) {
        let place = self.arrived.fetch_add(1, Ordering::AcqRel);
        let full = (place / self.threads + 1) * self.threads;
        let mut spins = 0u32;
        while self.arrived.load(Ordering::Acquire) < full {
            spins += 1;
            // more threads than cores must let each other run
            if spins.is_multiple_of(1 << 14) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}
