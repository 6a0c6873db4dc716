//! A run as one page of HTML that needs no other file.

use super::super::Failure;
use super::chart;
use super::print::{LAYER_COLUMNS, MODEL_COLUMNS, layer_cells, layer_rows, model_cells};
use crate::bench::{Machine, Record};
use std::collections::BTreeSet;

const STYLE: &str = "body{font:14px sans-serif;margin:2em;max-width:70em}\
    table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}\
    td:first-child,th:first-child{text-align:left}";

/// The page.
pub(super) fn page(record: &Record) -> Result<String, Failure> {
    let mut body = machine(record);
    let threads: BTreeSet<usize> = layer_rows(&record.rows).map(|(row, _)| row.threads).collect();
    for &threads in &threads {
        let svg = chart::roofline(record, threads).map_err(drawing)?;
        body += &format!("<h2>Speed of layers, {threads} threads</h2>\n{svg}\n");
    }
    let layers: Vec<_> = layer_rows(&record.rows).map(|(row, figures)| layer_cells(row, figures)).collect();
    if let Some(&threads) = threads.first() {
        body += &table(&LAYER_COLUMNS, &layers);
        let svg = chart::compile_times(record, threads).map_err(drawing)?;
        body += &format!("<h2>Compile times</h2>\n{svg}\n");
    }
    let models: Vec<_> = record.rows.iter().filter_map(model_cells).collect();
    if !models.is_empty() {
        body += &format!("<h2>Models</h2>\n{}", table(&MODEL_COLUMNS, &models));
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>evenkeel bench</title>\
         <style>{STYLE}</style></head>\n<body>\n<h1>evenkeel bench</h1>\n{body}</body></html>\n"
    ))
}

fn drawing(error: Box<dyn std::error::Error>) -> Failure {
    Failure::Input(format!("a chart could not be drawn: {error}"))
}

/// The machine and its ceilings.
fn machine(record: &Record) -> String {
    let Machine { processor, system, cores, features, caches } = &record.machine;
    let caches = caches.iter().map(|cache| format!("L{} {} KiB", cache.level, cache.bytes >> 10));
    let caches = caches.collect::<Vec<_>>().join(", ");
    let line = format!("{processor}, {system}, {cores} cores; {}; {caches}", features.join(" "));
    let of_threads = |of: &crate::bench::ThreadCeilings| {
        let threads = of.threads;
        let levels = of.levels.iter().map(move |level| {
            let rates = [level.read, level.copy, level.copy_streaming].map(|rate| format!("{rate:.0}"));
            [threads.to_string(), level.name.clone(), rates[0].clone(), rates[1].clone(), rates[2].clone()]
        });
        levels.collect::<Vec<_>>()
    };
    let rows: Vec<_> = record.ceilings.threads.iter().flat_map(of_threads).collect();
    let flops = record.ceilings.threads.iter().map(|of| {
        let (threads, flops, join) = (of.threads, of.gigaflops, of.fork_join_micros);
        format!("<p>{threads} threads: {flops:.0} GFLOP/s f32, fork and join {join:.2} us</p>\n")
    });
    let columns = ["threads", "level", "read GB/s", "copy GB/s", "streaming copy GB/s"];
    format!("<p>{}</p>\n{}{}", escaped(&line), table(&columns, &rows), flops.collect::<String>())
}

fn table<const N: usize>(columns: &[&str; N], rows: &[[String; N]]) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = cells("th", &mut columns.iter().copied());
    let rows: String = rows.iter().map(|row| cells("td", &mut row.iter().map(String::as_str))).collect();
    format!("<table>\n{head}{rows}</table>\n")
}

/// Text as HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
