//! Methods of traced values: reductions, statistics, conversions, selection, random numbers.
//! Pointwise functions come from the op tables.

use super::{AxisList, Fault, Operand, Var, apply, fault, random_stream};
use evenkeel_ir::op::{BinaryMethods, RandomKind};
use evenkeel_ir::{Attrs, Axes, Composite, DType, EpsKind, Op, Place, Reduce, TensorType};

impl Var {
    #[track_caller]
    fn over(self, op: &'static str, axes: impl Into<AxisList>, make: impl FnOnce(Axes) -> Op) -> Var {
        let place = Place::caller();
        let axes = axes.into();
        axes.of(op, self, place).map_or(Var::POISONED, |axes| apply(make(axes), &[self], place))
    }

    #[track_caller]
    fn named(self, op: Composite, axes: impl Into<AxisList>) -> Var {
        self.over(op.name(), axes, |axes| Op::Composite(op, Attrs::over(axes)))
    }

    /// Truth values as numbers; other values as they are.
    #[track_caller]
    fn as_number(self) -> Var {
        if self.dtype() == DType::Bool { self.cast(DType::F32) } else { self }
    }

    fn all_axes(self) -> Vec<i64> {
        (0..self.rank() as i64).collect()
    }

    /// Sum over axes, which stay with size 1. Truth values count as 0 and 1.
    #[track_caller]
    pub fn sum(self, axes: impl Into<AxisList>) -> Var {
        self.as_number().over("sum", axes, |axes| Op::Reduce(Reduce::Sum, axes))
    }

    /// Largest element over axes, which stay with size 1.
    #[track_caller]
    pub fn max_over(self, axes: impl Into<AxisList>) -> Var {
        self.over("max", axes, |axes| Op::Reduce(Reduce::Max, axes))
    }

    /// Smallest element over axes, which stay with size 1.
    #[track_caller]
    pub fn min_over(self, axes: impl Into<AxisList>) -> Var {
        self.over("min", axes, |axes| Op::Reduce(Reduce::Min, axes))
    }

    /// Mean over axes, which stay with size 1. Truth values count as 0 and 1. Over an axis of length 0
    /// it is NaN (`0 / 0`, as in PyTorch and JAX) where a sum is 0, so that the loss of an empty batch
    /// is an error and changes nothing.
    #[track_caller]
    pub fn mean(self, axes: impl Into<AxisList>) -> Var {
        self.as_number().named(Composite::Mean, axes)
    }

    /// Variance over axes, which stay with size 1: the sum of squared deviations divided by `n`.
    #[track_caller]
    pub fn var(self, axes: impl Into<AxisList>) -> Var {
        self.named(Composite::Var, axes)
    }

    /// Variance over axes divided by `n - 1`.
    #[track_caller]
    pub fn var_unbiased(self, axes: impl Into<AxisList>) -> Var {
        self.over("var", axes, |axes| Op::Composite(Composite::Var, Attrs::over(axes).correction(1)))
    }

    /// Sum of all elements, a scalar.
    #[track_caller]
    pub fn sum_all(self) -> Var {
        self.sum(self.all_axes()).scalar()
    }

    /// Mean of all elements, a scalar. Truth values count as 0 and 1. Of no elements it is NaN.
    #[track_caller]
    pub fn mean_all(self) -> Var {
        self.mean(self.all_axes()).scalar()
    }

    /// `e^x / sum(e^x)` over axes.
    #[track_caller]
    pub fn softmax(self, axes: impl Into<AxisList>) -> Var {
        self.named(Composite::Softmax, axes)
    }

    /// `log(softmax(x))` over axes.
    #[track_caller]
    pub fn log_softmax(self, axes: impl Into<AxisList>) -> Var {
        self.named(Composite::LogSoftmax, axes)
    }

    /// `log(sum(e^x))` over axes, which stay with size 1.
    #[track_caller]
    pub fn logsumexp(self, axes: impl Into<AxisList>) -> Var {
        self.named(Composite::LogSumExp, axes)
    }

    /// `(x - mean) / sqrt(var + eps)` over axes, variance divided by `n`.
    #[track_caller]
    pub fn standardize(self, axes: impl Into<AxisList>, eps: f64) -> Var {
        let attrs = |axes| Attrs::over(axes).eps(eps, EpsKind::Inside);
        self.over("standardize", axes, |axes| Op::Composite(Composite::Standardize, attrs(axes)))
    }

    /// `x / sqrt(mean(x^2) + eps)` over axes; `kind` says where `eps` enters.
    #[track_caller]
    pub fn rms_unit(self, axes: impl Into<AxisList>, eps: f64, kind: EpsKind) -> Var {
        let attrs = |axes| Attrs::over(axes).eps(eps, kind);
        self.over("rms_unit", axes, |axes| Op::Composite(Composite::RmsUnit, attrs(axes)))
    }

