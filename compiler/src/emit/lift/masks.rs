//! Mask registers at 512 bits: which vector register each one equals, and which copies of them
//! into vector registers are read.

use iced_x86::{Code, FlowControl, Instruction, OpKind, Register};
use std::collections::{HashMap, HashSet};

/// Mask registers in use; k0 cannot select.
const COUNT: usize = 7;

/// What the mask registers hold within a stretch of code without branches.
#[derive(Default)]
pub(super) struct Masks {
    vector_of: [Option<Register>; COUNT],
    next: usize,
}

impl Masks {
    /// The mask register that equals a vector register.
    pub(super) fn of(&self, vector: Register) -> Option<Register> {
        let place = self.vector_of.iter().position(|&v| v == Some(vector))?;
        Some(Register::K1 + place as u32)
    }

    /// A mask register that will equal a vector register.
    pub(super) fn hold(&mut self, vector: Register) -> Register {
        self.written(vector);
        let place = self.next;
        self.next = (place + 1) % COUNT;
        self.vector_of[place] = Some(vector);
        Register::K1 + place as u32
    }

    /// A vector register changes.
    pub(super) fn written(&mut self, vector: Register) {
        self.vector_of.iter_mut().filter(|v| **v == Some(vector)).for_each(|v| *v = None);
    }

    /// Code begins that is also reached from elsewhere.
    pub(super) fn forget(&mut self) {
        *self = Masks::default();
    }
}

/// The code without copies of masks that no instruction reads.
pub(super) fn without_dead_copies(code: Vec<Instruction>) -> Vec<Instruction> {
    let is_copy = |i: &Instruction| i.code() == Code::EVEX_Vpmovm2d_zmm_kr;
    if !code.iter().any(is_copy) {
        return code;
    }
    let places: HashMap<u64, usize> =
        code.iter().enumerate().filter(|(_, i)| i.ip() != 0).map(|(place, i)| (i.ip(), place)).collect();
    let dead = |place: usize| is_copy(&code[place]) && !is_read(&code, &places, place);
    let dead: Vec<bool> = (0..code.len()).map(dead).collect();
    code.into_iter().zip(dead).filter(|(_, dead)| !dead).map(|(i, _)| i).collect()
}

/// Does any way from the copy at `place` meet a reader of its vector register before a write?
fn is_read(code: &[Instruction], places: &HashMap<u64, usize>, place: usize) -> bool {
    let register = code[place].op0_register();
    let (mut seen, mut queue) = (HashSet::new(), vec![place + 1]);
    while let Some(at) = queue.pop() {
        let Some(i) = code.get(at).filter(|_| seen.insert(at)) else { continue };
        if reads(i, register) {
            return true;
        }
        if i.op0_kind() == OpKind::Register && same(i.op0_register(), register) {
            continue;
        }
        let falls_through = matches!(i.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
        queue.extend(falls_through.then_some(at + 1));
        if matches!(i.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch) {
            queue.extend(places.get(&i.near_branch_target()));
        }
    }
    false
}

/// An instruction that only writes its first operand does not read it; fused multiply-adds do.
fn reads(i: &Instruction, register: Register) -> bool {
    let writes_only = !super::table::is_multiply_add(i.mnemonic());
    let stores = i.op0_kind() != OpKind::Register;
    let first = u32::from(writes_only && !stores);
    (first..i.op_count()).any(|k| i.op_kind(k) == OpKind::Register && same(i.op_register(k), register))
}

/// Do two registers share bits?
fn same(a: Register, b: Register) -> bool {
    a.is_vector_register() && b.is_vector_register() && a.number() == b.number()
}
