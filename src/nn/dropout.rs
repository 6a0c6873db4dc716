//! Dropout.

use super::{Module, Parameters};
use crate::trace::{Mode, Var, mode};

/// In training, sets elements to 0 with probability `p` and divides the others by `1 - p`;
/// otherwise the identity.
///
/// The random numbers come from the step's seed; the backward pass draws the same ones again.
/// Source: Srivastava et al. 2014.
#[derive(Debug, Clone, Parameters)]
pub struct Dropout {
    /// Probability of dropping an element, in `0..1`.
    pub p: f64,
}

impl Module for Dropout {
    #[track_caller]
    fn forward(&self, x: Var) -> Var {
        match mode() {
            Mode::Train if self.p > 0.0 => x.dropout(self.p),
            _ => x,
        }
    }
}
