//! What lifted code looks like; that it computes the same is tested where kernels run.

use super::{BASE, Width, decode, lift};
use crate::{Options, compile};
use evenkeel_ir::{Arch, Target, parse};
use iced_x86::{EncodingKind, Instruction, OpKind, Register};

const PROGRAMS: [&str; 9] = [
    "x = input f32[N,100]\nreturn softmax @1 x",
    "x = input f32[N,100]\nreturn sum @0 (gelu x)",
    "x = input f32[N,100]\ny = input f32[N,100]\nreturn select (lt x y) (erf x) (sin y)",
    "x = input f32[N,100]\ng = input f32[100]\nb = input f32[100]\nreturn layer_norm @1 eps=1e-5 x g b",
    "x = input i32[N,100]\ny = input i32[N,100]\nreturn mul x (max @1 y)",
    "x = input f32[N,100]\nreturn argmax @1 x",
    "s = input i64[]\nreturn random_uniform stream=1 f32[64,100] s",
    "x = input f32[N,100]\ny = input f32[100,N]\nreturn add (gelu (transpose @1,0 x)) y",
    "x = input f32[N,100]\ny = input f32[100,N]\nreturn mul (softmax @1 (transpose @1,0 x)) y",
];

fn target(vector_bytes: u32) -> Target {
    Target { arch: Arch::X86_64, fma: true, avx: true, vector_bytes, threads: 1 }
}

/// Code of every kernel of the programs.
fn codes(vector_bytes: u32) -> Vec<Vec<u8>> {
    let mut codes = Vec::new();
    for text in PROGRAMS {
        let graph = parse(text, "lift").unwrap_or_else(|error| panic!("{error}"));
        let compiled = compile(&graph, &target(vector_bytes), &Options::default()).expect("it compiles");
        assert!(compiled.report.kernels.iter().all(|kernel| kernel.not_wider.is_empty()), "{text}");
        codes.extend(compiled.program.codes.into_iter().map(|code| code.bytes));
    }
    codes
}

fn has_register(i: &Instruction, wanted: fn(Register) -> bool) -> bool {
    (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Register && wanted(i.op_register(k)))
}

#[test]
fn lifted_code_holds_wide_vectors_and_no_legacy_instructions_on_them() {
    for (bytes, wide) in [(32, Register::is_ymm as fn(Register) -> bool), (64, Register::is_zmm)] {
        for code in codes(bytes) {
            let (decoded, _) = decode(&code).expect("lifted code decodes");
            assert!(decoded.iter().any(|i| has_register(i, wide)));
            for i in &decoded {
                let legacy = i.encoding() == EncodingKind::Legacy && has_register(i, Register::is_xmm);
                assert!(!legacy, "{:?}", i.code());
            }
        }
    }
}

#[test]
fn constants_lie_behind_the_code() {
    for code in codes(64) {
        let (decoded, _) = decode(&code).expect("lifted code decodes");
        let end = decoded.last().expect("some code").next_ip();
        for i in decoded.iter().filter(|i| i.is_ip_rel_memory_operand()) {
            let (start, size) = (i.memory_displacement64(), i.memory_size().size() as u64);
            assert!(end <= start && start + size <= BASE + code.len() as u64, "{:?}", i.code());
        }
    }
}

#[test]
fn what_is_not_known_is_refused() {
    // the last instruction is a return
    let cases: [(&str, &[u8]); 4] = [
        ("VEX_Vhaddps_xmm_xmm_xmmm128", &[0xc5, 0xfb, 0x7c, 0xc1, 0xc3]),
        ("Mulps_xmm_xmmm128", &[0x0f, 0x59, 0xc1, 0xc3]),
        ("Call_rel32_64", &[0xe8, 0, 0, 0, 0, 0xc3]),
        ("a shuffle by 0x1b", &[0xc5, 0xf9, 0x70, 0xc1, 0x1b, 0xc3]),
    ];
    for (name, code) in cases {
        for width in [Width::Bits256, Width::Bits512] {
            let refused = lift(code, width).expect_err(name);
            assert_eq!(refused.to_string(), format!("no wider form of {name}"));
        }
    }
}

#[test]
fn a_part_that_a_vector_does_not_have_is_refused() {
    // a marker of the third part
    let code = [0xc5, 0xf9, 0xd9, 0xc1, 0xc3];
    assert!(lift(&code, Width::Bits512).is_ok());
    let refused = lift(&code, Width::Bits256).expect_err("two parts");
    assert_eq!(refused.to_string(), "no wider form of part 2 of a vector");
}
