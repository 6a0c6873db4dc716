//! Data sets: the bundled digits, the user's CSV files, and the order of batches.
//!
//! Everything ends in a [`Dataset`], plain host numbers. Start at [`digits`] or [`read_csv`];
//! [`shuffled`] gives the order in which an epoch visits the samples.
//!
//! Invariant: `features` holds `len() * n_features` finite numbers and every label is in
//! `0..n_classes`.
//!
//! Not here: tensors and their placement on a device, training loops (`train`).

mod batches;
mod csv;
mod digits;
mod error;

pub use self::batches::{Batches, batches, shuffled};
pub use self::csv::read_csv;
pub use self::digits::digits;
pub use self::error::{DataError, MAX_CLASSES};

use crate::nn::Rng;
use evenkeel_runtime::Tensor;
use std::borrow::Cow;

/// Labeled samples for classification, held on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Features of all samples, `[len, n_features]`, row-major, without unit:
    /// the largest magnitude a source may hold is scaled to 1.
    pub features: Vec<f32>,
    /// Class of each sample, in `0..n_classes`.
    pub labels: Vec<i64>,
    /// Features per sample.
    pub n_features: usize,
    /// Number of classes: one more than the largest label of the source.
    pub n_classes: usize,
}

impl Dataset {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Splits into `(train, test)`: samples 0, 5, 10, ... are the test set, all others the training set.
    ///
    /// The order is kept on both sides, and both keep `n_features` and `n_classes`.
    ///
    /// # Examples
    /// ```
    /// let (train, test) = evenkeel::data::digits().split_every_fifth();
    /// assert_eq!((train.len(), test.len()), (1437, 360));
    /// ```
    pub fn split_every_fifth(&self) -> (Dataset, Dataset) {
        let (test, train): (Vec<usize>, Vec<usize>) = (0..self.len()).partition(|index| index % 5 == 0);
        (self.select(&train), self.select(&test))
    }

    /// Features `[len, n_features]` (f32) and labels `[len]` (i64) as tensors.
    pub fn tensors(&self) -> (Tensor, Tensor) {
        let x = Tensor::from_vec(&[self.len(), self.n_features], &self.features);
        let y = Tensor::from_vec(&[self.len()], &self.labels);
        (x.expect("one row of features per label"), y.expect("a vector"))
    }

    /// One epoch of batches of `size` samples (at least 1) in a new random order; the last one may be
    /// shorter. For an order that a resumed run draws again, see [`batches`].
    ///
    /// * features: `[size, n_features]`, f32; labels: `[size]`, i64.
    ///
    /// # Examples
    /// ```
    /// use evenkeel::prelude::*;
    ///
    /// let (train, _) = evenkeel::data::digits().split_every_fifth();
    /// let mut rng = Rng::seed(0);
    /// let sizes: Vec<usize> = train.batches(1000, &mut rng).map(|(_, y)| y.len()).collect();
    /// assert_eq!(sizes, [1000, 437]);
    /// ```
    pub fn batches(&self, size: usize, rng: &mut Rng) -> Batches<'static> {
        let (x, y) = self.tensors();
        Batches::new(Cow::Owned(x), Cow::Owned(y), size, rng.draw()).expect("one label per sample")
    }

    /// The samples at `indices`, in that order.
    fn select(&self, indices: &[usize]) -> Dataset {
        let row = |&index: &usize| &self.features[index * self.n_features..][..self.n_features];
        Dataset {
            features: indices.iter().flat_map(row).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_sample_is_held_out_with_its_features() {
        let data = Dataset {
            features: (0..14).map(|value| value as f32).collect(),
            labels: (0..7).collect(),
            n_features: 2,
            n_classes: 7,
        };
        let (train, test) = data.split_every_fifth();
        assert_eq!(test.labels, [0, 5]);
        assert_eq!(test.features, [0.0, 1.0, 10.0, 11.0]);
        assert_eq!(train.labels, [1, 2, 3, 4, 6]);
        assert_eq!(train.features, [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 12.0, 13.0]);
        assert_eq!((test.n_features, test.n_classes), (2, 7));
    }

    #[test]
    fn an_empty_set_splits_into_empty_sets() {
        let data = Dataset { features: vec![], labels: vec![], n_features: 3, n_classes: 0 };
        let (train, test) = data.split_every_fifth();
        assert!(data.is_empty() && train.is_empty() && test.is_empty());
    }
}
