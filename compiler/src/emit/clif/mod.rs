//! CPU code through Cranelift.
//!
//! The calling convention is `fn(args, begin, end, scratch)`: the argument block holds buffer
//! addresses, the address of a table of lane numbers, then run-time numbers; rows
//! `begin..end` are computed. Code is a leaf, with no relocations.
//!
//! Stores that may go past the caches are marked by their type: `F64X2`, which nothing else here
//! has.
//!
//! Vectors are 16 bytes wide in Cranelift's eyes; only addresses and trip counts know
//! `vector_bytes`, so that wider vectors need no other lowering.

mod frame;
mod inst;
mod lane_loop;
mod lanes;
mod loops;
mod online;
mod rare;
mod squares;
mod stream;
mod tiles;

use super::lift::{Lifted, Refused, Width, lift};
use super::{EmitError, Emitted};
use crate::schedule::Schedule;
use cranelift::codegen::control::ControlPlane;
use cranelift::codegen::ir::Signature;
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::codegen::{Context, isa};
use cranelift::prelude::{AbiParam, Configurable, FunctionBuilder, FunctionBuilderContext, settings, types};
use evenkeel_ir::kernel::Kernel;
use evenkeel_ir::program::Streaming;
use evenkeel_ir::{Arch, Target};

/// A code generator for one target; shared by threads.
pub struct Generator {
    isa: OwnedTargetIsa,
    fma: bool,
}

impl Generator {
    /// Sets Cranelift up for a target.
    ///
    /// # Errors
    /// An instruction set that this build does not have.
    pub fn new(target: &Target) -> Result<Generator, EmitError> {
        let fail = |reason: String| EmitError { kernel: "any".into(), reason };
        let name = match target.arch {
            Arch::X86_64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        };
        let mut builder = isa::lookup_by_name(name).map_err(|e| fail(e.to_string()))?;
        if target.arch == Arch::X86_64 {
            enable(&mut builder, &["has_sse3", "has_ssse3", "has_sse41"]);
            enable(&mut builder, if target.avx { &["has_sse42", "has_avx", "has_avx2"] } else { &[] });
            enable(&mut builder, if target.fma { &["has_fma"] } else { &[] });
        }
        let isa = builder.finish(flags()).map_err(|e| fail(e.to_string()))?;
        Ok(Generator { isa, fma: target.fma || target.arch == Arch::Aarch64 })
    }

    /// Compiles one kernel for vectors of the schedule's width, unless lifting to it is refused.
    /// `volatile` arguments share memory with an output.
    ///
    /// # Errors
    /// Cranelift's refusal, which is a bug of this library.
    pub fn emit(
        &self,
        kernel: &Kernel,
        schedule: &Schedule,
        volatile: &[bool],
    ) -> Result<Result<Emitted, Refused>, EmitError> {
        let fail = |reason: String| EmitError { kernel: kernel.name.clone(), reason };
        let mut context = Context::new();
        let mut signature = Signature::new(self.isa.default_call_conv());
        signature.params = vec![AbiParam::new(types::I64); 4];
        context.func.signature = signature;
        let mut functions = FunctionBuilderContext::new();
        let builder = FunctionBuilder::new(&mut context.func, &mut functions);
        let (numbers, scratch) = frame::body(kernel, schedule, volatile, self.fma, builder, &*self.isa);
        let compiled = context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|error| fail(format!("{:?}", error.inner)))?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(fail("the code needs a library call".into()));
        }
        let code = widened(compiled.code_buffer(), schedule.vector_bytes);
        let args = stream::args(kernel, schedule, volatile);
        let vector_bytes = schedule.vector_bytes;
        Ok(code.map(|(bytes, streaming)| {
            let streaming = streaming.filter(|_| !args.is_empty()).map(|bytes| Streaming { bytes, args });
            Emitted { bytes, streaming, numbers, scratch, vector_bytes, refused: Vec::new() }
        }))
    }
}

/// Code for vectors of some width, and the same with stores past the caches.
fn widened(narrow: &[u8], vector_bytes: u32) -> Result<(Vec<u8>, Option<Vec<u8>>), Refused> {
    let width = match vector_bytes {
        32 => Width::Bits256,
        64 => Width::Bits512,
        _ => return Ok((narrow.to_vec(), None)),
    };
    let Lifted { bytes, streaming } = lift(narrow, width)?;
    Ok((bytes, streaming))
}

fn enable(builder: &mut isa::Builder, features: &[&str]) {
    for feature in features {
        builder.enable(feature).expect("a feature name that Cranelift knows");
    }
}

fn flags() -> settings::Flags {
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("regalloc_algorithm", "backtracking"),
        ("enable_verifier", verifier),
        ("unwind_info", "false"),
        ("log2_min_function_alignment", "6"),
    ] {
        flags.set(name, value).expect("a setting that Cranelift knows");
    }
    settings::Flags::new(flags)
}
