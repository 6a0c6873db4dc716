//! Schedules: how a kernel is looped on a CPU. Pure data; decided from the kernel alone.
//!
//! One axis is the *lane* axis: neighbouring lanes of a vector are neighbours along it. If it
//! is a reduced axis, rows are walked one by one and reductions end with a horizontal step; if
//! it is a parallel axis, a vector holds neighbouring rows and reductions stay lane-wise. Where
//! no axis is dense for all accesses, rows are walked, and the others go through [`Tiles`].

#[cfg(test)]
mod tests;
mod tiles;

pub use tiles::Tiles;
pub(crate) use tiles::rows_share_lines;

use evenkeel_ir::Extent;
use evenkeel_ir::kernel::{Kernel, Levels, Source, Store, StoreKind, Stride};
use evenkeel_ir::scalar::{Inst, Reg, ScalarType};
use std::fmt;

/// Instructions in the cone of a value above which it is kept instead of recomputed.
const KEEP_COST: usize = 10;
/// A row longer than this is not kept in scratch memory.
const MAX_KEPT_ELEMENTS: u64 = 1 << 16;

/// A row of this many elements or more is taken in pieces where sums follow maxima.
const ONLINE_ELEMENTS: u64 = 1 << 12;
/// Vectors of a piece, which the first cache holds and which hide that the sums so far are scaled.
const PIECE: usize = 16;

/// Bytes of the vectors that every machine has.
const NARROWEST: u32 = 16;
/// Bytes that memory moves at least.
const CACHE_LINE: u32 = 64;
/// Lanes of 4 bytes in that.
pub(crate) const LINE_ELEMENTS: u64 = CACHE_LINE as u64 / 4;
/// Reductions of a kernel beyond which fewer rows walk together.
const MANY_REDUCTIONS: usize = 8;

/// How a kernel is looped.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The axis that vectors run along; `None`: one element at a time.
    pub lane_axis: Option<usize>,
    /// Bytes of a vector.
    pub vector_bytes: u32,
    /// Vectors per iteration of the loop of each phase.
    pub unroll: Vec<usize>,
    /// Vectors of neighbouring rows that walk their rows together, where lanes are rows: they
    /// use whole cache lines of what they read.
    pub row_block: usize,
    /// Two phases in one loop.
    pub online: Option<Online>,
    /// Element values that are kept in scratch memory between phases.
    pub kept: Vec<Kept>,
    /// Accesses that go through tiles, because their elements are not neighbors along the lane axis.
    pub tiles: Option<Tiles>,
}

/// An element value that several phases need: the first of them writes it to scratch memory, the
/// others read it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The value.
    pub reg: Reg,
    /// The phase that writes it: the first whose loop runs for every row and computes the value.
    pub phase: u32,
}

/// A phase in one loop with the next one, whose sums all follow its maxima: the row is read once
/// for both. It is taken in pieces: first the maxima, then the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Online {
    /// The phase of the maxima.
    pub phase: u32,
    /// Vectors of a piece, a multiple of those per step of a reduction.
    pub piece: usize,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { lane_axis, vector_bytes, unroll, row_block, online, kept, tiles } = self;
        match lane_axis {
            Some(axis) => write!(f, "lanes along axis {axis}, vectors of {vector_bytes} bytes")?,
            None => write!(f, "one element at a time")?,
        }
        let steps: Vec<String> = unroll.iter().map(usize::to_string).collect();
        write!(f, ", {} per step", steps.join(" and "))?;
        if *row_block > 1 {
            write!(f, ", {row_block} vectors of rows together")?;
        }
        if let Some(Online { phase, piece }) = online {
            write!(f, ", phases {phase} and {} together by {piece} vectors", phase + 1)?;
        }
        let kept: Vec<String> = kept.iter().map(|kept| format!("%{}", kept.reg.0)).collect();
        if !kept.is_empty() {
            write!(f, ", keeps {}", kept.join(", "))?;
        }
        tiles.iter().try_for_each(|tiles| write!(f, ", {tiles}"))
    }
}

