//! Interpreter of kernels: the second oracle, one point of the index space after another.

use super::{Access, Kernel, Levels, Source, Store, StoreKind};
use crate::DType;
use crate::op::Reduce;
use crate::scalar::{Constant, Inst, Reg, Scalar, ScalarType, eval_inst};

/// Elements of a buffer as the interpreter holds them.
pub type Elements = Vec<Scalar>;

struct Run<'a> {
    kernel: &'a Kernel,
    levels: Levels,
    batch: u64,
    sizes: Vec<u64>,
}

impl Kernel {
    /// Runs the kernel for the rows `begin..end` as one chunk. `buffers` are its arguments;
    /// partial arguments hold the result of this chunk.
    pub fn eval(&self, batch: u64, begin: u64, end: u64, buffers: &mut [Elements]) {
        let sizes = self.space.iter().map(|extent| extent.at(batch)).collect();
        let run = Run { kernel: self, levels: self.levels(), batch, sizes };
        for store in &self.stores {
            if let StoreKind::Accumulate(op) = store.kind {
                run.clear(store, op, buffers);
            }
        }
        for row in begin..end {
            run.row(row, buffers);
        }
    }
}

impl Run<'_> {
    fn clear(&self, store: &Store, op: Reduce, buffers: &mut [Elements]) {
        let identity = identity(op, self.kernel.code.ty(store.value));
        for row in 0..self.sizes[..self.kernel.parallel].iter().product() {
            self.each_point(row, |index| {
                let at = self.position(&store.access, index, &|_| unreachable!("no data-dependent partials"));
                buffers[store.access.arg as usize][at.expect("a place for each partial")] = identity;
            });
        }
    }

    /// Calls `visit` with every index of one row.
    fn each_point(&self, row: u64, mut visit: impl FnMut(&[u64])) {
        let (parallel, total) = (self.kernel.parallel, self.sizes.len());
        let mut index = vec![0; total];
        let mut rest = row;
        for axis in (0..parallel).rev() {
            index[axis] = rest % self.sizes[axis].max(1);
            rest /= self.sizes[axis].max(1);
        }
        let points: u64 = self.sizes[parallel..].iter().product();
        for point in 0..points {
            let mut rest = point;
            for axis in (parallel..total).rev() {
                index[axis] = rest % self.sizes[axis];
                rest /= self.sizes[axis];
            }
            visit(&index);
        }
    }

    fn row(&self, row: u64, buffers: &mut [Elements]) {
        let mut reduced: Vec<Scalar> = Vec::new();
        for (number, reduction) in self.kernel.reductions.iter().enumerate() {
            let mut total = identity(reduction.op, self.kernel.code.ty(reduction.input));
            self.each_point(row, |index| {
                let value =
                    self.registers(index, buffers, &reduced, reduction.input)[reduction.input.0 as usize];
                total = combine(reduction.op, total, value);
            });
            debug_assert_eq!(reduced.len(), number);
            reduced.push(total);
        }
        for store in &self.kernel.stores {
            self.effect(row, store, buffers, &reduced);
        }
    }

    fn effect(&self, row: u64, store: &Store, buffers: &mut [Elements], reduced: &[Scalar]) {
        let row_level = !self.kernel.along_row(&self.levels, store);
        let mut first = true;
        self.each_point(row, |index| {
            if row_level && !std::mem::take(&mut first) {
                return;
            }
            let registers = self.registers(index, buffers, reduced, Reg(self.kernel.code.len() as u32 - 1));
            let value = registers[store.value.0 as usize];
            let Some(at) = self.position(&store.access, index, &|reg| registers[reg.0 as usize]) else {
                return;
            };
            let slot = &mut buffers[store.access.arg as usize][at];
            *slot = match store.kind {
                StoreKind::Write => value,
                StoreKind::Accumulate(op) => combine(op, *slot, value),
                StoreKind::AddInPlace => combine(Reduce::Sum, *slot, value),
            };
        });
    }

    /// Evaluates registers up to `last` at one point; reductions not yet known read as zero.
    fn registers(&self, index: &[u64], buffers: &[Elements], reduced: &[Scalar], last: Reg) -> Vec<Scalar> {
        let mut values: Vec<Scalar> = Vec::with_capacity(last.0 as usize + 1);
        for inst in &self.kernel.code.insts()[..=last.0 as usize] {
            let value = match inst {
                Inst::Param { index: param, ty } => {
                    self.source(&self.kernel.sources[*param as usize], *ty, index, buffers, reduced, &values)
                }
                inst => eval_inst(inst, true, |reg| values[reg.0 as usize]),
            };
            values.push(value);
        }
        values
    }

    fn source(
        &self,
        source: &Source,
        ty: ScalarType,
        index: &[u64],
        buffers: &[Elements],
        reduced: &[Scalar],
        values: &[Scalar],
    ) -> Scalar {
        match source {
            Source::Load(access) => match self.position(access, index, &|reg| values[reg.0 as usize]) {
                Some(at) => buffers[access.arg as usize][at],
                None => missing(self.kernel.args[access.arg as usize].dtype),
            },
            Source::Position { strides } => {
                let at: i64 = strides.iter().zip(index).map(|(s, &i)| s.at(self.batch) * i as i64).sum();
                Scalar::I32(at as i32)
            }
            Source::Size(extent) => Scalar::from_f64(ty, extent.at(self.batch) as f64),
            Source::Reduced(r) => reduced.get(*r as usize).copied().unwrap_or(Scalar::from_f64(ty, 0.0)),
        }
    }

    fn position(&self, access: &Access, index: &[u64], register: &dyn Fn(Reg) -> Scalar) -> Option<usize> {
        let mut at = access.offset.at(self.batch);
        at += access.strides.iter().zip(index).map(|(s, &i)| s.at(self.batch) * i as i64).sum::<i64>();
        if let Some(indirect) = &access.indirect {
            let i = match register(indirect.register) {
                Scalar::I32(i) => i.into(),
                Scalar::I64(i) => i,
                other => unreachable!("an index register, found {other:?}"),
            };
            if i < 0 || i >= indirect.limit.at(self.batch) as i64 {
                return None;
            }
            at += i * indirect.stride.at(self.batch);
        }
        Some(at as usize)
    }
}

/// What a load outside the table gives.
fn missing(dtype: DType) -> Scalar {
    let ty = dtype.scalar().expect("an executable type");
    Scalar::from_f64(ty, if ty.is_float() { f64::NAN } else { 0.0 })
}

/// The value of an empty reduction.
fn identity(op: Reduce, ty: ScalarType) -> Scalar {
    if ty.is_float() {
        return Scalar::from_f64(ty, op.def().identity);
    }
    let constant: Constant = (op.def().identity_int)(ty);
    constant.into()
}

/// Combines two partial results as the reduction's code does.
fn combine(op: Reduce, a: Scalar, b: Scalar) -> Scalar {
    let inst = match (op, a) {
        (Reduce::Sum, Scalar::I32(_) | Scalar::I64(_)) => Inst::IntAdd(Reg(0), Reg(1)),
        (Reduce::Sum, _) => Inst::Add(Reg(0), Reg(1)),
        (Reduce::Max, _) => Inst::Max(Reg(0), Reg(1)),
        (Reduce::Min, _) => Inst::Min(Reg(0), Reg(1)),
    };
    eval_inst(&inst, true, |reg| if reg == Reg(0) { a } else { b })
}
