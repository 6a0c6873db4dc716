//! Lane lifting: Cranelift's 128-bit code, re-encoded at 256 or 512 bits.
//!
//! Cranelift's x64 vectors are 16 bytes wide. Kernels are emitted with the strides and trip
//! counts of wider vectors, and here every lane-wise instruction of the machine code becomes its
//! wide twin (`table.rs`); the stack frame grows by the same factor, so that spill slots hold whole
//! vectors. Scalar instructions stay. What is not known is [`Refused`]; then the kernel is
//! emitted again for narrower vectors. Start at [`lift`].
//!
//! Why this is sound: lane-wise instructions do the same to every lane, and the few that move
//! lanes are known by their operands: splats, steps within 16 bytes, and two markers for steps
//! across them (see `clif::lanes`). Elementwise results are equal to the last bit.
//!
//! At 512 bits comparisons write mask registers. Every comparison gets one, and is also copied
//! to its vector register for readers other than selections; copies nobody reads are dropped.

mod encode;
mod masks;
mod registers;
#[rustfmt::skip]
mod table;
#[cfg(test)]
mod tests;

use encode::Pool;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, MemoryOperand, Mnemonic, OpKind, Register};
use masks::Masks;
use std::collections::HashSet;

/// Bits of a lifted vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// AVX2.
    Bits256,
    /// AVX-512 with F, DQ and VL.
    Bits512,
}

/// An instruction that the lifter does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no wider form of {0}")]
pub struct Refused(pub String);

/// Where decoded code is taken to lie; not zero, which marks inserted instructions.
const BASE: u64 = 1 << 16;

/// A widened function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifted {
    /// Its code.
    pub bytes: Vec<u8>,
    /// The same where marked stores go past the caches, if there are any.
    pub streaming: Option<Vec<u8>>,
}

/// Widens a leaf function; its constants follow its code.
///
/// # Errors
/// An instruction that is not known.
pub fn lift(code: &[u8], width: Width) -> Result<Lifted, Refused> {
    let (decoded, targets) = decode(code)?;
    let mut lifter = Lifter { code, width, out: Vec::new(), pool: Pool::default(), masks: Masks::default() };
    for instruction in &decoded {
        if targets.contains(&instruction.ip()) {
            lifter.masks.forget();
        }
        let first = lifter.out.len();
        lifter.instruction(instruction)?;
        if let Some(first) = lifter.out.get_mut(first) {
            first.set_ip(instruction.ip());
        }
    }
    let Lifter { out, pool, .. } = lifter;
    let mut out = if width == Width::Bits512 { registers::more(out, &targets) } else { out };
    let streaming = streaming(&out).map(|streaming| encode::encode(&streaming, &pool)).transpose()?;
    out.iter_mut()
        .filter_map(|i| Some((table::marked(i.code())?, i)))
        .for_each(|(codes, i)| i.set_code(codes.0));
    Ok(Lifted { bytes: encode::encode(&out, &pool)?, streaming })
}

/// The function with marked stores past the caches, and a fence behind them all.
fn streaming(code: &[Instruction]) -> Option<Vec<Instruction>> {
    if !code.iter().any(|i| table::marked(i.code()).is_some()) {
        return None;
    }
    let mut code = code.to_vec();
    let marked = code.iter_mut().filter_map(|i| Some((table::marked(i.code())?, i)));
    marked.for_each(|(codes, i)| i.set_code(codes.1));
    let end = code.iter().position(|i| i.code() == Code::VEX_Vzeroupper)?;
    let mut fence = Instruction::with(Code::Sfence);
    fence.set_ip(code[end].ip());
    code[end].set_ip(0);
    code.insert(end, fence);
    Some(code)
}

/// The instructions of a function and the addresses that its branches go to.
fn decode(code: &[u8]) -> Result<(Vec<Instruction>, HashSet<u64>), Refused> {
    let mut decoder = Decoder::with_ip(64, code, BASE, DecoderOptions::NONE);
    let (mut decoded, mut targets, mut furthest) = (Vec::new(), HashSet::new(), BASE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() || instruction.is_jmp_near_indirect() || instruction.is_call_near() {
            return Err(Refused(format!("{:?}", instruction.code())));
        }
        decoded.push(instruction);
        if instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near() {
            targets.insert(instruction.near_branch_target());
            furthest = furthest.max(instruction.near_branch_target());
        }
        let ends = instruction.mnemonic() == Mnemonic::Ret || instruction.is_jmp_short_or_near();
        if ends && furthest < instruction.next_ip() {
            break;
        }
    }
    Ok((decoded, targets))
}

