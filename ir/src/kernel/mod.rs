//! Schedule-free kernels: what one fused loop nest computes, not how it is looped.
//!
//! A kernel runs over an index space of *parallel* axes followed by *reduced* axes. Its body
//! is one scalar program whose parameters are bound by [`Source`]s. Registers fall into
//! **phases**: phase k holds what depends on k earlier reductions over the reduced axes.
//! Loops, lanes and unrolling belong to the compiler's schedules.
//!
//! Invariant ([`Kernel::verify`]): accesses name declared arguments and have one stride per
//! axis; reductions appear before their results are read.

mod combine;
mod eval;
mod print;

pub use combine::Combine;
pub use eval::Elements;

use crate::dtype::DType;
use crate::op::Reduce;
use crate::scalar::{Inst, Reg, ScalarFn};
use crate::shape::Extent;
use smallvec::SmallVec;

/// A distance in elements, `scale * N^power`; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stride {
    /// The constant factor.
    pub scale: i64,
    /// How many times the batch size is a factor.
    pub power: u8,
}

impl Stride {
    /// No movement.
    pub const ZERO: Stride = Stride { scale: 0, power: 0 };
    /// From an element to its neighbor.
    pub const ONE: Stride = Stride { scale: 1, power: 0 };

    /// The value when the batch size is `batch`.
    pub fn at(self, batch: u64) -> i64 {
        self.scale * (batch as i64).pow(self.power.into())
    }

    /// The distance times a number.
    pub fn times(self, factor: i64) -> Stride {
        Stride { scale: self.scale * factor, power: self.power }
    }
}

impl From<Extent> for Stride {
    fn from(extent: Extent) -> Stride {
        Stride { scale: extent.scale as i64, power: extent.power }
    }
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read only.
    Input,
    /// Every element of the accessed region is written exactly once.
    Output,
    /// One partial result per chunk of rows.
    Partial,
    /// Read and written at the same index.
    InOut,
}

/// A buffer argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arg {
    /// Name for readers.
    pub name: String,
    /// Stored element type.
    pub dtype: DType,
    /// What happens to it.
    pub role: Role,
}

/// An index that comes from data: the element `register * stride` further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Indirect {
    /// An i32 or i64 register that does not depend on a reduction.
    pub register: Reg,
    /// Distance between neighbours, in elements.
    pub stride: Stride,
    /// Valid indices are `0..limit`; a load elsewhere gives NaN or 0, a store is dropped.
    pub limit: Extent,
}

/// Where an element of a buffer lies, for each point of the index space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// Which argument.
    pub arg: u32,
    /// Position of the first element.
    pub offset: Stride,
    /// Distance per step along each axis of the space; zero where it does not move.
    pub strides: SmallVec<[Stride; 4]>,
    /// A data-dependent part of the position.
    pub indirect: Option<Indirect>,
}

/// What a parameter of the body is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// An element of a buffer.
    Load(Access),
    /// `offset + sum(index * stride)` as an i32: positions along an axis, counters of random numbers.
    Position {
        /// Distance per step along each axis of the space.
        strides: SmallVec<[Stride; 4]>,
    },
    /// An extent as a number of the parameter's type.
    Size(Extent),
    /// The result of a reduction over the reduced axes.
    Reduced(u32),
}

/// A reduction of a register over all reduced axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reduction {
    /// How.
    pub op: Reduce,
    /// Of what.
    pub input: Reg,
    /// The maximum that a sum follows: the number of that reduction.
    ///
    /// The sum is of `f(a, m)` with `m` the maximum of `a`, and `f(a, m) = f(a, l) f(l, m)`, as
    /// in `exp(a - m)`. So the sum over some elements, against their maximum `l`, becomes the one
    /// against `m` by the factor `f(l, m)`, and one sweep over the row can find both.
    pub follows: Option<u32>,
}

