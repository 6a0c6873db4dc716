//! Code of values whose bits must be the same in every kernel ([`Bits`]).
//!
//! What a kernel does with a product or a quotient depends on what else it computes, but not here:
//! the code of such a value is made from its op alone, then joins the kernel. A sum takes a product
//! into a multiply-add wherever it is one, and however many read it, but for products that are stored
//! or decide themselves: other kernels load the first, and all read the second as they were rounded.
//! No later pass changes that code. [`same_code`] proves that kernels agree.

use super::contract::Absorbed;
use super::emit::Body;
use super::{Lowered, Slot};
use crate::fuse::Bits;
use evenkeel_ir::kernel::{Source, StoreKind};
use evenkeel_ir::scalar::{Inst, Reg, ScalarFn};
use evenkeel_ir::{NodeId, Value};
use rustc_hash::{FxHashMap as HashMap, FxHasher};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

impl Body<'_> {
    /// The register of a node: `emit` writes its code.
    pub(super) fn code_of(
        &mut self,
        id: NodeId,
        operands: &[Reg],
        emit: impl FnOnce(&mut ScalarFn, &[Reg]) -> Reg,
    ) -> Reg {
        if self.fusion.bits[id.0 as usize] == Bits::Any {
            return emit(&mut self.code, operands);
        }
        let inputs = &self.graph.node(id).inputs;
        let open: SmallVec<[bool; 3]> = (0..operands.len())
            .map(|place| inputs.get(place).is_some_and(|&input| self.is_open(input)))
            .collect();
        let mut own = ScalarFn::new();
        let bind = |place: usize| match self.code.inst(operands[place]) {
            Inst::Const(constant) if open[place] => own.push(Inst::Const(constant)),
            _ => own.param(place as u32, self.code.ty(operands[place])),
        };
        let bound: SmallVec<[Reg; 3]> = (0..operands.len()).map(bind).collect();
        let result = emit(&mut own, &bound);
        let register = self.join(&own, operands, &open)[result.0 as usize];
        self.exact.push((id, register));
        register
    }

    /// Do kernels see what an operand consists of? Not where it is stored, or read as it was rounded.
    fn is_open(&self, value: Value) -> bool {
        let (i, register) = (value.node.0 as usize, self.known(value));
        let same = |input: &&Value| self.known(**input) == register;
        let mut passed_on = self.graph.node(value.node).inputs.iter().filter(same);
        !self.fusion.stored[i]
            && self.fusion.bits[i] != Bits::Decisive
            && passed_on.all(|&input| self.is_open(input))
    }

    /// Adds the code of one value to the kernel's; gives where its registers went.
    fn join(&mut self, own: &ScalarFn, operands: &[Reg], open: &[bool]) -> Vec<Reg> {
        let mut map: Vec<Reg> = Vec::with_capacity(own.len());
        for inst in own.insts() {
            if let Inst::Param { index, .. } = *inst {
                map.push(operands[index as usize]);
                continue;
            }
            let moved = |reg: Reg| map[reg.0 as usize];
            let factors = |reg: Reg| match (own.inst(reg), self.code.inst(moved(reg))) {
                (Inst::Param { index, .. }, _) if !open[index as usize] => None,
                (_, Inst::Mul(a, b)) => Some([a, b]),
                _ => None,
            };
            let absorbed = Absorbed::of(inst, |reg| factors(reg).is_some());
            let first = self.code.len();
            let register = match absorbed.and_then(|sum| Some((sum, factors(sum.product())?))) {
                Some((sum, factors)) => sum.fuse(&mut self.code, factors, moved),
                None => self.code.push(inst.map_operands(moved)),
            };
            self.keep_as_they_are((first..self.code.len()).chain([register.0 as usize]));
            map.push(register);
        }
        map
    }

    fn keep_as_they_are(&mut self, registers: impl Iterator<Item = usize>) {
        self.strict.resize(self.code.len(), false);
        registers.for_each(|register| self.strict[register] = true);
    }
}

/// Checks that values whose bits must be the same have the same code in all kernels, which come in an
/// order that they can run in.
///
/// # Errors
/// The first value with two.
pub(crate) fn same_code<'a>(kernels: impl Iterator<Item = &'a Lowered>) -> Result<(), String> {
    let (mut stored, mut known) = (HashMap::default(), HashMap::default());
    for lowered in kernels {
        let codes = codes(lowered, &stored);
        for &(id, register) in &lowered.exact {
            let code = codes[register.0 as usize];
            if *known.entry(id).or_insert(code) != code {
                return Err(format!("v{} has other code than before in\n{}", id.0, lowered.kernel));
            }
        }
        for store in &lowered.kernel.stores {
            if let (Slot::Stored(id), StoreKind::Write) =
                (lowered.slots[store.access.arg as usize], store.kind)
            {
                stored.insert(id, codes[store.value.0 as usize]);
            }
        }
    }
    Ok(())
}

/// A number for what each register is computed by, from inputs and products on.
fn codes(lowered: &Lowered, stored: &HashMap<NodeId, u64>) -> Vec<u64> {
    let kernel = &lowered.kernel;
    let mut codes: Vec<u64> = Vec::with_capacity(kernel.code.len());
    for inst in kernel.code.insts() {
        let mut code = FxHasher::default();
        let Inst::Param { index, ty } = inst else {
            inst.map_operands(|_| Reg(0)).hash(&mut code);
            inst.operands().iter().for_each(|reg| codes[reg.0 as usize].hash(&mut code));
            codes.push(code.finish());
            continue;
        };
        ty.hash(&mut code);
        match &kernel.sources[*index as usize] {
            Source::Load(access) => {
                let slot = lowered.slots[access.arg as usize];
                let known = if let Slot::Stored(id) = slot { stored.get(&id) } else { None };
                match (known, access.indirect) {
                    // a value that was computed and is read back
                    (Some(&known), None) if access.offset.scale == 0 => {
                        codes.push(known);
                        continue;
                    }
                    (_, indirect) => {
                        (slot, access.offset, indirect.map(|i| codes[i.register.0 as usize])).hash(&mut code)
                    }
                }
            }
            Source::Position { .. } => "position".hash(&mut code),
            Source::Size(extent) => extent.hash(&mut code),
            Source::Reduced(number) => {
                let reduction = kernel.reductions[*number as usize];
                (reduction.op, codes[reduction.input.0 as usize]).hash(&mut code);
            }
        }
        codes.push(code.finish());
    }
    codes
}
