//! Code emission: the only place where a kernel and a schedule meet.

pub mod clif;

use evenkeel_ir::Extent;
use evenkeel_ir::kernel::Stride;

/// Machine code of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// Position-independent code, entry first.
    pub bytes: Vec<u8>,
    /// Run-time numbers that the code expects after its buffers in the argument block.
    pub numbers: Vec<Stride>,
    /// Scratch bytes that one worker needs.
    pub scratch: Extent,
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
