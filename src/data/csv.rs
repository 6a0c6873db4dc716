//! CSV files of the user as a [`Dataset`].
//!
//! One row per sample. A first row that is not all numbers is a header. The column that the header
//! calls `label`, or else the last one, holds the class; the others are features. Start at [`read_csv`].
//!
//! Invariant: whatever the file holds, the result is a valid data set or an error with file and line.
//!
//! Not here: categorical or missing values, other separators than the comma.

use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{DataError, Dataset, MAX_CLASSES};

/// Reads labeled samples from a comma-separated file.
///
/// * A first row with any cell that is not a number is a header; blank lines are skipped, cells are
///   trimmed, quotes are allowed.
/// * The label is in the column that the header calls `label` (case is ignored), or else in the last
///   one. Labels are whole numbers from 0, below [`MAX_CLASSES`]; `3` and `3.0` are the same.
/// * Scaling: every feature is divided by the largest magnitude of any feature in the file, so features
///   lie in `-1..=1` and ratios between columns are kept. A file of zeros stays zero.
/// * `n_classes` is one more than the largest label; smaller classes may be absent.
///
/// # Errors
/// [`DataError`], with the file and, where there is one, the line: unreadable or empty file, not UTF-8,
/// header without samples, two label columns, no feature column, rows of unequal length, a cell that is
/// not a finite number, a label that is not a class number.
///
/// # Examples
/// ```
/// let path = std::env::temp_dir().join("evenkeel-read-csv-example.csv");
/// std::fs::write(&path, "width,height,label\n1,4,0\n2,-3,1\n")?;
/// let data = evenkeel::data::read_csv(&path)?;
/// assert_eq!(data.features, [0.25, 1.0, 0.5, -0.75]);
/// assert_eq!(data.labels, [0, 1]);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_csv(path: impl AsRef<Path>) -> Result<Dataset, DataError> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| DataError::NotUtf8 {
        path: path.into(),
        line: line_at(&bytes, error.valid_up_to()),
    })?;
    parse_csv(path, text)
}

/// Line of the byte at `offset`, counted from 1.
fn line_at(bytes: &[u8], offset: usize) -> u64 {
    1 + bytes[..offset].iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn parse_csv(path: &Path, text: &str) -> Result<Dataset, DataError> {
    let rows = read_rows(path, text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let first = rows.first().ok_or_else(|| DataError::Empty { path: path.into() })?;
    let header = if first.is_header() { Some(first) } else { None };
    let label = match header {
        Some(header) => header.label_column(path)?,
        None => first.cells.len() - 1,
    };
    if first.cells.len() < 2 {
        return Err(DataError::NoFeatures { path: path.into(), line: first.line });
    }
    let samples = if header.is_some() { &rows[1..] } else { &rows[..] };
    if samples.is_empty() {
        return Err(DataError::OnlyHeader { path: path.into(), line: first.line });
    }
    collect_samples(path, samples, first.cells.len(), label)
}

/// One row of the file and where it is.
struct Row {
    line: u64,
    cells: StringRecord,
}

fn read_rows(path: &Path, text: &str) -> Result<Vec<Row>, DataError> {
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let mut lines = LineCounter { text: text.as_bytes(), offset: 0, line: 1 };
    let mut rows = Vec::new();
    for record in reader.records() {
        let cells = record.map_err(|source| DataError::Malformed { path: path.into(), source })?;
        let line = lines.advance(cells.position().map_or(0, csv::Position::byte) as usize);
        rows.push(Row { line, cells });
    }
    Ok(rows)
}

/// Turns ascending byte offsets into lines.
///
/// The reader's own line is that of the blank lines (or the second half of a `\r\n`) before a row.
struct LineCounter<'a> {
    text: &'a [u8],
    offset: usize,
    line: u64,
}

impl LineCounter<'_> {
    /// Line of the first byte at or after `offset` that is not a line end.
    fn advance(&mut self, offset: usize) -> u64 {
        let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let start = offset + self.text[offset..].iter().take_while(is_line_end).count();
        self.line += self.text[self.offset..start].iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.offset = start;
        self.line
    }
}

