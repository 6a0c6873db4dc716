//! Straight-line typed scalar code: what one element of a kernel computes.
//!
//! A [`ScalarFn`] is a list of instructions in SSA form; equal instructions are one register.
//! The interpreter here, and one emitter per target, are the only readers. No instruction
//! moves data between lanes, so the same code runs at any vector width.

mod eval;
pub mod math;

pub use eval::{Scalar, eval_inst, ulps};

use smallvec::{SmallVec, smallvec};
use std::collections::HashMap;
use std::fmt;

/// Type of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScalarType {
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// Result of a comparison.
    Mask,
}

impl ScalarType {
    /// `F32` or `F64`.
    pub fn is_float(self) -> bool {
        matches!(self, ScalarType::F32 | ScalarType::F64)
    }

    /// Bytes of a lane; masks take the width of the data around them.
    pub fn bytes(self) -> u32 {
        match self {
            ScalarType::F32 | ScalarType::I32 | ScalarType::Mask => 4,
            ScalarType::F64 | ScalarType::I64 => 8,
        }
    }
}

/// The result of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(pub u32);

/// A constant, floats by their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Constant {
    /// Bits of an f32.
    F32(u32),
    /// Bits of an f64.
    F64(u64),
    /// An i32.
    I32(i32),
    /// An i64.
    I64(i64),
    /// A truth value.
    Mask(bool),
}

impl Constant {
    /// Its type.
    pub fn ty(self) -> ScalarType {
        match self {
            Constant::F32(_) => ScalarType::F32,
            Constant::F64(_) => ScalarType::F64,
            Constant::I32(_) => ScalarType::I32,
            Constant::I64(_) => ScalarType::I64,
            Constant::Mask(_) => ScalarType::Mask,
        }
    }
}

/// Which comparison. On floats all are false on NaN, except `Ne`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compare {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// One instruction. Floats only, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Inst {
    /// A value bound from outside.
    Param {
        /// Position among the parameters.
        index: u32,
        /// Its type.
        ty: ScalarType,
    },
    /// A constant.
    Const(Constant),
    /// `-a`
    Neg(Reg),
    /// `|a|`
    Abs(Reg),
    /// Square root.
    Sqrt(Reg),
    /// Largest integer not above.
    Floor(Reg),
    /// Nearest integer, ties to even.
    Nearest(Reg),
    /// `a + b`
    Add(Reg, Reg),
    /// `a - b`
    Sub(Reg, Reg),
    /// `a * b`
    Mul(Reg, Reg),
    /// `a / b`
    Div(Reg, Reg),
    /// `if a < b { a } else { b }`, also on integers; with NaN it is `b`.
    Min(Reg, Reg),
    /// `if b < a { a } else { b }`, also on integers; with NaN it is `b`.
    Max(Reg, Reg),
    /// `a * b + c`, rounded once where the target can.
    Fma(Reg, Reg, Reg),
    /// Wrapping integer sum.
    IntAdd(Reg, Reg),
    /// Wrapping integer difference.
    IntSub(Reg, Reg),
    /// Wrapping integer product.
    IntMul(Reg, Reg),
    /// Bitwise and, of integers or masks.
    And(Reg, Reg),
    /// Bitwise or, of integers or masks.
    Or(Reg, Reg),
    /// Bitwise exclusive or, of integers or masks.
    Xor(Reg, Reg),
    /// Complement, of integers or masks.
    Not(Reg),
    /// Integer shift left.
    ShiftLeft(Reg, u8),
    /// Integer shift right, zeros enter.
    ShiftRight(Reg, u8),
    /// Integer shift right, copies of the sign enter.
    ShiftRightSigned(Reg, u8),
    /// A comparison of numbers or integers (signed).
    Compare(Compare, Reg, Reg),
    /// `mask ? a : b`, of any type.
    Select(Reg, Reg, Reg),
    /// The same bits as another type of the same width.
    Bitcast(Reg, ScalarType),
    /// The same number as another type; float to integer truncates, saturates, NaN gives 0.
    Convert(Reg, ScalarType),
}

type Operands = SmallVec<[Reg; 3]>;