/// What happens to a stored register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKind {
    /// Written once per point of the axes that the access moves along.
    Write,
    /// Combined, over the axes that the access does not move along, into the partial result of
    /// the running chunk.
    Accumulate(Reduce),
    /// Added to what the (indirect) element holds; such a kernel runs as one chunk.
    AddInPlace,
}

/// An effect of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    /// Where to.
    pub access: Access,
    /// What.
    pub value: Reg,
    /// How.
    pub kind: StoreKind,
}

/// A fused loop nest without a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name for readers.
    pub name: String,
    /// Sizes of the axes, parallel axes first.
    pub space: SmallVec<[Extent; 4]>,
    /// How many axes are parallel.
    pub parallel: usize,
    /// Buffers.
    pub args: Vec<Arg>,
    /// The body.
    pub code: ScalarFn,
    /// What the parameters of the body are.
    pub sources: Vec<Source>,
    /// Reductions over the reduced axes.
    pub reductions: Vec<Reduction>,
    /// Effects.
    pub stores: Vec<Store>,
}

/// Facts about every register, derived from a kernel.
#[derive(Clone, Debug)]
pub struct Levels {
    /// Bit mask of the axes a register varies along.
    pub dep: Vec<u32>,
    /// How many reductions in a row stand before it.
    pub phase: Vec<u32>,
}

impl Kernel {
    /// Number of points of the parallel axes.
    pub fn rows(&self) -> Extent {
        Extent::product(self.space[..self.parallel].iter().copied())
    }

    /// Number of points of the reduced axes.
    pub fn row_elements(&self) -> Extent {
        Extent::product(self.space[self.parallel..].iter().copied())
    }

    /// Every access: loads, then stores.
    pub fn accesses(&self) -> impl Iterator<Item = &Access> {
        let loads = self.sources.iter().filter_map(|s| if let Source::Load(a) = s { Some(a) } else { None });
        loads.chain(self.stores.iter().map(|store| &store.access))
    }

    /// Bit mask of the reduced axes.
    pub fn reduced_mask(&self) -> u32 {
        (0..self.space.len()).skip(self.parallel).fold(0, |mask, axis| mask | 1 << axis)
    }

    /// Axes along which an access moves.
    pub fn access_mask(access: &Access) -> u32 {
        let moves = |(axis, stride): (usize, &Stride)| {
            if *stride == Stride::ZERO { 0 } else { 1 << axis }
        };
        access.strides.iter().enumerate().map(moves).fold(0, |mask, bit| mask | bit)
    }

    /// Axes and phase of every register.
    pub fn levels(&self) -> Levels {
        let mut levels = Levels { dep: Vec::new(), phase: Vec::new() };
        for inst in self.code.insts() {
            let (mut dep, mut phase) = (0, 0);
            let mut join = |reg: Reg, levels: &Levels| {
                dep |= levels.dep[reg.0 as usize];
                phase = phase.max(levels.phase[reg.0 as usize]);
            };
            for reg in inst.operands() {
                join(reg, &levels);
            }
            if let Inst::Param { index, .. } = inst {
                match &self.sources[*index as usize] {
                    Source::Load(access) => {
                        if let Some(indirect) = &access.indirect {
                            join(indirect.register, &levels);
                        }
                        dep |= Kernel::access_mask(access);
                    }
                    Source::Position { strides } => {
                        dep |= (0..strides.len())
                            .filter(|&a| strides[a] != Stride::ZERO)
                            .fold(0, |m, a| m | 1 << a);
                    }
                    Source::Size(_) => {}
                    Source::Reduced(reduction) => {
                        join(self.reductions[*reduction as usize].input, &levels);
                        dep &= !self.reduced_mask();
                        phase += 1;
                    }
                }
            }
            levels.dep.push(dep);
            levels.phase.push(phase);
        }
        levels
    }

    /// Does a store happen once per element of the row?
    pub fn along_row(&self, levels: &Levels, store: &Store) -> bool {
        let mask = levels.dep[store.value.0 as usize] | Kernel::access_mask(&store.access);
        mask & self.reduced_mask() != 0
    }

