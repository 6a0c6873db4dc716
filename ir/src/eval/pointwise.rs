//! Pointwise ops.

use super::{pick, stretched_offset};
use crate::dtype::DType;
use crate::literal::{Data, Literal};
use crate::op::{Binary, Unary};

pub(super) fn unary(f: Unary, dtype: DType, x: &Literal) -> Literal {
    let data = match &x.data {
        Data::Float(x) => Data::Float(x.iter().map(|&x| (f.def().eval)(x)).collect()),
        // negation is the only function of integers
        Data::Int(x) => Data::Int(narrow(dtype, x.iter().map(|&x| x.wrapping_neg()))),
    };
    Literal { dtype, sizes: x.sizes.clone(), data }
}

pub(super) fn binary(f: Binary, dtype: DType, sizes: &[usize], operands: &[&Literal]) -> Literal {
    let (x, y) = (stretch(sizes, operands[0]), stretch(sizes, operands[1]));
    let data = match (&x.data, &y.data) {
        (Data::Int(x), Data::Int(y)) => {
            let z = x.iter().zip(y).map(|(&x, &y)| (f.def().eval_int)(x, y));
            if dtype.is_int() {
                Data::Int(narrow(dtype, z))
            } else {
                Data::Float(z.map(|z| z as f64).collect())
            }
        }
        _ => {
            Data::Float(x.to_floats().iter().zip(y.to_floats()).map(|(&x, y)| (f.def().eval)(x, y)).collect())
        }
    };
    Literal { dtype, sizes: sizes.to_vec(), data }
}

/// Wraps to the width of the type.
fn narrow(dtype: DType, values: impl Iterator<Item = i64>) -> Vec<i64> {
    values.map(|z| if dtype == DType::I32 { i64::from(z as i32) } else { z }).collect()
}

fn stretch(sizes: &[usize], x: &Literal) -> Literal {
    if x.sizes == sizes { x.clone() } else { pick(sizes, x, |index| Some(stretched_offset(index, &x.sizes))) }
}

pub(super) fn select(sizes: &[usize], operands: &[&Literal]) -> Literal {
    let condition = stretch(sizes, operands[0]).to_floats();
    let (x, y) = (stretch(sizes, operands[1]), stretch(sizes, operands[2]));
    fn choose<T: Copy>(condition: &[f64], x: &[T], y: &[T]) -> Vec<T> {
        condition.iter().zip(x.iter().zip(y)).map(|(&c, (&x, &y))| if c != 0.0 { x } else { y }).collect()
    }
    let data = match (&x.data, &y.data) {
        (Data::Float(x), Data::Float(y)) => Data::Float(choose(&condition, x, y)),
        _ => Data::Int(choose(&condition, &x.to_ints(), &y.to_ints())),
    };
    Literal { dtype: x.dtype, sizes: sizes.to_vec(), data }
}

pub(super) fn cast(dtype: DType, x: &Literal) -> Literal {
    let data = match dtype {
        DType::Bool => Data::Float(x.to_floats().iter().map(|&x| f64::from(x != 0.0)).collect()),
        DType::I32 => Data::Int(x.to_floats().iter().map(|&x| i64::from(x as i32)).collect()),
        DType::I64 => Data::Int(x.to_ints()),
        _ => Data::Float(x.to_floats()),
    };
    let data = match (&x.data, dtype) {
        (Data::Int(x), DType::I32) => Data::Int(x.iter().map(|&x| i64::from(x as i32)).collect()),
        _ => data,
    };
    Literal { dtype, sizes: x.sizes.clone(), data }
}
