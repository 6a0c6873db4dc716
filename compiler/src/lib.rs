//! From graph to program: a deterministic, pure function of graph, target and options.

pub mod expand;
pub mod fuse;
pub mod grad;
pub mod emit;
pub mod lower;
pub mod schedule;
