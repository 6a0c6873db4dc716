//! The integration tests, in one binary: a module per subject.

mod allocation;
mod cli;
mod concurrency;
mod derivatives;
mod errors;
mod generate;
mod kernels;
mod oracle;
mod parameters;
mod places;
mod random_graphs;
mod recognition;
mod structure;
mod targets;
mod tidy;
mod torture;
mod train;
