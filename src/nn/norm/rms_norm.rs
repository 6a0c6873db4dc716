//! Root mean square normalization. Source: Zhang & Sennrich 2019, arXiv:1910.07467.

use crate::nn::{Module, Param, Parameters};
use crate::trace::{Var, enter};
use evenkeel_ir::EpsKind;

/// `x / sqrt(mean(x^2) + eps) * (offset + gain) + bias` over the last axis.
///
/// * `gain`: `[n]`, starts at `1 - offset`; `bias`: `[n]` or none.
/// * `eps`, default `1e-6`; `kind` says whether it enters inside or outside the root.
/// * `partial`: the mean square is of the first `floor(partial * n)` elements only (pRMSNorm).
///
/// Cost: one kernel forward, one kernel and a combine step backward.
#[derive(Debug, Clone, Parameters)]
pub struct RmsNorm {
    /// Scale; `None` for a scale of one.
    pub gain: Option<Param>,
    /// Shift.
    pub bias: Option<Param>,
    /// Stabilizer.
    pub eps: f64,
    /// Where `eps` enters.
    #[constant]
    pub kind: EpsKind,
    /// Added to the gain; 1 for weights stored around zero.
    pub offset: f64,
    /// Fraction of the row that the statistic is of.
    pub partial: Option<f64>,
}

impl RmsNorm {
    /// Normalizes the last axis, of this size.
    pub fn new(size: usize) -> RmsNorm {
        let gain = Some(Param::ones(&[size]));
        RmsNorm { gain, bias: None, eps: 1e-6, kind: EpsKind::Inside, offset: 0.0, partial: None }
    }

    /// The same layer with another `eps` of some kind.
    pub fn eps(self, eps: f64, kind: EpsKind) -> RmsNorm {
        RmsNorm { eps, kind, ..self }
    }

    /// `x` divided by its root mean square.
    #[track_caller]
    fn unit(&self, x: Var) -> Var {
        let size = x.shape().0.last().and_then(|extent| extent.known());
        match (self.partial, size) {
            (Some(fraction), Some(size)) => {
                let k = ((size as f64 * fraction).floor() as usize).clamp(1, size.max(1) as usize);
                x * x.slice(-1, 0, k).rrms(-1, self.eps, self.kind)
            }
            _ => x.rms_unit(-1, self.eps, self.kind),
        }
    }
}

impl Module for RmsNorm {
    #[track_caller]
    fn forward(&self, x: Var) -> Var {
        let _module = enter(self);
        let y = self.unit(x);
        let y = match &self.gain {
            Some(gain) if self.offset != 0.0 => y * (gain + self.offset),
            Some(gain) => y * gain,
            None => y,
        };
        self.bias.as_ref().map_or(y, |bias| y + bias)
    }
}
