//! The traced value.

use super::{Fault, with};
use evenkeel_ir::{DType, Place, Shape, TensorType, Value};
use std::fmt;

/// A value of the running trace: a `Copy` handle that operators and methods take by value.
///
/// Rust's `if` cannot look into it; use [`Var::select`]. `Debug` prints its type, module
/// path and source place.
///
/// ```compile_fail,E0308
/// # use evenkeel::prelude::*;
/// fn rectified(x: Var) -> Var { if x.gt(0.0) { x } else { x * 0.0 } }
/// ```
/// ```
/// # use evenkeel::prelude::*;
/// fn rectified(x: Var) -> Var { x.gt(0.0).select(x, 0.0) }
/// ```
#[derive(Clone, Copy)]
pub struct Var {
    trace: u64,
    index: u32,
}

impl Var {
    /// The result of a fault.
    pub(crate) const POISONED: Var = Var { trace: 0, index: 0 };

    pub(super) fn new(trace: u64, index: u32) -> Var {
        Var { trace, index }
    }

    /// Position among the values of its trace.
    pub(super) fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) fn is_poisoned(self) -> bool {
        self.trace == 0
    }

    /// The value in the running trace. A foreign value is a fault; a poisoned one is not another,
    /// unless this trace has no fault that could have made it.
    pub(super) fn value(self, op: &'static str, place: Place) -> Option<Value> {
        with(|context| {
            if context.number == self.trace {
                return Some(context.values[self.index as usize]);
            }
            if !self.is_poisoned() || context.faults.is_empty() {
                context.fault(Fault::Foreign { op }, place);
            }
            None
        })
        .flatten()
    }

    /// The type in the running trace; a value that has none there is a fault, now or before.
    pub(crate) fn ty_at(self, op: &'static str, place: Place) -> Option<TensorType> {
        self.value(op, place)?;
        self.try_ty()
    }

    /// The type, unless poisoned.
    pub(crate) fn try_ty(self) -> Option<TensorType> {
        with(|context| {
            let own = context.number == self.trace;
            own.then(|| context.builder.ty(context.values[self.index as usize]).clone())
        })
        .flatten()
    }

    /// Element type and shape. A poisoned value (after a fault) reads as an f32 scalar.
    pub fn ty(self) -> TensorType {
        self.try_ty().unwrap_or(TensorType::scalar(DType::F32))
    }

    /// Element type; see [`Var::ty`].
    pub fn dtype(self) -> DType {
        self.ty().dtype
    }

    /// Sizes; see [`Var::ty`].
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// Number of axes; see [`Var::ty`].
    pub fn rank(self) -> usize {
        self.ty().rank()
    }

    /// Gives the value on, and returns it from a run under this name:
    /// [`StepOutput::tap`](crate::train::StepOutput::tap),
    /// [`Jit::run_tapped`](crate::session::Jit::run_tapped). Where a name is used again, a number
    /// follows it: `norm`, `norm.1`, `norm.2`.
    ///
    /// A tapped value is stored, so it can prevent a fusion; `explain` says which. Closures whose
    /// derivative is taken by [`grad`](crate::session::grad) and its like drop their taps; a tap in
    /// a closure of [`custom_vjp`](crate::session::custom_vjp) is a fault.
    #[track_caller]
    pub fn tap(self, name: &str) -> Var {
        let place = Place::caller();
        self.value("tap", place);
        super::tap(name, self, place);
        self
    }
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = with(|context| {
            let value = (context.number == self.trace).then(|| context.values[self.index as usize])?;
            let graph = context.builder.graph();
            let from = graph.provenance(value.node);
            let place = from.place.map(|p| format!(" at {p}")).unwrap_or_default();
            let path = from.path.as_ref().map(|p| format!(" in {p}")).unwrap_or_default();
            Some(format!("{} = {}{path}{place}", graph.ty(value), graph.op(value).name()))
        });
        f.write_str(&text.flatten().unwrap_or_else(|| "poisoned or foreign value".into()))
    }
}
