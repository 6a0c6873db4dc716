//! From graph to program: a deterministic, pure function of graph, target and options.

pub mod grad;
