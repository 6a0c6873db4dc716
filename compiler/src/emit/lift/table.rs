//! Which instruction does at 256 and 512 bits what another does at 128: the whitelist.
//!
//! Every instruction here treats the 4-byte lanes (or, for the shuffles, the 16-byte parts) of
//! its operands alike. Whatever is not here, and has no case in the lifter, is refused.

use iced_x86::{Code, Instruction, Mnemonic};

/// A lane-wise instruction at 256 and 512 bits.
pub(super) fn lane_wise(code: Code) -> Option<(Code, Code)> {
    use Code::*;
    Some(match code {
        // moves; the legacy forms are Cranelift's register moves and spills
        Movaps_xmm_xmmm128 | Movdqa_xmm_xmmm128 | VEX_Vmovaps_xmm_xmmm128 | VEX_Vmovdqa_xmm_xmmm128
            => (VEX_Vmovaps_ymm_ymmm256, EVEX_Vmovaps_zmm_k1z_zmmm512),
        Movups_xmm_xmmm128 | Movdqu_xmm_xmmm128 | VEX_Vmovups_xmm_xmmm128 | VEX_Vmovdqu_xmm_xmmm128
            => (VEX_Vmovups_ymm_ymmm256, EVEX_Vmovups_zmm_k1z_zmmm512),
        Movups_xmmm128_xmm | Movdqu_xmmm128_xmm | VEX_Vmovups_xmmm128_xmm | VEX_Vmovdqu_xmmm128_xmm
            => (VEX_Vmovups_ymmm256_ymm, EVEX_Vmovups_zmmm512_k1z_zmm),

        // a store that may go past the caches; see `marked`
        VEX_Vmovupd_xmmm128_xmm => (VEX_Vmovupd_ymmm256_ymm, EVEX_Vmovupd_zmmm512_k1z_zmm),

        // floating point
        VEX_Vaddps_xmm_xmm_xmmm128 => (VEX_Vaddps_ymm_ymm_ymmm256, EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vsubps_xmm_xmm_xmmm128 => (VEX_Vsubps_ymm_ymm_ymmm256, EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vmulps_xmm_xmm_xmmm128 => (VEX_Vmulps_ymm_ymm_ymmm256, EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vdivps_xmm_xmm_xmmm128 => (VEX_Vdivps_ymm_ymm_ymmm256, EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vminps_xmm_xmm_xmmm128 => (VEX_Vminps_ymm_ymm_ymmm256, EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae),
        VEX_Vmaxps_xmm_xmm_xmmm128 => (VEX_Vmaxps_ymm_ymm_ymmm256, EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae),
        VEX_Vsqrtps_xmm_xmmm128 => (VEX_Vsqrtps_ymm_ymmm256, EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er),
        VEX_Vroundps_xmm_xmmm128_imm8 => (VEX_Vroundps_ymm_ymmm256_imm8, EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae),
        VEX_Vcvtdq2ps_xmm_xmmm128 => (VEX_Vcvtdq2ps_ymm_ymmm256, EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er),
        VEX_Vfmadd132ps_xmm_xmm_xmmm128 => (VEX_Vfmadd132ps_ymm_ymm_ymmm256, EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfmadd213ps_xmm_xmm_xmmm128 => (VEX_Vfmadd213ps_ymm_ymm_ymmm256, EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfmadd231ps_xmm_xmm_xmmm128 => (VEX_Vfmadd231ps_ymm_ymm_ymmm256, EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfmsub132ps_xmm_xmm_xmmm128 => (VEX_Vfmsub132ps_ymm_ymm_ymmm256, EVEX_Vfmsub132ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfmsub213ps_xmm_xmm_xmmm128 => (VEX_Vfmsub213ps_ymm_ymm_ymmm256, EVEX_Vfmsub213ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfnmadd132ps_xmm_xmm_xmmm128 => (VEX_Vfnmadd132ps_ymm_ymm_ymmm256, EVEX_Vfnmadd132ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfnmadd213ps_xmm_xmm_xmmm128 => (VEX_Vfnmadd213ps_ymm_ymm_ymmm256, EVEX_Vfnmadd213ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfnmsub132ps_xmm_xmm_xmmm128 => (VEX_Vfnmsub132ps_ymm_ymm_ymmm256, EVEX_Vfnmsub132ps_zmm_k1z_zmm_zmmm512b32_er),
        VEX_Vfnmsub213ps_xmm_xmm_xmmm128 => (VEX_Vfnmsub213ps_ymm_ymm_ymmm256, EVEX_Vfnmsub213ps_zmm_k1z_zmm_zmmm512b32_er),

        // bits
        VEX_Vandps_xmm_xmm_xmmm128 | VEX_Vandpd_xmm_xmm_xmmm128
            => (VEX_Vandps_ymm_ymm_ymmm256, EVEX_Vandps_zmm_k1z_zmm_zmmm512b32),
        VEX_Vandnps_xmm_xmm_xmmm128 | VEX_Vandnpd_xmm_xmm_xmmm128
            => (VEX_Vandnps_ymm_ymm_ymmm256, EVEX_Vandnps_zmm_k1z_zmm_zmmm512b32),
        VEX_Vorps_xmm_xmm_xmmm128 | VEX_Vorpd_xmm_xmm_xmmm128
            => (VEX_Vorps_ymm_ymm_ymmm256, EVEX_Vorps_zmm_k1z_zmm_zmmm512b32),
        VEX_Vxorps_xmm_xmm_xmmm128 | VEX_Vxorpd_xmm_xmm_xmmm128
            => (VEX_Vxorps_ymm_ymm_ymmm256, EVEX_Vxorps_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpand_xmm_xmm_xmmm128 => (VEX_Vpand_ymm_ymm_ymmm256, EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpandn_xmm_xmm_xmmm128 => (VEX_Vpandn_ymm_ymm_ymmm256, EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpor_xmm_xmm_xmmm128 => (VEX_Vpor_ymm_ymm_ymmm256, EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpxor_xmm_xmm_xmmm128 => (VEX_Vpxor_ymm_ymm_ymmm256, EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32),

        // neighbors within 16 bytes, of two vectors in turn
        VEX_Vpunpckldq_xmm_xmm_xmmm128 => (VEX_Vpunpckldq_ymm_ymm_ymmm256, EVEX_Vpunpckldq_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpunpckhdq_xmm_xmm_xmmm128 => (VEX_Vpunpckhdq_ymm_ymm_ymmm256, EVEX_Vpunpckhdq_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpunpcklqdq_xmm_xmm_xmmm128 => (VEX_Vpunpcklqdq_ymm_ymm_ymmm256, EVEX_Vpunpcklqdq_zmm_k1z_zmm_zmmm512b64),
        VEX_Vpunpckhqdq_xmm_xmm_xmmm128 => (VEX_Vpunpckhqdq_ymm_ymm_ymmm256, EVEX_Vpunpckhqdq_zmm_k1z_zmm_zmmm512b64),

        // 32-bit integers
        VEX_Vpaddd_xmm_xmm_xmmm128 => (VEX_Vpaddd_ymm_ymm_ymmm256, EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpsubd_xmm_xmm_xmmm128 => (VEX_Vpsubd_ymm_ymm_ymmm256, EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpmulld_xmm_xmm_xmmm128 => (VEX_Vpmulld_ymm_ymm_ymmm256, EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpminsd_xmm_xmm_xmmm128 => (VEX_Vpminsd_ymm_ymm_ymmm256, EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpmaxsd_xmm_xmm_xmmm128 => (VEX_Vpmaxsd_ymm_ymm_ymmm256, EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32),
        VEX_Vpabsd_xmm_xmmm128 => (VEX_Vpabsd_ymm_ymmm256, EVEX_Vpabsd_zmm_k1z_zmmm512b32),
        VEX_Vpslld_xmm_xmm_imm8 => (VEX_Vpslld_ymm_ymm_imm8, EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8),
        VEX_Vpsrld_xmm_xmm_imm8 => (VEX_Vpsrld_ymm_ymm_imm8, EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8),
        VEX_Vpsrad_xmm_xmm_imm8 => (VEX_Vpsrad_ymm_ymm_imm8, EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8),
        _ => return None,
    })
}

/// A lifted store that may go past the caches, as an ordinary one and past them.
pub(super) fn marked(code: Code) -> Option<(Code, Code)> {
    use Code::*;
    match code {
        VEX_Vmovupd_ymmm256_ymm => Some((VEX_Vmovups_ymmm256_ymm, VEX_Vmovntps_m256_ymm)),
        EVEX_Vmovupd_zmmm512_k1z_zmm => Some((EVEX_Vmovups_zmmm512_k1z_zmm, EVEX_Vmovntps_m512_zmm)),
        _ => None,
    }
}

/// Which 16-byte part of the first operand the second replaces, by a marker of that (see
/// `clif::squares`).
pub(super) fn part(code: Code) -> Option<u32> {
    use Code::*;
    match code {
        VEX_Vpsubusb_xmm_xmm_xmmm128 => Some(1),
        VEX_Vpsubusw_xmm_xmm_xmmm128 => Some(2),
        VEX_Vpsubsb_xmm_xmm_xmmm128 => Some(3),
        _ => None,
    }
}

/// A comparison, whose result is a mask register at 512 bits.
pub(super) fn comparison(code: Code) -> Option<(Code, Code)> {
    use Code::*;
    Some(match code {
        VEX_Vcmpps_xmm_xmm_xmmm128_imm8 => {
            (VEX_Vcmpps_ymm_ymm_ymmm256_imm8, EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae)
        }
        VEX_Vpcmpgtd_xmm_xmm_xmmm128 => (VEX_Vpcmpgtd_ymm_ymm_ymmm256, EVEX_Vpcmpgtd_kr_k1_zmm_zmmm512b32),
        VEX_Vpcmpeqd_xmm_xmm_xmmm128 => (VEX_Vpcmpeqd_ymm_ymm_ymmm256, EVEX_Vpcmpeqd_kr_k1_zmm_zmmm512b32),
        _ => return None,
    })
}

/// An instruction on the lowest lane, as it stays at any width; the legacy forms become modern
/// ones. It clears the other parts of a wide register, which nobody reads after it.
pub(super) fn scalar(i: &Instruction) -> Option<Code> {
    use Code::*;
    Some(match i.code() {
        Cvttss2si_r32_xmmm32 => VEX_Vcvttss2si_r32_xmmm32,
        Cvttss2si_r64_xmmm32 => VEX_Vcvttss2si_r64_xmmm32,
        Cvttsd2si_r32_xmmm64 => VEX_Vcvttsd2si_r32_xmmm64,
        Cvttsd2si_r64_xmmm64 => VEX_Vcvttsd2si_r64_xmmm64,
        // the first part of a vector, to which others are added; see `part`
        VEX_Vmovupd_xmm_xmmm128 => VEX_Vmovupd_xmm_xmmm128,
        VEX_Vpextrd_rm32_xmm_imm8 if i.immediate8() == 0 => VEX_Vpextrd_rm32_xmm_imm8,
        code if is_scalar(code.mnemonic()) => code,
        _ => return None,
    })
}

fn is_scalar(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Vaddss | Vsubss | Vmulss | Vdivss | Vminss | Vmaxss | Vsqrtss | Vroundss | Vmovss | Vmovd | Vmovq
            | Vaddsd | Vsubsd | Vmulsd | Vdivsd | Vminsd | Vmaxsd | Vsqrtsd | Vroundsd | Vmovsd
            | Vcvtsi2ss | Vcvtsi2sd | Vcvttss2si | Vcvttsd2si | Vcvtss2sd | Vcvtsd2ss
            | Vucomiss | Vucomisd | Vcomiss | Vcomisd | Vcmpss | Vcmpsd
    ) || (is_multiply_add(mnemonic) && !is_packed(mnemonic))
}

fn is_packed(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Vfmadd132ps | Vfmadd213ps | Vfmadd231ps | Vfmsub132ps | Vfmsub213ps
            | Vfnmadd132ps | Vfnmadd213ps | Vfnmsub132ps | Vfnmsub213ps
    )
}

/// Instructions whose first operand is also a source.
pub(super) fn is_multiply_add(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    is_packed(mnemonic)
        || matches!(
            mnemonic,
            Vfmadd132ss | Vfmadd213ss | Vfmadd231ss | Vfmsub132ss | Vfmsub213ss
                | Vfnmadd132ss | Vfnmadd213ss | Vfnmsub132ss | Vfnmsub213ss
                | Vfmadd132sd | Vfmadd213sd | Vfmadd231sd | Vfmsub132sd | Vfmsub213sd
                | Vfnmadd132sd | Vfnmadd213sd | Vfnmsub132sd | Vfnmsub213sd
        )
}