    /// Number of passes over the reduced axes, at least one.
    pub fn phases(&self) -> u32 {
        let levels = self.levels();
        let stores = self.stores.iter().filter(|store| self.along_row(&levels, store));
        let stores = stores.map(|store| levels.phase[store.value.0 as usize] + 1);
        let reductions = self.reductions.iter().map(|r| levels.phase[r.input.0 as usize] + 1);
        stores.chain(reductions).max().unwrap_or(1)
    }

    /// The mask under which a reduction is idle: it then takes its neutral element from all of
    /// the row. The mask is one of the row; code may skip the loop where it holds.
    pub fn idle(&self, levels: &Levels, reduction: usize) -> Option<Reg> {
        let Inst::Select(mask, neutral, _) = self.code.inst(self.reductions[reduction].input) else {
            return None;
        };
        let same = self.code.inst(neutral) == Inst::Const(self.reduction_combine(reduction).identity);
        (same && levels.dep[mask.0 as usize] & self.reduced_mask() == 0).then_some(mask)
    }

    /// The reductions that are idle in no row, as far as can be told.
    pub fn busy_reductions(&self, levels: &Levels) -> impl Iterator<Item = &Reduction> {
        (0..self.reductions.len()).filter(|&r| self.idle(levels, r).is_none()).map(|r| &self.reductions[r])
    }

    /// Number of passes over the reduced axes that every row makes, at least one.
    pub fn sweeps(&self) -> u32 {
        let levels = self.levels();
        let phase = |reg: Reg| levels.phase[reg.0 as usize];
        let stores = self.stores.iter().filter(|store| self.along_row(&levels, store));
        let mut sweeps: Vec<u32> = stores.map(|store| phase(store.value)).collect();
        sweeps.extend(self.busy_reductions(&levels).map(|r| phase(r.input)));
        sweeps.sort_unstable();
        sweeps.dedup();
        sweeps.len().max(1) as u32
    }

    /// Checks the invariant; the text says what is broken.
    ///
    /// # Errors
    /// The first violation.
    pub fn verify(&self) -> Result<(), String> {
        for access in self.accesses() {
            if access.arg as usize >= self.args.len() {
                return Err(format!("{}: argument {} is not declared", self.name, access.arg));
            }
            if access.strides.len() != self.space.len() {
                return Err(format!(
                    "{}: an access of {} lacks strides",
                    self.name, self.args[access.arg as usize].name
                ));
            }
        }
        for (reg, inst) in self.code.insts().iter().enumerate() {
            let Inst::Param { index, .. } = inst else {
                continue;
            };
            match self.sources.get(*index as usize) {
                None => return Err(format!("{}: parameter {index} has no source", self.name)),
                Some(Source::Reduced(r)) if self.reductions[*r as usize].input.0 as usize >= reg => {
                    return Err(format!("{}: reduction {r} is read before its input", self.name));
                }
                Some(_) => {}
            }
        }
        match (0..self.reductions.len()).find(|&number| !self.may_follow(number)) {
            Some(number) => Err(format!("{}: reduction {number} cannot follow a maximum", self.name)),
            None => Ok(()),
        }
    }

    /// Is what a sum follows an earlier maximum, and the sum one of a function of nothing but that
    /// maximum, what it is the maximum of, and constants?
    fn may_follow(&self, number: usize) -> bool {
        let Reduction { op, input, follows } = self.reductions[number];
        let Some(followed) = follows else { return true };
        let Some(maximum) = self.reductions[..number].get(followed as usize) else { return false };
        let mut queue = vec![input];
        while let Some(reg) = queue.pop() {
            match self.code.inst(reg) {
                _ if reg == maximum.input => {}
                Inst::Param { index, .. } if self.sources[index as usize] != Source::Reduced(followed) => {
                    return false;
                }
                inst => queue.extend(inst.operands()),
            }
        }
        op == Reduce::Sum && maximum.op == Reduce::Max && self.code.ty(input).is_float()
    }
}
