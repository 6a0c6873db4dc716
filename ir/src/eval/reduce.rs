//! Reductions.

use super::{for_each_index, stretched_offset};
use crate::literal::{Data, Literal};
use crate::op::Reduce;
use crate::scalar::Constant;
use crate::shape::Axes;

pub(super) fn reduce(f: Reduce, axes: Axes, sizes: &[usize], x: &Literal) -> Literal {
    debug_assert!(axes.iter().all(|axis| sizes[axis] == 1));
    let def = f.def();
    let data = match &x.data {
        Data::Float(data) => Data::Float(fold(sizes, x, data, def.identity, def.combine)),
        Data::Int(data) => {
            let identity = match (def.identity_int)(x.dtype.scalar().expect("an executable type")) {
                Constant::I32(n) => n.into(),
                Constant::I64(n) => n,
                other => unreachable!("integer identity {other:?}"),
            };
            Data::Int(fold(sizes, x, data, identity, def.combine_int))
        }
    };
    Literal { dtype: x.dtype, sizes: sizes.to_vec(), data }
}

fn fold<T: Copy>(sizes: &[usize], x: &Literal, data: &[T], identity: T, combine: fn(T, T) -> T) -> Vec<T> {
    let mut result = vec![identity; sizes.iter().product()];
    let mut position = 0;
    for_each_index(&x.sizes, |index| {
        let slot = &mut result[stretched_offset(index, sizes)];
        *slot = combine(*slot, data[position]);
        position += 1;
    });
    result
}
