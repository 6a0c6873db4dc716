//! The integration tests, in one binary: a module per subject.

mod oracle;
mod parameters;
mod structure;
mod tidy;
mod torture;
mod train;
