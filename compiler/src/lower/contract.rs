//! Contraction: a product that only one sum reads joins it as a fused multiply-add.

use evenkeel_ir::kernel::{Kernel, Source};
use evenkeel_ir::scalar::{Inst, Reg, ScalarFn};

/// Which product an instruction absorbs, and where it stands.
#[derive(Clone, Copy)]
enum Absorbed {
    /// `product + other` (or `other + product`).
    Plus { product: Reg, other: Reg },
    /// `product - other`
    Minus { product: Reg, other: Reg },
    /// `other - product`
    From { product: Reg, other: Reg },
}

impl Absorbed {
    fn product(self) -> Reg {
        match self {
            Absorbed::Plus { product, .. }
            | Absorbed::Minus { product, .. }
            | Absorbed::From { product, .. } => product,
        }
    }
}

pub(super) fn contract(kernel: Kernel) -> Kernel {
    let uses = uses(&kernel);
    let code = &kernel.code;
    let single = |reg: Reg| matches!(code.inst(reg), Inst::Mul(..)) && uses[reg.0 as usize] == 1;
    let absorbed: Vec<Option<Absorbed>> = code
        .insts()
        .iter()
        .map(|inst| match *inst {
            Inst::Add(a, b) if single(a) => Some(Absorbed::Plus { product: a, other: b }),
            Inst::Add(a, b) if single(b) => Some(Absorbed::Plus { product: b, other: a }),
            Inst::Sub(a, b) if single(a) => Some(Absorbed::Minus { product: a, other: b }),
            Inst::Sub(a, b) if single(b) => Some(Absorbed::From { product: b, other: a }),
            _ => None,
        })
        .collect();
    let mut gone = vec![false; code.len()];
    absorbed.iter().flatten().for_each(|a| gone[a.product().0 as usize] = true);
    let (code, map) = rebuild(code, &absorbed, &gone);
    with_code(kernel, code, &map)
}

/// A kernel with other code, and where each register of its own code went.
pub(super) fn with_code(mut kernel: Kernel, code: ScalarFn, map: &[Reg]) -> Kernel {
    kernel.code = code;
    let moved = |reg: Reg| map[reg.0 as usize];
    kernel.reductions.iter_mut().for_each(|r| r.input = moved(r.input));
    kernel.stores.iter_mut().for_each(|s| s.value = moved(s.value));
    let stores = kernel.stores.iter_mut().map(|s| &mut s.access);
    let loads =
        kernel.sources.iter_mut().filter_map(|s| if let Source::Load(a) = s { Some(a) } else { None });
    for access in loads.chain(stores) {
        if let Some(indirect) = &mut access.indirect {
            indirect.register = moved(indirect.register);
        }
    }
    kernel
}

/// How often each register is read.
pub(super) fn uses(kernel: &Kernel) -> Vec<u32> {
    let mut uses = vec![0; kernel.code.len()];
    let operands = kernel.code.insts().iter().flat_map(Inst::operands);
    let effects = kernel.reductions.iter().map(|r| r.input).chain(kernel.stores.iter().map(|s| s.value));
    operands.chain(effects).for_each(|reg| uses[reg.0 as usize] += 1);
    uses
}

/// The code with products absorbed, and where each register went.
fn rebuild(code: &ScalarFn, absorbed: &[Option<Absorbed>], gone: &[bool]) -> (ScalarFn, Vec<Reg>) {
    let mut new = ScalarFn::new();
    let mut map: Vec<Reg> = Vec::with_capacity(code.len());
    for (i, inst) in code.insts().iter().enumerate() {
        if gone[i] {
            map.push(Reg(u32::MAX));
            continue;
        }
        let factors = |product: Reg, map: &[Reg]| match code.inst(product) {
            Inst::Mul(a, b) => (map[a.0 as usize], map[b.0 as usize]),
            other => unreachable!("a product was absorbed, not {other}"),
        };
        let reg = match absorbed[i] {
            None => new.push(inst.map_operands(|reg| map[reg.0 as usize])),
            Some(Absorbed::Plus { product, other }) => {
                let (a, b) = factors(product, &map);
                new.fma(a, b, map[other.0 as usize])
            }
            Some(Absorbed::Minus { product, other }) => {
                let (a, b) = factors(product, &map);
                let negated = new.neg(map[other.0 as usize]);
                new.fma(a, b, negated)
            }
            Some(Absorbed::From { product, other }) => {
                let (a, b) = factors(product, &map);
                let negated = new.neg(a);
                new.fma(negated, b, map[other.0 as usize])
            }
        };
        map.push(reg);
    }
    (new, map)
}
