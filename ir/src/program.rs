//! The compiled program: code, buffers and steps; what the runtime receives.
//!
//! Invariant: two buffers of one arena whose lifetimes overlap never share a byte
//! ([`Program::pack`]); machine code is position independent and has no relocations.

use crate::kernel::Stride;
use crate::op::Reduce;
use crate::shape::{Extent, TensorType};
use crate::{DType, Place};
use smallvec::SmallVec;

/// Position of a buffer in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(pub u32);

/// Where a buffer's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Storage {
    /// The caller's tensor for this input.
    Input(u32),
    /// The caller's tensor for this output.
    Output(u32),
    /// The arena, alive from step `first` to step `last` inclusive.
    Arena {
        /// First step that writes it.
        first: u32,
        /// Last step that reads it.
        last: u32,
    },
}

/// A dense value in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Name for readers.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub elements: Extent,
    /// Where it lives.
    pub storage: Storage,
}

impl Buffer {
    /// Its size for a batch size.
    pub fn bytes(&self, batch: u64) -> u64 {
        self.elements.at(batch).saturating_mul(self.dtype.size() as u64)
    }
}

/// One compiled kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    /// Name for readers.
    pub name: String,
    /// Position-independent machine code; the entry is its first byte.
    pub bytes: Vec<u8>,
    /// The kernel as text, for `explain`.
    pub listing: String,
    /// Scratch bytes that one worker needs.
    pub scratch: Extent,
    /// Bytes of one vector register that the code was scheduled for.
    pub vector_bytes: u32,
    /// The same for results that no cache holds.
    pub streaming: Option<Streaming>,
}

/// Code whose stores go past the caches, for results that are too large for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Streaming {
    /// Machine code, as [`Code::bytes`].
    pub bytes: Vec<u8>,
    /// Arguments that are stored so; their buffers begin at whole cache lines.
    pub args: SmallVec<[u32; 4]>,
}

/// How the rows of a kernel are cut into chunks: a function of sizes only, so results do not
/// depend on threads or timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Number of rows.
    pub rows: Extent,
    /// Elements of one row, an estimate of its work.
    pub row_elements: Extent,
    /// Rows per chunk are a multiple of this.
    pub multiple: u64,
    /// True when the kernel must run as one chunk.
    pub single: bool,
}

/// No kernel is cut into more chunks than this.
pub const MAX_CHUNKS: u64 = 64;
/// Elements that are worth handing to a thread.
pub const CHUNK_ELEMENTS: u64 = 8192;

impl Chunking {
    /// Rows per chunk and number of chunks for a batch size.
    pub fn at(&self, batch: u64) -> (u64, u64) {
        let rows = self.rows.at(batch);
        if self.single || rows == 0 {
            return (rows.max(1), u64::from(rows > 0));
        }
        let enough = CHUNK_ELEMENTS.div_ceil(self.row_elements.at(batch).max(1));
        let size = rows.div_ceil(MAX_CHUNKS).max(enough).next_multiple_of(self.multiple);
        (size, rows.div_ceil(size))
    }
}

/// A call of a compiled kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Position in [`Program::codes`].
    pub code: u32,
    /// The buffers of the kernel's arguments, in order.
    pub buffers: SmallVec<[BufferId; 8]>,
    /// Run-time numbers that follow the buffer addresses in the argument block.
    pub numbers: SmallVec<[Stride; 8]>,
    /// Arguments that hold one partial result per chunk, with the elements of one.
    pub partials: SmallVec<[(u32, Extent); 2]>,
    /// How rows are divided.
    pub chunking: Chunking,
}

/// A matrix operand: where it is and how far apart rows and columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The buffer.
    pub buffer: BufferId,
    /// Elements between rows.
    pub row_stride: Extent,
    /// Elements between columns.
    pub column_stride: Extent,
    /// Elements between matrices of a batch.
    pub batch_stride: Extent,
    /// Elements before the first.
    pub offset: Extent,
}

/// `out[b] = lhs[b] * rhs[b]` for every b.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Name for readers.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Number of matrices.
    pub batch: Extent,
    /// Rows of the result.
    pub rows: Extent,
    /// Columns of the result.
    pub columns: Extent,
    /// Length of the sums.
    pub inner: Extent,
    /// The left operand.
    pub lhs: Matrix,
    /// The right operand.
    pub rhs: Matrix,
    /// The result.
    pub out: Matrix,
}

/// A matrix product and the kernels on its panels of rows. Rows of the kernels are rows of the
/// product, so that what they exchange with it stays in cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    /// The kernel that makes the rows of the left operand before every panel. It has no partial
    /// results.
    pub prologue: Option<Launch>,
    /// The product.
    pub product: Product,
    /// The kernel that follows on every panel.
    pub epilogue: Option<Launch>,
}

/// One accumulated result of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// How partial results are combined.
    pub op: Reduce,
    /// Partial results, one row of `elements` per chunk.
    pub partials: BufferId,
    /// The result.
    pub out: BufferId,
    /// Elements of one partial result.
    pub elements: Extent,
    /// The chunks of the kernel that wrote them.
    pub chunking: Chunking,
}

/// One thing a program does.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Kernels over all their rows; none needs what another of them writes.
    Kernels(Vec<Launch>),
    /// A matrix product, panel of rows by panel of rows.
    Product(Box<Panels>),
    /// Combines the partial results of chunked kernels, in chunk order.
    Combine(Vec<Part>),
    /// Copies a whole buffer.
    Copy {
        /// From.
        from: BufferId,
        /// To.
        to: BufferId,
    },
    /// Fills a buffer with zero bytes.
    Zero {
        /// The buffer.
        buffer: BufferId,
    },
}

