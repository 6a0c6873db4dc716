//! What can be wrong with a user's data file, as data and as a sentence with file and line.

use std::path::PathBuf;

/// Labels must be smaller than this.
pub const MAX_CLASSES: usize = 1 << 16;

/// What is wrong with a data file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not UTF-8 text.
    #[error("{path}:{line}: not UTF-8 text", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line of the first bad byte.
        line: u64,
    },
    /// The CSV parser gave up.
    #[error("{path}: {source}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: csv::Error,
    },
    /// The file has no rows at all.
    #[error("{path}: the file is empty", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file has a header and no samples.
    #[error("{path}:{line}: a header and no samples", path = path.display())]
    OnlyHeader {
        /// The file.
        path: PathBuf,
        /// Line of the header.
        line: u64,
    },
    /// The header names two label columns.
    #[error("{path}:{line}: columns {first} and {second} are both called `label`", path = path.display())]
    TwoLabels {
        /// The file.
        path: PathBuf,
        /// Line of the header.
        line: u64,
        /// First label column, counted from 1.
        first: usize,
        /// Second label column, counted from 1.
        second: usize,
    },
    /// The rows have a label and no features.
    #[error("{path}:{line}: one column: expected features and a label", path = path.display())]
    NoFeatures {
        /// The file.
        path: PathBuf,
        /// Line of the first row.
        line: u64,
    },
    /// A row is longer or shorter than the first one.
    #[error("{path}:{line}: {found} columns, expected {expected} as in the first row", path = path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// Columns of the first row.
        expected: usize,
        /// Columns of this row.
        found: usize,
    },
    /// A feature is not a number.
    #[error("{path}:{line}: column {column}: `{cell}` is not a number", path = path.display())]
    NotNumeric {
        /// The file.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// Column, counted from 1.
        column: usize,
        /// Text of the cell.
        cell: String,
    },
    /// A feature is NaN, infinite, or too large for `f32`.
    #[error("{path}:{line}: column {column}: `{cell}` is not a finite 32-bit number", path = path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// Column, counted from 1.
        column: usize,
        /// Text of the cell.
        cell: String,
    },
    /// A label is not a class number.
    #[error(
        "{path}:{line}: column {column}: label `{cell}` is not a whole number from 0 to {max}",
        path = path.display(),
        max = MAX_CLASSES - 1
    )]
    BadLabel {
        /// The file.
        path: PathBuf,
        /// Line of the row.
        line: u64,
        /// Column, counted from 1.
        column: usize,
        /// Text of the cell.
        cell: String,
    },
}
