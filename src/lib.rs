//! evenkeel.

// The derive macros name this crate by path, also from within.
extern crate self as evenkeel;

pub mod data;
pub mod host;
pub mod nn;
pub mod optim;
pub mod train;