struct Lifter<'a> {
    code: &'a [u8],
    width: Width,
    out: Vec<Instruction>,
    pool: Pool,
    masks: Masks,
}

impl Lifter<'_> {
    /// How many 16-byte parts a vector has.
    fn parts(&self) -> u64 {
        match self.width {
            Width::Bits256 => 2,
            Width::Bits512 => 4,
        }
    }

    fn of(&self, (wide, widest): (Code, Code)) -> Code {
        if self.width == Width::Bits256 { wide } else { widest }
    }

    /// The wide register with the number of a 16-byte one.
    fn wide(&self, register: Register) -> Register {
        let first = if self.width == Width::Bits256 { Register::YMM0 } else { Register::ZMM0 };
        if register.is_xmm() { first + register.number() as u32 } else { register }
    }

    fn instruction(&mut self, i: &Instruction) -> Result<(), Refused> {
        let vectors = registers(i).any(Register::is_xmm);
        let mut new = *i;
        new.set_ip(0);
        self.widen_frame(&mut new)?;
        if !vectors {
            return self.without_vectors(new);
        }
        if let Some(codes) = table::comparison(i.code()) {
            return self.comparison(i, new, codes);
        }
        self.on_vectors(i, new)?;
        if i.op0_kind() == OpKind::Register && i.op0_register().is_xmm() {
            self.masks.written(i.op0_register());
        }
        Ok(())
    }

    fn on_vectors(&mut self, i: &Instruction, mut new: Instruction) -> Result<(), Refused> {
        if is_same_twice(i) && matches!(i.mnemonic(), Mnemonic::Vxorps | Mnemonic::Vpxor | Mnemonic::Vxorpd) {
            self.out.push(new); // a zero, which clears the whole register
            return Ok(());
        }
        if let Some(code) = table::scalar(i) {
            new.set_code(code);
            self.keep_constant(&mut new);
            self.out.push(new);
            return Ok(());
        }
        if let Some(part) = table::part(i.code()) {
            return self.insert(new, part);
        }
        match i.code() {
            Code::VEX_Vpblendvb_xmm_xmm_xmmm128_xmm => self.selection(new),
            Code::VEX_Vpshufd_xmm_xmmm128_imm8 => self.shuffle(i, new),
            Code::VEX_Vbroadcastss_xmm_m32 | Code::VEX_Vbroadcastss_xmm_xmm => self.splat(new),
            Code::VEX_Vpbroadcastd_xmm_xmmm32 => self.splat(new),
            Code::VEX_Vpabsb_xmm_xmmm128 | Code::VEX_Vpabsw_xmm_xmmm128 => self.cross(new),
            code => {
                let codes = table::lane_wise(code).ok_or_else(|| Refused(format!("{code:?}")))?;
                self.lane_wise(new, self.of(codes));
                Ok(())
            }
        }
    }

    /// Grows the frame: the space below the frame pointer and every offset into it. The frame
    /// starts at a multiple of 64, so that no spilled vector crosses a cache line.
    fn widen_frame(&mut self, i: &mut Instruction) -> Result<(), Refused> {
        let memory = (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Memory);
        if memory && i.memory_base() == Register::RSP {
            if i.memory_index() != Register::None {
                return Err(Refused("an indexed access of the stack".into()));
            }
            i.set_memory_displacement64(i.memory_displacement64().wrapping_mul(self.parts()));
            i.set_memory_displ_size(8);
        }
        if memory && i.memory_base() == Register::RBP {
            return Err(Refused("an access relative to the frame pointer".into()));
        }
        Ok(())
    }

    fn without_vectors(&mut self, i: Instruction) -> Result<(), Refused> {
        let frame =
            i.op_count() == 2 && i.op0_register() == Register::RSP && i.op1_kind() != OpKind::Register;
        match i.mnemonic() {
            Mnemonic::Ret => self.add(Code::VEX_Vzeroupper, &[])?,
            Mnemonic::Sub if frame => {
                let bytes = i.immediate(1) * self.parts();
                self.push(Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, bytes as i32))?;
                return self.push(Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64));
            }
            // the frame pointer says where the frame ends
            Mnemonic::Add if frame => {
                return self.push(Instruction::with2(Code::Mov_r64_rm64, Register::RSP, Register::RBP));
            }
            _ => {}
        }
        let mut i = i;
        self.keep_constant(&mut i);
        self.out.push(i);
        Ok(())
    }

    fn push(&mut self, made: Result<Instruction, iced_x86::IcedError>) -> Result<(), Refused> {
        self.out.push(made.map_err(|error| Refused(error.to_string()))?);
        Ok(())
    }

    /// An instruction on registers.
    fn add(&mut self, code: Code, registers: &[Register]) -> Result<(), Refused> {
        self.push(match *registers {
            [] => Ok(Instruction::with(code)),
            [a, b] => Instruction::with2(code, a, b),
            [a, b, c] => Instruction::with3(code, a, b, c),
            _ => unreachable!("no, two or three registers"),
        })
    }

    /// The same instruction on all lanes; 16 bytes of constants are repeated.
    fn lane_wise(&mut self, mut i: Instruction, code: Code) {
        self.widen_operands(&mut i);
        if i.is_ip_rel_memory_operand() {
            let constant = self.constant(&i, 16).repeat(self.parts() as usize);
            self.pool.refer(&mut i, &constant);
        }
        i.set_code(code);
        self.out.push(i);
    }

    fn widen_operands(&self, i: &mut Instruction) {
        for k in (0..i.op_count()).filter(|&k| i.op_kind(k) == OpKind::Register).collect::<Vec<_>>() {
            i.set_op_register(k, self.wide(i.op_register(k)));
        }
    }

    /// A scalar instruction's constant.
    fn keep_constant(&mut self, i: &mut Instruction) {
        if i.is_ip_rel_memory_operand() {
            let constant = self.constant(i, i.memory_size().size());
            self.pool.refer(i, &constant);
        }
    }

    /// Bytes that an instruction reads from behind the code.
    fn constant(&self, i: &Instruction, bytes: usize) -> Vec<u8> {
        let start = (i.memory_displacement64() - BASE) as usize;
        self.code[start..start + bytes].to_vec()
    }

    /// The lowest lane in every lane: its source stays narrow.
    fn splat(&mut self, mut i: Instruction) -> Result<(), Refused> {
        self.keep_constant(&mut i);
        i.set_code(self.of(match i.code() {
            Code::VEX_Vbroadcastss_xmm_m32 => {
                (Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32)
            }
            Code::VEX_Vbroadcastss_xmm_xmm => {
                (Code::VEX_Vbroadcastss_ymm_xmm, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32)
            }
            _ => (Code::VEX_Vpbroadcastd_ymm_xmmm32, Code::EVEX_Vpbroadcastd_zmm_k1z_xmmm32),
        }));
        i.set_op0_register(self.wide(i.op0_register()));
        self.out.push(i);
        Ok(())
    }

    /// A splat, or a step of a reduction within 16 bytes.
    fn shuffle(&mut self, i: &Instruction, new: Instruction) -> Result<(), Refused> {
        const HALF: u8 = 0xEE;
        const QUARTER: u8 = 0x55;
        match (i.immediate8(), i.op1_kind()) {
            (0, OpKind::Register) => {
                let codes = (Code::VEX_Vpbroadcastd_ymm_xmmm32, Code::EVEX_Vpbroadcastd_zmm_k1z_xmmm32);
                self.add(self.of(codes), &[self.wide(i.op0_register()), i.op1_register()])
            }
            (HALF | QUARTER, OpKind::Register) => {
                let codes = (Code::VEX_Vpshufd_ymm_ymmm256_imm8, Code::EVEX_Vpshufd_zmm_k1z_zmmm512b32_imm8);
                self.lane_wise(new, self.of(codes));
                Ok(())
            }
            (order, _) => Err(Refused(format!("a shuffle by {order:#x}"))),
        }
    }

    /// The markers of a step across 16-byte parts: swaps halves (bytes) or neighbours (words).
    fn cross(&mut self, i: Instruction) -> Result<(), Refused> {
        const SWAP_HALVES: u32 = 0x4E;
        const SWAP_NEIGHBORS: u32 = 0xB1;
        let halves = i.code() == Code::VEX_Vpabsb_xmm_xmmm128;
        let to = self.wide(i.op0_register());
        let mut from = self.wide(i.op1_register());
        if i.op1_kind() == OpKind::Memory {
            self.lane_wise(i, self.of((Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512)));
            from = to;
        }
        let (code, order) = match self.width {
            Width::Bits256 if halves => return Err(Refused("a step across 64 bytes".into())),
            Width::Bits256 => (Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8, 1),
            Width::Bits512 if halves => (Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8, SWAP_HALVES),
            Width::Bits512 => (Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8, SWAP_NEIGHBORS),
        };
        self.push(Instruction::with4(code, to, from, from, order))
    }

    /// Replaces a 16-byte part of a vector; what it becomes stays narrow.
    fn insert(&mut self, i: Instruction, part: u32) -> Result<(), Refused> {
        if u64::from(part) >= self.parts() {
            return Err(Refused(format!("part {part} of a vector")));
        }
        let (to, from) = (self.wide(i.op0_register()), self.wide(i.op1_register()));
        let code = self.of((
            Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8,
            Code::EVEX_Vinsertf32x4_zmm_k1z_zmm_xmmm128_imm8,
        ));
        if i.op2_kind() == OpKind::Register {
            return self.push(Instruction::with4(code, to, from, i.op2_register(), part));
        }
        let (base, index) = (i.memory_base(), i.memory_index());
        let (scale, displacement) = (i.memory_index_scale(), i.memory_displacement64() as i64);
        let memory = MemoryOperand::new(
            base,
            index,
            scale,
            displacement,
            i.memory_displ_size(),
            false,
            Register::None,
        );
        self.push(Instruction::with4(code, to, from, memory, part))
    }

    fn comparison(
        &mut self,
        i: &Instruction,
        mut new: Instruction,
        codes: (Code, Code),
    ) -> Result<(), Refused> {
        if self.width == Width::Bits256 {
            self.lane_wise(new, codes.0);
            return Ok(());
        }
        let to = self.wide(i.op0_register());
        if i.mnemonic() == Mnemonic::Vpcmpeqd && is_same_twice(i) {
            // all ones; from memory, because a computation would wait for the register's last value
            self.masks.written(i.op0_register());
            let memory = MemoryOperand::with_base_displ(Register::RIP, 0);
            let made = Instruction::with2(Code::EVEX_Vpbroadcastd_zmm_k1z_xmmm32, to, memory);
            let mut ones = made.map_err(|error| Refused(error.to_string()))?;
            self.pool.refer(&mut ones, &[0xFF; 4]);
            self.out.push(ones);
            return Ok(());
        }
        let mask = self.masks.hold(i.op0_register());
        self.lane_wise(new, codes.1);
        new = self.out.pop().expect("just pushed");
        new.set_op0_register(mask);
        self.out.push(new);
        self.add(Code::EVEX_Vpmovm2d_zmm_kr, &[to, mask])
    }

    /// `mask ? b : a`, where all bits of a lane of the mask are equal.
    fn selection(&mut self, i: Instruction) -> Result<(), Refused> {
        if self.width == Width::Bits256 {
            self.lane_wise(i, Code::VEX_Vpblendvb_ymm_ymm_ymmm256_ymm);
            return Ok(());
        }
        let vector = i.op3_register();
        let mask = match self.masks.of(vector) {
            Some(mask) => mask,
            None => {
                let mask = self.masks.hold(vector);
                self.add(Code::EVEX_Vpmovd2m_kr_zmm, &[mask, self.wide(vector)])?;
                mask
            }
        };
        self.lane_wise(i, Code::EVEX_Vpblendmd_zmm_k1z_zmm_zmmm512b32);
        let mut new = self.out.pop().expect("just pushed");
        new.set_op_mask(mask);
        self.out.push(new);
        Ok(())
    }
}

/// The registers that are operands.
fn registers(i: &Instruction) -> impl Iterator<Item = Register> {
    (0..i.op_count()).filter(|&k| i.op_kind(k) == OpKind::Register).map(|k| i.op_register(k))
}

/// Are the two sources of a three-operand instruction one register?
fn is_same_twice(i: &Instruction) -> bool {
    i.op2_kind() == OpKind::Register && i.op1_register() == i.op2_register()
}
