//! Executables: a loaded program, run from any thread.
//!
//! Each concurrent call has a context of its own (arena, argument blocks, scratch) from a
//! pool, so `run` takes `&self` and allocates nothing once a context has seen a batch size.
//! The interesting part is [`Executable::run`].

use crate::code::CodeMap;
use crate::context::{Attached, Context, MAX_BLOCK, Work};
use crate::error::RuntimeError;
use crate::gang::Gang;
use crate::tensor::Tensor;
use evenkeel_ir::program::{Buffer, BufferId, Program, Step, Storage};
use evenkeel_ir::{DType, EvalError, Reduce, TensorType, can_allocate};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An argument of a call.
#[derive(Debug)]
pub enum Argument<'a> {
    /// An input that is only read.
    In(&'a Tensor),
    /// An input that the program updates in place.
    InOut(&'a mut Tensor),
}

impl Argument<'_> {
    fn tensor(&self) -> &Tensor {
        match self {
            Argument::In(tensor) => tensor,
            Argument::InOut(tensor) => tensor,
        }
    }
}

/// A program in memory, ready to run. `Send` and `Sync`.
#[derive(Debug)]
pub struct Executable {
    program: Program,
    code: CodeMap,
    pub(crate) gang: Arc<Gang>,
    contexts: Mutex<Vec<Context>>,
    /// Does an output share the memory of an input?
    updated_by: Vec<Option<u32>>,
}

/// Bytes that memory moves at least.
const CACHE_LINE: u64 = 64;

impl Executable {
    /// Loads a program for a number of threads.
    ///
    /// # Errors
    /// No executable memory; a processor that compiled code is not made for; a number of threads
    /// that is not from 1 to 1024.
    pub fn load(program: Program, threads: usize) -> Result<Executable, RuntimeError> {
        if !runs_machine_code() {
            return Err(RuntimeError::Machine { needed: "x86-64 with SSE4.1, or 64-bit Arm" });
        }
        let threads = Gang::checked("threads", threads)?;
        let ordinary = program.codes.iter().map(|code| &code.bytes[..]);
        let streaming =
            program.codes.iter().map(|code| code.streaming.as_ref().map_or(&[][..], |s| &s.bytes[..]));
        let code = CodeMap::load(ordinary.chain(streaming))?;
        let mut updated_by = vec![None; program.outputs.len()];
        for &(output, input) in &program.updates {
            updated_by[output as usize] = Some(input);
        }
        Ok(Executable { program, code, gang: Gang::shared(threads), contexts: Mutex::default(), updated_by })
    }

    /// The loaded program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Number of threads it runs on.
    pub fn threads(&self) -> usize {
        self.gang.threads()
    }

