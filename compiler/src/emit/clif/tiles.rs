//! Tiles: what loads read is copied into scratch memory before a few rows are walked, and what
//! stores wrote there is copied out after it. See [`crate::schedule::Tiles`].

use super::frame::{Frame, Pointer};
use super::squares::SIDE;
use crate::schedule::{Tiles, rows_share_lines};
use cranelift::prelude::{InstBuilder, MemFlagsData, Value, types};
use evenkeel_ir::Extent;
use evenkeel_ir::kernel::{Source, Stride};

/// Rows of a tile lie this many elements further apart than needed, so that they are not all in
/// the same set of a cache.
const APART: u64 = 16;

/// A part of an axis.
#[derive(Clone, Copy)]
struct Span {
    axis: usize,
    start: Value,
    end: Value,
}

/// What a tile holds.
struct Held {
    /// In memory, and in the tile.
    places: [Pointer; 2],
    /// Are neighboring rows nearer to each other in memory than elements of a row?
    across: bool,
}

type CopyBody<'f, 'a, 'b> = &'f mut dyn FnMut(&mut Frame<'a, 'b>, &Pointer, &Pointer);

impl<'a, 'b> Frame<'a, 'b> {
    /// Elements from a row of a tile to the next.
    fn tile_pitch(&self, tiles: &Tiles) -> Extent {
        let row = tiles.elements.map_or(self.kernel.row_elements(), Extent::fixed);
        row.known().map_or(row, |n| Extent::fixed((n.div_ceil(APART) | 1) * APART))
    }

    /// Elements of all tiles together.
    pub(super) fn tile_elements(&self) -> Extent {
        let Some(tiles) = &self.schedule.tiles else { return Extent::fixed(0) };
        let count = tiles.loads.len() + tiles.stores.len();
        self.tile_pitch(tiles).times(Extent::fixed(tiles.rows * count as u64))
    }

    /// Does a source read a tile?
    pub(super) fn loads_tile(&self, source: usize) -> bool {
        self.schedule.tiles.as_ref().is_some_and(|tiles| tiles.loads.contains(&source))
    }

    /// All rows of the launch, tile after tile.
    pub(super) fn tiled_rows(&mut self, tiles: &Tiles, begin: Value, end: Value) {
        let axis = self.kernel.parallel - 1;
        let rows = tiles.rows as i64;
        self.segments(axis, begin, end, &mut |frame, first, last| {
            frame.counted(first, last, rows, &[], None, &mut |frame, start, _| {
                let end = frame.b.ins().iadd_imm_s(start, rows);
                let end = frame.b.ins().umin(end, last);
                frame.tiles_of_rows(tiles, Span { axis, start, end });
                Vec::new()
            });
        });
    }

    fn tiles_of_rows(&mut self, tiles: &Tiles, rows: Span) {
        let axis = self.kernel.space.len() - 1;
        let (start, end) = (self.int(0), self.extent(axis));
        let Some(elements) = tiles.elements else {
            return self.tile(tiles, rows, Span { axis, start, end });
        };
        self.counted(start, end, elements as i64, &[], None, &mut |frame, start, _| {
            let stop = frame.b.ins().iadd_imm_s(start, elements as i64);
            let end = frame.b.ins().umin(stop, end);
            frame.stretch = Some((start, end));
            frame.tile(tiles, rows, Span { axis, start, end });
            frame.stretch = None;
            Vec::new()
        });
    }

    /// One tile: in, rows, out.
    fn tile(&mut self, tiles: &Tiles, rows: Span, lanes: Span) {
        let loads = tiles.loads.iter().copied();
        let places: Vec<usize> = loads.chain(tiles.stores.iter().map(|&s| self.store_pointer(s))).collect();
        let saved = self.pointers.clone();
        let held: Vec<Held> =
            (0..places.len()).map(|k| self.held(tiles, k, places[k], rows, lanes)).collect();
        for (&place, Held { places: [_, tile], .. }) in places.iter().zip(&held) {
            self.pointers[place] = Some(tile.clone());
        }
        let (loads, stores) = held.split_at(tiles.loads.len());
        for Held { places: [memory, tile], across } in loads {
            self.copy_tile(memory, tile, *across, rows, lanes);
        }
        self.counted(rows.start, rows.end, 1, &[], None, &mut |frame, row, _| {
            frame.at_index(rows.axis, row, Frame::row);
            Vec::new()
        });
        self.pointers = saved;
        for Held { places: [memory, tile], across } in stores {
            self.copy_tile(tile, memory, *across, rows, lanes);
        }
    }

