//! Threads: a resident gang that claims chunks of work.
//!
//! One atomic word holds `epoch | next chunk | chunks`. The caller publishes a job and
//! claims chunks like every worker; it waits only for chunks that somebody claimed, so a
//! sleeping or descheduled worker never delays it by more than one chunk. Workers spin for a
//! while after a job and then sleep.
//!
//! Invariant: a claimed chunk keeps the job alive, because the caller returns only when all
//! chunks are done.

use crate::error::RuntimeError;
use std::any::Any;
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIELD: u32 = 20;
const MASK: u64 = (1 << FIELD) - 1;
const SPIN: Duration = Duration::from_micros(200);
const HOT_SPIN: Duration = Duration::from_millis(2);

/// What a chunk runs: chunk number, worker number.
type Task<'a> = &'a (dyn Fn(usize, usize) + Sync);

struct Shared {
    ticket: AtomicU64,
    done: AtomicU32,
    job: UnsafeCell<Option<*const (dyn Fn(usize, usize) + Sync + 'static)>>,
    /// Changes with every job; what sleepers wait on.
    bell: AtomicU32,
    sleepers: AtomicU32,
    hot: AtomicU32,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the caller that holds `busy`, before the ticket that
// publishes it, and read only by holders of a claimed chunk of that ticket.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only followed while its owner waits in `run`.
unsafe impl Send for Shared {}

/// A group of threads that work on one job at a time.
pub struct Gang {
    shared: Arc<Shared>,
    busy: AtomicBool,
    workers: Vec<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Gang {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gang of {}", self.threads())
    }
}

const THREADS: &str = "EVENKEEL_THREADS";

static GANGS: LazyLock<Mutex<BTreeMap<usize, Arc<Gang>>>> = LazyLock::new(Mutex::default);

impl Gang {
    /// Starts `threads - 1` workers; the caller of [`Gang::run`] is the other one.
    pub fn new(threads: usize) -> Gang {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            done: AtomicU32::new(0),
            job: UnsafeCell::new(None),
            bell: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            hot: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        // smaller gangs stay unpinned: several of them would pile onto the same cores
        let pinned = threads == cores.len();
        let oversubscribed = threads > cores.len();
        let spawn = |worker: usize| {
            let (shared, core) = (shared.clone(), cores.get(worker).copied().filter(|_| pinned));
            std::thread::Builder::new().name(format!("evenkeel-{worker}")).spawn(move || {
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                shared.work(worker, oversubscribed);
            })
        };
        // threads that cannot be started are fewer helpers, not an error; numbers stay gapless
        let workers = (1..threads.max(1)).map_while(|worker| spawn(worker).ok()).collect();
        Gang { shared, busy: AtomicBool::new(false), workers }
    }

    /// The gang of this process with this many threads.
    pub fn shared(threads: usize) -> Arc<Gang> {
        let mut gangs = GANGS.lock().unwrap_or_else(PoisonError::into_inner);
        gangs.entry(threads.max(1)).or_insert_with(|| Arc::new(Gang::new(threads))).clone()
    }

    /// The thread count that `EVENKEEL_THREADS` asks for, else the number of cores.
    ///
    /// # Errors
    /// A value that is not a whole number from 1 to 1024.
    pub fn threads_from_env() -> Result<usize, RuntimeError> {
        let Some(value) = std::env::var_os(THREADS) else {
            return Ok(std::thread::available_parallelism().map_or(1, usize::from));
        };
        let text = value.to_string_lossy();
        let wrong = |_| RuntimeError::Threads { from: THREADS, value: text.clone().into_owned() };
        Gang::checked(THREADS, text.parse().map_err(wrong)?)
    }

    /// A thread count, if it is from 1 to 1024; `from` is what asks for it.
    pub(crate) fn checked(from: &'static str, threads: usize) -> Result<usize, RuntimeError> {
        let value = || threads.to_string();
        if (1..=1024).contains(&threads) {
            Ok(threads)
        } else {
            Err(RuntimeError::Threads { from, value: value() })
        }
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(chunk, worker)` for every chunk. Worker numbers are below
    /// [`Gang::threads`], and no two threads of one call share one. Allocates nothing.
    ///
    /// If the gang is busy with another caller, this caller does all the work itself.
    ///
    /// # Panics
    /// When a chunk panics, with its payload, after the other chunks are done.
    pub fn run(&self, chunks: usize, task: Task<'_>) {
        let alone = chunks <= 1 || self.workers.is_empty() || chunks as u64 > MASK;
        if alone || self.busy.swap(true, Ordering::Acquire) {
            return (0..chunks).for_each(|chunk| task(chunk, 0));
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `run` returns after the last use of the task.
        let job = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: `busy` is held and no chunk of the last job is claimed any more.
        unsafe { *shared.job.get() = Some(job) };
        shared.done.store(0, Ordering::Relaxed);
        let epoch = (shared.ticket.load(Ordering::Relaxed) >> (2 * FIELD)).wrapping_add(1);
        shared.ticket.store(epoch << (2 * FIELD) | chunks as u64, Ordering::Release);
        shared.bell.fetch_add(1, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&shared.bell);
        }
        while let Some(chunk) = shared.claim() {
            shared.execute(chunk, 0);
        }
        shared.wait_for(chunks as u32);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Keeps workers spinning between the jobs that `body` starts.
    pub fn hot<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Cool<'a>(&'a AtomicU32);
        impl Drop for Cool<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.shared.hot.fetch_add(1, Ordering::Relaxed);
        let _cool = Cool(&self.shared.hot);
        body()
    }
}

impl Drop for Gang {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.bell.fetch_add(1, Ordering::SeqCst);
        atomic_wait::wake_all(&self.shared.bell);
        for worker in self.workers.drain(..) {
            // workers catch panics of chunks, so joining gives nothing to report
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes the next chunk of the current job, if there is one.
    fn claim(&self) -> Option<usize> {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        loop {
            let (next, total) = (ticket >> FIELD & MASK, ticket & MASK);
            if next >= total {
                return None;
            }
            let taken = ticket + (1 << FIELD);
            match self.ticket.compare_exchange_weak(ticket, taken, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next as usize),
                Err(current) => ticket = current,
            }
        }
    }

    fn execute(&self, chunk: usize, worker: usize) {
        // SAFETY: the claimed chunk keeps the job alive and unchanged until `done` counts it.
        let task = unsafe { &*(*self.job.get()).expect("a published job") };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(chunk, worker))) {
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    fn wait_for(&self, chunks: u32) {
        let mut spins = 0u32;
        while self.done.load(Ordering::Acquire) < chunks {
            spins += 1;
            if spins.is_multiple_of(1024) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn work(&self, worker: usize, oversubscribed: bool) {
        loop {
            let bell = self.bell.load(Ordering::SeqCst);
            while let Some(chunk) = self.claim() {
                self.execute(chunk, worker);
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.idle(bell, oversubscribed);
        }
    }

    /// Waits until the bell rings: spinning first, then asleep.
    fn idle(&self, bell: u32, oversubscribed: bool) {
        let start = Instant::now();
        let mut spins = 0u32;
        while self.bell.load(Ordering::Relaxed) == bell {
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(256) {
                let limit = if self.hot.load(Ordering::Relaxed) > 0 { HOT_SPIN } else { SPIN };
                if oversubscribed || start.elapsed() > limit {
                    self.sleepers.fetch_add(1, Ordering::SeqCst);
                    atomic_wait::wait(&self.bell, bell);
                    self.sleepers.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn total(gang: &Gang, chunks: usize) -> usize {
        let sum = AtomicUsize::new(0);
        gang.run(chunks, &|chunk, worker| {
            assert!(worker < gang.threads());
            sum.fetch_add(chunk + 1, Ordering::Relaxed);
        });
        sum.into_inner()
    }

    #[test]
    fn every_chunk_runs_once() {
        for threads in [1, 2, 3, 8, 16] {
            let gang = Gang::new(threads);
            for chunks in [0, 1, 2, 3, 7, 64, 1000] {
                assert_eq!(
                    total(&gang, chunks),
                    chunks * (chunks + 1) / 2,
                    "{threads} threads, {chunks} chunks"
                );
            }
        }
    }

    #[test]
    fn eight_callers_share_a_gang() {
        for threads in [2, 4, 8] {
            let gang = Gang::new(threads);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        (0..300).for_each(|i| assert_eq!(total(&gang, i % 17), (i % 17) * (i % 17 + 1) / 2))
                    });
                }
            });
        }
    }

    #[test]
    fn sleeping_workers_wake() {
        let gang = Gang::new(2);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            assert_eq!(gang.hot(|| total(&gang, 10)), 55);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_gang_survives() {
        let gang = Gang::new(2);
        let result =
            catch_unwind(AssertUnwindSafe(|| gang.run(8, &|chunk, _| assert!(chunk != 5, "chunk five"))));
        assert!(result.is_err());
        assert_eq!(total(&gang, 8), 36);
    }
}
