//! The float contract of rewriting, on random programs: what a user gets compiled is nowhere worse
//! than what the user wrote.
//!
//! For every program and input three results are compared: the truth (the graph as written, in f64),
//! the spelling (the graph as written, op by op in f32), and the compiled one (recognized,
//! differentiated, simplified, expanded; evaluated op by op in f32, and for a share of the programs
//! run as machine code). Where the spelling is finite the compiled result must be finite, and its error
//! at most that of the spelling plus what four units in the last place of the operands make
//! (`measure`). Anything may be better. What fails is made small (`shrink`) and printed as a text graph.
//!
//! `EVENKEEL_LONG_TESTS=N` runs N programs, `EVENKEEL_SEED` is the first seed, and
//! `EVENKEEL_FOUND=FOLDER` writes every kind of failure there, and `EVENKEEL_ALL_FAMILIES` also tries
//! what [`OFF`] leaves out.
//! Start at [`compiled_programs_are_no_worse_than_what_was_written`].

mod inputs;
mod measure;
mod phrases;
mod programs;
mod shrink;

use crate::generate::Dice;
use crate::oracle::widths;
use evenkeel_ir::{Graph, Shape, Target};
use inputs::{GRIDS, Grid, ROWS};
use measure::{Case, Failure, Forms};
use programs::{Program, program};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is known to fail, and why: programs with phrases of a family are not tried on these grids.
#[rustfmt::skip]
const OFF: &[(&str, &[&str], &str)] = &[
    ("clamps", EVERY_GRID, "clamps of scaled operands are multiplied out, and differences of maxima cancel: `min (max (div x 3) 0) 6`"),
    ("losses", EVERY_GRID, "`t log_sigmoid x + (1-t) log_sigmoid -x` becomes `softplus x - t x`; `log sigmoid` differences"),
    ("spelled activations", EVERY_GRID, "`1 / (1 + exp x)` becomes `1 - sigmoid x`; `tanh x ^ 2` and `sigmoid x * sigmoid -x` become differences"),
    ("guards", EVERY_GRID, "`select (gt (exp x) 0) y 0` loses its guard; `select (gt x 0) x 0` becomes relu where x can be NaN"),
    ("functions", EVERY_GRID, "products of them become cancelling sums; their derivatives in tails"),
    ("softmaxes", EVERY_GRID, "`exp x` without a shift whose exponent underflows or overflows in what it is merged with"),
    ("powers", &["ordinary", "large", "huge"], "`x^a x^b` merge where a power overflows; `div y x` beside `sqrt x`"),
    ("logarithms", &["zeros", "tiny", "large", "huge"], "`exp (-0.5 log x)` becomes a root of 0; `log (recip x)` becomes `-log x` where the inverse overflows"),
    ("arithmetic", &["huge"], "reordered products overflow"),
    ("norms", &["large", "huge", "not finite"], "rows near the largest number"),
];

const EVERY_GRID: &[&str] = &["ordinary", "zeros", "saturating", "tiny", "large", "huge", "not finite"];

/// Programs of the short form.
const PROGRAMS: u64 = 2000;

/// One program in so many is also run as machine code.
const COMPILED: u64 = 16;

/// Failures that are made small where only the report asks for it.
const SHOWN: usize = 12;

#[test]
fn compiled_programs_are_no_worse_than_what_was_written() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let (count, first) =
        (number("EVENKEEL_LONG_TESTS").unwrap_or(PROGRAMS), number("EVENKEEL_SEED").unwrap_or(0));
    let found = in_parallel(first..first + count, trials);
    let tried: usize = found.iter().map(|trials| trials.tried).sum();
    let broken: Vec<&Broken> = found.iter().flat_map(|trials| &trials.broken).collect();
    println!("{count} programs, {tried} of {} grids, {} broken", count * GRIDS.len() as u64, broken.len());
    broken.iter().for_each(|broken| println!("{}: {}", broken.title(), broken.families.join(", ")));
    let folder = std::env::var("EVENKEEL_FOUND").ok();
    let smaller =
        in_parallel(0..broken.len().min(folder.as_ref().map_or(SHOWN, |_| usize::MAX)) as u64, |k| {
            vec![broken[k as usize].shrunk()]
        });
    let mut texts: Vec<String> = smaller.into_iter().flatten().collect();
    texts.sort_by_key(|text| (ops(text), text.len()));
    texts.dedup_by_key(|text| ops(text));
    texts.sort_by_key(String::len);
    for (number, text) in texts.iter().enumerate().filter(|_| folder.is_some()) {
        let path = format!("{}/{number:03}.ek", folder.as_ref().expect("it is asked for"));
        std::fs::write(path, text).expect("the folder can be written");
    }
    assert!(broken.is_empty(), "{} of {tried} cases are broken:\n{}", broken.len(), texts.join("\n"));
}

