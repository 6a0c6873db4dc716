//! Initial values of parameters.

use super::Param;
use evenkeel_runtime::Tensor;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rand_distr::{Distribution, StandardNormal};

/// A seeded source of initial values; the same seed gives the same model everywhere.
#[derive(Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// A source with this seed.
    pub fn seed(seed: u64) -> Rng {
        Rng(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A seed for something else.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0.random()
    }

    /// Uniform numbers in `-bound..bound`.
    pub fn uniform(&mut self, sizes: &[usize], bound: f64) -> Param {
        let draw = |rng: &mut ChaCha8Rng| (rng.random::<f64>() * 2.0 - 1.0) * bound;
        self.fill(sizes, draw)
    }

    /// Normal numbers with mean 0 and this standard deviation.
    pub fn normal(&mut self, sizes: &[usize], deviation: f64) -> Param {
        let draw = |rng: &mut ChaCha8Rng| {
            <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng) * deviation
        };
        self.fill(sizes, draw)
    }

    /// Uniform in `+-sqrt(6 / inputs)`: keeps the variance of ReLU-like layers.
    /// Source: He et al. 2015, arXiv:1502.01852.
    pub fn kaiming(&mut self, sizes: &[usize], inputs: usize) -> Param {
        self.uniform(sizes, (6.0 / inputs.max(1) as f64).sqrt())
    }

    /// Uniform in `+-sqrt(6 / (inputs + outputs))`.
    /// Source: Glorot & Bengio 2010.
    pub fn xavier(&mut self, sizes: &[usize], inputs: usize, outputs: usize) -> Param {
        self.uniform(sizes, (6.0 / (inputs + outputs).max(1) as f64).sqrt())
    }

    fn fill(&mut self, sizes: &[usize], mut draw: impl FnMut(&mut ChaCha8Rng) -> f64) -> Param {
        let data: Vec<f32> = (0..sizes.iter().product()).map(|_| draw(&mut self.0) as f32).collect();
        Param::new(Tensor::from_vec(sizes, data).expect("as many numbers as the sizes say"))
    }
}