/// Chooses the schedule of a kernel for vectors of at most this width.
pub fn schedule(kernel: &Kernel, widest: u32) -> Schedule {
    let levels = kernel.levels();
    let dense = dense_lane_axis(kernel, &levels);
    let tiles = if dense.is_none() { Tiles::new(kernel, &levels) } else { None };
    let lane_axis = dense.or(tiles.as_ref().map(|_| kernel.space.len() - 1));
    let vector_bytes = lane_axis.map_or(NARROWEST, |axis| vector_bytes(kernel.space[axis], widest));
    let reduced = lane_axis.is_some_and(|axis| axis >= kernel.parallel);
    let online = if reduced && tiles.is_none() { online(kernel, &levels) } else { None };
    let kept = if reduced { kept(kernel, &levels, online) } else { Vec::new() };
    let row_block = row_block(kernel, lane_axis, vector_bytes);
    let unroll = unroll(kernel, &levels, vector_bytes);
    let schedule = Schedule { lane_axis, vector_bytes, unroll, row_block, online, kept, tiles };
    debug_assert_eq!(schedule.verify(kernel), Ok(()), "{schedule}\n{kernel}");
    schedule
}

impl Schedule {
    /// Checks that every kept value is written by a loop that runs for every row and computes it, and
    /// read by a later one; the text says what is broken.
    ///
    /// # Errors
    /// The first violation.
    pub fn verify(&self, kernel: &Kernel) -> Result<(), String> {
        let levels = kernel.levels();
        let used = used_in(kernel, &levels, kernel.phases() as usize);
        for &Kept { reg, phase } in &self.kept {
            let phases = used[reg.0 as usize];
            if phases & 1 << phase == 0 {
                return Err(format!(
                    "{}: phase {phase} keeps %{} and does not compute it",
                    kernel.name, reg.0
                ));
            }
            if phases >> phase == 1 || phases.trailing_zeros() < phase {
                return Err(format!("{}: %{} is kept for no later phase than {phase}", kernel.name, reg.0));
            }
        }
        Ok(())
    }
}

/// The first phase that can share its loop with the next one, in rows that are long enough.
fn online(kernel: &Kernel, levels: &Levels) -> Option<Online> {
    let long = kernel.row_elements().known().is_some_and(|n| n >= ONLINE_ELEMENTS);
    let one_axis = kernel.parallel + 1 == kernel.space.len();
    let phase = (0..kernel.phases()).find(|&phase| next_follows(kernel, levels, phase))?;
    (long && one_axis).then_some(Online { phase, piece: PIECE })
}

/// Do all reductions of the next phase follow one of this phase, and do both only reduce?
fn next_follows(kernel: &Kernel, levels: &Levels, phase: u32) -> bool {
    let phase_of = |reg: Reg| levels.phase[reg.0 as usize];
    let follows = |maximum: u32| phase_of(kernel.reductions[maximum as usize].input) == phase;
    let mut next = kernel.reductions.iter().filter(|r| phase_of(r.input) == phase + 1).peekable();
    let stores = kernel.stores.iter().filter(|store| kernel.along_row(levels, store));
    next.peek().is_some()
        && next.all(|r| r.follows.is_some_and(follows))
        && !stores.map(|store| phase_of(store.value)).any(|of| of == phase || of == phase + 1)
}

/// Vectors per iteration of each phase: enough independent totals to hide how long an addition takes,
/// and to keep each one short.
fn unroll(kernel: &Kernel, levels: &Levels, vector_bytes: u32) -> Vec<usize> {
    let least = (CACHE_LINE / vector_bytes) as usize;
    let phases = kernel.phases() as usize;
    let used = used_in(kernel, levels, phases);
    let varies = |&i: &usize| levels.dep[i] & kernel.reduced_mask() != 0;
    let steps = |phase: usize| {
        let ours = (0..kernel.code.len()).filter(varies).filter(|&i| used[i] & 1 << phase != 0);
        let ours = ours.filter(|&i| !matches!(kernel.code.inst(Reg(i as u32)), Inst::Const(_))).count();
        let summed =
            kernel.busy_reductions(levels).any(|r| levels.phase[r.input.0 as usize] as usize == phase);
        match ours {
            _ if !summed => 1,
            0..=3 => 4,
            4..=8 => least.max(2),
            _ => least,
        }
    };
    (0..phases).map(steps).collect()
}