/// What work on every number of a range gives, on all threads, in order.
fn in_parallel<T: Send>(range: std::ops::Range<u64>, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(range.start);
    let share = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        numbers.take_while(|number| *number < range.end).map(|number| (number, work(number))).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<_>>| worker.join();
        workers.into_iter().flat_map(|worker| join(worker).expect("work catches its panics")).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The names of the ops of a text graph, which tell kinds of failures apart.
fn ops(text: &str) -> String {
    let lines = text.lines().skip(1).filter(|line| !line.contains(" = input "));
    let words = lines.flat_map(|line| line.split(' '));
    words.filter(|word| word.starts_with(char::is_alphabetic)).collect::<Vec<_>>().join(" ")
}

/// A case that breaks the contract.
struct Broken {
    seed: u64,
    grid: &'static str,
    families: Vec<&'static str>,
    case: Case,
    failure: Failure,
    /// Where it runs as machine code.
    target: Option<Target>,
}

impl Broken {
    fn title(&self) -> String {
        let how =
            self.target.as_ref().map_or("after rewriting".into(), |t| format!("{} bits", 8 * t.widest()));
        format!("seed {}, {}, {how}", self.seed, self.grid)
    }

    /// As small as it gets, as text.
    fn shrunk(&self) -> String {
        let target = self.target.as_ref();
        let alone = |case: &Case| Forms::of(&case.graph, case.gradients, target)?.failure(case);
        let fails = |case: &Case| caught(|| alone(case)).unwrap_or_else(|| Some(panicked()));
        let (case, failure) = shrink::shrink(self.case.clone(), self.failure.clone(), fails);
        shrink::text(&case, &failure, &self.title())
    }
}

/// What became of a program.
struct Trials {
    /// Grids that it ran on.
    tried: usize,
    broken: Vec<Broken>,
}

/// Tries the program of a seed on every grid that is not off.
fn trials(seed: u64) -> Trials {
    let Program { graph, families } = program(seed);
    let gradients = seed % 2 == 1;
    let all = std::env::var("EVENKEEL_ALL_FAMILIES").is_ok();
    let off = |grid: &Grid| {
        !all && OFF.iter().any(|(family, grids, _)| families.contains(family) && grids.contains(&grid.name))
    };
    let grids: Vec<&Grid> = GRIDS.iter().filter(|grid| !off(grid)).collect();
    let mut trials = Trials { tried: grids.len(), broken: Vec::new() };
    if grids.is_empty() {
        return trials;
    }
    let targets = widths();
    let target = targets[seed as usize / 2 % targets.len()].clone();
    let ways = if (seed / 2).is_multiple_of(COMPILED) { vec![None, Some(target)] } else { vec![None] };
    for target in ways {
        let forms = caught(|| Forms::of(&graph, gradients, target.as_ref()));
        for grid in &grids {
            let case = case(&graph, gradients, grid, seed);
            let judged = match &forms {
                Some(Some(forms)) => caught(|| forms.failure(&case)).unwrap_or_else(|| Some(panicked())),
                Some(None) => None,
                None => Some(panicked()),
            };
            let known = trials.broken.iter().any(|broken| broken.grid == grid.name);
            let (families, target) = (families.clone(), target.clone());
            let broken = |failure| Broken { seed, grid: grid.name, families, case, failure, target };
            trials.broken.extend(judged.filter(|_| !known).map(broken));
        }
    }
    trials
}

/// None where it panics.
fn caught<T>(attempt: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(attempt)).ok()
}

/// What a panic is shown as.
fn panicked() -> Failure {
    let nothing = f64::NAN;
    let output = "panic".into();
    Failure { output, element: 0, truth: nothing, spelled: nothing, compiled: nothing, allowed: nothing }
}

fn case(graph: &Graph, gradients: bool, grid: &Grid, seed: u64) -> Case {
    let mut dice = Dice { seed, count: 1 << 24 };
    let mut tensor = |shape: &Shape, grid: &Grid| grid.tensor(&mut dice, &shape.at(ROWS));
    let inputs = graph.inputs().iter().map(|input| tensor(&input.ty.shape, grid)).collect();
    let cotangents = graph.output_types().map(|ty| tensor(&ty.shape, &GRIDS[0])).collect();
    Case { graph: graph.clone(), gradients, batch: ROWS, inputs, cotangents }
}
