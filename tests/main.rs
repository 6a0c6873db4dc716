//! The integration tests, in one binary: a module per subject.

mod allocation;
mod cargo;
mod cli;
mod concurrency;
mod contract;
mod derivatives;
mod element_types;
mod errors;
mod examples;
mod folds;
mod functional;
mod generate;
mod kernels;
mod layers;
mod oracle;
mod outside;
mod parameters;
mod places;
mod random_graphs;
mod recognition;
mod steps;
mod structure;
mod targets;
mod tidy;
mod torture;
mod train;
