//! How partial results of a reduction are combined, as scalar code that any target emits.

use super::{Kernel, StoreKind};
use crate::op::Reduce;
use crate::scalar::{Constant, Inst, Reg, ScalarFn, ScalarType};

/// The combining step of a reduction on registers of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Combine {
    /// Type of the combined registers.
    pub ty: ScalarType,
    /// The neutral element.
    pub identity: Constant,
    /// Code over two parameters.
    pub code: ScalarFn,
    /// The register of `code` that holds the result.
    pub result: Reg,
}

impl Combine {
    fn of(op: Reduce, ty: ScalarType) -> Combine {
        let def = op.def();
        let mut code = ScalarFn::new();
        let (a, b) = (code.param(0, ty), code.param(1, ty));
        let result = (def.emit)(&mut code, a, b);
        let identity = match ty {
            ScalarType::F32 => Constant::F32((def.identity as f32).to_bits()),
            ScalarType::F64 => Constant::F64(def.identity.to_bits()),
            _ => (def.identity_int)(ty),
        };
        Combine { ty, identity, code, result }
    }

    /// The least of two numbers.
    pub fn least(ty: ScalarType) -> Combine {
        Combine::of(Reduce::Min, ty)
    }

    /// Is combining a floating-point addition? Then a product can be added with one rounding.
    pub fn is_addition(&self) -> bool {
        matches!(self.code.inst(self.result), Inst::Add(..))
    }
}

impl Kernel {
    /// The combining step of a reduction.
    pub fn reduction_combine(&self, reduction: usize) -> Combine {
        let r = &self.reductions[reduction];
        Combine::of(r.op, self.code.ty(r.input))
    }

    /// The combining step of a store, unless it just writes.
    pub fn store_combine(&self, store: usize) -> Option<Combine> {
        let store = &self.stores[store];
        match store.kind {
            StoreKind::Write => None,
            StoreKind::Accumulate(op) => Some(Combine::of(op, self.code.ty(store.value))),
            StoreKind::AddInPlace => Some(Combine::of(Reduce::Sum, self.code.ty(store.value))),
        }
    }
}
