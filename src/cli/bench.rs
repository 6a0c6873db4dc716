//! `evenkeel bench`: compile times and speeds on this machine.

use super::table::table;
use super::{Failure, input};
use crate::bench::rewrite::{self, Row};
use crate::bench::{Case, Kind, Layer, Measurement, Setting, call_overhead, layers, measure, shapes_of};
use crate::session::float_inputs;
use evenkeel_runtime::Gang;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rows and columns where only the other is given.
const SHAPE: [u64; 2] = [2048, 768];
/// Programs of `bench rewrite` have large samples, so N is at most this.
const LARGEST_BATCH: u64 = 256;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Built-in layers by name or part of it, and text graphs by FILE.ek; all built-in ones by default.
    /// `rewrite` alone: does rewriting pay?
    #[arg(value_name = "NAME|FILE.ek")]
    what: Vec<String>,
    /// Measure layers over rows at this many rows only; the batch size N of text graphs, 2048 by
    /// default
    #[arg(long)]
    rows: Option<u64>,
    /// Measure layers over rows at this many columns only
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    columns: Option<u64>,
    /// Threads; EVENKEEL_THREADS or all cores by default
    #[arg(long)]
    threads: Option<usize>,
    /// Milliseconds per graph
    #[arg(long, default_value_t = 300)]
    time: u64,
    /// Print the time of every step of every program
    #[arg(long)]
    steps: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let threads = args.threads.map_or_else(Gang::threads_from_env, Ok)?;
    let budget = Duration::from_millis(args.time);
    if args.what == ["rewrite"] {
        return run_rewrite(args, threads, budget, out);
    }
    let setting = Setting { threads, budget };
    let cases = cases(args)?;
    let bar = ProgressBar::new(cases.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").unwrap_or(ProgressStyle::default_bar()),
    );
    let mut measured = Vec::new();
    for case in &cases {
        bar.set_message(case.name.clone());
        measured.push(measure(case, setting)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let overhead = call_overhead(budget.min(Duration::from_millis(100)))?;
    writeln!(out, "{threads} threads; copy: as many bytes on one thread")?;
    print(&measured, out)?;
    if args.steps || cases.iter().any(|case| case.name.contains(".ek")) {
        print_steps(&measured, out)?;
    }
    writeln!(out, "call overhead: {overhead:.2} us (one kernel over 8 numbers, one thread)")?;
    match &args.json {
        Some(path) => save(path, &json(&measured, overhead)),
        None => Ok(()),
    }
}

/// `bench rewrite`: programs compiled as written, after greedy matching, and by the rewriter.
fn run_rewrite(args: &Args, threads: usize, budget: Duration, out: &mut dyn Write) -> Result<(), Failure> {
    let batch = args.rows.map_or(LARGEST_BATCH, |rows| rows.min(LARGEST_BATCH));
    let bar = ProgressBar::new(rewrite::programs().count() as u64);
    let mut rows: Vec<Row> = Vec::new();
    for (place, (name, _)) in rewrite::programs().enumerate() {
        bar.set_message(name);
        rows.extend(rewrite::compare(place, batch, threads, budget)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    writeln!(out, "N = {batch}, {threads} threads, forward and backward; errors against f64")?;
    let mut lines = table(&[
        "program",
        "way",
        "kernels",
        "MB",
        "sweeps",
        "us",
        "speedup",
        "compile ms",
        "error",
        "error at mean 100",
    ]);
    for three in rows.chunks(rewrite::WAYS.len()) {
        for row in three {
            let (kernels, combines) = row.kernels;
            lines.add_row([
                if row.way == rewrite::WAYS[0] { row.program.into() } else { String::new() },
                row.way.into(),
                format!("{kernels}+{combines}"),
                format!("{:.1}", row.bytes as f64 / 1e6),
                row.phases.to_string(),
                format!("{:.0}", row.micros),
                format!("{:.2}x", three[0].micros / row.micros),
                format!("{:.1}", row.compile_ms),
                format!("{:.1e}", row.errors[0]),
                format!("{:.1e}", row.errors[1]),
            ]);
        }
    }
    writeln!(out, "{}", lines.trim_fmt())?;
    match &args.json {
        Some(path) => save(path, &json_rewrite(&rows)),
        None => Ok(()),
    }
}

fn json_rewrite(rows: &[Row]) -> serde_json::Value {
    let one = |row: &Row| {
        serde_json::json!({
            "program": row.program,
            "way": row.way,
            "kernels": row.kernels.0,
            "combines": row.kernels.1,
            "bytes": row.bytes,
            "sweeps": row.phases,
            "micros": row.micros,
            "compile_ms": row.compile_ms,
            "error": row.errors[0],
            "error_at_mean_100": row.errors[1],
        })
    };
    serde_json::json!({ "rewrite": rows.iter().map(one).collect::<Vec<_>>() })
}

fn save(path: &Path, json: &serde_json::Value) -> Result<(), Failure> {
    std::fs::write(path, json.to_string())
        .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

/// What the arguments ask for, in their order.
fn cases(args: &Args) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    if args.what.is_empty() {
        of_layers(layers().iter(), args, &mut cases)?;
    }
    for what in &args.what {
        if what.ends_with(".ek") {
            cases.extend(of_file(what, args.rows.unwrap_or(SHAPE[0]))?);
            continue;
        }
        let before = cases.len();
        let exact = layers().iter().any(|layer| layer.name == what);
        let named = |layer: &&Layer| layer.name == what || (!exact && layer.name.contains(what.as_str()));
        of_layers(layers().iter().filter(named), args, &mut cases)?;
        if cases.len() == before {
            return Err(Failure::Input(nothing_named(what, args)));
        }
    }
    Ok(cases)
}

fn nothing_named(what: &str, args: &Args) -> String {
    let over_rows = if own_shape(args).is_some() { " over rows" } else { "" };
    let names: Vec<&str> = layers().iter().map(|layer| layer.name).collect();
    format!(
        "no built-in layer{over_rows} is named {what}; a file ends in .ek, layers are {}",
        names.join(", ")
    )
}

/// The shape that the arguments give.
fn own_shape(args: &Args) -> Option<[u64; 2]> {
    let given = args.rows.is_some() || args.columns.is_some();
    given.then(|| [args.rows.unwrap_or(SHAPE[0]), args.columns.unwrap_or(SHAPE[1])])
}

/// Adds layers at their shapes, forward and with gradients; at the user's shape those over rows.
fn of_layers<'a>(
    layers: impl Iterator<Item = &'a Layer>,
    args: &Args,
    cases: &mut Vec<Case>,
) -> Result<(), Failure> {
    let own = own_shape(args);
    for layer in layers {
        let shapes: Vec<&[u64]> = match &own {
            Some(_) if layer.kind == Kind::Image => Vec::new(),
            Some(shape) => vec![shape],
            None => shapes_of(layer.kind).to_vec(),
        };
        for shape in shapes {
            cases.extend([layer.case(shape, false)?, layer.case(shape, true)?]);
        }
    }
    Ok(())
}

/// A text graph forward, and with gradients where it has float inputs and results.
fn of_file(path: &str, batch: u64) -> Result<Vec<Case>, Failure> {
    let graph = input::graph(Path::new(path))?;
    let floats = graph.output_types().all(|ty| ty.dtype.is_float());
    let differentiable = floats && !float_inputs(&graph).is_empty();
    let case = |gradients: bool| {
        let name = if gradients { format!("{path} fwd+bwd") } else { path.to_string() };
        Case { name, graph: graph.clone(), gradients, batch }
    };
    Ok([false, true].into_iter().filter(|gradients| !gradients || differentiable).map(case).collect())
}

fn print(measured: &[Measurement], out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows =
        table(&["graph", "us", "GB/s", "of copy", "unfused takes", "kernels", "compile ms", "stages"]);
    for m in measured {
        rows.add_row([
            m.name.clone(),
            format!("{:.1}", m.micros),
            format!("{:.1}", m.gigabytes_per_second()),
            format!("{:.2}", m.of_copy()),
            format!("{:.2}x", m.over_unfused()),
            format!("{}+{}", m.report.kernels.len(), m.report.combines),
            format!("{:.2}", m.report.total().as_secs_f64() * 1e3),
            m.report.timings(),
        ]);
    }
    Ok(writeln!(out, "{}", rows.trim_fmt())?)
}

/// One line per step; the rate of kernels beside that of the copy.
fn print_steps(measured: &[Measurement], out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows = table(&["graph", "step", "us", "GB/s", "of copy"]);
    for m in measured {
        for step in &m.steps {
            let rate = step.bytes as f64 / step.micros / 1e3;
            let [rate, of_copy] = if step.bytes == 0 {
                ["".into(), "".into()]
            } else {
                [format!("{rate:.1}"), format!("{:.2}", rate / m.copy_gigabytes_per_second())]
            };
            rows.add_row([m.name.clone(), step.name.clone(), format!("{:.1}", step.micros), rate, of_copy]);
        }
    }
    Ok(writeln!(out, "{}", rows.trim_fmt())?)
}

fn json(measured: &[Measurement], overhead: f64) -> serde_json::Value {
    let one = |m: &Measurement| {
        let stages: serde_json::Map<String, serde_json::Value> = m
            .report
            .stages
            .iter()
            .map(|(name, time)| (name.to_string(), (time.as_secs_f64() * 1e3).into()))
            .collect();
        let step = |step: &crate::bench::StepTime| serde_json::json!({ "name": step.name, "micros": step.micros, "bytes": step.bytes });
        serde_json::json!({
            "name": m.name,
            "micros": m.micros,
            "bytes": m.bytes,
            "gigabytes_per_second": m.gigabytes_per_second(),
            "of_copy": m.of_copy(),
            "unfused_micros": m.unfused_micros,
            "kernels": m.report.kernels.len(),
            "combines": m.report.combines,
            "steps": m.steps.iter().map(step).collect::<Vec<_>>(),
            "stages_ms": stages,
        })
    };
    let measurements: Vec<_> = measured.iter().map(one).collect();
    serde_json::json!({ "call_overhead_micros": overhead, "measurements": measurements })
}
