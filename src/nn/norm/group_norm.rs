//! Group normalization. Source: Wu & He 2018, arXiv:1803.08494.

use crate::nn::{Module, Param, Parameters};
use crate::trace::{Fault, Var, enter, fault};
use evenkeel_ir::{Extent, Place, Shape};

/// Normalizes groups of channels (axis 1) of each sample together.
///
/// `[n, c, ..]` is seen as `[n, groups, c / groups, ..]`; moments are over all but the first
/// two of these axes, variance divided by `n`. One group is LayerNorm over a sample, `c`
/// groups are InstanceNorm.
///
/// * `gain`, `bias`: `[c]`; start at one and zero. `eps`: default `1e-5`.
///
/// # Errors
/// A channel count that `groups` does not divide is reported when the trace ends.
#[derive(Debug, Clone, Parameters)]
pub struct GroupNorm {
    /// Scale per channel; `None` without an affine part.
    pub gain: Option<Param>,
    /// Shift per channel; `None` without an affine part.
    pub bias: Option<Param>,
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// A layer for inputs `[n, channels, ..]`.
    pub fn new(groups: usize, channels: usize) -> GroupNorm {
        let (gain, bias) = (Some(Param::ones(&[channels])), Some(Param::zeros(&[channels])));
        GroupNorm { gain, bias, groups, eps: 1e-5 }
    }

    /// The shape of `x` with its channels divided into groups.
    fn grouped(&self, x: &Shape) -> Option<Shape> {
        let groups = Extent::from(self.groups);
        let per_group = x.0.get(1)?.divided_by(groups)?;
        let mut shape = x.clone();
        shape.0[1] = per_group;
        shape.0.insert(1, groups);
        Some(shape)
    }

    /// A value `[channels]` as `[groups, channels / groups, 1, ..]`.
    #[track_caller]
    fn per_group(grouped: &Shape, value: Var) -> Var {
        let kept = |axis: usize| if axis < 3 { grouped[axis] } else { Extent::ONE };
        value.with_shape(Shape((1..grouped.rank()).map(kept).collect()))
    }
}

impl Module for GroupNorm {
    #[track_caller]
    fn forward(&self, x: Var) -> Var {
        let _module = enter(self);
        let Some(ty) = x.try_ty() else { return x };
        let Some(shape) = self.grouped(&ty.shape) else {
            let expected = format!("[n, channels, ..] with channels in {} groups", self.groups);
            return fault(
                Fault::Expected { op: "group_norm", expected, found: ty.to_string() },
                Place::caller(),
            );
        };
        let axes: Vec<usize> = (2..shape.rank()).collect();
        let y = x.with_shape(shape.clone()).standardize(axes, self.eps);
        let y = self.gain.as_ref().map_or(y, |gain| y * GroupNorm::per_group(&shape, gain.value()));
        let y = self.bias.as_ref().map_or(y, |bias| y + GroupNorm::per_group(&shape, bias.value()));
        y.with_shape(ty.shape)
    }
}