impl Inst {
    /// The registers it reads.
    pub fn operands(&self) -> Operands {
        use Inst::*;
        match *self {
            Param { .. } | Const(_) => smallvec![],
            Neg(a) | Abs(a) | Sqrt(a) | Floor(a) | Nearest(a) | Not(a) => smallvec![a],
            ShiftLeft(a, _) | ShiftRight(a, _) | ShiftRightSigned(a, _) => smallvec![a],
            Bitcast(a, _) | Convert(a, _) => smallvec![a],
            Add(a, b) | Sub(a, b) | Mul(a, b) | Div(a, b) | Min(a, b) | Max(a, b) => {
                smallvec![a, b]
            }
            IntAdd(a, b) | IntSub(a, b) | IntMul(a, b) | And(a, b) | Or(a, b) | Xor(a, b) => {
                smallvec![a, b]
            }
            Compare(_, a, b) => smallvec![a, b],
            Fma(a, b, c) | Select(a, b, c) => smallvec![a, b, c],
        }
    }

    /// The same instruction on other registers.
    pub fn map_operands(self, mut f: impl FnMut(Reg) -> Reg) -> Inst {
        use Inst::*;
        match self {
            Param { .. } | Const(_) => self,
            Neg(a) => Neg(f(a)),
            Abs(a) => Abs(f(a)),
            Sqrt(a) => Sqrt(f(a)),
            Floor(a) => Floor(f(a)),
            Nearest(a) => Nearest(f(a)),
            Not(a) => Not(f(a)),
            ShiftLeft(a, n) => ShiftLeft(f(a), n),
            ShiftRight(a, n) => ShiftRight(f(a), n),
            ShiftRightSigned(a, n) => ShiftRightSigned(f(a), n),
            Bitcast(a, ty) => Bitcast(f(a), ty),
            Convert(a, ty) => Convert(f(a), ty),
            Add(a, b) => Add(f(a), f(b)),
            Sub(a, b) => Sub(f(a), f(b)),
            Mul(a, b) => Mul(f(a), f(b)),
            Div(a, b) => Div(f(a), f(b)),
            Min(a, b) => Min(f(a), f(b)),
            Max(a, b) => Max(f(a), f(b)),
            IntAdd(a, b) => IntAdd(f(a), f(b)),
            IntSub(a, b) => IntSub(f(a), f(b)),
            IntMul(a, b) => IntMul(f(a), f(b)),
            And(a, b) => And(f(a), f(b)),
            Or(a, b) => Or(f(a), f(b)),
            Xor(a, b) => Xor(f(a), f(b)),
            Compare(c, a, b) => Compare(c, f(a), f(b)),
            Fma(a, b, c) => Fma(f(a), f(b), f(c)),
            Select(a, b, c) => Select(f(a), f(b), f(c)),
        }
    }

    /// The type of its result, given those of registers.
    pub fn result_type(&self, ty: impl Fn(Reg) -> ScalarType) -> ScalarType {
        match *self {
            Inst::Param { ty, .. } | Inst::Bitcast(_, ty) | Inst::Convert(_, ty) => ty,
            Inst::Const(c) => c.ty(),
            Inst::Compare(..) => ScalarType::Mask,
            Inst::Select(_, a, _) => ty(a),
            _ => ty(self.operands()[0]),
        }
    }

    /// True when the operands have types that it accepts.
    fn well_typed(&self, ty: impl Fn(Reg) -> ScalarType) -> bool {
        use Inst::*;
        let same = |a, b| ty(a) == ty(b);
        let float = |a| ty(a).is_float();
        let int = |a| matches!(ty(a), ScalarType::I32 | ScalarType::I64);
        match *self {
            Param { .. } | Const(_) => true,
            Neg(a) | Abs(a) | Sqrt(a) | Floor(a) | Nearest(a) => float(a),
            Add(a, b) | Sub(a, b) | Mul(a, b) | Div(a, b) => same(a, b) && float(a),
            Min(a, b) | Max(a, b) | Compare(_, a, b) => same(a, b),
            Fma(a, b, c) => same(a, b) && same(b, c) && float(a),
            IntAdd(a, b) | IntSub(a, b) | IntMul(a, b) => same(a, b) && int(a),
            And(a, b) | Or(a, b) | Xor(a, b) => same(a, b) && !float(a),
            Not(a) => !float(a),
            ShiftLeft(a, _) | ShiftRight(a, _) | ShiftRightSigned(a, _) => int(a),
            Select(m, a, b) => ty(m) == ScalarType::Mask && same(a, b),
            Bitcast(a, to) => ty(a).bytes() == to.bytes() && ty(a) != ScalarType::Mask,
            Convert(a, to) => ty(a) != ScalarType::Mask && to != ScalarType::Mask,
        }
    }
}

