//! Kernels compile for machines other than this one.

use crate::{Options, compile};
use evenkeel_ir::{Arch, Target, parse};

/// Programs with every kind of instruction that vectors have.
const PROGRAMS: [&str; 8] = [
    "x = input f32[N,100]\nreturn softmax @1 x",
    "x = input f32[N,100]\nreturn sum @0 (gelu x)",
    "x = input f32[N,100]\ny = input f32[N,100]\nreturn select (lt x y) (erf x) (sin y)",
    "x = input f32[N,100]\ng = input f32[100]\nb = input f32[100]\nreturn layer_norm @1 eps=1e-5 x g b",
    "x = input f32[N,100]\nreturn argmax @1 x",
    "x = input f64[N,100]\nreturn log_softmax @1 x",
    "x = input f32[N,100]\ny = input f32[100,N]\nreturn add (gelu (transpose @1,0 x)) y",
    "x = input f32[N,100]\ny = input f32[100,N]\nreturn mul (softmax @1 (transpose @1,0 x)) y",
];

#[test]
fn kernels_compile_for_every_target() {
    let x86 = |fma, avx, vector_bytes| Target { arch: Arch::X86_64, fma, avx, vector_bytes, threads: 1 };
    let arm = Target { arch: Arch::Aarch64, fma: true, avx: false, vector_bytes: 16, threads: 1 };
    for target in [Target::BASELINE, x86(false, true, 16), x86(true, true, 32), x86(true, true, 64), arm] {
        for text in PROGRAMS {
            let graph = parse(text, "targets").unwrap_or_else(|error| panic!("{error}"));
            let compiled = compile(&graph, &target, &Options::default());
            let compiled = compiled.unwrap_or_else(|error| panic!("{target:?}\n{text}\n{error}"));
            assert!(compiled.program.codes.iter().all(|code| !code.bytes.is_empty()), "{target:?}\n{text}");
        }
    }
}
