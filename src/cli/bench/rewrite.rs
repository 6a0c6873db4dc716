//! `evenkeel bench rewrite`: programs compiled as written, after greedy matching, and by the rewriter.

use super::super::Failure;
use super::super::table::table;
use super::progress;
use crate::bench::rewrite::{self, Row};
use std::io::Write;
use std::time::Duration;

/// Programs have large samples, so N is at most this.
const LARGEST_BATCH: u64 = 256;

/// Measures every program and prints a table; the figures are the JSON.
pub(super) fn run(
    rows: Option<u64>,
    threads: usize,
    budget: Duration,
    out: &mut dyn Write,
) -> Result<serde_json::Value, Failure> {
    let batch = rows.map_or(LARGEST_BATCH, |rows| rows.min(LARGEST_BATCH));
    let bar = progress(rewrite::programs().count());
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
    Ok(json(&rows))
}

fn json(rows: &[Row]) -> serde_json::Value {
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
