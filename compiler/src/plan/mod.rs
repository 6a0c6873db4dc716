//! Planning: which units run in which order, and where every value lives.
//!
//! Input: a fused graph. Output: the buffers and steps of a [`Program`], with kernels still to
//! be emitted. Invariants: a unit comes after everything it reads; the unit that updates an
//! input in place comes after every other reader of that input.

mod buffers;
mod concurrent;
mod describe;
mod order;
mod panels;
mod reuse;
mod units;

pub use units::{Unit, Work};

use crate::fuse::Fusion;
use crate::lower::same_code;
use crate::schedule::rows_together;
use evenkeel_ir::program::{Chunking, Program};
use evenkeel_ir::{Graph, Kernel};

/// A program whose kernels are not compiled yet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything but code; `launch.code` counts `kernels`.
    pub program: Program,
    /// The kernels, in order of launch.
    pub kernels: Vec<Planned>,
}

/// A kernel of a plan.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The kernel.
    pub kernel: Kernel,
    /// Which arguments share memory with an output.
    pub volatile: Vec<bool>,
    /// The product on whose panels it runs.
    pub panels_of: Option<String>,
    /// Names of the ops that were fused.
    pub ops: Vec<String>,
}

/// Plans a fused graph. `updates` pairs outputs with the inputs that they overwrite.
pub fn plan(graph: &Graph, fusion: &Fusion, updates: &[(usize, usize)]) -> Plan {
    let mut units = units::units(graph, fusion);
    let (order, in_place) = order::order(graph, &mut units, updates);
    debug_assert_eq!(same_code(order.iter().flat_map(|&unit| units[unit].kernels())), Ok(()));
    let merged = panels::merge(&units, &order);
    reuse::reuse(concurrent::join(buffers::assemble(graph, units, &merged, updates, &in_place)))
}

/// Cuts a kernel into chunks: whole cache lines of rows, where rows share them.
pub(crate) fn chunking(kernel: &Kernel, multiple: u64, single: bool) -> Chunking {
    let line = rows_together(kernel);
    // the least common multiple: `line` is a power of two
    let shared = 1 << multiple.trailing_zeros().min(line.trailing_zeros());
    let multiple = multiple * (line / shared);
    Chunking { rows: kernel.rows(), row_elements: kernel.row_elements(), multiple, single }
}