impl Step {
    /// The kernels that it calls.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        let (several, before, after) = match self {
            Step::Kernels(launches) => (&launches[..], None, None),
            Step::Product(panels) => (&[][..], panels.prologue.as_ref(), panels.epilogue.as_ref()),
            Step::Combine(_) | Step::Copy { .. } | Step::Zero { .. } => (&[][..], None, None),
        };
        several.iter().chain(before).chain(after)
    }

    /// As [`launches`](Step::launches), to be changed.
    pub fn launches_mut(&mut self) -> impl Iterator<Item = &mut Launch> {
        let (several, before, after) = match self {
            Step::Kernels(launches) => (&mut launches[..], None, None),
            Step::Product(panels) => (&mut [][..], panels.prologue.as_mut(), panels.epilogue.as_mut()),
            Step::Combine(_) | Step::Copy { .. } | Step::Zero { .. } => (&mut [][..], None, None),
        };
        several.iter_mut().chain(before).chain(after)
    }

    /// The buffers that it reads and writes.
    pub fn buffers(&self) -> Vec<BufferId> {
        let own = match self {
            Step::Kernels(_) => Vec::new(),
            Step::Product(panels) => {
                let Product { lhs, rhs, out, .. } = &panels.product;
                vec![lhs.buffer, rhs.buffer, out.buffer]
            }
            Step::Combine(parts) => parts.iter().flat_map(|part| [part.partials, part.out]).collect(),
            Step::Copy { from, to } => vec![*from, *to],
            Step::Zero { buffer } => vec![*buffer],
        };
        own.into_iter().chain(self.launches().flat_map(|launch| launch.buffers.iter().copied())).collect()
    }

    /// As [`buffers`](Step::buffers), to be changed.
    pub fn buffers_mut(&mut self) -> Vec<&mut BufferId> {
        fn of_launch(launch: &mut Launch) -> impl Iterator<Item = &mut BufferId> {
            launch.buffers.iter_mut()
        }
        match self {
            Step::Kernels(launches) => launches.iter_mut().flat_map(of_launch).collect(),
            Step::Product(panels) => {
                let Panels { prologue, product: Product { lhs, rhs, out, .. }, epilogue } = &mut **panels;
                let around = prologue.iter_mut().chain(epilogue).flat_map(of_launch);
                [&mut lhs.buffer, &mut rhs.buffer, &mut out.buffer].into_iter().chain(around).collect()
            }
            Step::Combine(parts) => {
                parts.iter_mut().flat_map(|part| [&mut part.partials, &mut part.out]).collect()
            }
            Step::Copy { from, to } => vec![from, to],
            Step::Zero { buffer } => vec![buffer],
        }
    }
}

/// A named input or output of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
    /// Where the user made it.
    pub place: Option<Place>,
}

/// Everything needed to run, with no reference to the compiler.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// Inputs, in order.
    pub inputs: Vec<Port>,
    /// Outputs, in order.
    pub outputs: Vec<Port>,
    /// Outputs that are written into the tensor of an input: `(output, input)`.
    pub updates: Vec<(u32, u32)>,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// All kernels.
    pub codes: Vec<Code>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// Byte offsets of the arena's buffers for one batch size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Offset of each buffer; 0 for buffers outside the arena.
    pub offsets: Vec<usize>,
    /// Size of the arena.
    pub bytes: usize,
}

const CACHE_LINE: usize = 64;
const PAGE: usize = 4096;
/// Bytes of a buffer that begins at a page.
const LARGE: usize = 16 * PAGE;

/// Large buffers begin at the same place in a page: where one lies a few lines behind another,
/// modulo pages, loads of one wait for stores to the other that only seem to overlap.
fn alignment(bytes: usize) -> usize {
    if bytes >= LARGE { PAGE } else { CACHE_LINE }
}

impl Program {
    /// Places the arena's buffers for a batch size: largest first, each at the lowest offset
    /// that no buffer with an overlapping lifetime occupies.
    pub fn pack(&self, batch: u64) -> Packing {
        let span = |b: &Buffer| match b.storage {
            Storage::Arena { first, last } => Some((first, last)),
            Storage::Input(_) | Storage::Output(_) => None,
        };
        let bytes =
            |b: &Buffer| (b.elements.at(batch) as usize * b.dtype.size()).next_multiple_of(CACHE_LINE);
        let mut order: Vec<usize> =
            (0..self.buffers.len()).filter(|&i| span(&self.buffers[i]).is_some()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(bytes(&self.buffers[i])), i));
        let mut packing = Packing { offsets: vec![0; self.buffers.len()], bytes: 0 };
        let mut placed: Vec<(usize, usize, (u32, u32))> = Vec::new();
        for i in order {
            let (size, life) = (bytes(&self.buffers[i]), span(&self.buffers[i]).expect("filtered"));
            let mut offset = 0;
            for &(start, end, other) in &placed {
                let alive_together = life.0 <= other.1 && other.0 <= life.1;
                if alive_together && start < offset + size && offset < end {
                    offset = end.next_multiple_of(alignment(size));
                }
            }
            let entry = (offset, offset + size, life);
            placed.insert(placed.partition_point(|other| *other < entry), entry);
            packing.offsets[i] = offset;
            packing.bytes = packing.bytes.max(offset + size);
        }
        packing
    }
}
