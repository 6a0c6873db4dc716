//! Rewriting around differentiation.
//!
//! Before it, [`recognize()`] finds named ops in spelled-out graphs; after it, [`simplify()`] derives
//! the compact form of what is left. For both, [`normal`] decides equality, [`rules`] add what a
//! ring cannot say, an e-graph (`language`, `region`) holds the alternatives and `extract` chooses.

mod activation;
pub mod check;
mod composite;
mod cone;
mod constants;
mod details;
mod extract;
mod fixed;
mod found;
mod greedy;
mod language;
mod model;
mod movement;
mod near;
pub mod normal;
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
mod tally;
#[cfg(test)]
mod tests;

pub use composite::{Traced, UserComposite, check_composite, composite};
pub use details::Details;
pub use found::Found;
pub use greedy::greedy;
pub use near::NearMiss;
pub use recognize::{Recognized, recognize, recognize_explained, recognize_with};
pub use ruleset::Rules;
pub use simplify::{Change, Kept, Simplified, simplify, simplify_explained, simplify_with};
pub use tally::Tally;
