//! Matrix products, panel of rows by panel of rows, with the kernels around them.
//!
//! A kernel before a product makes the rows of its left operand, one behind it takes the rows of
//! its result: what they exchange with the product stays in cache.

use crate::cache;
use crate::context::{Attached, Call, Context};
use crate::executable::Executable;
use crate::gemm::{self, Raw};
use evenkeel_ir::program::{Matrix, Panels, Product};
use std::ops::Range;

/// Multiplications below which a second thread does not pay.
const SMALL_PRODUCT: u64 = 1 << 17;
/// Rows of a panel are a multiple of this where no kernel follows.
const ROWS: u64 = 8;

/// How a product is cut into panels.
struct Cut {
    matrices: u64,
    /// Rows of a matrix, and of a panel.
    rows: u64,
    size: u64,
    /// Chunks of the kernel that follows, and how many of them are a panel.
    chunks: u64,
    together: u64,
}

/// Bytes of a panel that stay in cache between a product and its kernels. They are many, because
/// every panel arranges the right operand anew.
fn panel_bytes(threads: u64) -> u64 {
    (cache::last_level() / (4 * threads)).max(1)
}

/// Rows of one matrix of a product, and the chunks of the kernel that follows.
struct Panel {
    matrix: u64,
    rows: Range<u64>,
    chunks: Range<u64>,
}

impl Cut {
    /// As few panels as keep every thread busy; smaller ones where they come out of a kernel.
    fn even(product: &Product, threads: u64, prologue: bool, batch: u64) -> Cut {
        let rows = product.rows.at(batch);
        let busy = threads.min(rows.div_ceil(2 * ROWS)).min(enough(product, batch)).max(1);
        let operand = rows * product.inner.at(batch) * product.dtype.size() as u64;
        let count = if prologue { busy.max(operand / panel_bytes(threads)) } else { busy };
        let size = rows.div_ceil(count).next_multiple_of(ROWS);
        Cut { matrices: product.batch.at(batch), rows, size, chunks: 0, together: 0 }
    }

    /// Whole chunks of the kernel that follows: long panels are faster products, as long as
    /// they stay in cache and every thread has some.
    fn chunks(product: &Product, (_, call): Attached<'_>, threads: u64, batch: u64) -> Cut {
        let (rows, chunks) = (product.rows.at(batch), call.chunks());
        let bytes = rows * product.columns.at(batch) * product.dtype.size() as u64;
        let fitting = panel_bytes(threads) / (bytes / chunks.max(1)).max(1);
        let together = fitting.min(chunks / (2 * threads)).max(1);
        let size = (together * call.size()).div_ceil(ratio(call.rows(), rows));
        Cut { matrices: 1, rows, size, chunks, together }
    }

    fn of_a_matrix(&self) -> u64 {
        self.rows.div_ceil(self.size.max(1)).max(1)
    }

    fn panel(&self, number: u64) -> Panel {
        let (matrix, place) = (number / self.of_a_matrix(), number % self.of_a_matrix());
        let range = |size: u64, end: u64| end.min(place * size)..end.min((place + 1) * size);
        Panel { matrix, rows: range(self.size, self.rows), chunks: range(self.together, self.chunks) }
    }
}

/// Rows of a kernel per row of its product.
fn ratio(kernel: u64, product: u64) -> u64 {
    kernel.checked_div(product).unwrap_or(1).max(1)
}

fn multiplications(product: &Product, batch: u64) -> u64 {
    product.rows.at(batch) * product.columns.at(batch) * product.inner.at(batch)
}

/// Panels that have enough to do each. Panels of this many multiplications sum in the same order
/// whatever their number of rows.
fn enough(product: &Product, batch: u64) -> u64 {
    multiplications(product, batch) / (SMALL_PRODUCT / 2)
}

impl Executable {
    /// A product with the kernels before and behind it, which are called so.
    pub(crate) fn panels(&self, context: &Context, panels: &Panels, calls: &[Call], batch: u64) {
        let mut calls = calls.iter();
        let prologue = panels.prologue.as_ref().and_then(|launch| Some((launch, calls.next()?)));
        let epilogue = panels.epilogue.as_ref().and_then(|launch| Some((launch, calls.next()?)));
        let product = &panels.product;
        let threads = self.threads() as u64;
        let cut = match epilogue {
            Some(after) => Cut::chunks(product, after, threads, batch),
            None => Cut::even(product, threads, prologue.is_some(), batch),
        };
        let panel = |number: usize, worker: usize| {
            let Panel { matrix, rows, chunks } = cut.panel(number as u64);
            if let Some(before) = prologue {
                let ratio = ratio(before.1.rows(), cut.rows);
                self.rows(context, before, (rows.start * ratio, rows.end * ratio), worker);
            }
            self.panel(context, product, matrix, rows, batch);
            for chunk in chunks {
                self.chunk(context, epilogue.expect("it has chunks"), chunk, worker, batch);
            }
        };
        let count = (cut.matrices * cut.of_a_matrix()) as usize;
        if multiplications(product, batch) * cut.matrices < SMALL_PRODUCT {
            (0..count).for_each(|number| panel(number, 0));
        } else {
            self.gang.run(count, &panel);
        }
    }

    /// Some rows of one matrix of a product.
    fn panel(&self, context: &Context, product: &Product, matrix: u64, rows: Range<u64>, batch: u64) {
        let size = product.dtype.size() as u64;
        let raw = |m: &Matrix, first: u64, rows: u64, columns: u64| {
            let elements =
                m.offset.at(batch) + matrix * m.batch_stride.at(batch) + first * m.row_stride.at(batch);
            Raw {
                address: context.addresses[m.buffer.0 as usize] + elements * size,
                rows: rows as usize,
                columns: columns as usize,
                row_stride: m.row_stride.at(batch) as isize,
                column_stride: m.column_stride.at(batch) as isize,
            }
        };
        let (columns, inner, count) =
            (product.columns.at(batch), product.inner.at(batch), rows.end - rows.start);
        let out = raw(&product.out, rows.start, count, columns);
        let lhs = raw(&product.lhs, rows.start, count, inner);
        let rhs = raw(&product.rhs, 0, inner, columns);
        // SAFETY: buffers of the program with these sizes; the planner keeps the result apart
        // from the operands, and panels are disjoint.
        unsafe { gemm::product(product.dtype, out, lhs, rhs) };
    }
}
