//! evenkeel: an autodiff compiler with a normalization IR.
//!
//! A model is a plain struct of parameters with a `forward` in ordinary Rust. A closure over it
//! is traced into a tensor graph, differentiated, fused, compiled to machine code in
//! milliseconds, and run as one program per training step.

// The derive macros name this crate by path, also from within.
extern crate self as evenkeel;

pub mod bench;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
mod error;
pub mod host;
pub mod nn;
pub mod optim;
pub mod prelude;
pub mod rewrite;
pub mod session;
pub mod trace;
pub mod train;
pub mod vectors;

pub use error::Error;
