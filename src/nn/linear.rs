//! The linear layer.

use super::{Module, Param, Parameters, Rng};
use crate::trace::{Var, enter};

/// `x W^T + b`: `[.., in] -> [.., out]`.
///
/// The weight is stored `[out, in]` and starts uniform in `+-1/sqrt(in)`, as does the bias.
#[derive(Debug, Clone, Parameters)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param,
    /// `[out]`, if any.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer with a bias.
    pub fn new(rng: &mut Rng, inputs: usize, outputs: usize) -> Linear {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        Linear { weight: rng.uniform(&[outputs, inputs], bound), bias: Some(rng.uniform(&[outputs], bound)) }
    }

    /// The same layer without a bias.
    pub fn without_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }
}

impl Module for Linear {
    #[track_caller]
    fn forward(&self, x: Var) -> Var {
        let _module = enter(self);
        let y = x.linear(self.weight.value());
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}
