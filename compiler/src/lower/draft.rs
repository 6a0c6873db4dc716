//! A kernel while passes rewrite its code.

use evenkeel_ir::NodeId;
use evenkeel_ir::kernel::{Kernel, Source};
use evenkeel_ir::scalar::{Inst, Reg, ScalarFn};

/// A kernel with what its code must keep.
pub(super) struct Draft {
    pub(super) kernel: Kernel,
    /// Registers whose code stays as it is, because other kernels have the same.
    pub(super) strict: Vec<bool>,
    /// The nodes that these registers are.
    pub(super) exact: Vec<(NodeId, Reg)>,
}

impl Draft {
    /// The kernel with other code, and where each register of its own code went.
    pub(super) fn with_code(mut self, code: ScalarFn, map: &[Reg]) -> Draft {
        let moved = |reg: Reg| map[reg.0 as usize];
        let mut strict = vec![false; code.len()];
        let kept = (0..map.len()).filter(|&i| self.strict[i] && map[i].0 != u32::MAX);
        kept.for_each(|i| strict[map[i].0 as usize] = true);
        self.strict = strict;
        self.exact.iter_mut().for_each(|(_, reg)| *reg = moved(*reg));
        let kernel = &mut self.kernel;
        kernel.code = code;
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
        self
    }

    /// How often each register is read; registers that stay as they are have a reader that wants
    /// them so.
    pub(super) fn uses(&self) -> Vec<u32> {
        let kernel = &self.kernel;
        let mut uses: Vec<u32> = self.strict.iter().map(|&strict| strict.into()).collect();
        let operands = kernel.code.insts().iter().flat_map(Inst::operands);
        let effects = kernel.reductions.iter().map(|r| r.input).chain(kernel.stores.iter().map(|s| s.value));
        operands.chain(effects).for_each(|reg| uses[reg.0 as usize] += 1);
        uses
    }

    /// Without the products that multiply-adds absorbed when their code was written.
    pub(super) fn without_absorbed(self) -> Draft {
        let code = &self.kernel.code;
        let mut read = vec![false; code.len()];
        let effects = self.kernel.reductions.iter().map(|r| r.input);
        let effects = effects.chain(self.kernel.stores.iter().map(|s| s.value));
        let indices = self.kernel.accesses().filter_map(|a| a.indirect).map(|indirect| indirect.register);
        effects.chain(indices).for_each(|reg| read[reg.0 as usize] = true);
        for i in (0..code.len()).rev() {
            read[i] |= !(self.strict[i] && matches!(code.insts()[i], Inst::Mul(..)));
            if read[i] {
                code.insts()[i].operands().iter().for_each(|reg| read[reg.0 as usize] = true);
            }
        }
        if read.iter().all(|&read| read) {
            return self;
        }
        let mut new = ScalarFn::new();
        let mut map: Vec<Reg> = Vec::with_capacity(code.len());
        for (i, inst) in code.insts().iter().enumerate() {
            let moved = |reg: Reg| map[reg.0 as usize];
            map.push(if read[i] { new.push(inst.map_operands(moved)) } else { Reg(u32::MAX) });
        }
        Draft { exact: self.exact.iter().copied().filter(|(_, reg)| read[reg.0 as usize]).collect(), ..self }
            .with_code(new, &map)
    }
}
