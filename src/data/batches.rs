//! The order in which an epoch visits the samples.
//!
//! Invariant: the order depends on the sample count, the seed and the epoch only; it is the same on
//! every machine and does not depend on which epochs were drawn before.

use evenkeel_runtime::{RuntimeError, Tensor};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use std::borrow::Cow;

/// The batches of one epoch over tensors that share axis 0: each is the same `size` rows (at least
/// 1) of `x` and `y`, in a random order; the last one may be shorter.
///
/// The order is that of [`shuffled`] for epoch 0; [`epoch`](Batches::epoch) chooses another one.
///
/// # Errors
/// Tensors of different lengths.
///
/// # Examples
/// ```
/// use evenkeel::data::batches;
/// use evenkeel::prelude::*;
///
/// let (x, y) = evenkeel::data::digits().tensors();
/// for epoch in 0..2 {
///     let mut rows = 0;
///     for (x, _) in batches(&x, &y, 64, 0)?.epoch(epoch) {
///         rows += x.sizes()[0];
///     }
///     assert_eq!(rows, 1797);
/// }
/// # Ok::<(), evenkeel::Error>(())
/// ```
pub fn batches<'a>(
    x: &'a Tensor,
    y: &'a Tensor,
    size: usize,
    seed: u64,
) -> Result<Batches<'a>, RuntimeError> {
    Batches::new(Cow::Borrowed(x), Cow::Borrowed(y), size, seed)
}

/// An iterator over the batches of one epoch, each copied when it is asked for; see [`batches`].
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    x: Cow<'a, Tensor>,
    y: Cow<'a, Tensor>,
    size: usize,
    seed: u64,
    /// Rows that are still to come.
    order: std::vec::IntoIter<u32>,
}

impl<'a> Batches<'a> {
    pub(super) fn new(
        x: Cow<'a, Tensor>,
        y: Cow<'a, Tensor>,
        size: usize,
        seed: u64,
    ) -> Result<Batches<'a>, RuntimeError> {
        let rows = x.sizes().first().copied().unwrap_or(0);
        if y.sizes().first() != Some(&rows) {
            return Err(RuntimeError::Rows { start: 0, end: rows, of: y.ty() });
        }
        let order = shuffled(rows as u32, seed, 0).into_iter();
        Ok(Batches { x, y, size: size.max(1), seed, order })
    }

    /// The batches of another epoch of the same seed.
    pub fn epoch(self, epoch: u64) -> Batches<'a> {
        let rows = self.y.sizes().first().copied().unwrap_or(0);
        Batches { order: shuffled(rows as u32, self.seed, epoch).into_iter(), ..self }
    }

    /// The same batches with a progress bar on the terminal, if there is one.
    #[cfg(feature = "cli")]
    pub fn progress(self) -> indicatif::ProgressBarIter<Batches<'a>> {
        indicatif::ProgressIterator::progress(self)
    }
}

impl Iterator for Batches<'_> {
    type Item = (Tensor, Tensor);

    fn next(&mut self) -> Option<(Tensor, Tensor)> {
        let rows: Vec<usize> = self.order.by_ref().take(self.size).map(|row| row as usize).collect();
        let of = |tensor: &Tensor| tensor.select_rows(&rows).expect("rows of both tensors");
        (!rows.is_empty()).then(|| (of(&self.x), of(&self.y)))
    }

    /// Passes over batches without copying them.
    fn nth(&mut self, n: usize) -> Option<(Tensor, Tensor)> {
        self.order.by_ref().take(n.saturating_mul(self.size)).for_each(drop);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.order.len().div_ceil(self.size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches<'_> {}

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
    fn batches_are_the_same_rows_of_both_in_the_order_of_the_epoch() {
        let rows: Vec<f32> = (0..7).map(|row| row as f32).collect();
        let (x, y) = (Tensor::from_vec(&[7], rows.clone()).unwrap(), Tensor::from_vec(&[7], rows).unwrap());
        for epoch in [0, 3] {
            let all: Vec<_> = batches(&x, &y, 3, 5).unwrap().epoch(epoch).collect();
            let order: Vec<f64> = shuffled(7, 5, epoch).into_iter().map(f64::from).collect();
            let seen: Vec<f64> = all.iter().flat_map(|(x, _)| x.to_f64s()).collect();
            assert_eq!((all.iter().map(|(x, _)| x.len()).collect::<Vec<_>>(), seen), (vec![3, 3, 1], order));
            assert!(all.iter().all(|(x, y)| x == y));
            let skipped: Vec<_> = batches(&x, &y, 3, 5).unwrap().epoch(epoch).skip(2).collect();
            assert_eq!(skipped, all[2..]);
        }
        assert_eq!(batches(&x, &y, 3, 5).unwrap().skip(3).count(), 0);
    }

    #[test]
    fn tiny_sets_have_one_order() {
        assert!(shuffled(0, 5, 5).is_empty());
        assert_eq!(shuffled(1, 5, 5), [0]);
    }
}
