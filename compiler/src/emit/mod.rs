//! Code emission: the only place where a kernel and a schedule meet.

pub mod clif;
pub mod lift;
#[cfg(test)]
mod tests;

use crate::schedule::schedule;
use clif::Generator;
use evenkeel_ir::kernel::{Kernel, Stride};
use evenkeel_ir::program::Streaming;
use evenkeel_ir::{Extent, Target};

/// Machine code of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// Position-independent code, entry first.
    pub bytes: Vec<u8>,
    /// Run-time numbers that the code expects after its buffers in the argument block.
    pub numbers: Vec<Stride>,
    /// The same with stores past the caches, where a store allows it.
    pub streaming: Option<Streaming>,
    /// Scratch bytes that one worker needs.
    pub scratch: Extent,
    /// Bytes of the vectors it works on.
    pub vector_bytes: u32,
    /// Why it does not work on wider ones that the target has.
    pub refused: Vec<lift::Refused>,
}

/// Why a kernel could not be emitted; always a limit or bug of this library.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("kernel {kernel}: {reason}")]
pub struct EmitError {
    /// The kernel's name.
    pub kernel: String,
    /// What the code generator said.
    pub reason: String,
}

/// Compiles a kernel for the widest vectors of the target that it can be lifted to. `volatile`
/// arguments share memory with an output.
///
/// # Errors
/// Cranelift's refusal, which is a bug of this library.
pub fn emit(
    generator: &Generator,
    kernel: &Kernel,
    volatile: &[bool],
    target: &Target,
) -> Result<Emitted, EmitError> {
    let mut refused = Vec::new();
    let mut widest = target.widest();
    loop {
        let schedule = schedule(kernel, widest);
        match generator.emit(kernel, &schedule, volatile)? {
            Ok(emitted) => return Ok(Emitted { refused, ..emitted }),
            Err(reason) => refused.push(reason),
        }
        widest = schedule.vector_bytes / 2;
    }
}
