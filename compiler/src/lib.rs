//! From graph to program: a deterministic, pure function of graph, target and options.
//!
//! [`compile`] reads like the flow: expand, fuse, plan (with lowering), emit. Differentiation
//! ([`grad`]) and rewriting are graph-to-graph and run before it.

mod costs;
pub mod emit;
mod error;
pub mod expand;
pub mod fold;
pub mod fuse;
pub mod grad;
pub mod lower;
mod order;
mod pipeline;
pub mod plan;
mod report;
pub mod rewrite;
pub mod schedule;

pub use costs::{Bandwidth, Costs};
pub use error::CompileError;
pub use pipeline::{Compiled, Options, compile};
pub use report::{Amount, Arena, KernelReport, Report};