    /// Runs the program. Inputs come in declaration order; outputs that are updates are
    /// written into their `InOut` argument, the others into `outputs`, in order, reusing its
    /// tensors.
    ///
    /// # Errors
    /// Wrong number, types or sizes of arguments; a read-only argument that is updated; no memory
    /// for the program's values. Nothing has been written then.
    pub fn run(&self, arguments: &mut [Argument<'_>], outputs: &mut Vec<Tensor>) -> Result<(), RuntimeError> {
        self.execute(arguments, outputs, |step| step())
    }

    /// As [`run`](Executable::run), and measures every step of the program; `times` gets one time
    /// per step.
    ///
    /// # Errors
    /// As [`run`](Executable::run).
    pub fn run_timed(
        &self,
        arguments: &mut [Argument<'_>],
        outputs: &mut Vec<Tensor>,
        times: &mut Vec<Duration>,
    ) -> Result<(), RuntimeError> {
        times.clear();
        self.execute(arguments, outputs, |step| {
            let clock = Instant::now();
            step();
            times.push(clock.elapsed());
        })
    }

    /// Runs the program; `each` runs every step.
    fn execute(
        &self,
        arguments: &mut [Argument<'_>],
        outputs: &mut Vec<Tensor>,
        mut each: impl FnMut(&mut dyn FnMut()),
    ) -> Result<(), RuntimeError> {
        let batch = self.bind(arguments)?;
        for &(_, input) in &self.program.updates {
            if let Argument::In(_) = arguments[input as usize] {
                return Err(RuntimeError::NotWritable {
                    name: self.program.inputs[input as usize].name.clone(),
                });
            }
        }
        let mut context =
            self.contexts.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if context.batch != Some(batch) {
            self.check_memory(batch)?;
        }
        context.prepare(&self.program, batch, self.gang.threads())?;
        self.place_outputs(batch, outputs);
        self.resolve(&mut context, arguments, outputs);
        self.gang.hot(|| {
            for (place, step) in self.program.steps.iter().enumerate() {
                each(&mut || self.step(&context, place, step, batch));
            }
        });
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner).push(context);
        Ok(())
    }

    /// Checks arguments without allocating; gives the batch size.
    fn bind(&self, arguments: &[Argument<'_>]) -> Result<u64, RuntimeError> {
        let inputs = &self.program.inputs;
        if arguments.len() != inputs.len() {
            return Err(EvalError::Count { expected: inputs.len(), found: arguments.len() }.into());
        }
        let pairs =
            || inputs.iter().zip(arguments).flat_map(|(i, a)| i.ty.shape.0.iter().zip(a.tensor().sizes()));
        let lowest = pairs().filter(|(want, _)| want.known().is_none()).min_by_key(|(want, _)| want.power);
        let batch = lowest.and_then(|(want, &have)| want.batch_of(have as u64)).unwrap_or(1);
        for (input, argument) in inputs.iter().zip(arguments) {
            let tensor = argument.tensor();
            let sizes_fit = input.ty.rank() == tensor.sizes().len()
                && input
                    .ty
                    .shape
                    .0
                    .iter()
                    .zip(tensor.sizes())
                    .all(|(want, &have)| want.at(batch) == have as u64);
            if !sizes_fit || input.ty.dtype != tensor.dtype() {
                let (name, expected) = (input.name.clone(), input.ty.clone());
                return Err(EvalError::Type { name, expected, found: tensor.ty(), batch }.into());
            }
        }
        Ok(batch)
    }

    /// Asks the system for as much memory as a call needs, because a failure later on could not be reported.
    fn check_memory(&self, batch: u64) -> Result<(), RuntimeError> {
        let own = |buffer: &&Buffer| !matches!(buffer.storage, Storage::Input(_));
        let bytes = |buffer: &Buffer| buffer.bytes(batch);
        let all = self.program.buffers.iter().filter(own).map(bytes).fold(0, u64::saturating_add);
        let outputs = |buffer: &&Buffer| matches!(buffer.storage, Storage::Output(_));
        let outputs: u64 =
            self.program.buffers.iter().filter(outputs).map(bytes).fold(0, u64::saturating_add);
        let scratch = self.program.codes.iter().map(|code| code.scratch.at(batch)).max().unwrap_or(0);
        let scratch = scratch.saturating_mul(self.gang.threads() as u64);
        // packing computes with these sizes, so they must be sane first
        let packed = if all < 1 << 60 { self.program.pack(batch).bytes as u64 } else { all };
        let bytes = packed.saturating_add(outputs).saturating_add(scratch);
        if can_allocate(bytes) { Ok(()) } else { Err(RuntimeError::Memory { bytes }) }
    }

    fn place_outputs(&self, batch: u64, outputs: &mut Vec<Tensor>) {
        let fresh = (0..self.updated_by.len()).filter(|&o| self.updated_by[o].is_none());
        let mut count = 0;
        for output in fresh {
            let ty: &TensorType = &self.program.outputs[output].ty;
            if outputs.len() == count {
                outputs.push(Tensor::zeros(ty.dtype, &[]));
            }
            outputs[count].become_type(ty.dtype, ty.shape.0.iter().map(|e| e.at(batch) as usize));
            count += 1;
        }
        outputs.truncate(count);
    }

    /// Fills in the addresses of this call's memory.
    fn resolve(&self, context: &mut Context, arguments: &mut [Argument<'_>], outputs: &mut [Tensor]) {
        let arena = context.arena();
        let packing = context.packing.as_ref().expect("prepared");
        context.addresses.clear();
        for (buffer, offset) in self.program.buffers.iter().zip(&packing.offsets) {
            let address = match buffer.storage {
                Storage::Arena { .. } => arena + *offset as u64,
                Storage::Input(input) => argument_address(&mut arguments[input as usize]),
                Storage::Output(output) => match self.updated_by[output as usize] {
                    Some(input) => argument_address(&mut arguments[input as usize]),
                    None => {
                        let fresh = (0..output as usize).filter(|&o| self.updated_by[o].is_none()).count();
                        outputs[fresh].address_mut()
                    }
                },
            };
            context.addresses.push(address);
        }
        for (place, step) in self.program.steps.iter().enumerate() {
            for (call, launch) in context.steps[place].calls.iter_mut().zip(step.launches()) {
                for (slot, buffer) in call.block.iter_mut().zip(&launch.buffers) {
                    *slot = context.addresses[buffer.0 as usize];
                }
            }
        }
    }

    fn step(&self, context: &Context, place: usize, step: &Step, batch: u64) {
        match step {
            Step::Kernels(launches) => {
                let Work { calls, pieces } = &context.steps[place];
                self.gang.run(pieces.len(), &|piece, worker| {
                    let first = piece.checked_sub(1).map_or(0, |before| pieces[before]);
                    for chunk in first..pieces[piece] {
                        let number = calls.partition_point(|call| call.first <= chunk) - 1;
                        let own = chunk - calls[number].first;
                        self.chunk(context, (&launches[number], &calls[number]), own, worker, batch);
                    }
                });
            }
            Step::Product(panels) => self.panels(context, panels, &context.steps[place].calls, batch),
            Step::Combine(parts) => {
                for part in parts {
                    let address = |buffer: BufferId| context.addresses[buffer.0 as usize];
                    let dtype = self.program.buffers[part.out.0 as usize].dtype;
                    let (elements, chunks) = (part.elements.at(batch), part.chunking.at(batch).1);
                    let (from, to) = (address(part.partials), address(part.out));
                    combine(part.op, dtype, from, to, elements as usize, chunks as usize);
                }
            }
            Step::Copy { from, to } => {
                let (source, target) = (context.addresses[from.0 as usize], context.addresses[to.0 as usize]);
                // SAFETY: two buffers of the program with this many bytes; `copy` allows overlap.
                unsafe { std::ptr::copy(source as *const u8, target as *mut u8, self.bytes(*to, batch)) };
            }
            Step::Zero { buffer } => {
                let target = context.addresses[buffer.0 as usize];
                // SAFETY: a buffer of the program with this many bytes.
                unsafe { std::ptr::write_bytes(target as *mut u8, 0, self.bytes(*buffer, batch)) };
            }
        }
    }

    fn bytes(&self, buffer: BufferId, batch: u64) -> usize {
        let buffer = &self.program.buffers[buffer.0 as usize];
        buffer.elements.at(batch) as usize * buffer.dtype.size()
    }

    /// Calls a kernel for the rows of one chunk.
    pub(crate) fn chunk(
        &self,
        context: &Context,
        (launch, call): Attached<'_>,
        chunk: u64,
        worker: usize,
        batch: u64,
    ) {
        let (begin, end) = call.rows_of(chunk);
        if launch.partials.is_empty() {
            return self.rows(context, (launch, call), (begin, end), worker);
        }
        let mut own = [0u64; MAX_BLOCK];
        own[..call.block.len()].copy_from_slice(&call.block);
        for (arg, elements) in &launch.partials {
            let size = self.program.buffers[launch.buffers[*arg as usize].0 as usize].dtype.size();
            own[*arg as usize] += chunk * elements.at(batch) * size as u64;
        }
        let (entry, scratch) = (self.entry_of((launch, call)), context.scratch_of(worker));
        // SAFETY: as in `rows`; partial results of this chunk have their own place.
        unsafe { self.code.entry(entry)(own.as_ptr(), begin, end, scratch as *mut u8) }
    }

    /// Calls a kernel without partial results for some of its rows.
    pub(crate) fn rows(
        &self,
        context: &Context,
        (launch, call): Attached<'_>,
        (begin, end): (u64, u64),
        worker: usize,
    ) {
        debug_assert!(launch.partials.is_empty());
        let (entry, scratch) = (self.entry_of((launch, call)), context.scratch_of(worker));
        // SAFETY: the block holds live buffers of the sizes that the kernel was compiled
        // for, rows are in range, and scratch belongs to this worker.
        unsafe { self.code.entry(entry)(call.block.as_ptr(), begin, end, scratch as *mut u8) }
    }

    /// The code of a launch: stores go past the caches where all of its buffers are too large for
    /// them and what is stored begins at whole cache lines.
    fn entry_of(&self, (launch, call): Attached<'_>) -> usize {
        let ordinary = launch.code as usize;
        let Some(streaming) = self.program.codes[ordinary].streaming.as_ref().filter(|_| call.streams) else {
            return ordinary;
        };
        let aligned = |arg: &u32| call.block[*arg as usize].is_multiple_of(CACHE_LINE);
        if streaming.args.iter().all(aligned) { self.program.codes.len() + ordinary } else { ordinary }
    }
}

/// The floor of what the compiler emits.
fn runs_machine_code() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("sse4.1");
    #[cfg(not(target_arch = "x86_64"))]
    cfg!(target_arch = "aarch64")
}

fn argument_address(argument: &mut Argument<'_>) -> u64 {
    match argument {
        Argument::In(tensor) => tensor.address(),
        Argument::InOut(tensor) => tensor.address_mut(),
    }
}

fn combine(op: Reduce, dtype: DType, from: u64, to: u64, n: usize, chunks: usize) {
    fn typed<T: Copy>(from: u64, to: u64, n: usize, chunks: usize, identity: T, f: impl Fn(T, T) -> T) {
        // SAFETY: the buffers of partial results and of the result have these sizes, and are distinct.
        let (parts, out) = unsafe {
            (
                std::slice::from_raw_parts(from as *const T, n * chunks),
                std::slice::from_raw_parts_mut(to as *mut T, n),
            )
        };
        out.fill(identity);
        for part in parts.chunks_exact(n.max(1)) {
            out.iter_mut().zip(part).for_each(|(out, &x)| *out = f(*out, x));
        }
    }
    let def = op.def();
    match dtype {
        DType::F32 => match op {
            Reduce::Sum => typed(from, to, n, chunks, 0.0f32, |a, b| a + b),
            Reduce::Max => typed(from, to, n, chunks, f32::NEG_INFINITY, |a, b| if b < a { a } else { b }),
            Reduce::Min => typed(from, to, n, chunks, f32::INFINITY, |a, b| if a < b { a } else { b }),
        },
        DType::F64 => typed(from, to, n, chunks, def.identity, def.combine),
        DType::I64 => typed(from, to, n, chunks, identity(op, i64::MIN, i64::MAX), def.combine_int),
        DType::I32 => {
            let f = |a: i32, b: i32| (def.combine_int)(a.into(), b.into()) as i32;
            typed(from, to, n, chunks, identity(op, i32::MIN, i32::MAX), f);
        }
        other => unreachable!("reductions of {other} are refused when compiling"),
    }
}

fn identity<T: Default>(op: Reduce, lowest: T, highest: T) -> T {
    match op {
        Reduce::Sum => T::default(),
        Reduce::Max => lowest,
        Reduce::Min => highest,
    }
}
