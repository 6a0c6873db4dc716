//! The integration tests, in one binary: a module per subject.

mod allocation;
mod concurrency;
mod derivatives;
mod folds;
mod generate;
mod kernels;
mod oracle;
mod parameters;
mod random_graphs;
mod recognition;
mod structure;
mod targets;
mod tidy;
mod torture;
mod train;
