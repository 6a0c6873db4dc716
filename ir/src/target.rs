//! What we compile for: a plain description. Detection of the host happens elsewhere.

/// Instruction set of a CPU target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// 64-bit x86 with SSE4.1 at least.
    X86_64,
    /// 64-bit Arm with NEON.
    Aarch64,
}

/// A machine to compile for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Instruction set.
    pub arch: Arch,
    /// Fused multiply-add is available.
    pub fma: bool,
    /// AVX (VEX encodings) is available.
    pub avx: bool,
    /// Bytes of the widest vectors: 16, 32 (AVX2 and FMA) or 64 (AVX-512 with F, DQ and VL).
    /// Without `avx` vectors have 16 bytes.
    pub vector_bytes: u32,
    /// Worker threads that a program is planned for.
    pub threads: u32,
}

impl Target {
    /// Bytes of the widest vectors that code can use.
    pub fn widest(&self) -> u32 {
        if self.arch == Arch::X86_64 && self.avx { self.vector_bytes } else { 16 }
    }

    /// The least capable supported x86-64 machine: SSE4.1, no FMA.
    pub const BASELINE: Target =
        Target { arch: Arch::X86_64, fma: false, avx: false, vector_bytes: 16, threads: 1 };
}
