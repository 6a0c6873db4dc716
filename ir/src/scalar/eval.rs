//! Interpreter of scalar code, with the rounding of the register types.

use super::{Compare, Constant, Inst, Reg, ScalarFn, ScalarType};

/// The content of a register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// An f32.
    F32(f32),
    /// An f64.
    F64(f64),
    /// An i32.
    I32(i32),
    /// An i64.
    I64(i64),
    /// A truth value.
    Mask(bool),
}

impl From<Constant> for Scalar {
    fn from(c: Constant) -> Scalar {
        match c {
            Constant::F32(bits) => Scalar::F32(f32::from_bits(bits)),
            Constant::F64(bits) => Scalar::F64(f64::from_bits(bits)),
            Constant::I32(x) => Scalar::I32(x),
            Constant::I64(x) => Scalar::I64(x),
            Constant::Mask(x) => Scalar::Mask(x),
        }
    }
}

impl Scalar {
    /// The number as an f64 (truth values as 0 and 1).
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::F32(x) => x.into(),
            Scalar::F64(x) => x,
            Scalar::I32(x) => x.into(),
            Scalar::I64(x) => x as f64,
            Scalar::Mask(x) => x.into(),
        }
    }

    /// A number as a register type.
    pub fn from_f64(ty: ScalarType, x: f64) -> Scalar {
        match ty {
            ScalarType::F32 => Scalar::F32(x as f32),
            ScalarType::F64 => Scalar::F64(x),
            ScalarType::I32 => Scalar::I32(x as i32),
            ScalarType::I64 => Scalar::I64(x as i64),
            ScalarType::Mask => Scalar::Mask(x != 0.0),
        }
    }
}

/// Applies the same expression to both float types.
macro_rules! floats {
    ($($x:ident),+ => $value:expr) => {
        floats!(@ $($x),+ => $value)
    };
    (@ $a:ident => $value:expr) => {
        match $a {
            Scalar::F32($a) => Scalar::F32($value),
            Scalar::F64($a) => Scalar::F64($value),
            other => unreachable!("float operand, found {other:?}"),
        }
    };
    (@ $a:ident, $b:ident => $value:expr) => {
        match ($a, $b) {
            (Scalar::F32($a), Scalar::F32($b)) => Scalar::F32($value),
            (Scalar::F64($a), Scalar::F64($b)) => Scalar::F64($value),
            other => unreachable!("float operands, found {other:?}"),
        }
    };
}

/// Applies the same expression to both integer types.
macro_rules! ints {
    ($a:ident => $value:expr) => {
        match $a {
            Scalar::I32($a) => Scalar::I32($value),
            Scalar::I64($a) => Scalar::I64($value),
            other => unreachable!("integer operand, found {other:?}"),
        }
    };
    ($a:ident, $b:ident => $value:expr) => {
        match ($a, $b) {
            (Scalar::I32($a), Scalar::I32($b)) => Scalar::I32($value),
            (Scalar::I64($a), Scalar::I64($b)) => Scalar::I64($value),
            other => unreachable!("integer operands, found {other:?}"),
        }
    };
}

/// Executes one instruction; `fused` says whether `Fma` rounds once.
pub fn eval_inst(inst: &Inst, fused: bool, get: impl Fn(Reg) -> Scalar) -> Scalar {
    match *inst {
        Inst::Param { index, .. } => unreachable!("parameter {index} is bound by the caller"),
        Inst::Const(c) => c.into(),
        Inst::Fma(a, b, c) => fma(fused, get(a), get(b), get(c)),
        Inst::Compare(c, a, b) => Scalar::Mask(compare(c, get(a), get(b))),
        Inst::Select(m, a, b) => {
            if get(m) == Scalar::Mask(true) {
                get(a)
            } else {
                get(b)
            }
        }
        Inst::Bitcast(a, ty) => bitcast(get(a), ty),
        Inst::Convert(a, ty) => convert(get(a), ty),
        Inst::Min(a, b) => {
            if compare(Compare::Lt, get(a), get(b)) {
                get(a)
            } else {
                get(b)
            }
        }
        Inst::Max(a, b) => {
            if compare(Compare::Lt, get(b), get(a)) {
                get(a)
            } else {
                get(b)
            }
        }
        Inst::And(a, b) => bits(get(a), get(b), |x, y| x & y),
        Inst::Or(a, b) => bits(get(a), get(b), |x, y| x | y),
        Inst::Xor(a, b) => bits(get(a), get(b), |x, y| x ^ y),
        Inst::Not(a) => bits(get(a), Scalar::I64(-1), |x, y| x ^ y),
        _ => arithmetic(inst, get),
    }
}

fn arithmetic(inst: &Inst, get: impl Fn(Reg) -> Scalar) -> Scalar {
    let a = get(inst.operands()[0]);
    let b = inst.operands().get(1).map_or(a, |&b| get(b));
    match *inst {
        Inst::Neg(_) => floats!(a => -a),
        Inst::Abs(_) => floats!(a => a.abs()),
        Inst::Sqrt(_) => floats!(a => a.sqrt()),
        Inst::Floor(_) => floats!(a => a.floor()),
        Inst::Nearest(_) => floats!(a => a.round_ties_even()),
        Inst::Add(..) => floats!(a, b => a + b),
        Inst::Sub(..) => floats!(a, b => a - b),
        Inst::Mul(..) => floats!(a, b => a * b),
        Inst::Div(..) => floats!(a, b => a / b),
        Inst::IntAdd(..) => ints!(a, b => a.wrapping_add(b)),
        Inst::IntSub(..) => ints!(a, b => a.wrapping_sub(b)),
        Inst::IntMul(..) => ints!(a, b => a.wrapping_mul(b)),
        Inst::ShiftLeft(_, n) => ints!(a => a.wrapping_shl(n.into())),
        Inst::ShiftRightSigned(_, n) => ints!(a => a.wrapping_shr(n.into())),
        Inst::ShiftRight(_, n) => match a {
            Scalar::I32(a) => Scalar::I32((a as u32 >> n) as i32),
            Scalar::I64(a) => Scalar::I64((a as u64 >> n) as i64),
            other => unreachable!("integer operand, found {other:?}"),
        },
        other => unreachable!("handled by eval_inst: {other:?}"),
    }
}