/// Straight-line code; instructions read earlier registers only.
#[derive(Clone, Debug, Default)]
pub struct ScalarFn {
    insts: Vec<Inst>,
    types: Vec<ScalarType>,
    known: HashMap<Inst, Reg>,
}

impl PartialEq for ScalarFn {
    fn eq(&self, other: &ScalarFn) -> bool {
        self.insts == other.insts
    }
}

/// Declares one method per instruction.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) => $inst:expr;)*) => {
        $($(#[$doc])* pub fn $name(&mut self, $($arg: $ty),*) -> Reg { self.push($inst) })*
    };
}

impl ScalarFn {
    /// No code.
    pub fn new() -> ScalarFn {
        ScalarFn::default()
    }

    /// The instructions; the position is the register.
    pub fn insts(&self) -> &[Inst] {
        &self.insts
    }

    /// Number of registers.
    pub fn len(&self) -> usize {
        self.insts.len()
    }

    /// True when there is no code.
    pub fn is_empty(&self) -> bool {
        self.insts.is_empty()
    }

    /// The instruction behind a register.
    pub fn inst(&self, reg: Reg) -> Inst {
        self.insts[reg.0 as usize]
    }

    /// The type of a register.
    pub fn ty(&self, reg: Reg) -> ScalarType {
        self.types[reg.0 as usize]
    }

    /// True when the register holds a constant.
    pub fn is_constant(&self, reg: Reg) -> bool {
        matches!(self.inst(reg), Inst::Const(_))
    }

    /// Appends an instruction, or finds the register that already holds it.
    ///
    /// # Panics
    /// On ill-typed code, which is a bug of the caller.
    pub fn push(&mut self, inst: Inst) -> Reg {
        if let Some(&reg) = self.known.get(&inst) {
            return reg;
        }
        assert!(inst.well_typed(|r| self.ty(r)), "ill-typed scalar instruction {inst:?} after\n{self}");
        let reg = Reg(self.insts.len() as u32);
        self.types.push(inst.result_type(|r| self.ty(r)));
        self.insts.push(inst);
        self.known.insert(inst, reg);
        reg
    }

    /// A parameter.
    pub fn param(&mut self, index: u32, ty: ScalarType) -> Reg {
        self.push(Inst::Param { index, ty })
    }

    /// A constant of a float type.
    pub fn float(&mut self, ty: ScalarType, x: f64) -> Reg {
        match ty {
            ScalarType::F32 => self.push(Inst::Const(Constant::F32((x as f32).to_bits()))),
            _ => self.push(Inst::Const(Constant::F64(x.to_bits()))),
        }
    }

    /// Zero of any type.
    pub fn zero(&mut self, ty: ScalarType) -> Reg {
        self.push(Inst::Const(match ty {
            ScalarType::F32 => Constant::F32(0),
            ScalarType::F64 => Constant::F64(0),
            ScalarType::I32 => Constant::I32(0),
            ScalarType::I64 => Constant::I64(0),
            ScalarType::Mask => Constant::Mask(false),
        }))
    }

