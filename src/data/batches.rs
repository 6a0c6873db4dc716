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
    let rows = x.sizes().first().copied().unwrap_or(0);
    if y.sizes().first() != Some(&rows) {
        return Err(RuntimeError::Rows { start: 0, end: rows, of: y.ty() });
    }
    let order: Vec<usize> = shuffled(rows as u32, seed, epoch).into_iter().map(|i| i as usize).collect();
    order.chunks(size.max(1)).map(|rows| Ok((x.select_rows(rows)?, y.select_rows(rows)?))).collect()
}

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
