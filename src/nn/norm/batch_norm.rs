//! Batch normalization. Source: Ioffe & Szegedy 2015, arXiv:1502.03167.

use crate::nn::{Module, Param, Parameters, State};
use crate::trace::{Mode, Var, enter, mode};
use evenkeel_ir::Extent;
use evenkeel_ir::op::UnaryMethods;

/// Normalizes each channel (axis 1) over all other axes.
///
/// In training, moments are of the batch, variance divided by `n`, and the running moments
/// move towards them by `momentum`, the variance corrected to `n - 1` (if `unbiased_running`).
/// In use, the running moments take their place.
///
/// * `gain`, `bias`: `[channels]`; start at one and zero. `eps`: default `1e-5`.
/// * `momentum`: weight of the new value, default `0.1`.
/// * `batches`: with a count, the running moments are plain averages over all batches.
///
/// # Errors
/// Training on a single element per channel has no variance: reported as a non-finite step
/// where the corrected variance is stored.
#[derive(Debug, Clone, Parameters)]
pub struct BatchNorm {
    /// Scale; `None` without an affine part.
    pub gain: Option<Param>,
    /// Shift; `None` without an affine part.
    pub bias: Option<Param>,
    /// Mean of past batches.
    pub running_mean: State,
    /// Variance of past batches.
    pub running_var: State,
    /// Added to the variance.
    pub eps: f64,
    /// Weight of the new value; unused with a count of batches.
    pub momentum: f64,
    /// How many batches the running moments are averages of; `None` to weigh by momentum.
    pub batches: Option<State>,
    /// Store the variance divided by `n - 1`.
    pub unbiased_running: bool,
}

impl BatchNorm {
    /// A layer for inputs `[N, channels, ..]`.
    pub fn new(channels: usize) -> BatchNorm {
        BatchNorm {
            gain: Some(Param::ones(&[channels])),
            bias: Some(Param::zeros(&[channels])),
            running_mean: State::zeros(&[channels]),
            running_var: State::ones(&[channels]),
            eps: 1e-5,
            momentum: 0.1,
            batches: None,
            unbiased_running: true,
        }
    }

    /// The same layer with running moments that average all batches alike.
    pub fn cumulative(self) -> BatchNorm {
        BatchNorm { batches: Some(State::zeros(&[])), ..self }
    }

    /// Moves the running moments towards those of the batch.
    #[track_caller]
    fn track(&self, mean: Var, variance: Var) {
        let weight = self.batches.as_ref().map(|batches| {
            batches.set(batches.value() + 1.0);
            batches.value().recip()
        });
        for (state, batch) in [(&self.running_mean, mean), (&self.running_var, variance)] {
            let (old, batch) = (state.value(), batch.stop_gradient());
            let batch = batch.with_shape(old.shape());
            state.set(match weight {
                Some(weight) => old + (batch - old) * weight,
                None => old * (1.0 - self.momentum) + batch * self.momentum,
            });
        }
    }

    #[track_caller]
    fn normalized_by_batch(&self, x: Var) -> Var {
        let axes: Vec<i64> = (0..x.rank() as i64).filter(|&axis| axis != 1).collect();
        let variance = if self.unbiased_running { x.var_unbiased(axes.clone()) } else { x.var(axes.clone()) };
        self.track(x.mean(axes.clone()), variance);
        x.standardize(axes, self.eps)
    }

    #[track_caller]
    fn normalized_by_history(&self, x: Var) -> Var {
        let scale = (&self.running_var + self.eps).rsqrt();
        (x - per_channel(x, self.running_mean.value())) * per_channel(x, scale)
    }
}

/// A value `[channels]` as `[channels, 1, ..]`, which stretches over axis 1 of `x`.
#[track_caller]
pub(super) fn per_channel(x: Var, value: Var) -> Var {
    let mut shape = value.shape();
    while shape.rank() + 1 < x.rank() {
        shape.0.push(Extent::ONE);
    }
    value.with_shape(shape)
}

impl Module for BatchNorm {
    #[track_caller]
    fn forward(&self, x: Var) -> Var {
        let _module = enter(self);
        let y = match mode() {
            Mode::Train => self.normalized_by_batch(x),
            Mode::Eval => self.normalized_by_history(x),
        };
        let y = self.gain.as_ref().map_or(y, |gain| y * per_channel(x, gain.value()));
        self.bias.as_ref().map_or(y, |bias| y + per_channel(x, bias.value()))
    }
}
