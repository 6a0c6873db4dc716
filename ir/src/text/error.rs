//! Errors of the text form: where, what was expected, what was found.

use crate::error::{IrError, Place};

/// A source that is not a graph. Every variant says where, and prints as `FILE:LINE:COLUMN: ...`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A character that no token begins with.
    #[error("{place}: unexpected character {found:?}")]
    UnexpectedCharacter {
        /// Where.
        place: Place,
        /// The character.
        found: char,
    },
    /// Another token than the grammar asks for.
    #[error("{place}: expected {expected}, found {found}")]
    Expected {
        /// Where.
        place: Place,
        /// What would have been right.
        expected: String,
        /// The token.
        found: String,
    },
    /// No op has this name.
    #[error("{place}: expected the name of an op, found `{found}`{}", suggestion(.nearest.as_deref()))]
    UnknownOp {
        /// Where.
        place: Place,
        /// The name.
        found: String,
        /// The most similar name of an op.
        nearest: Option<String>,
    },
    /// A name that nothing above defines.
    #[error("{place}: expected {expected}, found `{found}`, which is not defined above{}", suggestion(.nearest.as_deref()))]
    UndefinedName {
        /// Where.
        place: Place,
        /// `a value` or `a graph`.
        expected: &'static str,
        /// The name.
        found: String,
        /// The most similar defined name.
        nearest: Option<String>,
    },
    /// A name that is already taken.
    #[error("{place}: expected a new name, found `{found}`, which is defined above")]
    DuplicateName {
        /// Where.
        place: Place,
        /// The name.
        found: String,
    },
    /// An attribute that the op does not read.
    #[error("{place}: {op} expects {expected}, found {found}")]
    UnknownAttribute {
        /// Where.
        place: Place,
        /// The op.
        op: &'static str,
        /// The attributes it reads.
        expected: String,
        /// The attribute.
        found: String,
    },
    /// An attribute that the op needs and did not get.
    #[error("{place}: {op} expects the attribute {expected}, found none")]
    MissingAttribute {
        /// Where.
        place: Place,
        /// The op.
        op: &'static str,
        /// The attribute.
        expected: &'static str,
    },
    /// An attribute with an unsuitable value.
    #[error("{place}: {op} expects {name} to be {expected}, found {found}")]
    BadAttribute {
        /// Where.
        place: Place,
        /// The op.
        op: &'static str,
        /// The attribute.
        name: String,
        /// Suitable values.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Wrong number of operands.
    #[error("{place}: {op} expects {expected} operands, found {found}")]
    Arity {
        /// Where.
        place: Place,
        /// The op.
        op: &'static str,
        /// How many it takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Another number of names than results.
    #[error("{place}: {op} gives {expected} results, found {found} names for them")]
    Results {
        /// Where.
        place: Place,
        /// The op.
        op: &'static str,
        /// How many results it has.
        expected: usize,
        /// How many names there are.
        found: usize,
    },
    /// Not an element type.
    #[error("{place}: expected an element type (f32, f64, i32, i64, bool, f16, bf16), found {found}")]
    BadType {
        /// Where.
        place: Place,
        /// What stands there.
        found: String,
    },
    /// Not an extent: `64`, `N`, `2N`, `N^2` ...
    #[error("{place}: expected an extent such as 64, N, 2N or 3N^2, found {found}")]
    BadExtent {
        /// Where.
        place: Place,
        /// What stands there.
        found: String,
    },
    /// Not a number, or one out of range.
    #[error("{place}: expected a number, found `{found}`")]
    BadNumber {
        /// Where.
        place: Place,
        /// What stands there.
        found: String,
    },
    /// A number whose element type no other operand tells.
    #[error("{place}: expected an operand of known type, found {found}; write e.g. (const f32 {found})")]
    UntypedNumber {
        /// Where.
        place: Place,
        /// The number.
        found: String,
    },
    /// An axis that the operand does not have, or one named twice.
    #[error("{place}: {op} expects distinct axes in -{rank}..{rank}, found {axes:?}")]
    AxisOutOfRange {
        /// Where.
        place: Place,
        /// The op.
        op: &'static str,
        /// The axes.
        axes: Vec<i64>,
        /// Number of axes of the operand.
        rank: usize,
    },
    /// An ill-typed use of an op.
    #[error("{place}: {source}")]
    IllTyped {
        /// Where.
        place: Place,
        /// What does not fit.
        source: IrError,
    },
    /// A graph that ends without `return`.
    #[error("{place}: expected `return`, found {found}")]
    MissingReturn {
        /// Where.
        place: Place,
        /// What stands there.
        found: &'static str,
    },
    /// A tensor, an expression or a nest of graphs beyond what the text form accepts.
    #[error("{place}: {what} is larger than the limit of {limit}")]
    TooLarge {
        /// Where.
        place: Place,
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl ParseError {
    pub(super) fn expected(place: Place, expected: &str, found: impl Into<String>) -> ParseError {
        ParseError::Expected { place, expected: expected.into(), found: found.into() }
    }

    /// What is wrong with an op or a type at a place.
    pub(super) fn ill_typed(place: Place, source: IrError) -> ParseError {
        match source {
            IrError::TooLarge { what, limit, .. } => ParseError::TooLarge { place, what, limit },
            source => ParseError::IllTyped { place, source },
        }
    }

    /// Where the source is wrong.
    pub fn place(&self) -> Place {
        use ParseError::*;
        match self {
            UnexpectedCharacter { place, .. } | Expected { place, .. } | UnknownOp { place, .. } => *place,
            UndefinedName { place, .. } | DuplicateName { place, .. } | Arity { place, .. } => *place,
            UnknownAttribute { place, .. } | MissingAttribute { place, .. } => *place,
            BadAttribute { place, .. } | Results { place, .. } | BadType { place, .. } => *place,
            BadExtent { place, .. } | BadNumber { place, .. } | UntypedNumber { place, .. } => *place,
            AxisOutOfRange { place, .. } | IllTyped { place, .. } | TooLarge { place, .. } => *place,
            MissingReturn { place, .. } => *place,
        }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"))
}

/// The candidate with the fewest edits to `name`, if that is at most a third of its letters (and one).
pub(super) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let limit = 1 + name.chars().count().min(24) / 3;
    let scored = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let best = scored.filter(|(edits, _)| *edits <= limit).min()?;
    Some(best.1.to_string())
}

/// Levenshtein distance: insertions, deletions and replacements that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