    /// `1 / sqrt(mean(x^2) + eps)` over axes, which stay with size 1.
    #[track_caller]
    pub fn rrms(self, axes: impl Into<AxisList>, eps: f64, kind: EpsKind) -> Var {
        let attrs = |axes| Attrs::over(axes).eps(eps, kind);
        self.over("rrms", axes, |axes| Op::Composite(Composite::Rrms, attrs(axes)))
    }

    /// `x / sqrt(sum(x^2) + eps)` over axes; `kind` says where `eps` enters.
    #[track_caller]
    pub fn l2_norm(self, axes: impl Into<AxisList>, eps: f64, kind: EpsKind) -> Var {
        let attrs = |axes| Attrs::over(axes).eps(eps, kind);
        self.over("l2_norm", axes, |axes| Op::Composite(Composite::L2Norm, attrs(axes)))
    }

    /// `(x - mean) / sqrt(var + eps) * gain + bias` over axes.
    #[track_caller]
    pub fn layer_norm(self, axes: impl Into<AxisList>, eps: f64, gain: Var, bias: Var) -> Var {
        let place = Place::caller();
        let Some(axes) = axes.into().of("layer_norm", self, place) else { return Var::POISONED };
        let attrs = Attrs::over(axes).eps(eps, EpsKind::Inside);
        apply(Op::Composite(Composite::LayerNorm, attrs), &[self, gain, bias], place)
    }

    /// Index (i64) of the largest element along an axis, which is dropped; `i32::MAX` along an empty
    /// one. Not differentiable.
    #[track_caller]
    pub fn argmax(self, axis: impl Into<AxisList>) -> Var {
        let axis = axis.into();
        self.named(Composite::ArgMax, axis.clone()).cast(DType::I64).squeeze(axis)
    }

    /// Another element type; float to integer truncates towards zero.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Var {
        if self.try_ty().is_some_and(|ty| ty.dtype == dtype) {
            return self;
        }
        apply(Op::Cast(dtype), &[self], Place::caller())
    }

    /// `self == other`, element by element; integer types may differ in width.
    #[track_caller]
    pub fn equals(self, other: impl Into<Operand>) -> Var {
        let place = Place::caller();
        let mut other = other.into().beside("equals", self, place);
        if other.try_ty().is_some_and(|ty| ty.dtype.is_int() && self.dtype().is_int()) {
            other = other.cast(self.dtype());
        }
        BinaryMethods::eq(self, other)
    }

    /// `self ? x : y`, element by element; `self` holds truth values.
    #[track_caller]
    pub fn select(self, x: impl Into<Operand>, y: impl Into<Operand>) -> Var {
        let place = Place::caller();
        let (x, y) = match (x.into(), y.into()) {
            (Operand::Var(x), y) => (x, y.beside("select", x, place)),
            (x, Operand::Var(y)) => (x.beside("select", y, place), y),
            (x, y) => {
                let like = self.cast(DType::F32);
                (x.beside("select", like, place), y.beside("select", like, place))
            }
        };
        apply(Op::Select, &[self, x, y], place)
    }

    /// `min(max(self, low), high)`
    #[track_caller]
    pub fn clamp(self, low: f64, high: f64) -> Var {
        self.max(low).min(high)
    }

    /// The value, with no derivative through it.
    #[track_caller]
    pub fn stop_gradient(self) -> Var {
        apply(Op::StopGradient, &[self], Place::caller())
    }

    /// Positions (i32) along an axis, with size 1 on the others.
    #[track_caller]
    pub fn iota(self, axis: impl Into<AxisList>) -> Var {
        let place = Place::caller();
        let Some(axis) = axis.into().single("iota", self, place) else { return Var::POISONED };
        let (rank, extent) = (self.rank() as u8, self.shape()[axis]);
        apply(Op::Iota { rank, axis: axis as u8, extent }, &[], place)
    }

    /// Uniform random numbers in `[0, 1)` of this value's shape, new ones for every call and
    /// every seed.
    #[track_caller]
    pub fn random_uniform(self) -> Var {
        self.random(RandomKind::Uniform)
    }

    /// Standard normal random numbers of this value's shape.
    #[track_caller]
    pub fn random_normal(self) -> Var {
        self.random(RandomKind::Normal)
    }

    #[track_caller]
    fn random(self, kind: RandomKind) -> Var {
        let place = Place::caller();
        let Some(ty) = self.ty_at("random", place) else { return Var::POISONED };
        let dtype = if ty.dtype.is_float() { ty.dtype } else { DType::F32 };
        let (seed, stream) = random_stream(place);
        apply(Op::Random { kind, stream, ty: TensorType::new(dtype, ty.shape) }, &[seed], place)
    }

    /// Sets elements to 0 with probability `p` and divides the others by `1 - p`.
    #[track_caller]
    pub fn dropout(self, p: f64) -> Var {
        let place = Place::caller();
        if !(0.0..1.0).contains(&p) {
            let expected = "a probability in 0..1".to_string();
            return fault(Fault::Expected { op: "dropout", expected, found: p.to_string() }, place);
        }
        self.random_uniform().ge(p).select(self / (1.0 - p), 0.0)
    }
}
