//! Named composites: an op that *is* its decomposition, plus the right to a stable kernel
//! form and a compact derivative of its own. One row each.
//!
//! Tests prove that every kernel form and every compact vjp equals what the decomposition gives.

use super::attrs::Attrs;
use super::table::table;
use crate::graph::{GraphBuilder, Value};

mod moments;
mod root;
mod softmax;
mod statistics;

/// Attributes that a composite reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attr {
    /// The axes of the statistic.
    Axes,
    /// `eps` and its kind.
    Eps,
    /// The divisor of the variance.
    Correction,
}

/// Builds the value of a composite from its operands.
pub type Decompose = fn(&mut GraphBuilder, &[Value], &Attrs) -> Value;

/// Cotangents of the operands, given operands, attributes, the result and its cotangent.
/// `None`: these attributes have no compact form, differentiate the decomposition.
pub type CompactVjp = fn(&mut GraphBuilder, &[Value], &Attrs, Value, Value) -> Option<Vec<Value>>;

/// Everything the compiler knows about a composite.
pub struct CompositeDef {
    /// Names of the operands; the first has the shape of the index space.
    pub inputs: &'static [&'static str],
    /// The attributes it reads.
    pub attrs: &'static [Attr],
    /// Its meaning.
    pub decompose: Decompose,
    /// A numerically better way to compute it, where the meaning is not already the best.
    pub kernel: Option<Decompose>,
    /// Compact cotangents.
    pub vjp: Option<CompactVjp>,
    /// Where the definition was read.
    pub source: &'static str,
}

const MOMENT: CompositeDef = CompositeDef {
    inputs: &["x"],
    attrs: &[Attr::Axes],
    decompose: |_, inputs, _| inputs[0],
    kernel: None,
    vjp: None,
    source: "standard",
};

const UNIT: CompositeDef = CompositeDef { attrs: &[Attr::Axes, Attr::Eps, Attr::Correction], ..MOMENT };
const RMS: CompositeDef = CompositeDef { attrs: &[Attr::Axes, Attr::Eps], ..MOMENT };

table! {
    /// A named composite.
    pub enum Composite: CompositeDef {
        /// `sum(x) / n`; NaN over an axis of length 0.
        Mean mean => CompositeDef {
            decompose: moments::mean,
            kernel: Some(moments::mean_kernel),
            vjp: Some(moments::mean_vjp),
            ..MOMENT
        },
        /// `x - mean(x)`
        Center center => CompositeDef {
            decompose: moments::center,
            kernel: Some(moments::center_kernel),
            vjp: Some(moments::center_vjp),
            ..MOMENT
        },
        /// `sum((x - mean(x))^2) / (n - correction)`. Of as many elements as the correction, or of no
        /// elements without a correction, it is NaN (`0 / 0`), and so is its derivative; of fewer than
        /// the correction, which only an axis of length 0 has, it is `0 / -1`, which is 0.
        Var var => CompositeDef {
            attrs: &[Attr::Axes, Attr::Correction],
            decompose: moments::var,
            kernel: Some(moments::var_kernel),
            vjp: Some(moments::var_vjp),
            ..MOMENT
        },
        /// `1 / sqrt(var(x) + eps)`
        Rstd rstd => CompositeDef {
            decompose: moments::rstd,
            kernel: Some(moments::rstd_kernel),
            vjp: Some(moments::rstd_vjp),
            ..UNIT
        },
        /// `(x - mean(x)) / sqrt(var(x) + eps)`
        Standardize standardize => CompositeDef {
            decompose: moments::standardize,
            kernel: Some(moments::standardize_kernel),
            vjp: Some(moments::standardize_vjp),
            ..UNIT
        },
        /// `(x - mean(x)) / sqrt(var(x) + eps) * gain + bias`; also BatchNorm, GroupNorm and
        /// InstanceNorm, which differ in axes only.
        LayerNorm layer_norm => CompositeDef {
            inputs: &["x", "gain", "bias"],
            decompose: moments::layer_norm,
            kernel: Some(moments::layer_norm_kernel),
            vjp: Some(moments::layer_norm_vjp),
            source: "Ba, Kiros, Hinton 2016, arXiv:1607.06450",
            ..UNIT
        },
        /// `(x - mean) / sqrt(var + eps) * gain + bias` with given statistics: BatchNorm in use.
        FixedNorm fixed_norm => CompositeDef {
            inputs: &["x", "mean", "var", "gain", "bias"],
            attrs: &[Attr::Eps],
            decompose: moments::fixed_norm,
            source: "Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 2",
            ..MOMENT
        },
        /// `1 / sqrt(mean(x^2) + eps)`
        Rrms rrms => CompositeDef {
            decompose: moments::rrms,
            kernel: Some(moments::rrms_kernel),
            vjp: Some(moments::rrms_vjp),
            ..RMS
        },
        /// `x / sqrt(mean(x^2) + eps)`. In a row with an infinity, what is finite gives 0 and what is
        /// infinite gives NaN; its cotangents are NaN. So do `rms_norm` and `l2_norm`.
        RmsUnit rms_unit => CompositeDef {
            decompose: moments::rms_unit,
            kernel: Some(moments::rms_unit_kernel),
            vjp: Some(moments::rms_unit_vjp),
            ..RMS
        },
        /// `x / sqrt(mean(x^2) + eps) * gain`
        RmsNorm rms_norm => CompositeDef {
            inputs: &["x", "gain"],
            decompose: moments::rms_norm,
            kernel: Some(moments::rms_norm_kernel),
            vjp: Some(moments::rms_norm_vjp),
            source: "Zhang & Sennrich 2019, arXiv:1910.07467",
            ..RMS
        },
        /// `1 / sqrt(sum(x^2) + eps)`
        Rnorm rnorm => CompositeDef {
            decompose: moments::rnorm,
            kernel: Some(moments::rnorm_kernel),
            vjp: Some(moments::rnorm_vjp),
            ..RMS
        },
        /// `x / sqrt(sum(x^2) + eps)`
        L2Norm l2_norm => CompositeDef {
            decompose: moments::l2_norm,
            kernel: Some(moments::l2_norm_kernel),
            vjp: Some(moments::l2_norm_vjp),
            ..RMS
        },
        /// `exp(x) / sum(exp(x))`, shifted by the maximum. `-inf` gives 0, with a cotangent of 0; a row with
        /// `+inf`, or with nothing but `-inf`, is NaN as a whole, and so are its cotangents.
        Softmax softmax => CompositeDef {
            decompose: softmax::softmax,
            kernel: Some(softmax::softmax_kernel),
            vjp: Some(softmax::softmax_vjp),
            ..MOMENT
        },
        /// `log(softmax(x))`: `-inf` gives `-inf`, and rows whose softmax is NaN are NaN.
        LogSoftmax log_softmax => CompositeDef { decompose: softmax::log_softmax, kernel: Some(softmax::log_softmax_kernel), vjp: Some(softmax::log_softmax_vjp), ..MOMENT },
        /// `log(sum(exp(x)))`
        LogSumExp logsumexp => CompositeDef { decompose: softmax::logsumexp, kernel: Some(softmax::logsumexp_kernel), vjp: Some(softmax::logsumexp_vjp), ..MOMENT },
        /// Index (i32) of the first largest element along one axis; the last index where all are NaN.
        ArgMax argmax => CompositeDef { decompose: softmax::argmax, ..MOMENT },
    }
}