fn collect_samples(path: &Path, rows: &[Row], columns: usize, label: usize) -> Result<Dataset, DataError> {
    let mut data =
        Dataset { features: Vec::new(), labels: Vec::new(), n_features: columns - 1, n_classes: 0 };
    for row in rows {
        row.check_length(path, columns)?;
        for column in (0..columns).filter(|&column| column != label) {
            data.features.push(row.feature(path, column)?);
        }
        let class = row.label(path, label)?;
        data.labels.push(class as i64);
        data.n_classes = data.n_classes.max(class + 1);
    }
    scale_to_unit(&mut data.features);
    Ok(data)
}

/// Divides by the largest magnitude.
fn scale_to_unit(features: &mut [f32]) {
    let largest = features.iter().fold(0.0f32, |largest, feature| largest.max(feature.abs()));
    if largest > 0.0 {
        features.iter_mut().for_each(|feature| *feature /= largest);
    }
}

impl Row {
    fn is_header(&self) -> bool {
        self.cells.iter().any(|cell| cell.parse::<f32>().is_err())
    }

    /// The column called `label`, or else the last one. Only asked of a header.
    fn label_column(&self, path: &Path) -> Result<usize, DataError> {
        let mut named =
            (0..self.cells.len()).filter(|&column| self.cells[column].eq_ignore_ascii_case("label"));
        match (named.next(), named.next()) {
            (Some(first), Some(second)) => {
                let (first, second) = (first + 1, second + 1);
                Err(DataError::TwoLabels { path: path.into(), line: self.line, first, second })
            }
            (Some(column), None) => Ok(column),
            (None, _) => Ok(self.cells.len() - 1),
        }
    }

    fn check_length(&self, path: &Path, expected: usize) -> Result<(), DataError> {
        let found = self.cells.len();
        if found == expected {
            return Ok(());
        }
        Err(DataError::Columns { path: path.into(), line: self.line, expected, found })
    }

