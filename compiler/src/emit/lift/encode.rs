//! Encoding lifted instructions, with their constants behind them.

use super::Refused;
use iced_x86::{BlockEncoder, BlockEncoderOptions, Instruction, InstructionBlock};

/// Where constants are taken to lie while code is encoded.
const POOL: u64 = 1 << 24;
/// Where code is taken to lie while it is encoded.
const START: u64 = 1 << 12;
/// Code and constants begin at multiples of a cache line.
const LINE: usize = 64;

/// Constants of a function.
#[derive(Default)]
pub(super) struct Pool {
    bytes: Vec<u8>,
}

impl Pool {
    /// Makes an instruction read a constant of the pool.
    pub(super) fn refer(&mut self, i: &mut Instruction, constant: &[u8]) {
        let size = constant.len();
        let aligned = |start: &usize| start.is_multiple_of(size);
        let known = (0..self.bytes.len().saturating_sub(size - 1)).filter(aligned);
        let place = known.into_iter().find(|&start| &self.bytes[start..start + size] == constant);
        let place = place.unwrap_or_else(|| {
            let start = self.bytes.len().next_multiple_of(size);
            self.bytes.resize(start, 0);
            self.bytes.extend_from_slice(constant);
            start
        });
        i.set_memory_displacement64(POOL + place as u64);
        i.set_memory_displ_size(8);
    }
}

/// Machine code of a function, then its constants.
pub(super) fn encode(code: &[Instruction], pool: &Pool) -> Result<Vec<u8>, Refused> {
    let options =
        BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS | BlockEncoderOptions::RETURN_CONSTANT_OFFSETS;
    let block = InstructionBlock::new(code, START);
    let encoded = BlockEncoder::encode(64, block, options).map_err(|error| Refused(error.to_string()))?;
    let mut bytes = encoded.code_buffer;
    let moved = (START as usize + bytes.len().next_multiple_of(LINE)) as i64 - POOL as i64;
    for (i, instruction) in code.iter().enumerate().filter(|(_, i)| i.is_ip_rel_memory_operand()) {
        let at =
            encoded.new_instruction_offsets[i] as usize + encoded.constant_offsets[i].displacement_offset();
        let field = &mut bytes[at..at + 4];
        let distance = i32::from_le_bytes(field.try_into().expect("four bytes"));
        field.copy_from_slice(&((i64::from(distance) + moved) as i32).to_le_bytes());
        debug_assert_eq!(instruction.memory_displ_size(), 8);
    }
    if !pool.bytes.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(LINE), 0);
        bytes.extend_from_slice(&pool.bytes);
    }
    Ok(bytes)
}