fn fma(fused: bool, a: Scalar, b: Scalar, c: Scalar) -> Scalar {
    match (a, b, c) {
        (Scalar::F32(a), Scalar::F32(b), Scalar::F32(c)) => {
            Scalar::F32(if fused { a.mul_add(b, c) } else { a * b + c })
        }
        (Scalar::F64(a), Scalar::F64(b), Scalar::F64(c)) => {
            Scalar::F64(if fused { a.mul_add(b, c) } else { a * b + c })
        }
        other => unreachable!("float operands, found {other:?}"),
    }
}

fn compare(c: Compare, a: Scalar, b: Scalar) -> bool {
    fn holds<T: PartialOrd>(c: Compare, a: T, b: T) -> bool {
        match c {
            Compare::Eq => a == b,
            Compare::Ne => a != b,
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Gt => a > b,
            Compare::Ge => a >= b,
        }
    }
    match (a, b) {
        (Scalar::F32(a), Scalar::F32(b)) => holds(c, a, b),
        (Scalar::F64(a), Scalar::F64(b)) => holds(c, a, b),
        (Scalar::I32(a), Scalar::I32(b)) => holds(c, a, b),
        (Scalar::I64(a), Scalar::I64(b)) => holds(c, a, b),
        (Scalar::Mask(a), Scalar::Mask(b)) => holds(c, a, b),
        other => unreachable!("operands of one type, found {other:?}"),
    }
}

fn bits(a: Scalar, b: Scalar, f: fn(i64, i64) -> i64) -> Scalar {
    let raw = |x: Scalar| match x {
        Scalar::I32(x) => x.into(),
        Scalar::I64(x) => x,
        Scalar::Mask(x) => -i64::from(x),
        other => unreachable!("integer or mask operand, found {other:?}"),
    };
    let result = f(raw(a), raw(b));
    match a {
        Scalar::I32(_) => Scalar::I32(result as i32),
        Scalar::I64(_) => Scalar::I64(result),
        _ => Scalar::Mask(result != 0),
    }
}

fn bitcast(a: Scalar, ty: ScalarType) -> Scalar {
    let bits = match a {
        Scalar::F32(x) => x.to_bits().into(),
        Scalar::F64(x) => x.to_bits(),
        Scalar::I32(x) => u64::from(x as u32),
        Scalar::I64(x) => x as u64,
        Scalar::Mask(x) => x.into(),
    };
    match ty {
        ScalarType::F32 => Scalar::F32(f32::from_bits(bits as u32)),
        ScalarType::F64 => Scalar::F64(f64::from_bits(bits)),
        ScalarType::I32 => Scalar::I32(bits as i32),
        ScalarType::I64 => Scalar::I64(bits as i64),
        ScalarType::Mask => Scalar::Mask(bits != 0),
    }
}

fn convert(a: Scalar, ty: ScalarType) -> Scalar {
    match (a, ty) {
        (Scalar::I64(x), ScalarType::I32) => Scalar::I32(x as i32),
        (Scalar::I64(x), ScalarType::I64) => Scalar::I64(x),
        (Scalar::I64(x), ScalarType::F32) => Scalar::F32(x as f32),
        (Scalar::I32(x), ScalarType::F32) => Scalar::F32(x as f32),
        (a, ty) => Scalar::from_f64(ty, a.as_f64()),
    }
}

impl ScalarFn {
    /// Runs the code with fused multiply-add; gives every register.
    pub fn eval(&self, params: &[Scalar]) -> Vec<Scalar> {
        self.eval_with(params, true)
    }

    /// Runs the code; `fused` says whether multiply-add rounds once.
    pub fn eval_with(&self, params: &[Scalar], fused: bool) -> Vec<Scalar> {
        let mut values: Vec<Scalar> = Vec::with_capacity(self.len());
        for inst in self.insts() {
            let value = match inst {
                Inst::Param { index, .. } => params[*index as usize],
                inst => eval_inst(inst, fused, |reg| values[reg.0 as usize]),
            };
            values.push(value);
        }
        values
    }
}

/// The f32 error of a result in units of the last place of the truth (of the smallest normal
/// number, if that is larger); 0 for equal values, infinite for a NaN out of place.
pub fn ulps(got: f32, want: f64) -> f64 {
    let overflow = got.is_infinite() && want.abs() > f32::MAX.into() && f64::from(got) * want > 0.0;
    if f64::from(got) == want || (got.is_nan() && want.is_nan()) || overflow {
        return 0.0;
    }
    let size = want.abs().clamp(f32::MIN_POSITIVE.into(), f32::MAX.into());
    let exponent = (size.to_bits() >> 52) as i32 - 1023;
    let error = (f64::from(got) - want).abs() / 2f64.powi(exponent - 23);
    if error.is_nan() { f64::INFINITY } else { error }
}
