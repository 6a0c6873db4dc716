//! The integration tests, in one binary: a module per subject.

mod allocation;
mod concurrency;
mod contract;
mod derivatives;
mod element_types;
mod functional;
mod generate;
mod kernels;
mod oracle;
mod parameters;
mod random_graphs;
mod recognition;
mod steps;
mod structure;
mod targets;
mod tidy;
mod torture;
mod train;
