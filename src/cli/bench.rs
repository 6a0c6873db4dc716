//! `evenkeel bench`: compile times and speeds on this machine.

use super::Failure;
use super::table::table;
use crate::bench::{Measurement, measure, suite};
use crate::session::vjp_graph;
use evenkeel_runtime::Gang;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Names of built-in graphs, or parts of names; all by default
    names: Vec<String>,
    /// Rows of the tensors
    #[arg(long, default_value_t = 2048)]
    rows: u64,
    /// Columns of the tensors
    #[arg(long, default_value_t = 768, value_parser = clap::value_parser!(u64).range(1..))]
    columns: u64,
    /// Threads; EVENKEEL_THREADS or all cores by default
    #[arg(long)]
    threads: Option<usize>,
    /// Milliseconds per graph
    #[arg(long, default_value_t = 300)]
    time: u64,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let threads = args.threads.map_or_else(Gang::threads_from_env, Ok)?;
    let wanted =
        |name: &str| args.names.is_empty() || args.names.iter().any(|part| name.contains(part.as_str()));
    let mut measured = Vec::new();
    for (name, forward) in suite(args.columns as usize)? {
        let both = format!("{name} fwd+bwd");
        let budget = Duration::from_millis(args.time);
        if wanted(name) {
            measured.push(measure(name, &forward, args.rows, threads, budget)?);
        }
        if wanted(&both) {
            measured.push(measure(&both, &vjp_graph(&forward, &[0, 1, 2])?, args.rows, threads, budget)?);
        }
    }
    if measured.is_empty() {
        return Err(Failure::Input(format!("no built-in graph is named {}", args.names.join(", "))));
    }
    writeln!(
        out,
        "{} x {}, f32, {threads} threads; copy: as many bytes on one thread",
        args.rows, args.columns
    )?;
    print(&measured, out)?;
    if let Some(path) = &args.json {
        std::fs::write(path, json(&measured).to_string())?;
    }
    Ok(())
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

fn json(measured: &[Measurement]) -> serde_json::Value {
    let one = |m: &Measurement| {
        let stages: serde_json::Map<String, serde_json::Value> = m
            .report
            .stages
            .iter()
            .map(|(name, time)| (name.to_string(), (time.as_secs_f64() * 1e3).into()))
            .collect();
        serde_json::json!({
            "name": m.name,
            "micros": m.micros,
            "bytes": m.bytes,
            "gigabytes_per_second": m.gigabytes_per_second(),
            "of_copy": m.of_copy(),
            "unfused_micros": m.unfused_micros,
            "kernels": m.report.kernels.len(),
            "combines": m.report.combines,
            "stages_ms": stages,
        })
    };
    serde_json::json!({ "measurements": measured.iter().map(one).collect::<Vec<_>>() })
}
