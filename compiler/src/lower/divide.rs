//! Divisions: fewer along the row, and none beside a product that could do it.
//!
//! * `x / r` with a root `r` of the row becomes `x * (1 / r)`, computed once per row. A root, or the
//!   larger or sum of a root and a positive number, is 0, infinite, not a number, or so far from
//!   either end of the range that its inverse is right to one rounding. So the product is infinite, 0
//!   or not a number exactly where the quotient is, and else differs by a rounding.
//! * `x * (1 / d)` becomes `x / d` where nothing else reads the inverse, which saves a rounding and
//!   the overflow of the inverse.

use super::draft::Draft;
use evenkeel_ir::kernel::{Kernel, Levels};
use evenkeel_ir::scalar::{Constant, Inst, Reg, ScalarFn};

pub(super) fn divide(draft: Draft) -> Draft {
    let kernel = &draft.kernel;
    let known = Known { levels: kernel.levels(), uses: draft.uses(), kernel };
    let insts = kernel.code.insts();
    let open = |i: usize| !draft.strict[i];
    let quotients: Vec<Option<Quotient>> =
        insts.iter().enumerate().map(|(i, inst)| known.by_inverse(inst).filter(|_| open(i))).collect();
    let gone: Vec<Reg> = quotients.iter().flatten().map(|quotient| quotient.inverse).collect();
    let mut code = ScalarFn::new();
    let mut map: Vec<Reg> = Vec::with_capacity(insts.len());
    for (i, inst) in insts.iter().enumerate() {
        let moved = |reg: Reg| map[reg.0 as usize];
        let reg = match (known.by_root(inst).filter(|_| open(i)), quotients[i]) {
            _ if gone.contains(&Reg(i as u32)) => Reg(u32::MAX),
            (Some((x, root)), _) => {
                let one = code.float(kernel.code.ty(root), 1.0);
                let inverse = code.div(one, moved(root));
                code.mul(moved(x), inverse)
            }
            (None, Some(Quotient { x, divisor, .. })) => code.div(moved(x), moved(divisor)),
            _ => code.push(inst.map_operands(moved)),
        };
        map.push(reg);
    }
    draft.with_code(code, &map)
}

/// `x * inverse`, where the inverse is `1 / divisor`.
#[derive(Clone, Copy)]
struct Quotient {
    x: Reg,
    inverse: Reg,
    divisor: Reg,
}

/// What is known of the registers of a kernel.
struct Known<'k> {
    kernel: &'k Kernel,
    levels: Levels,
    uses: Vec<u32>,
}

impl Known<'_> {
    /// A value along the row, and the root of the row that divides it.
    fn by_root(&self, inst: &Inst) -> Option<(Reg, Reg)> {
        let varies = |reg: Reg| self.levels.dep[reg.0 as usize] & self.kernel.reduced_mask() != 0;
        match *inst {
            Inst::Div(x, root) if varies(x) && !varies(root) && self.is_root(root) => Some((x, root)),
            _ => None,
        }
    }

    /// A product with the inverse of a value, where nothing else reads that.
    fn by_inverse(&self, inst: &Inst) -> Option<Quotient> {
        let Inst::Mul(a, b) = *inst else { return None };
        let quotient = |x: Reg, inverse: Reg| {
            let Inst::Div(one, divisor) = self.kernel.code.inst(inverse) else { return None };
            let same_level = self.levels.dep[x.0 as usize] == self.levels.dep[inverse.0 as usize];
            let alone = same_level && x != inverse && self.uses[inverse.0 as usize] == 1;
            (alone && self.number(one) == Some(1.0)).then_some(Quotient { x, inverse, divisor })
        };
        quotient(a, b).or_else(|| quotient(b, a))
    }

    fn is_root(&self, reg: Reg) -> bool {
        match self.kernel.code.inst(reg) {
            Inst::Sqrt(_) => true,
            Inst::Add(a, b) | Inst::Max(a, b) => {
                let shifted = |root: Reg, by: Reg| self.is_root(root) && self.is_positive(by);
                shifted(a, b) || shifted(b, a)
            }
            _ => false,
        }
    }

    /// Is a register a positive number whose inverse is finite in f32?
    fn is_positive(&self, reg: Reg) -> bool {
        self.number(reg).is_some_and(|number| (1e-37..1e37).contains(&number))
    }

    fn number(&self, reg: Reg) -> Option<f64> {
        match self.kernel.code.inst(reg) {
            Inst::Const(Constant::F32(bits)) => Some(f32::from_bits(bits).into()),
            Inst::Const(Constant::F64(bits)) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }
}
