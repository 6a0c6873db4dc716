//! Matrix products on strided memory, through faer, on the calling thread.

use evenkeel_ir::DType;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// A matrix in memory: address of the first element and strides in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw {
    pub(crate) address: u64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: isize,
    pub(crate) column_stride: isize,
}

/// `out = lhs * rhs`
///
/// # Safety
/// The matrices lie in live memory of this element type, `out` is exclusive and overlaps neither operand.
pub(crate) unsafe fn product(dtype: DType, out: Raw, lhs: Raw, rhs: Raw) {
    match dtype {
        // SAFETY: passed on from the caller.
        DType::F32 => unsafe { typed::<f32>(out, lhs, rhs) },
        // SAFETY: passed on from the caller.
        DType::F64 => unsafe { typed::<f64>(out, lhs, rhs) },
        other => unreachable!("products of {other} are refused when compiling"),
    }
}

/// # Safety
/// As [`product`], with elements of type `T`.
unsafe fn typed<T: faer::traits::ComplexField + From<f32>>(out: Raw, lhs: Raw, rhs: Raw) {
    let read = |m: Raw| {
        // SAFETY: the caller vouches for address, sizes and strides.
        unsafe {
            MatRef::<T>::from_raw_parts(
                m.address as *const T,
                m.rows,
                m.columns,
                m.row_stride,
                m.column_stride,
            )
        }
    };
    // SAFETY: as above, and the memory is exclusive.
    let out = unsafe {
        MatMut::<T>::from_raw_parts_mut(
            out.address as *mut T,
            out.rows,
            out.columns,
            out.row_stride,
            out.column_stride,
        )
    };
    matmul(out, Accum::Replace, read(lhs), read(rhs), T::from(1.0), Par::Seq);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(m: usize, n: usize, k: usize, transposed: bool) {
        let a: Vec<f32> = (0..m * k).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i * 5 % 11) as f32 - 5.0).collect();
        let mut c = vec![f32::NAN; m * n];
        let b_strides = if transposed { (1, k as isize) } else { (n as isize, 1) };
        let raw = |address: u64, rows, columns, (row_stride, column_stride)| Raw {
            address,
            rows,
            columns,
            row_stride,
            column_stride,
        };
        let out = raw(c.as_mut_ptr() as u64, m, n, (n as isize, 1));
        let (lhs, rhs) =
            (raw(a.as_ptr() as u64, m, k, (k as isize, 1)), raw(b.as_ptr() as u64, k, n, b_strides));
        // SAFETY: three live vectors of the stated sizes.
        unsafe { product(DType::F32, out, lhs, rhs) };
        for i in 0..m {
            for j in 0..n {
                let at = |l: usize| if transposed { b[j * k + l] } else { b[l * n + j] };
                let want: f32 = (0..k).map(|l| a[i * k + l] * at(l)).sum();
                assert_eq!(c[i * n + j], want, "{m}x{n}x{k} at {i},{j}");
            }
        }
    }

    #[test]
    fn odd_sizes_transposes_and_empty_sums() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 9), (64, 10, 65), (4, 4, 0), (0, 3, 2)] {
            check(m, n, k, false);
            check(m, n, k, true);
        }
    }
}
