//! Figures as tables for people.

use super::super::Failure;
use super::super::table::table;
use crate::bench::{Ceilings, Change, Figures, LayerFigures, Machine, Record, Row, compare};
use std::collections::BTreeMap;
use std::io::Write;

/// Everything that a run found.
pub(super) fn record(record: &Record, details: bool, out: &mut dyn Write) -> Result<(), Failure> {
    ceilings(&record.machine, &record.ceilings, out)?;
    layers(&record.rows, out)?;
    models(&record.rows, out)?;
    if details {
        steps(&record.rows, out)?;
    }
    Ok(writeln!(
        out,
        "call overhead: {:.2} us (one kernel over 8 numbers, one thread)",
        record.call_overhead_micros
    )?)
}

/// The machine and its ceilings.
pub(super) fn ceilings(machine: &Machine, ceilings: &Ceilings, out: &mut dyn Write) -> Result<(), Failure> {
    let Machine { processor, system, cores, .. } = machine;
    writeln!(
        out,
        "{processor}, {system}, {cores} cores; ceilings with {}-bit vectors:",
        ceilings.vector_bits
    )?;
    let mut rows = table(&["threads", "level", "read GB/s", "copy GB/s", "streaming copy GB/s"]);
    for of in &ceilings.threads {
        for level in &of.levels {
            let rates = [level.read, level.copy, level.copy_streaming].map(|rate| format!("{rate:.0}"));
            rows.add_row([of.threads.to_string(), level.name.clone()].into_iter().chain(rates));
        }
    }
    writeln!(out, "{}", rows.trim_fmt())?;
    for of in &ceilings.threads {
        let (threads, flops, join) = (of.threads, of.gigaflops, of.fork_join_micros);
        writeln!(out, "{threads} threads: {flops:.0} GFLOP/s f32, fork and join {join:.2} us")?;
    }
    Ok(writeln!(out)?)
}

/// Rows of layers and graphs.
pub(super) fn layer_rows(rows: &[Row]) -> impl Iterator<Item = (&Row, &LayerFigures)> {
    rows.iter().filter_map(|row| match &row.figures {
        Figures::Layer(figures) => Some((row, figures)),
        _ => None,
    })
}

/// Names of the columns of layers.
pub(super) const LAYER_COLUMNS: [&str; 11] = [
    "layer",
    "threads",
    "us",
    "GB/s",
    "level",
    "of ceiling",
    "of copy",
    "unfused takes",
    "kernels",
    "compile ms",
    "again ms",
];

/// The cells of a layer, as text.
pub(super) fn layer_cells(row: &Row, figures: &LayerFigures) -> [String; 11] {
    [
        row.name.clone(),
        row.threads.to_string(),
        format!("{:.1}", row.micros),
        format!("{:.1}", figures.gigabytes_per_second),
        figures.level.clone(),
        // a profile may have no ceiling for so few threads
        if figures.level.is_empty() { String::new() } else { format!("{:.2}", figures.of_ceiling) },
        format!("{:.2}", figures.of_copy),
        format!("{:.2}x", figures.unfused_micros / row.micros),
        format!("{}+{}", figures.kernels, figures.combines),
        format!("{:.2}", figures.compile_ms),
        format!("{:.2}", figures.recompile_ms),
    ]
}

fn layers(rows: &[Row], out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = table(&LAYER_COLUMNS);
    layer_rows(rows).for_each(|(row, figures)| {
        lines.add_row(layer_cells(row, figures));
    });
    if lines.row_iter().next().is_some() {
        writeln!(out, "{}\n", lines.trim_fmt())?;
    }
    Ok(())
}

/// Names of the columns of models.
pub(super) const MODEL_COLUMNS: [&str; 9] =
    ["model", "threads", "us", "steps/s", "samples/s", "p50 / p99 us", "of quiet", "compile ms", "again ms"];

