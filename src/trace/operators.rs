//! Operators, with values, parameters and numbers on either side.

use super::{Fault, Var, apply, fault, leaf_value};
use crate::nn::{LeafRef, Param, State};
use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
use evenkeel_ir::{Binary, DType, Op, Place, Real, Unary};

/// The other side of an operator: a value or a number.
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    /// A traced value.
    Var(Var),
    /// A number, which takes the element type of the value beside it.
    Number(f64),
}

macro_rules! numbers {
    ($($ty:ty),*) => {$(
        impl From<$ty> for Operand {
            fn from(number: $ty) -> Operand { Operand::Number(number as f64) }
        }
    )*};
}
numbers!(f32, f64, i32, i64, usize);

impl From<Var> for Operand {
    fn from(var: Var) -> Operand {
        Operand::Var(var)
    }
}

impl From<&Param> for Operand {
    #[track_caller]
    fn from(param: &Param) -> Operand {
        Operand::Var(leaf_value(LeafRef::Param(param), Place::caller()))
    }
}

impl From<&State> for Operand {
    #[track_caller]
    fn from(state: &State) -> Operand {
        Operand::Var(leaf_value(LeafRef::State(state), Place::caller()))
    }
}

impl Operand {
    /// The operand as a value beside `like`.
    pub(crate) fn beside(self, op: &'static str, like: Var, place: Place) -> Var {
        match self {
            Operand::Var(var) => var,
            Operand::Number(_) if like.is_poisoned() => Var::POISONED,
            Operand::Number(number) => {
                let dtype = like.dtype();
                let whole = number.fract() == 0.0;
                if dtype == DType::Bool || (dtype.is_int() && !whole) {
                    return fault(Fault::Number { op, number, dtype }, place);
                }
                apply(Op::Const(Real::new(number), dtype), &[], place)
            }
        }
    }
}

impl UnaryMethods for Var {
    #[track_caller]
    fn unary(self, op: Unary) -> Var {
        apply(Op::Unary(op), &[self], Place::caller())
    }
}

impl<T: Into<Operand>> BinaryMethods<T> for Var {
    #[track_caller]
    fn binary(self, op: Binary, other: T) -> Var {
        let place = Place::caller();
        let other = other.into().beside(op.name(), self, place);
        apply(Op::Binary(op), &[self, other], place)
    }
}

/// Both sides of an operator, of which at least one is a value.
#[track_caller]
fn operator(op: Binary, lhs: Operand, rhs: Operand) -> Var {
    let place = Place::caller();
    let (lhs, rhs) = match (lhs, rhs) {
        (Operand::Var(x), y) => (x, y.beside(op.name(), x, place)),
        (x, Operand::Var(y)) => (x.beside(op.name(), y, place), y),
        (Operand::Number(_), Operand::Number(_)) => (Var::POISONED, Var::POISONED),
    };
    apply(Op::Binary(op), &[lhs, rhs], place)
}

/// One implementation per left side, whatever is on the right, so that the type of
/// `x * 2.0` is known before that of the literal. For the same reason f64 is the only float on
/// the left.
macro_rules! operators {
    ($($Trait:ident $method:ident $Op:ident),*) => {$(
        operators!(@left $Trait $method $Op; Var, &Param, &State);
        operators!(@right $Trait $method $Op; f64: Var &Param &State, i32: Var &Param &State);
    )*};
    (@left $Trait:ident $method:ident $Op:ident; $($Lhs:ty),*) => {
        $(impl<T: Into<Operand>> std::ops::$Trait<T> for $Lhs {
            type Output = Var;
            #[track_caller]
            fn $method(self, other: T) -> Var {
                operator(Binary::$Op, Operand::from(self), other.into())
            }
        })*
    };
    (@right $Trait:ident $method:ident $Op:ident; $($Lhs:ty: $($Rhs:ty)*),*) => {
        $($(impl std::ops::$Trait<$Rhs> for $Lhs {
            type Output = Var;
            #[track_caller]
            fn $method(self, other: $Rhs) -> Var {
                operator(Binary::$Op, Operand::from(self), Operand::from(other))
            }
        })*)*
    };
}
operators!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

/// `x += y` makes `x` stand for `x + y`; values themselves never change.
macro_rules! assignments {
    ($($Trait:ident $method:ident $Op:ident),*) => {$(
        impl<T: Into<Operand>> std::ops::$Trait<T> for Var {
            #[track_caller]
            fn $method(&mut self, other: T) {
                *self = operator(Binary::$Op, Operand::Var(*self), other.into());
            }
        }
    )*};
}
assignments!(AddAssign add_assign Add, SubAssign sub_assign Sub, MulAssign mul_assign Mul, DivAssign div_assign Div);

macro_rules! negations {
    ($($Operand:ty),*) => {$(
        impl std::ops::Neg for $Operand {
            type Output = Var;
            #[track_caller]
            fn neg(self) -> Var {
                match Operand::from(self) {
                    Operand::Var(x) => apply(Op::Unary(Unary::Neg), &[x], Place::caller()),
                    Operand::Number(_) => Var::POISONED,
                }
            }
        }
    )*};
}
negations!(Var, &Param, &State);