    /// What a tile holds of the access at a place; its pointer takes the indices of the kernel.
    fn held(&mut self, tiles: &Tiles, number: usize, place: usize, rows: Span, lanes: Span) -> Held {
        let access = match place.checked_sub(self.kernel.sources.len()) {
            Some(store) => &self.kernel.stores[store].access,
            None => match &self.kernel.sources[place] {
                Source::Load(access) => access,
                other => unreachable!("{other:?} has no place in memory"),
            },
        };
        let pitch: Stride = self.tile_pitch(tiles).into();
        let mut strides = self.kept_strides();
        // what all rows share is there once
        strides[rows.axis] = if access.strides[rows.axis] == Stride::ZERO { Stride::ZERO } else { pitch };
        let (zero, first) = (self.int(0), self.int(number as i64 * tiles.rows as i64));
        let start = self.advance(self.tiles, Some(first), pitch, 4);
        let skipped = self.advance(zero, Some(rows.start), strides[rows.axis], 4);
        let skipped = self.advance(skipped, Some(lanes.start), strides[lanes.axis], 4);
        let at = self.b.ins().isub(start, skipped);
        let memory = self.pointers[place].clone().expect("an access has a pointer");
        Held {
            places: [memory, Pointer { at, strides, size: 4 }],
            across: rows_share_lines(self.kernel, access),
        }
    }

    /// Copies a tile, neighbors in memory one after another.
    fn copy_tile(&mut self, from: &Pointer, to: &Pointer, across: bool, rows: Span, lanes: Span) {
        let axes = self.kernel.parallel..lanes.axis;
        let mut spans: Vec<Span> =
            axes.map(|axis| Span { axis, start: self.int(0), end: self.extent(axis) }).collect();
        if across {
            return self.nest(&spans, from, to, &mut |frame, from, to| {
                frame.copy_columns(from, to, rows, lanes);
            });
        }
        let shared = from.strides[rows.axis] == Stride::ZERO || to.strides[rows.axis] == Stride::ZERO;
        spans.push(lanes);
        spans.splice(0..0, (!shared).then_some(rows));
        self.nest(&spans, from, to, &mut Self::copy_element);
    }

    /// Copies column after column; squares, where neighbors in one place are neighbors in the other
    /// along the other axis.
    fn copy_columns(&mut self, from: &Pointer, to: &Pointer, rows: Span, lanes: Span) {
        let (near, far) = if from.strides[rows.axis] == Stride::ONE { (rows, lanes) } else { (lanes, rows) };
        let (mut low, mut left) = (near.start, far.start);
        if from.strides[near.axis] == Stride::ONE && to.strides[far.axis] == Stride::ONE {
            let width = self.lanes();
            low = self.whole(near.start, near.end, SIDE);
            left = self.whole(far.start, far.end, width);
            self.counted(far.start, left, width, &[], None, &mut |frame, i, _| {
                let (from, to) = (frame.moved(from, far.axis, i), frame.moved(to, far.axis, i));
                frame.counted(near.start, low, SIDE, &[], None, &mut |frame, i, _| {
                    let (from, to) = (frame.moved(&from, near.axis, i), frame.moved(&to, near.axis, i));
                    frame.copy_squares(&from, &to, near.axis, far.axis);
                    Vec::new()
                });
                Vec::new()
            });
        }
        // rows inside: they are near each other in memory
        let ordered = |a: Span, b: Span| if a.axis == rows.axis { [b, a] } else { [a, b] };
        let (below, right) = (Span { start: low, ..near }, Span { start: left, ..far });
        self.nest(&ordered(right, near), from, to, &mut Self::copy_element);
        self.nest(&ordered(Span { end: left, ..far }, below), from, to, &mut Self::copy_element);
    }

    /// Loops over parts of axes.
    fn nest(&mut self, spans: &[Span], from: &Pointer, to: &Pointer, body: CopyBody<'_, 'a, 'b>) {
        let Some((&Span { axis, start, end }, rest)) = spans.split_first() else {
            return body(self, from, to);
        };
        self.counted(start, end, 1, &[], None, &mut |frame, i, _| {
            let (from, to) = (frame.moved(from, axis, i), frame.moved(to, axis, i));
            frame.nest(rest, &from, &to, body);
            Vec::new()
        });
    }

    fn moved(&mut self, pointer: &Pointer, axis: usize, index: Value) -> Pointer {
        let at = self.advance(pointer.at, Some(index), pointer.strides[axis], pointer.size);
        Pointer { at, ..pointer.clone() }
    }

    /// Copies 4 bytes.
    fn copy_element(&mut self, from: &Pointer, to: &Pointer) {
        let flags = MemFlagsData::new().with_notrap();
        let value = self.b.ins().load(types::I32, flags, from.at, 0);
        self.b.ins().store(flags, value, to.at, 0);
    }

    /// The address some steps along an axis from where a pointer is.
    pub(super) fn stepped(&mut self, pointer: &Pointer, axis: usize, number: i64) -> (Value, i32) {
        let stride = pointer.strides[axis];
        let bytes = i32::try_from(number * stride.scale * pointer.size).ok().filter(|_| stride.power == 0);
        if let Some(bytes) = bytes {
            return (pointer.at, bytes);
        }
        let number = self.int(number);
        (self.advance(pointer.at, Some(number), stride, pointer.size), 0)
    }
}
