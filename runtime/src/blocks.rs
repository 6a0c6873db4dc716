//! Memory of tensors: cache lines that begin, in large tensors, at the same place of a page.
//!
//! Where what is written lies a few lines behind what is read, modulo pages, loads wait for stores
//! that only seem to overlap. Allocators put large memory anywhere.

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code, reason = "read and written through pointers")]
pub(crate) struct Block([u8; LINE]);

const LINE: usize = 64;
const PAGE: usize = 4096;
/// Where large memory begins in a page; one line behind its start, as the first large allocations
/// of most processes do.
pub(crate) const MARGIN: usize = LINE;
/// Blocks of memory that is placed so.
const LARGE: usize = 16 * PAGE / LINE;

/// A number of blocks, all zeros at first.
pub(crate) struct Blocks {
    memory: Vec<Block>,
    /// Blocks before the first that is used.
    start: usize,
    length: usize,
}

impl Blocks {
    pub(crate) fn zeros(length: usize) -> Blocks {
        let spare = if length >= LARGE { PAGE / LINE } else { 0 };
        let memory = vec![Block([0; LINE]); length + spare];
        let place = memory.as_ptr() as usize % PAGE;
        let start = if spare == 0 { 0 } else { (PAGE + MARGIN - place) % PAGE / LINE };
        Blocks { memory, start, length }
    }

    /// Blocks for so many bytes, at least one: the address of an empty tensor is readable.
    pub(crate) fn for_bytes(bytes: usize) -> usize {
        bytes.div_ceil(LINE).max(1)
    }

    /// Changes the number of blocks. They keep their contents, unless there are more of them or
    /// `clear` asks for zeros.
    pub(crate) fn resize(&mut self, length: usize, clear: bool) {
        if self.start + length > self.memory.len() {
            *self = Blocks::zeros(length);
        } else if clear || length > self.length {
            self.memory[self.start..self.start + length].fill(Block([0; LINE]));
        }
        self.length = length;
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.used().as_ptr().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory[self.start..self.start + self.length].as_mut_ptr().cast()
    }

    fn used(&self) -> &[Block] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl Clone for Blocks {
    fn clone(&self) -> Blocks {
        let mut blocks = Blocks::zeros(self.length);
        let Blocks { memory, start, length } = &mut blocks;
        memory[*start..*start + *length].copy_from_slice(self.used());
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_memory_begins_at_the_same_place_of_a_page() {
        let mut kept = Vec::new();
        for length in [1, 3, LARGE - 1, LARGE, LARGE + 1, 5000, 40_000] {
            let mut blocks = Blocks::zeros(length);
            blocks.memory[blocks.start].0[0] = 7;
            let copy = blocks.clone();
            assert_eq!(copy.used()[0].0[0], 7);
            for blocks in [&blocks, &copy] {
                let place = blocks.as_ptr() as usize;
                assert_eq!((place % LINE, blocks.used().len()), (0, length));
                assert!(length < LARGE || place % PAGE == MARGIN);
            }
            let address = blocks.as_ptr();
            blocks.resize(1, false);
            assert_eq!((blocks.as_ptr(), blocks.used()[0].0[0]), (address, 7));
            blocks.resize(length, true);
            assert_eq!((blocks.as_ptr(), blocks.used()[0].0[0]), (address, 0));
            kept.push((blocks, copy));
        }
    }
}
