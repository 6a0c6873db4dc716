//! Ops that move elements.

use super::{for_each_index, pick, stretched_offset, strides};
use crate::literal::{Data, Literal};
use crate::shape::Axes;

pub(super) fn transpose(perm: &[u8], sizes: &[usize], x: &Literal) -> Literal {
    let from = strides(&x.sizes);
    pick(sizes, x, |index| Some(index.iter().zip(perm).map(|(i, &axis)| i * from[axis as usize]).sum()))
}

pub(super) fn broadcast(sizes: &[usize], x: &Literal) -> Literal {
    pick(sizes, x, |index| Some(stretched_offset(index, &x.sizes)))
}

pub(super) fn slice(axis: u8, start: u64, stride: u64, sizes: &[usize], x: &Literal) -> Literal {
    let from = strides(&x.sizes);
    let place = |(a, i): (usize, &usize)| {
        if a == axis as usize { start as usize + i * stride as usize } else { *i }
    };
    pick(sizes, x, |index| Some(index.iter().enumerate().map(|(a, i)| place((a, i)) * from[a]).sum()))
}

pub(super) fn pad(axis: u8, low: u64, interior: u64, sizes: &[usize], x: &Literal) -> Literal {
    let from = strides(&x.sizes);
    let (axis, step) = (axis as usize, interior as usize + 1);
    pick(sizes, x, |index| {
        let shifted = index[axis].checked_sub(low as usize)?;
        let inside = shifted.is_multiple_of(step) && shifted / step < x.sizes[axis];
        let place = |a: usize| if a == axis { shifted / step } else { index[a] };
        inside.then(|| (0..index.len()).map(|a| place(a) * from[a]).sum())
    })
}

pub(super) fn flip(axes: Axes, x: &Literal) -> Literal {
    let from = strides(&x.sizes);
    let place = |a: usize, i: usize| {
        if axes.contains(a) { x.sizes[a] - 1 - i } else { i }
    };
    pick(&x.sizes, x, |index| Some(index.iter().enumerate().map(|(a, &i)| place(a, i) * from[a]).sum()))
}

pub(super) fn concat(axis: u8, sizes: &[usize], operands: &[&Literal]) -> Literal {
    let axis = axis as usize;
    let mut result = Literal::zeros(operands[0].dtype, sizes);
    let to = strides(sizes);
    let mut start = 0;
    for operand in operands {
        let mut position = 0;
        for_each_index(&operand.sizes, |index| {
            let target = index.iter().zip(&to).map(|(i, s)| i * s).sum::<usize>() + start * to[axis];
            match (&mut result.data, &operand.data) {
                (Data::Float(to), Data::Float(from)) => to[target] = from[position],
                (Data::Int(to), Data::Int(from)) => to[target] = from[position],
                _ => unreachable!("concatenated values have one element type"),
            }
            position += 1;
        });
        start += operand.sizes[axis];
    }
    result
}
