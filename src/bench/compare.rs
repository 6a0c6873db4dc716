//! Is a run slower than an earlier one? A verdict per row that noise does not decide.

use super::record::{Record, Row};
use std::fmt;

/// A change below this is none, however little the repetitions spread.
const LEAST: f64 = 0.03;

/// How a row changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// No repetition was as slow as the fastest before.
    Faster,
    /// No repetition was as fast as the slowest before.
    Slower,
    /// The repetitions overlap, or the change is at most 3 %.
    None,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Faster => "faster",
            Change::Slower => "slower",
            Change::None => "no change",
        })
    }
}

/// A row that both runs have.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was measured.
    pub name: String,
    /// On how many threads.
    pub threads: usize,
    /// Shortest times before and now, in microseconds.
    pub micros: [f64; 2],
    /// How it changed.
    pub change: Change,
}

impl Comparison {
    /// Time now as a fraction of the time before.
    pub fn ratio(&self) -> f64 {
        self.micros[1] / self.micros[0]
    }
}

/// Compares the rows that two runs share by name and threads, in the order of the later one.
///
/// A row is faster or slower when the ranges of its repetitions do not overlap and its shortest time
/// changed by more than 3 %.
pub fn compare(before: &Record, now: &Record) -> Vec<Comparison> {
    let same = |a: &Row, b: &Row| a.name == b.name && a.threads == b.threads;
    let pair = |now| Some((before.rows.iter().find(|before| same(before, now))?, now));
    now.rows.iter().filter_map(pair).map(|(before, now)| verdict(before, now)).collect()
}

fn verdict(before: &Row, now: &Row) -> Comparison {
    let slowest = |row: &Row| row.repetitions.iter().copied().fold(row.micros, f64::max);
    let ratio = now.micros / before.micros;
    let change = if ratio > 1.0 + LEAST && now.micros > slowest(before) {
        Change::Slower
    } else if ratio < 1.0 - LEAST && slowest(now) < before.micros {
        Change::Faster
    } else {
        Change::None
    };
    Comparison { name: now.name.clone(), threads: now.threads, micros: [before.micros, now.micros], change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Figures, Timing};

    #[test]
    fn a_verdict_needs_three_percent_and_ranges_apart() {
        let row = |repetitions: &[f64]| {
            let figures = Figures::Fresh { compile_ms: 1.0 };
            Row::new("step", 1, Timing { repetitions: repetitions.to_vec() }, figures)
        };
        for (before, now, change) in [
            ([10.0, 10.1], [10.0, 10.1], Change::None),
            ([10.0, 10.1], [10.2, 10.25], Change::None),
            ([10.0, 12.0], [11.0, 13.0], Change::None),
            ([10.0, 10.5], [11.0, 13.0], Change::Slower),
            ([10.0, 10.5], [9.0, 9.9], Change::Faster),
            ([10.0, 10.5], [9.0, 10.1], Change::None),
        ] {
            let found = verdict(&row(&before), &row(&now)).change;
            assert_eq!(found, change, "{before:?} then {now:?}");
        }
    }
}