/// The widest vectors that the lane axis fills at least once.
fn vector_bytes(extent: Extent, widest: u32) -> u32 {
    let mut bytes = widest;
    while bytes > NARROWEST && extent.known().is_some_and(|n| n < u64::from(bytes / 4)) {
        bytes /= 2;
    }
    bytes
}

/// Do vectors fit an axis of the kernel that every access crosses densely?
pub(crate) fn has_dense_lanes(kernel: &Kernel) -> bool {
    dense_lane_axis(kernel, &kernel.levels()).is_some()
}

/// Rows that belong together: those that share cache lines.
pub(crate) fn rows_together(kernel: &Kernel) -> u64 {
    let levels = kernel.levels();
    match dense_lane_axis(kernel, &levels) {
        Some(axis) if axis < kernel.parallel => LINE_ELEMENTS,
        Some(_) => 1,
        None => Tiles::new(kernel, &levels).map_or(1, |tiles| tiles.rows),
    }
}

/// As many vectors as a cache line holds, half as many where more totals than registers would
/// be carried.
fn row_block(kernel: &Kernel, lane_axis: Option<usize>, vector_bytes: u32) -> usize {
    if kernel.reductions.is_empty() || lane_axis.is_none_or(|axis| axis >= kernel.parallel) {
        return 1;
    }
    let line = (CACHE_LINE / vector_bytes).max(1) as usize;
    if kernel.reductions.len() > MANY_REDUCTIONS { line.div_ceil(2) } else { line }
}

/// The last axis of either kind that every access crosses with stride 0 or 1, with 4-byte lanes.
fn dense_lane_axis(kernel: &Kernel, levels: &Levels) -> Option<usize> {
    let rank = kernel.space.len();
    let mut axes: Vec<usize> = Vec::new();
    axes.extend((kernel.parallel < rank).then_some(rank.wrapping_sub(1)));
    axes.extend(kernel.parallel.checked_sub(1));
    axes.into_iter()
        .filter(|&axis| {
            kernel.accesses().all(|a| is_dense(a.strides[axis])) && lanes_fit(kernel, levels, axis)
        })
        .max_by_key(|&axis| unit_accesses(kernel, axis))
}

fn is_dense(stride: Stride) -> bool {
    stride == Stride::ZERO || stride == Stride::ONE
}

fn unit_accesses(kernel: &Kernel, axis: usize) -> usize {
    kernel.accesses().filter(|a| a.strides[axis] != Stride::ZERO).count()
}

/// Can the elements along an axis be lanes, if accesses are dense there?
fn lanes_fit(kernel: &Kernel, levels: &Levels, axis: usize) -> bool {
    let bit = 1 << axis;
    let narrow = kernel
        .accesses()
        .all(|a| a.strides[axis] == Stride::ZERO || kernel.args[a.arg as usize].dtype.size() == 4);
    let indices =
        kernel.accesses().all(|a| a.indirect.is_none_or(|i| levels.dep[i.register.0 as usize] & bit == 0));
    let registers = kernel.code.insts().iter().enumerate().all(|(i, inst)| {
        let ty = kernel.code.ty(Reg(i as u32));
        levels.dep[i] & bit == 0 || (ty.bytes() == 4 && lane_wise(kernel, inst))
    });
    let positions = kernel.sources.iter().all(|s| match s {
        Source::Position { strides } => strides[axis].power == 0,
        _ => true,
    });
    // along a reduced axis every total has lanes, even of a value that does not vary along it
    let sums = |store: &&Store| {
        matches!(store.kind, StoreKind::Accumulate(_)) && store.access.strides[axis] == Stride::ZERO
    };
    let mut totals = kernel.reductions.iter().map(|r| r.input);
    let mut sums = kernel.stores.iter().filter(sums).map(|store| store.value);
    let four_bytes = |reg: Reg| kernel.code.ty(reg).bytes() == 4;
    let totals = axis < kernel.parallel || (totals.all(four_bytes) && sums.all(four_bytes));
    // a sum over rows cannot end inside a vector of rows
    let accumulates = kernel.stores.iter().any(|s| matches!(s.kind, StoreKind::Accumulate(_)));
    let moving = kernel
        .stores
        .iter()
        .all(|s| s.kind != StoreKind::AddInPlace || s.access.strides[axis] == Stride::ONE);
    narrow
        && indices
        && registers
        && positions
        && moving
        && totals
        && (axis >= kernel.parallel || !accumulates)
}

