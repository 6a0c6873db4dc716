//! The text form of a graph (`.ek`): one value per line, read and written.
//!
//! What [`Graph`](crate::Graph) prints, [`parse()`] reads back as an equal graph. Provenance is
//! not part of the text: a parsed node comes from its line. Start at [`parse()`]; `print` writes.
//!
//! ```text
//! # softmax over the last axis
//! x = input f32[N,64]
//! e = exp (sub x (max @-1 x))
//! return div e (sum @-1 e)
//! ```

mod build;
mod dot;
mod error;
mod lex;
mod limits;
mod ops;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub use error::ParseError;
pub use parse::parse;

use crate::dtype::DType;
use crate::op::Op;

/// Words that cannot be names.
const KEYWORDS: [&str; 4] = ["return", "graph", "inf", "nan"];

/// True when a word can name a value or a graph as it stands.
fn is_name(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && letters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
        && !KEYWORDS.contains(&word)
}

/// The element type that a bare number has as operand `position`; `known` gives the element
/// types of the operands that are not bare numbers. `None`: nothing tells.
fn number_dtype(op: &Op, known: &[Option<DType>], position: usize) -> Option<DType> {
    match op {
        Op::Random { .. } => Some(DType::I64),
        Op::Select if position == 0 => Some(DType::Bool),
        Op::Select => known.iter().skip(1).flatten().next().copied(),
        Op::Binary(_) | Op::Composite(..) | Op::Concat { .. } | Op::Dot { .. } => {
            known.iter().flatten().next().copied()
        }
        Op::Call(graph) => Some(graph.0.inputs().get(position)?.ty.dtype),
        Op::CustomVjp(custom) => Some(custom.forward.0.inputs().get(position)?.ty.dtype),
        _ => None,
    }
}

/// Results of an op, by the graphs it holds.
fn result_count(op: &Op) -> usize {
    match op {
        Op::Call(graph) => graph.0.outputs().len(),
        Op::CustomVjp(custom) => custom.forward.0.outputs().len(),
        _ => 1,
    }
}