    instructions! {
        /// An i32 constant.
        i32(x: i32) => Inst::Const(Constant::I32(x));
        /// An i64 constant.
        i64(x: i64) => Inst::Const(Constant::I64(x));
        /// See [`Inst::Neg`].
        neg(a: Reg) => Inst::Neg(a);
        /// See [`Inst::Abs`].
        abs(a: Reg) => Inst::Abs(a);
        /// See [`Inst::Sqrt`].
        sqrt(a: Reg) => Inst::Sqrt(a);
        /// See [`Inst::Floor`].
        floor(a: Reg) => Inst::Floor(a);
        /// See [`Inst::Nearest`].
        nearest(a: Reg) => Inst::Nearest(a);
        /// See [`Inst::Add`].
        add(a: Reg, b: Reg) => Inst::Add(a, b);
        /// See [`Inst::Sub`].
        sub(a: Reg, b: Reg) => Inst::Sub(a, b);
        /// See [`Inst::Mul`].
        mul(a: Reg, b: Reg) => Inst::Mul(a, b);
        /// See [`Inst::Div`].
        div(a: Reg, b: Reg) => Inst::Div(a, b);
        /// See [`Inst::Min`].
        min(a: Reg, b: Reg) => Inst::Min(a, b);
        /// See [`Inst::Max`].
        max(a: Reg, b: Reg) => Inst::Max(a, b);
        /// See [`Inst::Fma`].
        fma(a: Reg, b: Reg, c: Reg) => Inst::Fma(a, b, c);
        /// See [`Inst::IntAdd`].
        int_add(a: Reg, b: Reg) => Inst::IntAdd(a, b);
        /// See [`Inst::IntSub`].
        int_sub(a: Reg, b: Reg) => Inst::IntSub(a, b);
        /// See [`Inst::IntMul`].
        int_mul(a: Reg, b: Reg) => Inst::IntMul(a, b);
        /// See [`Inst::And`].
        and(a: Reg, b: Reg) => Inst::And(a, b);
        /// See [`Inst::Or`].
        or(a: Reg, b: Reg) => Inst::Or(a, b);
        /// See [`Inst::Xor`].
        xor(a: Reg, b: Reg) => Inst::Xor(a, b);
        /// See [`Inst::Not`].
        not(a: Reg) => Inst::Not(a);
        /// See [`Inst::ShiftLeft`].
        shift_left(a: Reg, n: u8) => Inst::ShiftLeft(a, n);
        /// See [`Inst::ShiftRight`].
        shift_right(a: Reg, n: u8) => Inst::ShiftRight(a, n);
        /// See [`Inst::ShiftRightSigned`].
        shift_right_signed(a: Reg, n: u8) => Inst::ShiftRightSigned(a, n);
        /// See [`Inst::Compare`].
        compare(c: Compare, a: Reg, b: Reg) => Inst::Compare(c, a, b);
        /// See [`Inst::Select`].
        select(mask: Reg, a: Reg, b: Reg) => Inst::Select(mask, a, b);
        /// See [`Inst::Bitcast`].
        bitcast(a: Reg, ty: ScalarType) => Inst::Bitcast(a, ty);
        /// See [`Inst::Convert`].
        convert(a: Reg, ty: ScalarType) => Inst::Convert(a, ty);
    }
}

impl fmt::Display for ScalarFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, inst) in self.insts.iter().enumerate() {
            writeln!(f, "%{i} = {inst}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Constant::F32(bits) => write!(f, "{:?}", f32::from_bits(bits)),
            Constant::F64(bits) => write!(f, "{:?}f64", f64::from_bits(bits)),
            Constant::I32(x) => write!(f, "{x}"),
            Constant::I64(x) => write!(f, "{x}i64"),
            Constant::Mask(x) => write!(f, "{x}"),
        }
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let debug = format!("{self:?}");
        let name = debug.split(['(', ' ']).next().unwrap_or_default().to_lowercase();
        match self {
            Inst::Param { index, ty } => return write!(f, "param {index} {ty:?}"),
            Inst::Const(c) => return write!(f, "{c}"),
            Inst::Compare(c, ..) => write!(f, "{}", format!("{c:?}").to_lowercase())?,
            _ => write!(f, "{name}")?,
        }
        for (place, reg) in self.operands().iter().enumerate() {
            write!(f, "{} %{}", if place > 0 { "," } else { "" }, reg.0)?;
        }
        match self {
            Inst::ShiftLeft(_, n) | Inst::ShiftRight(_, n) | Inst::ShiftRightSigned(_, n) => {
                write!(f, ", {n}")
            }
            Inst::Bitcast(_, ty) | Inst::Convert(_, ty) => write!(f, ", {ty:?}"),
            _ => Ok(()),
        }
    }
}