    fn feature(&self, path: &Path, column: usize) -> Result<f32, DataError> {
        let (path, line, cell) = (PathBuf::from(path), self.line, &self.cells[column]);
        match cell.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) => Err(DataError::NotFinite { path, line, column: column + 1, cell: cell.into() }),
            Err(_) => Err(DataError::NotNumeric { path, line, column: column + 1, cell: cell.into() }),
        }
    }

    fn label(&self, path: &Path, column: usize) -> Result<usize, DataError> {
        let cell = &self.cells[column];
        match cell.parse::<f64>() {
            // In range and whole, so the cast is exact.
            Ok(value) if value.fract() == 0.0 && (0.0..MAX_CLASSES as f64).contains(&value) => {
                Ok(value as usize)
            }
            _ => Err(DataError::BadLabel {
                path: path.into(),
                line: self.line,
                column: column + 1,
                cell: cell.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one place that touches the API.
    #[track_caller]
    fn parsed(text: &str) -> Dataset {
        parse_csv(Path::new("data.csv"), text).unwrap()
    }

    /// The message for a wrong file.
    #[track_caller]
    fn refused(text: &str) -> String {
        parse_csv(Path::new("data.csv"), text).unwrap_err().to_string()
    }

    #[test]
    fn the_last_column_is_the_label() {
        let data = parsed("1,2,0\n3,4,2\n");
        assert_eq!(data.features, [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(data.labels, [0, 2]);
        assert_eq!((data.n_features, data.n_classes), (2, 3));
    }

    #[test]
    fn a_header_may_name_the_label_column() {
        let data = parsed("a,Label,b\n-8,1,2\n4,0,1\n");
        assert_eq!(data.features, [-1.0, 0.25, 0.5, 0.125]);
        assert_eq!(data.labels, [1, 0]);
    }

    #[test]
    fn a_header_without_a_label_column_leaves_it_last() {
        assert_eq!(parsed("0,1,class\n1,1,5\n").labels, [5]);
    }

    #[test]
    fn blanks_quotes_windows_line_ends_and_byte_order_marks_are_fine() {
        let data = parsed("\u{feff}a, label\r\n\r\n\"2\", 1.0 \r\n1,0");
        assert_eq!(data.features, [1.0, 0.5]);
        assert_eq!(data.labels, [1, 0]);
    }

    #[test]
    fn zeros_stay_zero() {
        assert_eq!(parsed("0,-0,1\n").features, [0.0, 0.0]);
    }

    #[test]
    fn extreme_magnitudes_stay_finite() {
        assert_eq!(parsed("3e38,-3e38,0\n").features, [1.0, -1.0]);
        assert_eq!(parsed("1e-45,0,0\n").features, [1.0, 0.0]);
    }

    #[test]
    fn the_digits_survive_a_round_trip() {
        let digits = crate::data::digits();
        let mut text = String::new();
        for (row, label) in digits.features.chunks(64).zip(&digits.labels) {
            row.iter().for_each(|pixel| text += &format!("{},", pixel * 16.0));
            text += &format!("{label}\n");
        }
        assert_eq!(parsed(&text), digits);
    }

    #[test]
    fn a_cell_that_is_not_a_number_is_refused() {
        assert_eq!(refused("1,2,0\n\n1,x,0\n"), "data.csv:3: column 2: `x` is not a number");
        assert_eq!(refused("a,b,label\n1,,0\n"), "data.csv:2: column 2: `` is not a number");
    }

    #[test]
    fn a_cell_that_is_not_finite_is_refused() {
        for cell in ["nan", "inf", "-inf", "1e39"] {
            let expected = format!("data.csv:1: column 1: `{cell}` is not a finite 32-bit number");
            assert_eq!(refused(&format!("{cell},2,0\n")), expected);
        }
    }

    #[test]
    fn rows_of_unequal_length_are_refused() {
        assert_eq!(refused("1,2,0\n1,0\n"), "data.csv:2: 2 columns, expected 3 as in the first row");
        assert_eq!(refused("a,b\n1,2,0\n"), "data.csv:2: 3 columns, expected 2 as in the first row");
    }

    #[test]
    fn a_label_that_is_not_a_class_is_refused() {
        for cell in ["-1", "1.5", "cat", "", "nan", "inf", "65536", "1e300"] {
            let expected =
                format!("data.csv:2: column 2: label `{cell}` is not a whole number from 0 to 65535");
            assert_eq!(refused(&format!("a,b\n1,{cell}\n")), expected);
        }
    }

    #[test]
    fn files_without_samples_are_refused() {
        assert_eq!(refused(""), "data.csv: the file is empty");
        assert_eq!(refused("\n\n"), "data.csv: the file is empty");
        assert_eq!(refused("a,b,label\n"), "data.csv:1: a header and no samples");
    }

    #[test]
    fn files_without_features_are_refused() {
        assert_eq!(refused("1\n2\n"), "data.csv:1: one column: expected features and a label");
        assert_eq!(refused("label\n2\n"), "data.csv:1: one column: expected features and a label");
    }

    #[test]
    fn two_label_columns_are_refused() {
        assert_eq!(refused("label,a,LABEL\n0,1,0\n"), "data.csv:1: columns 1 and 3 are both called `label`");
    }

    #[test]
    fn a_file_that_is_not_text_is_refused() {
        let path = std::env::temp_dir().join(format!("evenkeel-not-utf8-{}.csv", std::process::id()));
        std::fs::write(&path, b"1,2,0\n1,\xff,0\n").unwrap();
        let message = read_csv(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(message, format!("{}:2: not UTF-8 text", path.display()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = read_csv("no/such/file.csv").unwrap_err().to_string();
        assert!(message.starts_with("no/such/file.csv: "), "{message}");
    }
}
