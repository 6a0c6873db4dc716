//! Squares of 4 by 4 elements whose rows become columns in registers: as many side by side as a
//! vector has 16-byte parts.
//!
//! Each part of a vector is loaded from another address. Code that widens vectors does that where it
//! sees a load of `F64X2`, which stays narrow, and then saturating subtractions, which nothing else
//! here emits: they stand for the second part of a vector and those after it. At 16 bytes there
//! are none.

use super::frame::{Frame, Pointer};
use cranelift::codegen::ir::ConstantData;
use cranelift::prelude::{InstBuilder, MemFlagsData, Value, types};

/// Rows and columns of a square.
pub(super) const SIDE: i64 = 4;

/// Which bytes of two vectors are taken: 4 or 8 of each in turn, from the lower or upper halves.
const LOW_4: [u8; 16] = [0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23];
const HIGH_4: [u8; 16] = [8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31];
const LOW_8: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
const HIGH_8: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31];

impl Frame<'_, '_> {
    /// Copies four elements along `near`, where they are neighbors in `from`, times a vector along
    /// `far`, where they are neighbors in `to`.
    pub(super) fn copy_squares(&mut self, from: &Pointer, to: &Pointer, near: usize, far: usize) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|column| self.column(from, far, column));
        let (low, high) = (self.interleave(a, b, LOW_4), self.interleave(a, b, HIGH_4));
        let (next_low, next_high) = (self.interleave(c, d, LOW_4), self.interleave(c, d, HIGH_4));
        let rows = [
            self.interleave(low, next_low, LOW_8),
            self.interleave(low, next_low, HIGH_8),
            self.interleave(high, next_high, LOW_8),
            self.interleave(high, next_high, HIGH_8),
        ];
        for (number, row) in rows.into_iter().enumerate() {
            let (address, offset) = self.stepped(to, near, number as i64);
            self.b.ins().store(MemFlagsData::new().with_notrap(), row, address, offset);
        }
    }

    /// The column with this number of every square.
    fn column(&mut self, from: &Pointer, far: usize, number: i64) -> Value {
        let parts = self.lanes() / SIDE;
        let part = |frame: &mut Self, part: i64, ty| {
            let (address, offset) = frame.stepped(from, far, part * SIDE + number);
            frame.b.ins().load(ty, MemFlagsData::new().with_notrap(), address, offset)
        };
        if parts == 1 {
            return part(self, 0, types::I8X16);
        }
        let first = part(self, 0, types::F64X2);
        let mut column = self.cast_bits(types::I8X16, first);
        for number in 1..parts {
            let ty = if number == 2 { types::I16X8 } else { types::I8X16 };
            let next = part(self, number, ty);
            let old = self.cast_bits(ty, column);
            let marked = match number {
                3 => self.b.ins().ssub_sat(old, next),
                _ => self.b.ins().usub_sat(old, next),
            };
            column = self.cast_bits(types::I8X16, marked);
        }
        column
    }

    fn interleave(&mut self, a: Value, b: Value, order: [u8; 16]) -> Value {
        let order = self.b.func.dfg.immediates.push(ConstantData::from(order.as_slice()));
        self.b.ins().shuffle(a, b, order)
    }
}
