//! Tiles: scratch memory for accesses whose elements are not neighbors along the lane axis.

use super::{LINE_ELEMENTS, is_dense, lanes_fit};
use evenkeel_ir::kernel::{Access, Kernel, Levels, Source, StoreKind, Stride};
use std::fmt;

/// Rows by elements of a tile where neighboring rows share cache lines: as many lines of a page
/// together as a first cache holds of one tile.
const ACROSS: (u64, u64) = (64, 128);
/// The same where threads would share too few such tiles.
const FEW_ROWS: (u64, u64) = (LINE_ELEMENTS, 256);
/// Rows below which that is so.
const MANY_ROWS: u64 = 16 * ACROSS.0;
/// The same where rows share nothing.
const ALONG: (u64, u64) = (1, 256);
/// Elements of a tile of whole rows at most, so that a second cache holds it.
const MAX_ELEMENTS: u64 = 1 << 17;
/// A row shorter than this fills too few vectors.
const SHORT: u64 = 8;

/// A tile is a few neighboring rows, of which it holds what some loads read, one element after
/// another, or what some stores write. Loads are copied in before the rows are walked, stores
/// out after it. Neighboring rows share cache lines of what is copied.
#[derive(Clone, Debug, PartialEq)]
pub struct Tiles {
    /// Places of the sources that are loaded through tiles.
    pub loads: Vec<usize>,
    /// Places of such stores.
    pub stores: Vec<usize>,
    /// Rows of a tile.
    pub rows: u64,
    /// Elements of a row that a tile holds; `None`: all.
    pub elements: Option<u64>,
}

impl fmt::Display for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tiles { loads, stores, rows, elements } = self;
        match elements {
            Some(elements) => write!(f, "tiles of {rows} rows by {elements}")?,
            None => write!(f, "tiles of {rows} whole rows")?,
        }
        loads.iter().try_for_each(|load| write!(f, ", for param {load}"))?;
        stores.iter().try_for_each(|store| write!(f, ", for store {store}"))
    }
}

impl Tiles {
    /// Tiles for lanes along the last axis, if they make lanes fit it.
    pub(super) fn new(kernel: &Kernel, levels: &Levels) -> Option<Tiles> {
        let lane = kernel
            .space
            .len()
            .checked_sub(1)
            .filter(|&axis| 0 < kernel.parallel && kernel.parallel <= axis)?;
        let skips = |access: &Access| !is_dense(access.strides[lane]);
        let plain = |access: &Access| !skips(access) || access.indirect.is_none();
        let written = kernel.stores.iter().all(|s| !skips(&s.access) || s.kind == StoreKind::Write);
        if !written || !kernel.accesses().all(plain) || !lanes_fit(kernel, levels, lane) {
            return None;
        }
        let load = |source: &Source| matches!(source, Source::Load(access) if skips(access));
        let loads = (0..kernel.sources.len()).filter(|&place| load(&kernel.sources[place])).collect();
        let stores = (0..kernel.stores.len()).filter(|&place| skips(&kernel.stores[place].access)).collect();
        let (rows, elements) = shape(kernel, lane)?;
        Some(Tiles { loads, stores, rows, elements })
    }
}

/// Rows and elements of a tile, all elements where rows cannot be cut; `None` where tiles do not pay.
fn shape(kernel: &Kernel, lane: usize) -> Option<(u64, Option<u64>)> {
    let row = kernel.row_elements();
    let few = kernel.rows().known().is_some_and(|n| n < MANY_ROWS);
    let (rows, elements) = match kernel.accesses().any(|access| rows_share_lines(kernel, access)) {
        false => ALONG,
        true if few => FEW_ROWS,
        true => ACROSS,
    };
    if row.known().is_some_and(|n| n < SHORT) {
        return None;
    }
    if can_cut(kernel, lane) && row.known().is_none_or(|n| n > 2 * elements) {
        return Some((rows, Some(elements)));
    }
    let most = row.known().map_or(LINE_ELEMENTS, |n| MAX_ELEMENTS / n);
    Some((rows.min(1 << most.checked_ilog2()?), None))
}

/// May each part of a row be computed by itself?
fn can_cut(kernel: &Kernel, lane: usize) -> bool {
    let written = |store: &evenkeel_ir::kernel::Store| {
        store.kind == StoreKind::Write && store.access.strides[lane] != Stride::ZERO
    };
    lane == kernel.parallel && kernel.reductions.is_empty() && kernel.stores.iter().all(written)
}

/// Are the elements of an access at neighboring rows nearer to each other than those along the row?
pub(crate) fn rows_share_lines(kernel: &Kernel, access: &Access) -> bool {
    let size = |stride: Stride| (stride.power, stride.scale.unsigned_abs());
    let (along, across) = (access.strides[kernel.space.len() - 1], access.strides[kernel.parallel - 1]);
    !is_dense(along) && across != Stride::ZERO && size(across) < size(along)
}
