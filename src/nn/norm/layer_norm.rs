//! Layer normalization. Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.

use crate::nn::{Module, Param, Parameters};
use crate::trace::{Var, enter};

/// Normalizes each row to zero mean and unit variance, then scales and shifts.
///
/// `y = (x - mean) / sqrt(var + eps) * gain + bias`, moments over the last axes, variance
/// divided by `n` (not `n - 1`).
///
/// * `gain`, `bias`: the shape of the normalized axes; start at one and zero.
/// * `eps`: added to the variance, so its unit is that of `x` squared. Default `1e-5`.
///
/// Cost: one kernel forward, one kernel and a combine step backward.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
///
/// let norm = LayerNorm::new(4);
/// assert_eq!(norm.eps, 1e-5);
/// ```
#[derive(Debug, Clone, Parameters)]
pub struct LayerNorm {
    /// Scale; `None` without an affine part.
    pub gain: Option<Param>,
    /// Shift; `None` without an affine part.
    pub bias: Option<Param>,
    /// Added to the variance.
    pub eps: f64,
    /// How many of the last axes are normalized.
    pub axes: usize,
}

impl LayerNorm {
    /// Normalizes the last axis, of this size.
    pub fn new(size: usize) -> LayerNorm {
        LayerNorm::over(&[size])
    }

    /// Normalizes the last axes, of these sizes, together.
    pub fn over(sizes: &[usize]) -> LayerNorm {
        LayerNorm {
            gain: Some(Param::ones(sizes)),
            bias: Some(Param::zeros(sizes)),
            eps: 1e-5,
            axes: sizes.len(),
        }
    }

    /// The same layer with another `eps`.
    pub fn eps(self, eps: f64) -> LayerNorm {
        LayerNorm { eps, ..self }
    }

    /// The same layer without scale and shift.
    pub fn without_affine(self) -> LayerNorm {
        LayerNorm { gain: None, bias: None, ..self }
    }
}

impl Module for LayerNorm {
    #[track_caller]
    fn forward(&self, x: Var) -> Var {
        let _module = enter(self);
        let axes: Vec<i64> = (1..=self.axes as i64).map(|axis| -axis).collect();
        match (&self.gain, &self.bias) {
            (Some(gain), Some(bias)) => x.layer_norm(axes, self.eps, gain.value(), bias.value()),
            (gain, bias) => {
                let y = x.standardize(axes, self.eps);
                let y = gain.as_ref().map_or(y, |gain| y * gain);
                bias.as_ref().map_or(y, |bias| y + bias)
            }
        }
    }
}
