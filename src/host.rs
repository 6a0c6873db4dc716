//! Detection of the machine we run on.

use evenkeel_ir::{Arch, Target};

/// The target that describes this machine, for programs on `threads` threads.
pub fn host_target(threads: usize) -> Target {
    detect(threads as u32)
}

#[cfg(target_arch = "x86_64")]
fn detect(threads: u32) -> Target {
    let avx = std::is_x86_feature_detected!("avx2");
    let fma = avx && std::is_x86_feature_detected!("fma");
    // earlier processors with AVX-512 than those with VBMI2 lower their clock for it
    let avx512 = fma
        && std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vbmi2");
    let vector_bytes = if avx512 {
        64
    } else if fma {
        32
    } else {
        16
    };
    Target { arch: Arch::X86_64, fma, avx, vector_bytes, threads }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect(threads: u32) -> Target {
    Target { arch: Arch::Aarch64, fma: true, avx: false, vector_bytes: 16, threads }
}
