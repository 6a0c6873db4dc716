//! Rewriting before differentiation and fusion.
//!
//! [`recognize`](recognize::recognize) finds named ops in spelled-out graphs: [`normal`] decides
//! equality, [`rules`] add what a ring cannot say, an e-graph (`language`, `region`) holds the
//! alternatives and `extract` chooses.

mod activation;
pub mod check;
mod composite;
mod cone;
mod constants;
mod extract;
mod language;
mod movement;
pub mod normal;
mod prune;
mod reader;
mod recipe;
mod recognize;
mod region;
pub mod rule;
pub mod rules;
mod ruleset;
mod simplify;
mod spelling;
mod statistic;
#[cfg(test)]
mod tests;

pub use composite::{Traced, UserComposite, check_composite, composite};
pub use recognize::{Found, Recognized, recognize, recognize_with};
pub use ruleset::Rules;
pub use simplify::{Change, Simplified, simplify, simplify_with};
