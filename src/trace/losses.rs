//! Losses.

use super::{AxisList, Fault, Var, fault};
use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
use evenkeel_ir::{DType, Place};

impl Var {
    /// Mean over rows of `-log softmax(self)[target]`: logits `[.., classes]`, integer targets
    /// `[..]`. A target outside `0..classes` contributes 0.
    #[track_caller]
    pub fn cross_entropy(self, targets: Var) -> Var {
        self.cross_entropy_with(targets, 0.0, -1)
    }

    /// Cross entropy with label smoothing `s` (the target distribution is
    /// `(1 - s) onehot + s / classes`) over any axis of classes.
    #[track_caller]
    pub fn cross_entropy_with(self, targets: Var, smoothing: f64, axis: i64) -> Var {
        let place = Place::caller();
        let Some(at) = AxisList::from(axis).single("cross_entropy", self, place) else {
            return Var::POISONED;
        };
        let Some(target_type) = targets.ty_at("cross_entropy", place) else { return Var::POISONED };
        if !(0.0..=1.0).contains(&smoothing) {
            let expected = "a smoothing in 0..=1".to_string();
            let found = smoothing.to_string();
            return fault(Fault::Expected { op: "cross_entropy", expected, found }, place);
        }
        let mut row = self.shape();
        row.0.remove(at);
        if !target_type.dtype.is_int() || target_type.shape != row {
            let expected = format!("integer targets {row} for logits {}", self.ty());
            return fault(
                Fault::Expected { op: "cross_entropy", expected, found: target_type.to_string() },
                place,
            );
        }
        let logp = self.log_softmax(axis);
        let onehot = self.iota(axis).eq(targets.cast(DType::I32).unsqueeze(at as i64));
        let mut loss = -onehot.select(logp, 0.0).sum(axis);
        if smoothing > 0.0 {
            loss = loss * (1.0 - smoothing) - logp.mean(axis) * smoothing;
        }
        loss.mean_all()
    }

    /// Mean of `(self - target)^2`; both have the same shape.
    #[track_caller]
    pub fn mse(self, target: Var) -> Var {
        let place = Place::caller();
        if let (Some(x), Some(y)) = (self.ty_at("mse", place), target.ty_at("mse", place))
            && x != y
        {
            return fault(
                Fault::Expected { op: "mse", expected: x.to_string(), found: y.to_string() },
                place,
            );
        }
        (self - target).square().mean_all()
    }
}
