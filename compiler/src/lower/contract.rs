//! Contraction: a product that only one sum reads joins it as a fused multiply-add.

use super::draft::Draft;
use evenkeel_ir::scalar::{Inst, Reg, ScalarFn};

/// Which product an instruction absorbs, and where it stands.
#[derive(Clone, Copy)]
pub(super) enum Absorbed {
    /// `product + other` (or `other + product`).
    Plus { product: Reg, other: Reg },
    /// `product - other`
    Minus { product: Reg, other: Reg },
    /// `other - product`
    From { product: Reg, other: Reg },
}

impl Absorbed {
    /// What a sum or difference absorbs of the products that it may.
    pub(super) fn of(inst: &Inst, may: impl Fn(Reg) -> bool) -> Option<Absorbed> {
        match *inst {
            Inst::Add(a, b) if may(a) => Some(Absorbed::Plus { product: a, other: b }),
            Inst::Add(a, b) if may(b) => Some(Absorbed::Plus { product: b, other: a }),
            Inst::Sub(a, b) if may(a) => Some(Absorbed::Minus { product: a, other: b }),
            Inst::Sub(a, b) if may(b) => Some(Absorbed::From { product: b, other: a }),
            _ => None,
        }
    }

    /// The multiply-add, where registers of the sum are those that `moved` gives.
    pub(super) fn fuse(self, code: &mut ScalarFn, [a, b]: [Reg; 2], moved: impl Fn(Reg) -> Reg) -> Reg {
        match self {
            Absorbed::Plus { other, .. } => code.fma(a, b, moved(other)),
            Absorbed::Minus { other, .. } => {
                let negated = code.neg(moved(other));
                code.fma(a, b, negated)
            }
            Absorbed::From { other, .. } => {
                let negated = code.neg(a);
                code.fma(negated, b, moved(other))
            }
        }
    }

    pub(super) fn product(self) -> Reg {
        match self {
            Absorbed::Plus { product, .. }
            | Absorbed::Minus { product, .. }
            | Absorbed::From { product, .. } => product,
        }
    }
}

pub(super) fn contract(draft: Draft) -> Draft {
    let uses = draft.uses();
    let code = &draft.kernel.code;
    let single = |reg: Reg| matches!(code.inst(reg), Inst::Mul(..)) && uses[reg.0 as usize] == 1;
    let open = |i: usize| !draft.strict[i];
    let absorbed: Vec<Option<Absorbed>> = code
        .insts()
        .iter()
        .enumerate()
        .map(|(i, inst)| Absorbed::of(inst, single).filter(|_| open(i)))
        .collect();
    let mut gone = vec![false; code.len()];
    absorbed.iter().flatten().for_each(|a| gone[a.product().0 as usize] = true);
    let (code, map) = rebuild(code, &absorbed, &gone);
    draft.with_code(code, &map)
}

/// The code with products absorbed, and where each register went.
fn rebuild(code: &ScalarFn, absorbed: &[Option<Absorbed>], gone: &[bool]) -> (ScalarFn, Vec<Reg>) {
    let mut new = ScalarFn::new();
    let mut map: Vec<Reg> = Vec::with_capacity(code.len());
    for (i, inst) in code.insts().iter().enumerate() {
        let moved = |reg: Reg| map[reg.0 as usize];
        let reg = match absorbed[i] {
            _ if gone[i] => Reg(u32::MAX),
            None => new.push(inst.map_operands(moved)),
            Some(absorbed) => {
                let Inst::Mul(a, b) = code.inst(absorbed.product()) else { unreachable!("a product") };
                absorbed.fuse(&mut new, [moved(a), moved(b)], moved)
            }
        };
        map.push(reg);
    }
    (new, map)
}
