//! Rewriting before differentiation and fusion.
//!
//! [`normal`] decides equality of spellings. Start there.

mod constants;
pub mod normal;
pub mod region;
#[cfg(test)]
mod spelling;
