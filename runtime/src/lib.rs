//! From program and tensors to tensors: memory, threads, execution.
//!
//! This crate owns all `unsafe` code: executable memory ([`code`]), threads ([`gang`]), raw
//! tensor bytes ([`tensor`]), matrix products, and calls of kernels ([`executable`]). It never
//! sees the compiler: a [`Program`](evenkeel_ir::Program) is all that it is given.

mod blocks;
pub mod cache;
pub mod ceilings;
pub mod code;
mod context;
mod error;
pub mod executable;
pub mod gang;
mod gemm;
mod panels;
pub mod tensor;

pub use error::RuntimeError;
pub use executable::{Argument, Executable};
pub use gang::Gang;
pub use tensor::{Element, Tensor};
