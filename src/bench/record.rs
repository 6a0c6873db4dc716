//! What a run of `bench` found, kept as JSON: the machine, its ceilings, and a row per measurement.
//!
//! Invariant: a change of what a field means changes the schema's version, and a file of another
//! schema is an error, never a guess.

use super::ceilings::Ceilings;
use super::machine::Machine;
use super::measure::Measurement;
use super::profile::Profile;
use super::steps::StepTime;
use super::timing::Timing;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Schema of a [`Record`].
const RECORD: &str = "evenkeel.bench.v2";

/// The figures of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    schema: String,
    /// Where they were measured.
    pub machine: Machine,
    /// What that machine can do at best.
    pub ceilings: Ceilings,
    /// Time of a call of a program with one kernel over 8 numbers, in microseconds.
    pub call_overhead_micros: f64,
    /// One per measurement.
    pub rows: Vec<Row>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// On how many threads.
    pub threads: usize,
    /// The shortest time, in microseconds.
    pub micros: f64,
    /// The shortest time of each repetition: how far they spread is the noise.
    pub repetitions: Vec<f64>,
    /// The rest, by kind.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The figures of one kind of measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Figures {
    /// A layer or a graph: time of a call.
    Layer(LayerFigures),
    /// A training step on a batch.
    Step {
        /// Samples in the batch.
        samples: usize,
        /// From closure to loaded code with no program remembered, in milliseconds.
        compile_ms: f64,
        /// The same when the program is remembered, the shortest time.
        recompile_ms: f64,
        /// Times of the steps of the program, in order.
        steps: Vec<StepTime>,
    },
    /// Compiling as the first thing of a process; the repetitions are processes.
    Fresh {
        /// From closure to loaded code, the median of all processes, in milliseconds.
        compile_ms: f64,
    },
    /// A layer while another process runs it too, on as many threads: the row's times are medians.
    Crowd {
        /// The mean time of a call when there is no other process, in microseconds.
        quiet_mean_micros: f64,
        /// The time that 99 of 100 calls keep then.
        quiet_p99_micros: f64,
        /// The mean time of a call beside the other process: as half of the machine is left, twice the
        /// quiet one where a program uses all of it.
        mean_micros: f64,
        /// The time that half of the calls keep beside the other process, in microseconds.
        p50_micros: f64,
        /// The same of 99 of 100 calls.
        p99_micros: f64,
        /// The longest call beside the other process, in microseconds.
        longest_micros: f64,
    },
    /// Time of a call while several threads call: the row's times are medians.
    Latency {
        /// How many threads call at once.
        callers: usize,
        /// The time that half of the calls keep, in microseconds.
        p50_micros: f64,
        /// The time that 99 of 100 calls keep, in microseconds.
        p99_micros: f64,
    },
}

/// The figures of a layer or graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerFigures {
    /// Bytes of inputs and outputs.
    pub bytes: usize,
    /// Bytes per nanosecond.
    pub gigabytes_per_second: f64,
    /// The cache level that holds those bytes.
    pub level: String,
    /// The better copy within that level, in bytes per nanosecond.
    pub ceiling_gigabytes_per_second: f64,
    /// Speed as a fraction of that ceiling.
    pub of_ceiling: f64,
    /// Speed as a fraction of a copy of as many bytes on one thread, timed in turns with it.
    pub of_copy: f64,
    /// Time with every op a kernel of its own, in microseconds.
    pub unfused_micros: f64,
    /// Kernels.
    pub kernels: usize,
    /// Steps that combine partial sums.
    pub combines: usize,
    /// From graph to loaded code with no program remembered, in milliseconds.
    pub compile_ms: f64,
    /// The same when the program is remembered, the shortest of three times.
    pub recompile_ms: f64,
    /// Times of stages of the first compilation, in milliseconds.
    pub stages_ms: BTreeMap<String, f64>,
    /// Times of the steps of the program, in order.
    pub steps: Vec<StepTime>,
}

impl Row {
    /// A row with these times.
    pub(super) fn new(name: impl Into<String>, threads: usize, timing: Timing, figures: Figures) -> Row {
        let (name, micros) = (name.into(), timing.micros());
        Row { name, threads, micros, repetitions: timing.repetitions, figures }
    }

    /// Times of the steps of its program, where there are any.
    pub fn steps(&self) -> &[StepTime] {
        match &self.figures {
            Figures::Layer(LayerFigures { steps, .. }) | Figures::Step { steps, .. } => steps,
            Figures::Latency { .. } | Figures::Fresh { .. } | Figures::Crowd { .. } => &[],
        }
    }

    /// A measured layer beside the ceilings of its machine.
    pub fn of_layer(m: &Measurement, ceilings: &Ceilings) -> Row {
        let level = ceilings.of(m.threads).and_then(|ceilings| ceilings.level(m.bytes as u64));
        let (level, ceiling) = level.map_or(("".into(), 0.0), |l| (l.name.clone(), l.best_copy()));
        let rate = m.gigabytes_per_second();
        let mut stages_ms = BTreeMap::new();
        for (stage, time) in &m.report.stages {
            *stages_ms.entry(stage.to_string()).or_default() += millis(*time);
        }
        let figures = LayerFigures {
            bytes: m.bytes,
            gigabytes_per_second: rate,
            level,
            ceiling_gigabytes_per_second: ceiling,
            of_ceiling: if ceiling > 0.0 { rate / ceiling } else { 0.0 },
            of_copy: m.of_copy(),
            unfused_micros: m.unfused_micros,
            kernels: m.report.kernels.len(),
            combines: m.report.combines,
            compile_ms: millis(m.compile),
            recompile_ms: millis(m.recompile),
            stages_ms,
            steps: m.steps.clone(),
        };
        Row::new(&m.name, m.threads, m.timing.clone(), Figures::Layer(figures))
    }
}

/// A duration in milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Record {
    /// A record of rows.
    pub fn new(profile: Profile, rows: Vec<Row>) -> Record {
        let Profile { machine, ceilings, call_overhead_micros, .. } = profile;
        Record { schema: RECORD.into(), machine, ceilings, call_overhead_micros, rows }
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RecordError> {
        write(path, self)
    }

    /// Reads what [`save`](Record::save) wrote.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no record of this version.
    pub fn load(path: &Path) -> Result<Record, RecordError> {
        read(path, RECORD)
    }
}

/// Why a file of figures could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file system refused.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No JSON, or fields that are missing or of another type.
    #[error("{}: not a file of schema {expected}: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The schema that was expected.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
}

pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), RecordError> {
    let text = serde_json::to_string_pretty(value).expect("figures have text keys");
    std::fs::write(path, text + "\n").map_err(|source| RecordError::File { path: path.into(), source })
}

pub(super) fn read<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T, RecordError> {
    let text = std::fs::read(path).map_err(|source| RecordError::File { path: path.into(), source })?;
    let wrong = |reason: String| RecordError::Content { path: path.into(), expected, reason };
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    match json.get("schema").and_then(|schema| schema.as_str()) {
        Some(schema) if schema == expected => {}
        Some(schema) => return Err(wrong(format!("its schema is {schema}"))),
        None => return Err(wrong("it has no field `schema`".into())),
    }
    serde_json::from_value(json).map_err(|error| wrong(error.to_string()))
}
