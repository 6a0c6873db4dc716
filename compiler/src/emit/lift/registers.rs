//! Lifted code at 512 bits, made better by what only that width has: 16 more registers.
//!
//! Spill slots that hold whole vectors become registers, copies are forwarded to where they are
//! read, and copies that nobody reads are dropped. Start at [`more`].

use super::table::is_multiply_add;
use iced_x86::{Code, FlowControl, Instruction, OpKind, Register};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

/// Registers that 128-bit code does not have.
const MORE: Range<u32> = 16..32;

/// The same function with more registers and fewer moves.
pub(super) fn more(mut code: Vec<Instruction>, targets: &HashSet<u64>) -> Vec<Instruction> {
    promote_slots(&mut code);
    forward_copies(&mut code, targets);
    let blocks = blocks(&code, targets);
    let live = live_after(&code, &blocks);
    let mut dead = vec![false; code.len()];
    for (block, live) in blocks.iter().zip(live) {
        mark_dead(&code, block.clone(), live, &mut dead);
    }
    without(code, &dead)
}

/// Drops instructions; branches to a dropped one go to the next.
fn without(mut code: Vec<Instruction>, dead: &[bool]) -> Vec<Instruction> {
    let (mut moved, mut next) = (HashMap::new(), 0);
    for (i, dead) in code.iter_mut().zip(dead).rev() {
        match (i.ip(), *dead) {
            (0, _) => {}
            (ip, true) => drop(moved.insert(ip, next)),
            (ip, false) => next = ip,
        }
    }
    let branches = code.iter_mut().filter(|i| i.flow_control() != FlowControl::Next && i.op_count() > 0);
    for branch in branches {
        let target = moved.get(&branch.near_branch_target());
        target.into_iter().for_each(|&target| branch.set_near_branch64(target));
    }
    code.into_iter().zip(dead).filter(|(_, dead)| !**dead).map(|(i, _)| i).collect()
}

/// The place of a 64-byte slot that an instruction accesses.
fn slot(i: &Instruction) -> Option<u64> {
    let memory = (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Memory);
    (memory && i.memory_base() == Register::RSP).then(|| i.memory_displacement64())
}

/// Replaces slots that are only accessed as whole vectors.
fn promote_slots(code: &mut [Instruction]) {
    let mut slots: BTreeMap<u64, bool> = BTreeMap::new();
    for i in code.iter() {
        if let Some(place) = slot(i) {
            let whole = i.memory_size().size() == 64 && !i.is_broadcast();
            *slots.entry(place / 64 * 64).or_insert(true) &= whole && place % 64 == 0;
        }
    }
    let promoted: BTreeMap<u64, Register> = slots
        .into_iter()
        .filter(|(_, whole)| *whole)
        .map(|(place, _)| place)
        .zip(MORE.map(|n| Register::ZMM0 + n))
        .collect();
    for i in code {
        let Some(&register) = slot(i).and_then(|place| promoted.get(&place)) else { continue };
        let k = (0..i.op_count()).find(|&k| i.op_kind(k) == OpKind::Memory).expect("a slot is memory");
        i.set_op_kind(k, OpKind::Register);
        i.set_op_register(k, register);
    }
}

/// Stretches of code that are entered at their first and left after their last instruction.
fn blocks(code: &[Instruction], targets: &HashSet<u64>) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut start = 0;
    for (place, i) in code.iter().enumerate() {
        if place > start && targets.contains(&i.ip()) {
            blocks.push(start..place);
            start = place;
        }
        if i.flow_control() != FlowControl::Next {
            blocks.push(start..place + 1);
            start = place + 1;
        }
    }
    if start < code.len() {
        blocks.push(start..code.len());
    }
    blocks
}

/// A copy between whole vector registers: to, from.
fn copy(i: &Instruction) -> Option<(Register, Register)> {
    let moves = matches!(
        i.code(),
        Code::EVEX_Vmovaps_zmm_k1z_zmmm512
            | Code::EVEX_Vmovups_zmm_k1z_zmmm512
            | Code::EVEX_Vmovups_zmmm512_k1z_zmm
    );
    (moves && i.op0_kind() == OpKind::Register && i.op1_kind() == OpKind::Register)
        .then(|| (i.op0_register(), i.op1_register()))
}