/// The cells of a model; nothing for a layer.
pub(super) fn model_cells(row: &Row) -> Option<[String; 9]> {
    let mut cells: [String; 9] = Default::default();
    cells[..3].clone_from_slice(&[row.name.clone(), row.threads.to_string(), format!("{:.1}", row.micros)]);
    match row.figures {
        Figures::Layer(_) => return None,
        Figures::Step { samples, compile_ms, recompile_ms, .. } => {
            let rate = 1e6 / row.micros;
            (cells[3], cells[4]) = (format!("{rate:.1}"), format!("{:.0}", rate * samples as f64));
            (cells[7], cells[8]) = (format!("{compile_ms:.1}"), format!("{recompile_ms:.1}"));
        }
        Figures::Latency { p50_micros, p99_micros, .. } => {
            cells[5] = format!("{p50_micros:.1} / {p99_micros:.1}");
        }
        Figures::Crowd { p50_micros, p99_micros, mean_micros, quiet_mean_micros, .. } => {
            cells[5] = format!("{p50_micros:.1} / {p99_micros:.1}");
            cells[6] = format!("{:.2}x", mean_micros / quiet_mean_micros);
        }
        Figures::Fresh { compile_ms } => cells[7] = format!("{compile_ms:.1}"),
    }
    Some(cells)
}

fn models(rows: &[Row], out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = table(&MODEL_COLUMNS);
    rows.iter().filter_map(model_cells).for_each(|cells| {
        lines.add_row(cells);
    });
    if lines.row_iter().next().is_some() {
        writeln!(out, "{}\n", lines.trim_fmt())?;
    }
    Ok(())
}

/// Times of compile stages, one line per step of a program, and sums by kind of step.
fn steps(rows: &[Row], out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = table(&["program", "threads", "step", "us", "share", "GB/s"]);
    let mut sums = table(&["program", "threads", "kind", "steps", "us", "share"]);
    for (row, figures) in layer_rows(rows) {
        let stage = |(name, ms): (&String, &f64)| format!("{name} {ms:.2} ms");
        let stages: Vec<String> = figures.stages_ms.iter().map(stage).collect();
        writeln!(out, "{}, {} threads: {}", row.name, row.threads, stages.join(", "))?;
    }
    for row in rows {
        let all: f64 = row.steps().iter().map(|step| step.micros).sum();
        let share = |micros: f64| format!("{:.1} %", 100.0 * micros / all);
        let own = [row.name.clone(), row.threads.to_string()];
        let mut kinds: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for step in row.steps() {
            let rate = step.bytes as f64 / step.micros / 1e3;
            let rate = if step.bytes == 0 { String::new() } else { format!("{rate:.1}") };
            let cells = [step.name.clone(), format!("{:.1}", step.micros), share(step.micros), rate];
            lines.add_row(own.iter().chain(&cells));
            let (count, sum) = kinds.entry(step.kind()).or_default();
            (*count, *sum) = (*count + 1, *sum + step.micros);
        }
        for (kind, (count, sum)) in kinds {
            let cells = [kind.to_string(), count.to_string(), format!("{sum:.1}"), share(sum)];
            sums.add_row(own.iter().chain(&cells));
        }
    }
    Ok(writeln!(out, "\n{}\n\n{}\n", lines.trim_fmt(), sums.trim_fmt())?)
}

/// Every row that both runs have; fails when one is slower.
pub(super) fn comparison(before: &Record, now: &Record, out: &mut dyn Write) -> Result<(), Failure> {
    let found = compare(before, now);
    if found.is_empty() {
        return Err(Failure::Input("the two runs have no row in common, so nothing can be compared".into()));
    }
    if before.machine != now.machine {
        writeln!(out, "the earlier run was on another machine: {}", before.machine.processor)?;
    }
    let mut lines = table(&["row", "threads", "before us", "now us", "ratio", "verdict"]);
    for row in &found {
        let [old, new] = row.micros.map(|micros| format!("{micros:.1}"));
        let ratio = format!("{:.2}", row.ratio());
        lines.add_row([row.name.clone(), row.threads.to_string(), old, new, ratio, row.change.to_string()]);
    }
    writeln!(out, "{}", lines.trim_fmt())?;
    let [gone, new] = [before, now].map(|run| run.rows.len().saturating_sub(found.len()));
    if gone + new > 0 {
        writeln!(out, "not compared: {gone} rows of the earlier run only, {new} of this one only")?;
    }
    let count = |change: Change| found.iter().filter(|row| row.change == change).count();
    let [faster, slower, none] = [Change::Faster, Change::Slower, Change::None].map(count);
    writeln!(out, "{faster} faster, {slower} slower, {none} without change")?;
    if slower > 0 { Err(Failure::Check) } else { Ok(()) }
}
