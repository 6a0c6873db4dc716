//! Products and indexed access.

use super::{for_each_index, strides};
use crate::literal::{Data, Literal};
use crate::shape::Axes;

pub(super) fn dot(batch: usize, lhs: Axes, rhs: Axes, sizes: &[usize], operands: &[&Literal]) -> Literal {
    let (x, y) = (operands[0], operands[1]);
    let free = |rank: usize, axes: Axes| (batch..rank).filter(|&a| !axes.contains(a)).collect::<Vec<_>>();
    let (free_x, free_y) = (free(x.sizes.len(), lhs), free(y.sizes.len(), rhs));
    let inner: Vec<usize> = lhs.iter().map(|a| x.sizes[a]).collect();
    let (sx, sy) = (strides(&x.sizes), strides(&y.sizes));
    let (dx, dy) = (x.to_floats(), y.to_floats());
    let mut result = Vec::with_capacity(sizes.iter().product());
    for_each_index(sizes, |index| {
        let at = |strides: &[usize], free: &[usize], skip: usize| -> usize {
            let common: usize = (0..batch).map(|a| index[a] * strides[a]).sum();
            common
                + free.iter().enumerate().map(|(i, &a)| index[batch + skip + i] * strides[a]).sum::<usize>()
        };
        let (ox, oy) = (at(&sx, &free_x, 0), at(&sy, &free_y, free_x.len()));
        let mut total = 0.0;
        for_each_index(&inner, |k| {
            let px: usize = lhs.iter().zip(k).map(|(a, i)| sx[a] * i).sum();
            let py: usize = rhs.iter().zip(k).map(|(a, i)| sy[a] * i).sum();
            total += dx[ox + px] * dy[oy + py];
        });
        result.push(total);
    });
    Literal::floats(x.dtype, sizes, result)
}

/// Splits a result index of a gather into outer, index and inner positions.
fn parts(index: &[usize], axis: usize, indices: &Literal) -> (usize, Vec<usize>) {
    let middle = &index[axis..axis + indices.sizes.len()];
    let at = middle.iter().zip(strides(&indices.sizes)).map(|(i, s)| i * s).sum();
    let rest =
        index[..axis].iter().chain([&0]).chain(&index[axis + indices.sizes.len()..]).copied().collect();
    (at, rest)
}

pub(super) fn gather(axis: usize, sizes: &[usize], operands: &[&Literal]) -> Literal {
    let (table, indices) = (operands[0], operands[1]);
    let (from, index_data) = (strides(&table.sizes), indices.to_ints());
    let position = |index: &[usize]| -> Option<usize> {
        let (at, mut rest) = parts(index, axis, indices);
        rest[axis] = usize::try_from(index_data[at]).ok().filter(|&i| i < table.sizes[axis])?;
        Some(rest.iter().zip(&from).map(|(i, s)| i * s).sum())
    };
    let mut result = super::pick(sizes, table, position);
    // an index outside: NaN for floats, 0 for everything else
    if let (Data::Float(data), true) = (&mut result.data, table.dtype.is_float()) {
        let mut slot = 0;
        for_each_index(sizes, |index| {
            if position(index).is_none() {
                data[slot] = f64::NAN;
            }
            slot += 1;
        });
    }
    result
}

pub(super) fn scatter_add(axis: usize, sizes: &[usize], operands: &[&Literal]) -> Literal {
    let (updates, indices) = (operands[0], operands[1]);
    let (to, index_data, data) = (strides(sizes), indices.to_ints(), updates.to_floats());
    let mut result = vec![0.0; sizes.iter().product()];
    let mut position = 0;
    for_each_index(&updates.sizes, |index| {
        let (at, mut rest) = parts(index, axis, indices);
        if let Some(row) = usize::try_from(index_data[at]).ok().filter(|&i| i < sizes[axis]) {
            rest[axis] = row;
            result[rest.iter().zip(&to).map(|(i, s)| i * s).sum::<usize>()] += data[position];
        }
        position += 1;
    });
    Literal::floats(updates.dtype, sizes, result)
}
