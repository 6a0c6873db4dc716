//! Charts of a run, as SVG.

use super::print::layer_rows;
use crate::bench::{LayerFigures, Record, Row, ThreadCeilings};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;

type Drawn = Result<String, Box<dyn Error>>;
type Rows<'a> = Vec<(&'a Row, &'a LayerFigures)>;

/// Font of axes.
const FONT: (&str, u32) = ("sans-serif", 14);
const WIDTH: u32 = 960;
/// Colors of the first compilation and of the second.
const BARS: [RGBColor; 2] = [RGBColor(31, 119, 180), RGBColor(174, 199, 232)];

/// Rows on so many threads by the name of their layer.
fn by_layer(record: &Record, threads: usize) -> BTreeMap<&str, Rows<'_>> {
    let mut layers: BTreeMap<&str, Rows<'_>> = BTreeMap::new();
    for (row, figures) in layer_rows(&record.rows).filter(|(row, _)| row.threads == threads) {
        layers.entry(row.name.split(' ').next().unwrap_or_default()).or_default().push((row, figures));
    }
    layers
}

/// Rate over bytes of every layer on so many threads, below that of a copy, and a legend. Nothing
/// without rows or ceilings.
pub(super) fn roofline(record: &Record, threads: usize) -> Drawn {
    let layers = by_layer(record, threads);
    let Some(ceilings) = record.ceilings.of(threads).filter(|_| !layers.is_empty()) else {
        return Ok(String::new());
    };
    let mut svg = String::new();
    draw_roofline(&layers, ceilings, &mut svg)?;
    svg.push_str("<p>line: copy; circle: forward; triangle: forward and backward");
    for (place, name) in layers.keys().enumerate() {
        let (red, green, blue) = Palette99::pick(place).rgb();
        let name = super::page::escaped(name);
        write!(svg, " <b style=\"color:rgb({red},{green},{blue})\">&#9632;&nbsp;{name}</b>")?;
    }
    Ok(svg + "</p>")
}

fn draw_roofline(
    layers: &BTreeMap<&str, Rows<'_>>,
    ceilings: &ThreadCeilings,
    svg: &mut String,
) -> Result<(), Box<dyn Error>> {
    let point =
        |figures: &LayerFigures| (figures.bytes.max(1) as f64, figures.gigabytes_per_second.max(1e-3));
    let points = || layers.values().flatten().map(|(_, figures)| point(figures));
    let bytes = points().fold((1e5f64, 1e6f64), |(low, high), (x, _)| (low.min(x), high.max(x)));
    let copies = ceilings.levels.iter().map(|level| level.best_copy());
    let rates = copies.chain(points().map(|(_, y)| y));
    let rates = rates.fold((10f64, 10f64), |(low, high), y| (low.min(y), high.max(y)));
    let root = SVGBackend::with_string(svg, (WIDTH, 480)).into_drawing_area();
    let mut chart =
        ChartBuilder::on(&root).margin(12).x_label_area_size(44).y_label_area_size(56).build_cartesian_2d(
            (bytes.0 / 2.0..bytes.1 * 2.0).log_scale(),
            (rates.0 / 2.0..rates.1 * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("bytes of inputs and outputs")
        .y_desc("bytes per nanosecond (GB/s)")
        .x_label_formatter(&|bytes| readable(*bytes))
        .label_style(FONT)
        .draw()?;
    chart.draw_series(LineSeries::new(steps(ceilings, bytes), BLACK.stroke_width(2)))?;
    for (place, rows) in layers.values().enumerate() {
        let style = Palette99::pick(place).filled();
        let (both, forward): (Rows<'_>, Rows<'_>) =
            rows.iter().partition(|(row, _)| row.name.ends_with("fwd+bwd"));
        chart.draw_series(forward.iter().map(|(_, figures)| Circle::new(point(figures), 4, style)))?;
        chart.draw_series(both.iter().map(|(_, figures)| TriangleMarker::new(point(figures), 5, style)))?;
    }
    Ok(root.present()?)
}

/// The best copy over bytes: flat within a cache level.
fn steps(ceilings: &ThreadCeilings, bytes: (f64, f64)) -> Vec<(f64, f64)> {
    let mut from = bytes.0 / 2.0;
    let mut line = Vec::new();
    for level in &ceilings.levels {
        let to = level.holds_bytes.map_or(bytes.1 * 2.0, |bytes| bytes as f64).max(from);
        line.extend([(from, level.best_copy()), (to, level.best_copy())]);
        from = to;
    }
    line
}

fn readable(bytes: f64) -> String {
    match bytes {
        bytes if bytes >= 1e9 => format!("{:.0} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.0} MB", bytes / 1e6),
        bytes if bytes >= 1e3 => format!("{:.0} kB", bytes / 1e3),
        bytes => format!("{bytes:.0} B"),
    }
}

/// Compile times of the first row of every layer forward and backward: dark with no program
/// remembered, light when compiled again.
pub(super) fn compile_times(record: &Record, threads: usize) -> Drawn {
    let layers = by_layer(record, threads);
    let slowest = |rows: &Rows<'_>| {
        let (_, figures) = rows.iter().find(|(row, _)| row.name.ends_with("fwd+bwd")).or(rows.first())?;
        Some([figures.compile_ms, figures.recompile_ms])
    };
    let bars: Vec<(&str, [f64; 2])> =
        layers.iter().filter_map(|(name, rows)| Some((*name, slowest(rows)?))).collect();
    let mut svg = String::new();
    if !bars.is_empty() {
        draw_bars(&bars, &mut svg)?;
        svg.push_str(
            "<p>milliseconds from graph to loaded code; dark: with no program remembered, light: again</p>",
        );
    }
    Ok(svg)
}

fn draw_bars(bars: &[(&str, [f64; 2])], svg: &mut String) -> Result<(), Box<dyn Error>> {
    let longest = bars.iter().flat_map(|(_, ms)| *ms).fold(0.1, f64::max);
    let root = SVGBackend::with_string(svg, (WIDTH, 60 + 28 * bars.len() as u32)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(150)
        .build_cartesian_2d(0f64..longest * 1.05, (0..bars.len()).into_segmented())?;
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(place) => bars.get(*place).map_or(String::new(), |(name, _)| name.to_string()),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(bars.len())
        .y_label_formatter(&name)
        .label_style(FONT)
        .draw()?;
    for (place, (_, ms)) in bars.iter().enumerate() {
        let both = [(ms[0], [3, 13], BARS[0]), (ms[1], [14, 3], BARS[1])];
        chart.draw_series(both.map(|(ms, [above, below], color)| {
            let corners = [(0.0, SegmentValue::Exact(place)), (ms, SegmentValue::Exact(place + 1))];
            let mut bar = Rectangle::new(corners, color.filled());
            bar.set_margin(above, below, 0, 0);
            bar
        }))?;
    }
    Ok(root.present()?)
}
