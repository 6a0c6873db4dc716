//! `evenkeel bench`: speeds and compile times on this machine, beside what it can do at best.

mod chart;
mod page;
mod print;
mod process;
mod rewrite;
mod select;

use self::select::{Job, jobs};
use super::Failure;
use crate::bench::{Ceilings, Costs, Machine, Profile, Record, Row, Setting, call_overhead, measure};
use evenkeel_runtime::Gang;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest time for one ceiling.
const CEILING: Duration = Duration::from_millis(60);

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Built-in layers and models by name or part of it, and text graphs by FILE.ek; all built-in
    /// ones by default. FILE.json alone: the figures of an earlier run instead of new ones.
    /// `rewrite` alone: does rewriting pay?
    #[arg(value_name = "NAME|FILE")]
    what: Vec<String>,
    /// Measure layers over rows at this many rows only; the batch size N of text graphs, 2048 by
    /// default
    #[arg(long)]
    rows: Option<u64>,
    /// Measure layers over rows at this many columns only
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    columns: Option<u64>,
    /// Measure every layer at one shape only
    #[arg(long)]
    quick: bool,
    /// On so many threads; on one and on all (EVENKEEL_THREADS or the cores) by default
    #[arg(long)]
    threads: Option<usize>,
    /// Milliseconds per measurement
    #[arg(long, default_value_t = 300)]
    time: u64,
    /// Print the times of compile stages of layers, and of every step of every program
    #[arg(long)]
    steps: bool,
    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with the figures that an earlier run wrote; exit code 1 if something is slower
    #[arg(long, value_name = "FILE.json")]
    compare: Option<PathBuf>,
    /// Measure the ceilings of this machine only, and write them as a profile for --profile
    #[arg(long, value_name = "FILE", conflicts_with_all = ["what", "json", "html", "compare", "profile"])]
    calibrate: Option<PathBuf>,
    /// Take the ceilings, and what work costs for the compiler, from a profile that --calibrate wrote;
    /// by default ceilings are measured and costs are a fixed reference
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// What to do in a process that another one has started
    #[arg(long, hide = true)]
    process: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let budget = Duration::from_millis(args.time);
    if let Some(what) = &args.process {
        return process::answer(what, args.threads.unwrap_or(1), budget, out);
    }
    if args.what == ["rewrite"] {
        return run_rewrite(args, budget, out);
    }
    if let Some(path) = &args.calibrate {
        let profile = calibrated(&threads(args)?, budget)?;
        print::ceilings(&profile.machine, &profile.ceilings, out)?;
        return Ok(profile.save(path)?);
    }
    let before = args.compare.as_deref().map(Record::load).transpose()?;
    let record = match &args.what[..] {
        [file] if file.ends_with(".json") => earlier(file, args)?,
        _ => measured(args, budget)?,
    };
    print::record(&record, args.steps || args.what.iter().any(|what| what.ends_with(".ek")), out)?;
    if let Some(path) = &args.json {
        record.save(path)?;
    }
    if let Some(path) = &args.html {
        write(path, &page::page(&record)?)?;
    }
    before.map_or(Ok(()), |before| print::comparison(&before, &record, out))
}

/// The figures of an earlier run, which cannot be asked for anything else.
fn earlier(file: &str, args: &Args) -> Result<Record, Failure> {
    let other = args.rows.or(args.columns).is_some() || args.threads.is_some() || args.profile.is_some();
    if other || args.quick {
        let text = "these are figures of an earlier run; only --steps, --json, --html and --compare apply";
        return Err(Failure::Input(format!("{file}: {text}")));
    }
    Ok(Record::load(Path::new(file))?)
}

fn run_rewrite(args: &Args, budget: Duration, out: &mut dyn Write) -> Result<(), Failure> {
    if args.html.is_some() || args.compare.is_some() || args.profile.is_some() || args.quick {
        let text = "bench rewrite: only --rows, --threads, --time and --json apply";
        return Err(Failure::Input(text.into()));
    }
    let threads = args.threads.map_or_else(Gang::threads_from_env, Ok)?;
    let json = rewrite::run(args.rows, threads, budget, out)?;
    args.json.as_deref().map_or(Ok(()), |path| write(path, &json.to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

/// Thread counts to measure.
fn threads(args: &Args) -> Result<Vec<usize>, Failure> {
    let mut counts = match args.threads {
        Some(threads) => vec![threads],
        None => vec![1, Gang::threads_from_env()?],
    };
    counts.dedup();
    Ok(counts)
}

/// The ceilings of this machine for so many threads, or for its cores where they are fewer.
fn calibrated(threads: &[usize], budget: Duration) -> Result<Profile, Failure> {
    let machine = Machine::detect();
    let mut counts: Vec<usize> = threads.iter().map(|&threads| threads.clamp(1, machine.cores)).collect();
    counts.dedup();
    let budget = budget.min(CEILING);
    let ceilings = Ceilings::measure(&machine, &counts, budget);
    Ok(Profile::new(machine, ceilings, call_overhead(budget)?))
}

/// Measures what the arguments ask for.
fn measured(args: &Args, budget: Duration) -> Result<Record, Failure> {
    let (jobs, threads) = (jobs(args)?, threads(args)?);
    let bar = progress(jobs.len() * threads.len() + 1);
    bar.set_message("ceilings of the machine");
    let profile = match &args.profile {
        Some(path) => Profile::load(path)?,
        None => calibrated(&threads, budget)?,
    };
    bar.inc(1);
    let costs = |threads| args.profile.as_ref().map_or(Costs::REFERENCE, |_| profile.costs(threads));
    let mut rows = Vec::new();
    for job in &jobs {
        bar.set_message(job.name().to_string());
        for &threads in &threads {
            let setting = Setting { threads, budget, costs: costs(threads) };
            rows.push(match job {
                Job::Case(case) => Row::of_layer(&measure(case, &setting)?, &profile.ceilings),
                Job::Workload(workload) => workload.measure(&setting)?,
                Job::Fresh(fresh) => process::compile_fresh(fresh, threads)?,
                Job::Crowd => process::crowded(threads, budget)?,
            });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(Record::new(profile, rows))
}

/// A bar for so many steps.
fn progress(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    ProgressBar::new(steps as u64).with_style(style.unwrap_or(ProgressStyle::default_bar()))
}