/// Reads what was copied instead of the copy, up to where code is entered from elsewhere.
fn forward_copies(code: &mut [Instruction], targets: &HashSet<u64>) {
    let mut copy_of: [Option<Register>; 32] = [None; 32];
    for i in code {
        if targets.contains(&i.ip()) {
            copy_of = [None; 32];
        }
        for k in 1..i.op_count() {
            if i.op_kind(k) == OpKind::Register && i.op_register(k).is_zmm() {
                let from = copy_of[i.op_register(k).number()];
                from.into_iter().for_each(|from| i.set_op_register(k, from));
            }
        }
        let Some(written) = written(i) else { continue };
        copy_of
            .iter_mut()
            .filter(|from| from.is_some_and(|f| f.number() == written))
            .for_each(|from| *from = None);
        copy_of[written] = copy(i).map(|(_, from)| from).filter(|from| from.number() != written);
    }
}

fn is_store(i: &Instruction) -> bool {
    i.op_count() > 0 && i.op0_kind() != OpKind::Register
}

/// The first operand that is read.
fn first_source(i: &Instruction) -> u32 {
    u32::from(!is_store(i) && !is_multiply_add(i.mnemonic()))
}

/// Number of the vector register that an instruction writes.
fn written(i: &Instruction) -> Option<usize> {
    let register = (i.op_count() > 0 && i.op0_kind() == OpKind::Register).then(|| i.op0_register())?;
    let compares = matches!(i.mnemonic(), iced_x86::Mnemonic::Vucomiss | iced_x86::Mnemonic::Vucomisd);
    (register.is_vector_register() && !compares).then(|| register.number())
}

/// Vector registers that an instruction reads, as bits.
fn read(i: &Instruction) -> u32 {
    let first = if written(i).is_none() { 0 } else { first_source(i) };
    (first..i.op_count())
        .filter(|&k| i.op_kind(k) == OpKind::Register && i.op_register(k).is_vector_register())
        .fold(0, |bits, k| bits | 1 << i.op_register(k).number())
}

/// Registers that are read before they are written, going backward over a block.
fn live_before(code: &[Instruction], live_after: u32) -> u32 {
    code.iter().rev().fold(live_after, |live, i| live & !written(i).map_or(0, |r| 1 << r) | read(i))
}

/// For every block, the registers that are read after it.
fn live_after(code: &[Instruction], blocks: &[Range<usize>]) -> Vec<u32> {
    let block_at = |ip: u64| blocks.iter().position(|block| code[block.start].ip() == ip);
    let next: Vec<[Option<usize>; 2]> = (0..blocks.len())
        .map(|number| {
            let last = &code[blocks[number].end - 1];
            let falls = matches!(last.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
            let jumps = matches!(
                last.flow_control(),
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
            );
            let target = jumps.then(|| block_at(last.near_branch_target())).flatten();
            [falls.then_some(number + 1), target]
        })
        .collect();
    let mut before = vec![0u32; blocks.len()];
    let after = |before: &[u32], number: usize| {
        next[number].iter().flatten().filter_map(|&b| before.get(b)).fold(0, |live, b| live | b)
    };
    loop {
        let mut changed = false;
        for number in (0..blocks.len()).rev() {
            let live = live_before(&code[blocks[number].clone()], after(&before, number));
            changed |= live != before[number];
            before[number] = live;
        }
        if !changed {
            return (0..blocks.len()).map(|number| after(&before, number)).collect();
        }
    }
}

/// Marks copies, of vectors or masks, that are not read.
fn mark_dead(code: &[Instruction], block: Range<usize>, mut live: u32, dead: &mut [bool]) {
    for place in block.rev() {
        let i = &code[place];
        let copies = i.code() == Code::EVEX_Vpmovm2d_zmm_kr || copy(i).is_some();
        if let (true, Some(register)) = (copies, written(i)) {
            let itself = copy(i).is_some_and(|(to, from)| to == from);
            if itself || live & 1 << register == 0 {
                dead[place] = true;
                continue;
            }
        }
        live = live & !written(i).map_or(0, |r| 1 << r) | read(i);
    }
}
