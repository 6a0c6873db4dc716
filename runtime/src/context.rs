//! What one running call needs besides its arguments: arena, scratch, argument blocks.

use crate::cache;
use crate::error::RuntimeError;
use crate::tensor::Tensor;
use evenkeel_ir::DType;
use evenkeel_ir::program::{BufferId, Launch, Packing, Program, Step, Storage};
use memmap2::MmapMut;

/// Memory of one running call.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) batch: Option<u64>,
    pub(crate) packing: Option<Packing>,
    arena: Option<MmapMut>,
    pub(crate) scratch: Option<Tensor>,
    pub(crate) scratch_stride: usize,
    pub(crate) addresses: Vec<u64>,
    pub(crate) blocks: Vec<Vec<u64>>,
    /// For every step: are its buffers too large for the caches?
    pub(crate) streams: Vec<bool>,
}

/// Lane numbers that kernels load; long enough for the widest vector.
#[repr(align(64))]
struct LaneTable([i32; 16]);
static LANES: LaneTable = LaneTable([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

/// Longest argument block of a kernel with partial results, which is copied per chunk.
pub(crate) const MAX_BLOCK: usize = 256;

/// Bytes of the arena before the first buffer. Allocators place large tensors about a cache line
/// behind the start of a page; where results lie a line behind what is read, modulo pages,
/// loads wait for stores that only seem to overlap.
const MARGIN: usize = 64;

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
        self.blocks = program.steps.iter().map(|step| block(step, batch)).collect();
        self.streams = program.steps.iter().map(|step| streams(program, step, batch)).collect();
        self.addresses.reserve(program.buffers.len());
        self.packing = Some(packing);
        self.batch = Some(batch);
        Ok(())
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

/// Does a kernel touch so much memory that storing past the caches is faster? For what a later
/// step reads, more than the last cache holds; for results of the program, more than half of it,
/// where making room costs more than it saves.
fn streams(program: &Program, step: &Step, batch: u64) -> bool {
    let Step::Kernel(launch) = step else { return false };
    let Some(streaming) = &program.codes[launch.code as usize].streaming else { return false };
    let buffer = |id: BufferId| &program.buffers[id.0 as usize];
    let leaves = |arg: &u32| matches!(buffer(launch.buffers[*arg as usize]).storage, Storage::Output(_));
    let bytes = launch.buffers.iter().map(|&id| buffer(id).bytes(batch)).fold(0, u64::saturating_add);
    let shares = if streaming.args.iter().all(leaves) { 2 } else { 1 };
    bytes > cache::last_level() / shares
}

/// The argument block of a step's kernel, with addresses still to be filled in.
fn block(step: &Step, batch: u64) -> Vec<u64> {
    let Some(launch) = launch_of(step) else { return Vec::new() };
    let mut block = vec![0; launch.buffers.len()];
    block.push(LANES.0.as_ptr() as u64);
    block.extend(launch.numbers.iter().map(|number| number.at(batch) as u64));
    debug_assert!(launch.partials.is_empty() || block.len() <= MAX_BLOCK);
    block
}

/// The kernel of a step.
pub(crate) fn launch_of(step: &Step) -> Option<&Launch> {
    match step {
        Step::Kernel(launch) | Step::Product { epilogue: Some(launch), .. } => Some(launch),
        _ => None,
    }
}
