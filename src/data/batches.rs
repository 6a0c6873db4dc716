//! The order in which an epoch visits the samples.
//!
//! Invariant: the order depends on the sample count, the seed and the epoch only; it is the same on
//! every machine and does not depend on which epochs were drawn before.

use evenkeel_runtime::{RuntimeError, Tensor};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

/// The batches of one epoch over tensors that share axis 0: each is the same rows of `x` and
/// `y`, in the order of [`shuffled`]; the last one may be shorter.
///
/// # Errors
/// Tensors of different lengths.
pub fn batches(
    x: &Tensor,
    y: &Tensor,
    size: usize,
    seed: u64,
    epoch: u64,
) -> Result<Vec<(Tensor, Tensor)>, RuntimeError> {
    Ok(Batches::new(x.clone(), y.clone(), size, seed)?.epoch(epoch).collect())
}

/// An iterator over the batches of one epoch, each copied when it is asked for.
#[derive(Debug, Clone)]
pub struct Batches {
    x: Tensor,
    y: Tensor,
    size: usize,
    seed: u64,
    /// Rows that are still to come.
    order: std::vec::IntoIter<u32>,
}

impl Batches {
    /// Batches of `size` rows (at least 1) of tensors that share axis 0, in the order of epoch 0
    /// of [`shuffled`]; the last one may be shorter.
    ///
    /// # Errors
    /// Tensors of different lengths.
    pub fn new(x: Tensor, y: Tensor, size: usize, seed: u64) -> Result<Batches, RuntimeError> {
        let rows = x.sizes().first().copied().unwrap_or(0);
        if y.sizes().first() != Some(&rows) {
            return Err(RuntimeError::Rows { start: 0, end: rows, of: y.ty() });
        }
        let order = shuffled(rows as u32, seed, 0).into_iter();
        Ok(Batches { x, y, size: size.max(1), seed, order })
    }

    /// The batches of another epoch of the same seed.
    pub fn epoch(self, epoch: u64) -> Batches {
        let rows = self.y.sizes().first().copied().unwrap_or(0);
        Batches { order: shuffled(rows as u32, self.seed, epoch).into_iter(), ..self }
    }

    /// The same batches with a progress bar on the terminal, if there is one.
    #[cfg(feature = "cli")]
    pub fn progress(self) -> indicatif::ProgressBarIter<Batches> {
        indicatif::ProgressIterator::progress(self)
    }
}

impl Iterator for Batches {
    type Item = (Tensor, Tensor);

    fn next(&mut self) -> Option<(Tensor, Tensor)> {
        let rows: Vec<usize> = self.order.by_ref().take(self.size).map(|row| row as usize).collect();
        let of = |tensor: &Tensor| tensor.select_rows(&rows).expect("rows of both tensors");
        (!rows.is_empty()).then(|| (of(&self.x), of(&self.y)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.order.len().div_ceil(self.size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}

/// The indices `0..n` in the order of one epoch.
///
/// `seed` names the run; each `epoch` is a stream of its own within it, so a resumed run sees the
/// order it would have seen.
///
/// # Examples
/// ```
/// use evenkeel::data::shuffled;
/// assert_eq!(shuffled(1000, 7, 3), shuffled(1000, 7, 3));
/// assert_ne!(shuffled(1000, 7, 3), shuffled(1000, 7, 4));
/// ```
pub fn shuffled(n: u32, seed: u64, epoch: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order: Vec<u32> = (0..n).collect();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_appears_once() {
        let mut order = shuffled(1437, 1, 0);
        assert_ne!(order, (0..1437).collect::<Vec<u32>>());
        order.sort_unstable();
        assert_eq!(order, (0..1437).collect::<Vec<u32>>());
    }

    #[test]
    fn seed_and_epoch_both_change_the_order() {
        let orders = [shuffled(64, 0, 0), shuffled(64, 0, 1), shuffled(64, 1, 0), shuffled(64, 1, 1)];
        for (index, order) in orders.iter().enumerate() {
            assert!(!orders[..index].contains(order));
        }
    }

    #[test]
    fn the_order_is_the_same_on_every_machine() {
        assert_eq!(shuffled(10, 42, 1), [8, 9, 5, 3, 2, 1, 0, 7, 6, 4]);
    }

    #[test]
    fn tiny_sets_have_one_order() {
        assert!(shuffled(0, 5, 5).is_empty());
        assert_eq!(shuffled(1, 5, 5), [0]);
    }
}
