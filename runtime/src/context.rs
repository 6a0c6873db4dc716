//! What one running call needs besides its arguments: arena, scratch, argument blocks.

use crate::blocks::MARGIN;
use crate::cache;
use crate::error::RuntimeError;
use crate::tensor::Tensor;
use evenkeel_ir::DType;
use evenkeel_ir::program::{BufferId, CHUNK_ELEMENTS, Launch, Packing, Program, Step, Storage};
use memmap2::MmapMut;

/// Memory of one running call.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) batch: Option<u64>,
    pub(crate) packing: Option<Packing>,
    arena: Option<MmapMut>,
    scratch: Option<Tensor>,
    scratch_stride: usize,
    pub(crate) addresses: Vec<u64>,
    /// Per step of the program.
    pub(crate) steps: Vec<Work>,
}

/// What a step does for one batch size.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Its kernels.
    pub(crate) calls: Vec<Call>,
    /// Where the pieces that threads claim end, counting the chunks of all kernels: small chunks
    /// are claimed together.
    pub(crate) pieces: Vec<u64>,
}

/// A kernel that is called for chunks of its rows.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its arguments: addresses and numbers.
    pub(crate) block: Vec<u64>,
    /// Are its buffers too large for the caches?
    pub(crate) streams: bool,
    rows: u64,
    size: u64,
    /// Chunks of the calls before it.
    pub(crate) first: u64,
}

/// A kernel with what it is called with.
pub(crate) type Attached<'a> = (&'a Launch, &'a Call);

impl Call {
    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows of a chunk.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> u64 {
        self.rows.div_ceil(self.size)
    }

    /// The rows of a chunk.
    pub(crate) fn rows_of(&self, chunk: u64) -> (u64, u64) {
        (self.rows.min(chunk * self.size), self.rows.min((chunk + 1) * self.size))
    }
}

/// Lane numbers that kernels load; long enough for the widest vector.
#[repr(align(64))]
struct LaneTable([i32; 16]);
static LANES: LaneTable = LaneTable([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

/// Longest argument block of a kernel with partial results, which is copied per chunk.
pub(crate) const MAX_BLOCK: usize = 256;

impl Context {
    /// Makes memory for a batch size; does nothing when it is that of the last call.
    ///
    /// # Errors
    /// No memory for the arena.
    pub(crate) fn prepare(
        &mut self,
        program: &Program,
        batch: u64,
        threads: usize,
    ) -> Result<(), RuntimeError> {
        if self.batch == Some(batch) {
            return Ok(());
        }
        let packing = program.pack(batch);
        if self.arena.as_ref().is_none_or(|arena| arena.len() < packing.bytes + MARGIN) {
            self.arena = Some(pages(packing.bytes + MARGIN)?);
        }
        let scratch = program.codes.iter().map(|code| code.scratch.at(batch) as usize).max().unwrap_or(0);
        self.scratch_stride = scratch.next_multiple_of(64);
        self.scratch = Some(Tensor::zeros(DType::Bool, &[self.scratch_stride * threads]));
        self.steps = program.steps.iter().map(|step| work(program, step, batch)).collect();
        self.addresses.reserve(program.buffers.len());
        self.packing = Some(packing);
        self.batch = Some(batch);
        Ok(())
    }

    /// Scratch memory of a worker.
    pub(crate) fn scratch_of(&self, worker: usize) -> u64 {
        self.scratch.as_ref().expect("prepared").address() + (worker * self.scratch_stride) as u64
    }

    /// Where the arena's buffers begin.
    pub(crate) fn arena(&mut self) -> u64 {
        self.arena.as_mut().expect("prepared").as_mut_ptr() as u64 + MARGIN as u64
    }
}

/// Pages of zeros. They are large ones where the system has them to give, since a step walks all
/// of the arena and products jump through it.
fn pages(bytes: usize) -> Result<MmapMut, RuntimeError> {
    let pages = MmapMut::map_anon(bytes).map_err(|_| RuntimeError::Memory { bytes: bytes as u64 })?;
    #[cfg(target_os = "linux")]
    // systems without large pages refuse, which changes nothing but speed
    let _ = pages.advise(memmap2::Advice::HugePage);
    Ok(pages)
}

/// The kernels of a step, and how their chunks are shared out.
fn work(program: &Program, step: &Step, batch: u64) -> Work {
    let mut work = Work::default();
    let (mut chunk, mut elements) = (0, 0);
    for launch in step.launches() {
        let (size, chunks) = launch.chunking.at(batch);
        let rows = launch.chunking.rows.at(batch);
        let streams = matches!(step, Step::Kernels(_)) && streams(program, launch, batch);
        work.calls.push(Call { block: block(launch, batch), streams, rows, size, first: chunk });
        for _ in 0..chunks {
            chunk += 1;
            elements += size.min(rows).saturating_mul(launch.chunking.row_elements.at(batch));
            if elements >= CHUNK_ELEMENTS {
                work.pieces.push(chunk);
                elements = 0;
            }
        }
    }
    if work.pieces.last().copied().unwrap_or(0) < chunk {
        work.pieces.push(chunk);
    }
    work
}

/// Does a kernel touch so much memory that storing past the caches is faster? For what a later
/// step reads, more than the last cache holds; for results of the program, more than half of it,
/// where making room costs more than it saves.
fn streams(program: &Program, launch: &Launch, batch: u64) -> bool {
    let Some(streaming) = &program.codes[launch.code as usize].streaming else { return false };
    let buffer = |id: BufferId| &program.buffers[id.0 as usize];
    let leaves = |arg: &u32| matches!(buffer(launch.buffers[*arg as usize]).storage, Storage::Output(_));
    let bytes = launch.buffers.iter().map(|&id| buffer(id).bytes(batch)).fold(0, u64::saturating_add);
    let shares = if streaming.args.iter().all(leaves) { 2 } else { 1 };
    bytes > cache::last_level() / shares
}

/// The argument block of a kernel, with addresses still to be filled in.
fn block(launch: &Launch, batch: u64) -> Vec<u64> {
    let mut block = vec![0; launch.buffers.len()];
    block.push(LANES.0.as_ptr() as u64);
    block.extend(launch.numbers.iter().map(|number| number.at(batch) as u64));
    debug_assert!(launch.partials.is_empty() || block.len() <= MAX_BLOCK);
    block
}