/// Conversions to and from 8-byte types change the number of lanes.
fn lane_wise(kernel: &Kernel, inst: &Inst) -> bool {
    match inst {
        Inst::Convert(from, to) => {
            let from = kernel.code.ty(*from);
            from.bytes() == 4 && to.bytes() == 4 && !(from.is_float() && *to == ScalarType::I32)
        }
        inst => inst.operands().iter().all(|&reg| kernel.code.ty(reg).bytes() == 4),
    }
}

/// Values along the row that several phases need and that cost more than a load. What stands
/// against a maximum so far is of no use later.
fn kept(kernel: &Kernel, levels: &Levels, online: Option<Online>) -> Vec<Kept> {
    let fits = kernel.row_elements().known().is_none_or(|n| n <= MAX_KEPT_ELEMENTS);
    let phases = kernel.phases() as usize;
    if !fits || phases < 2 || kernel.row_elements() == Extent::ONE {
        return Vec::new();
    }
    let used = used_in(kernel, levels, phases);
    let mut kept: Vec<Kept> = Vec::new();
    for i in 0..kernel.code.len() {
        let reg = Reg(i as u32);
        let varies = levels.dep[i] & kernel.reduced_mask() != 0;
        let source = matches!(kernel.code.inst(reg), Inst::Param { .. } | Inst::Const(_));
        let narrow = kernel.code.ty(reg) != ScalarType::Mask && kernel.code.ty(reg).bytes() == 4;
        let shared = used[i].count_ones() > 1 && last_in_common(kernel, &used, reg);
        let running = online.is_some_and(|online| levels.phase[i] == online.phase + 1);
        if varies && !running && !source && narrow && shared && cost(kernel, levels, &kept, reg) > KEEP_COST {
            kept.push(Kept { reg, phase: used[i].trailing_zeros() });
        }
    }
    kept
}

/// Does some reader of the value belong to fewer phases than the value itself?
fn last_in_common(kernel: &Kernel, used: &[u64], reg: Reg) -> bool {
    let own = used[reg.0 as usize];
    let reader = |(i, inst): (usize, &Inst)| inst.operands().contains(&reg) && used[i] != 0 && used[i] != own;
    let root =
        kernel.reductions.iter().any(|r| r.input == reg) || kernel.stores.iter().any(|s| s.value == reg);
    root || kernel.code.insts().iter().enumerate().any(reader)
}

/// For every register, the phases (as bits) whose loops evaluate it, but for loops that most rows skip.
fn used_in(kernel: &Kernel, levels: &Levels, phases: usize) -> Vec<u64> {
    let mut used = vec![0u64; kernel.code.len()];
    let summed = kernel.busy_reductions(levels).map(|r| r.input);
    let roots = summed.chain(kernel.stores.iter().map(|s| s.value));
    for root in roots {
        used[root.0 as usize] |= 1 << (levels.phase[root.0 as usize] as usize).min(phases);
    }
    for i in (0..kernel.code.len()).rev() {
        for operand in kernel.code.insts()[i].operands() {
            if levels.dep[operand.0 as usize] & kernel.reduced_mask() != 0 {
                used[operand.0 as usize] |= used[i];
            }
        }
    }
    used
}

/// Instructions needed to recompute a value from loads, row values and kept values.
fn cost(kernel: &Kernel, levels: &Levels, kept: &[Kept], root: Reg) -> usize {
    let (mut seen, mut queue) = (Vec::new(), vec![root]);
    while let Some(reg) = queue.pop() {
        let free = levels.dep[reg.0 as usize] & kernel.reduced_mask() == 0
            || kept.iter().any(|kept| kept.reg == reg);
        if !free && !seen.contains(&reg) {
            seen.push(reg);
            queue.extend(kernel.code.inst(reg).operands());
        }
    }
    seen.len()
}
