//! Functions of one element: one row each.
//!
//! A row's `eval` is the mathematical truth in f64; `emit` is code for every target.
//! Tests compare the two, and `derivative` with differences.

use super::table::table;
use crate::graph::{GraphBuilder, Value};
use crate::scalar::{Compare, Reg, ScalarFn, math};

/// Which element types a pointwise op accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// f32, f64.
    Float,
    /// Floats and integers.
    Number,
    /// Integers.
    Int,
    /// Truth values.
    Bool,
}

/// How a pointwise op is differentiated.
#[derive(Clone, Copy)]
pub enum Derivative<F> {
    /// The derivative as a graph.
    Rule(F),
    /// The op has none; differentiating through it is an error.
    None,
}

/// Everything the compiler knows about a function of one element.
pub struct UnaryDef {
    /// The accepted element types; the result has the same type.
    pub class: Class,
    /// Reference value.
    pub eval: fn(f64) -> f64,
    /// dy/dx given x and y; serves both modes of differentiation.
    pub derivative: Derivative<fn(&mut GraphBuilder, Value, Value) -> Value>,
    /// The definition in simpler ops, for named functions that the rewriter recognizes.
    pub definition: Option<fn(&mut GraphBuilder, Value) -> Value>,
    /// Code for every target.
    pub emit: fn(&mut ScalarFn, Reg) -> Reg,
    /// Where tests draw x from.
    pub domain: (f64, f64),
    /// Allowed f32 error on targets with fused multiply-add, as [`crate::scalar::ulps`] counts.
    pub ulps: f64,
    /// The arguments for which that is promised.
    pub promised: (f64, f64),
    /// Facts about the result.
    pub range: (f64, f64),
    /// The value changes at once somewhere, so that a rounding of `x` may change it by much.
    pub jumps: bool,
}

const EVERYWHERE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

/// What most rows share: a float function without a definition, one ulp.
const FLOAT: UnaryDef = UnaryDef {
    class: Class::Float,
    eval: |x| x,
    derivative: Derivative::None,
    definition: None,
    emit: |_, x| x,
    domain: (-10.0, 10.0),
    ulps: 1.0,
    promised: EVERYWHERE,
    range: EVERYWHERE,
    jumps: false,
};

use Derivative::Rule;

table! {
    /// A function applied to each element.
    pub enum Unary: UnaryDef, methods one UnaryMethods {
        /// `-x`
        Neg neg => UnaryDef {
            class: Class::Number,
            eval: |x| -x,
            derivative: Rule(|b, x, _| b.number(x, -1.0)),
            emit: |k, x| if k.ty(x).is_float() { k.neg(x) } else { let zero = k.zero(k.ty(x)); k.int_sub(zero, x) },
            ulps: 0.0,
            ..FLOAT
        },
        /// `|x|`; the derivative at 0 is 0.
        Abs abs => UnaryDef {
            eval: f64::abs,
            derivative: Rule(|b, x, _| { let zero = b.number(x, 0.0); let up = b.step(x); let n = b.neg(x); let down = b.step(n); let d = b.sub(up, down); b.add(d, zero) }),
            emit: |k, x| k.abs(x),
            ulps: 0.0,
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `1` where `x > 0`, else `0`; NaN gives 0. Its derivative is 0 wherever it exists.
        Step step => UnaryDef {
            eval: |x| if x > 0.0 { 1.0 } else { 0.0 },
            derivative: Rule(|b, x, _| b.number(x, 0.0)),
            emit: |k, x| { let (zero, one) = (k.zero(k.ty(x)), k.float(k.ty(x), 1.0)); let m = k.compare(Compare::Gt, x, zero); k.select(m, one, zero) },
            ulps: 0.0,
            range: (0.0, 1.0),
            jumps: true,
            ..FLOAT
        },
        /// `-1`, `0` or `1`.
        Sign sign => UnaryDef {
            eval: |x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x },
            emit: emit_sign,
            ulps: 0.0,
            range: (-1.0, 1.0),
            jumps: true,
            ..FLOAT
        },
        /// The largest integer not above `x`.
        Floor floor => UnaryDef { eval: f64::floor, emit: |k, x| k.floor(x), ulps: 0.0, jumps: true, ..FLOAT },
        /// The nearest integer, ties to even.
        Round round => UnaryDef { eval: f64::round_ties_even, emit: |k, x| k.nearest(x), ulps: 0.0, jumps: true, ..FLOAT },
        /// Logical negation.
        Not not => UnaryDef {
            class: Class::Bool,
            eval: |x| 1.0 - x,
            emit: |k, x| k.not(x),
            ulps: 0.0,
            ..FLOAT
        },
        /// `x * x`
        Square square => UnaryDef {
            eval: |x| x * x,
            derivative: Rule(|b, x, _| { let two = b.number(x, 2.0); b.mul(two, x) }),
            definition: Some(|b, x| b.mul(x, x)),
            emit: |k, x| k.mul(x, x),
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `sqrt(x)`
        Sqrt sqrt => UnaryDef {
            eval: f64::sqrt,
            derivative: Rule(|b, x, y| { let half = b.number(x, 0.5); b.div(half, y) }),
            emit: |k, x| k.sqrt(x),
            domain: (0.01, 10.0),
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `1 / sqrt(x)`
        Rsqrt rsqrt => UnaryDef {
            eval: |x| 1.0 / x.sqrt(),
            derivative: Rule(|b, x, y| { let half = b.number(x, -0.5); let t = b.div(y, x); b.mul(half, t) }),
            emit: math::rsqrt,
            domain: (0.01, 10.0),
            ulps: 2.0,
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `1 / x`
        Recip recip => UnaryDef {
            eval: |x| 1.0 / x,
            derivative: Rule(|b, _, y| { let s = b.square(y); b.neg(s) }),
            emit: |k, x| { let one = k.float(k.ty(x), 1.0); k.div(one, x) },
            domain: (0.1, 10.0),
            ..FLOAT
        },
        /// `e^x`
        Exp exp => UnaryDef {
            eval: f64::exp,
            derivative: Rule(|_, _, y| y),
            emit: math::exp,
            domain: (-80.0, 80.0),
            ulps: 2.0,
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `e^x` for `x <= 88`, in f32 0 below -87.7: what the kernels of softmax use.
        ExpNonpositive exp_nonpositive => UnaryDef {
            eval: f64::exp,
            derivative: Rule(|_, _, y| y),
            emit: math::exp_nonpositive,
            domain: (-80.0, 0.0),
            ulps: 2.0,
            promised: (-87.3, 88.0),
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `e^x - 1`, accurate near 0.
        Expm1 expm1 => UnaryDef {
            eval: f64::exp_m1,
            derivative: Rule(|b, x, y| { let one = b.number(x, 1.0); b.add(y, one) }),
            emit: math::expm1,
            ulps: 3.0,
            range: (-1.0, f64::INFINITY),
            ..FLOAT
        },
        /// Natural logarithm.
        Log log => UnaryDef {
            eval: f64::ln,
            derivative: Rule(|b, x, _| b.recip(x)),
            emit: math::log,
            domain: (0.01, 100.0),
            ulps: 2.0,
            ..FLOAT
        },
        /// `log(1 + x)`, accurate near 0.
        Log1p log1p => UnaryDef {
            eval: f64::ln_1p,
            derivative: Rule(|b, x, _| { let one = b.number(x, 1.0); let d = b.add(x, one); b.recip(d) }),
            emit: math::log1p,
            domain: (-0.9, 100.0),
            ulps: 3.0,
            ..FLOAT
        },
        /// Sine, x in radians.
        Sin sin => UnaryDef {
            eval: f64::sin,
            derivative: Rule(|b, x, _| b.cos(x)),
            emit: math::sin,
            domain: (-100.0, 100.0),
            ulps: 2.0,
            promised: (-131_072.0, 131_072.0),
            range: (-1.0, 1.0),
            ..FLOAT
        },
        /// Cosine, x in radians.
        Cos cos => UnaryDef {
            eval: f64::cos,
            derivative: Rule(|b, x, _| { let s = b.sin(x); b.neg(s) }),
            emit: math::cos,
            domain: (-100.0, 100.0),
            ulps: 2.0,
            promised: (-131_072.0, 131_072.0),
            range: (-1.0, 1.0),
            ..FLOAT
        },
        /// Hyperbolic tangent.
        Tanh tanh => UnaryDef {
            eval: f64::tanh,
            derivative: Rule(|b, x, y| { let s = b.square(y); let one = b.number(x, 1.0); b.sub(one, s) }),
            emit: math::tanh,
            ulps: 3.0,
            range: (-1.0, 1.0),
            ..FLOAT
        },
        /// Error function `2/sqrt(pi) * integral of e^(-t^2) from 0 to x`.
        Erf erf => UnaryDef {
            eval: libm::erf,
            derivative: Rule(|b, x, _| { let e = gauss(b, x, 1.0); let c = b.number(x, std::f64::consts::FRAC_2_SQRT_PI); b.mul(c, e) }),
            emit: math::erf,
            domain: (-6.0, 6.0),
            ulps: 3.0,
            range: (-1.0, 1.0),
            ..FLOAT
        },
        /// `1 / (1 + e^-x)`
        Sigmoid sigmoid => UnaryDef {
            eval: |x| 1.0 / (1.0 + (-x).exp()),
            derivative: Rule(|b, x, y| { let one = b.number(x, 1.0); let c = b.sub(one, y); b.mul(y, c) }),
            definition: Some(|b, x| { let n = b.neg(x); let e = b.exp(n); let one = b.number(x, 1.0); let d = b.add(one, e); b.recip(d) }),
            emit: math::sigmoid,
            domain: (-80.0, 80.0),
            ulps: 4.0,
            promised: (-87.3, f64::INFINITY),
            range: (0.0, 1.0),
            ..FLOAT
        },
        /// `log(sigmoid(x)) = -softplus(-x)`
        LogSigmoid log_sigmoid => UnaryDef {
            eval: |x| x.min(0.0) - (-x.abs()).exp().ln_1p(),
            derivative: Rule(|b, x, _| { let n = b.neg(x); b.sigmoid(n) }),
            definition: Some(|b, x| { let s = b.sigmoid(x); b.log(s) }),
            emit: |k, x| { let n = k.neg(x); let s = math::softplus(k, n); k.neg(s) },
            domain: (-50.0, 50.0),
            ulps: 4.0,
            promised: (f64::NEG_INFINITY, 87.3),
            range: (f64::NEG_INFINITY, 0.0),
            ..FLOAT
        },
        /// `log(1 + e^x)`
        Softplus softplus => UnaryDef {
            eval: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
            derivative: Rule(|b, x, _| b.sigmoid(x)),
            definition: Some(|b, x| { let e = b.exp(x); let one = b.number(x, 1.0); let s = b.add(one, e); b.log(s) }),
            emit: math::softplus,
            domain: (-50.0, 50.0),
            ulps: 4.0,
            promised: (-87.3, f64::INFINITY),
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `x * sigmoid(x)`, also called swish.
        Silu silu => UnaryDef {
            eval: |x| x / (1.0 + (-x).exp()),
            derivative: Rule(|b, x, _| { let s = b.sigmoid(x); let one = b.number(x, 1.0); gated_derivative(b, x, s, one) }),
            definition: Some(|b, x| { let s = b.sigmoid(x); b.mul(x, s) }),
            emit: math::silu,
            domain: (-80.0, 80.0),
            ulps: 4.0,
            promised: (-88.0, f64::INFINITY),
            range: (-0.279, f64::INFINITY),
            ..FLOAT
        },
        /// `x * Phi(x)` with the exact normal distribution, `x/2 * (1 + erf(x / sqrt 2))`.
        Gelu gelu => UnaryDef {
            eval: |x| 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            derivative: Rule(|b, x, _| b.gelu_derivative(x)),
            definition: Some(|b, x| {
                let c = b.number(x, std::f64::consts::FRAC_1_SQRT_2);
                let t = b.mul(x, c);
                let e = b.erf(t);
                let (one, half) = (b.number(x, 1.0), b.number(x, 0.5));
                let s = b.add(one, e);
                let h = b.mul(half, x);
                b.mul(h, s)
            }),
            emit: math::gelu,
            domain: (-6.0, 10.0),
            ulps: 32.0,
            promised: (-6.0, f64::INFINITY),
            range: (-0.171, f64::INFINITY),
            ..FLOAT
        },
        /// `x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
        GeluTanh gelu_tanh => UnaryDef {
            eval: |x| x / (1.0 + (-2.0 * gelu_inner(x)).exp()),
            derivative: Rule(|b, x, _| b.gelu_tanh_derivative(x)),
            definition: Some(|b, x| {
                let u = gelu_tanh_inner(b, x);
                let t = b.tanh(u);
                let (one, half) = (b.number(x, 1.0), b.number(x, 0.5));
                let s = b.add(one, t);
                let h = b.mul(half, x);
                b.mul(h, s)
            }),
            emit: math::gelu_tanh,
            domain: (-6.0, 10.0),
            ulps: 32.0,
            promised: (-6.0, f64::INFINITY),
            range: (-0.171, f64::INFINITY),
            ..FLOAT
        },
        /// `Phi(x) + x phi(x)` with the normal distribution and its density: the derivative of gelu.
        GeluDerivative gelu_derivative => UnaryDef {
            eval: |x| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + if x.is_finite() { x * normal_density(x) } else { 0.0 },
            derivative: Rule(gelu_second_derivative),
            definition: Some(define_gelu_derivative),
            emit: math::gelu_derivative,
            domain: (-0.5, 10.0),
            ulps: 8.0,
            promised: (-0.5, f64::INFINITY),
            range: (-0.13, 1.13),
            ..FLOAT
        },
        /// `s + x s v' (1 - s)` with `s = sigmoid(v)`, `v = 2 sqrt(2/pi) (x + 0.044715 x^3)`: the
        /// derivative of gelu_tanh.
        GeluTanhDerivative gelu_tanh_derivative => UnaryDef {
            eval: gelu_tanh_derivative,
            derivative: Rule(gelu_tanh_second_derivative),
            definition: Some(define_gelu_tanh_derivative),
            emit: math::gelu_tanh_derivative,
            domain: (-0.5, 10.0),
            ulps: 32.0,
            promised: (-0.5, f64::INFINITY),
            range: (-0.13, 1.13),
            ..FLOAT
        },
        /// `x * sigmoid(1.702 x)`
        QuickGelu quick_gelu => UnaryDef {
            eval: |x| x / (1.0 + (-1.702 * x).exp()),
            derivative: Rule(|b, x, _| { let c = b.number(x, 1.702); let t = b.mul(c, x); let s = b.sigmoid(t); gated_derivative(b, x, s, c) }),
            definition: Some(|b, x| { let c = b.number(x, 1.702); let t = b.mul(c, x); let s = b.sigmoid(t); b.mul(x, s) }),
            emit: math::quick_gelu,
            domain: (-20.0, 20.0),
            ulps: 48.0,
            promised: (-20.0, f64::INFINITY),
            range: (-0.164, f64::INFINITY),
            ..FLOAT
        },
        /// `x * tanh(softplus(x))`
        Mish mish => UnaryDef {
            eval: |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
            derivative: Rule(mish_derivative),
            definition: Some(|b, x| { let s = b.softplus(x); let t = b.tanh(s); b.mul(x, t) }),
            emit: math::mish,
            domain: (-20.0, 20.0),
            ulps: 8.0,
            promised: (-87.0, f64::INFINITY),
            range: (-0.309, f64::INFINITY),
            ..FLOAT
        },
        /// `max(x, 0)`; the derivative at 0 is 0.
        Relu relu => UnaryDef {
            eval: |x| if x > 0.0 || x.is_nan() { x } else { 0.0 },
            derivative: Rule(|b, x, _| b.step(x)),
            definition: Some(|b, x| { let zero = b.number(x, 0.0); b.max(x, zero) }),
            emit: |k, x| { let zero = k.zero(k.ty(x)); k.max(zero, x) },
            ulps: 0.0,
            range: (0.0, f64::INFINITY),
            ..FLOAT
        },
        /// `min(max(x, 0), 6)`
        Relu6 relu6 => UnaryDef {
            eval: |x| x.clamp(0.0, 6.0),
            derivative: Rule(|b, x, _| inside(b, x, 0.0, 6.0)),
            definition: Some(|b, x| { let (low, high) = (b.number(x, 0.0), b.number(x, 6.0)); let t = b.max(x, low); b.min(t, high) }),
            emit: |k, x| math::clamp(k, x, 0.0, 6.0),
            ulps: 0.0,
            range: (0.0, 6.0),
            ..FLOAT
        },
        /// `relu6(x + 3) / 6`
        Hardsigmoid hardsigmoid => UnaryDef {
            eval: |x| (x + 3.0).clamp(0.0, 6.0) / 6.0,
            derivative: Rule(|b, x, _| { let m = inside(b, x, -3.0, 3.0); let sixth = b.number(x, 1.0 / 6.0); b.mul(sixth, m) }),
            definition: Some(|b, x| { let three = b.number(x, 3.0); let t = b.add(x, three); let r = b.relu6(t); let six = b.number(x, 6.0); b.div(r, six) }),
            emit: |k, x| { let three = k.float(k.ty(x), 3.0); let t = k.add(x, three); let r = math::clamp(k, t, 0.0, 6.0); let sixth = k.float(k.ty(x), 1.0 / 6.0); k.mul(r, sixth) },
            ulps: 2.0,
            range: (0.0, 1.0),
            ..FLOAT
        },
        /// `x * relu6(x + 3) / 6`; the derivative is `x/3 + 1/2` on `[-3, 3]`, ends included.
        Hardswish hardswish => UnaryDef {
            eval: |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            derivative: Rule(hardswish_derivative),
            definition: Some(|b, x| { let s = b.hardsigmoid(x); b.mul(x, s) }),
            emit: |k, x| { let three = k.float(k.ty(x), 3.0); let t = k.add(x, three); let r = math::clamp(k, t, 0.0, 6.0); let sixth = k.float(k.ty(x), 1.0 / 6.0); let s = k.mul(r, sixth); k.mul(x, s) },
            ulps: 3.0,
            range: (-0.376, f64::INFINITY),
            ..FLOAT
        },
        /// `x` where `x > 0`, else `e^x - 1`.
        Elu elu => UnaryDef {
            eval: |x| if x > 0.0 { x } else { x.exp_m1() },
            derivative: Rule(|b, x, y| { let zero = b.number(x, 0.0); let one = b.number(x, 1.0); let low = b.min(y, zero); b.add(low, one) }),
            definition: Some(|b, x| elu_like(b, x, 1.0, 1.0)),
            emit: |k, x| emit_elu(k, x, 1.0, 1.0),
            ulps: 2.0,
            range: (-1.0, f64::INFINITY),
            ..FLOAT
        },
        /// `1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 (e^x - 1))`
        Selu selu => UnaryDef {
            eval: |x| SELU_SCALE * if x > 0.0 { x } else { SELU_ALPHA * x.exp_m1() },
            derivative: Rule(|b, x, y| {
                // scale above 0, y + scale alpha below
                let c = b.number(x, SELU_SCALE * SELU_ALPHA);
                let low = b.add(y, c);
                let scale = b.number(x, SELU_SCALE);
                let zero = b.number(x, 0.0);
                let positive = b.gt(x, zero);
                b.select(positive, scale, low)
            }),
            definition: Some(|b, x| elu_like(b, x, SELU_SCALE, SELU_ALPHA)),
            emit: |k, x| emit_elu(k, x, SELU_SCALE, SELU_ALPHA),
            ulps: 3.0,
            range: (-1.7581, f64::INFINITY),
            ..FLOAT
        },
        /// `1` where `x <= 1e12`, else the power of two that brings `x` into `[1/2, 1)`, or the smallest
        /// normal one if that is larger, as for infinity: a finite number times it is finite.
        /// `x` is the largest magnitude of a row, negative infinity if that is empty or need not be known.
        /// Kernels use it to prescale rows whose squares would overflow; it takes part in
        /// values that do not depend on it, so its derivative is 0.
        RangeScale range_scale => UnaryDef {
            eval: range_scale,
            derivative: Rule(|b, x, _| b.number(x, 0.0)),
            emit: emit_range_scale,
            domain: (-1e37, 1e37),
            ulps: 0.0,
            promised: (f64::NEG_INFINITY, 8e37),
            range: (0.0, 1.0),
            jumps: true,
            ..FLOAT
        },
        /// `1` where `x` is infinite or NaN, else `0`; training steps guard their updates with it.
        Nonfinite nonfinite => UnaryDef {
            eval: |x| if x.is_finite() { 0.0 } else { 1.0 },
            derivative: Rule(|b, x, _| b.number(x, 0.0)),
            emit: |k, x| { let ty = k.ty(x); let d = k.sub(x, x); let (zero, one) = (k.zero(ty), k.float(ty, 1.0)); let m = k.compare(Compare::Ne, d, zero); k.select(m, one, zero) },
            ulps: 0.0,
            range: (0.0, 1.0),
            jumps: true,
            ..FLOAT
        },
    }
}

const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
const RANGE_LIMIT: f64 = 1e12;

fn gelu_inner(x: f64) -> f64 {
    SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)
}

/// `e^(-c x^2)` as a graph.
fn gauss(b: &mut GraphBuilder, x: Value, c: f64) -> Value {
    let s = b.square(x);
    let c = b.number(x, -c);
    let t = b.mul(c, s);
    b.exp(t)
}

fn define_gelu_derivative(b: &mut GraphBuilder, x: Value) -> Value {
    let c = b.number(x, std::f64::consts::FRAC_1_SQRT_2);
    let t = b.mul(x, c);
    let e = b.erf(t);
    let (one, half) = (b.number(x, 1.0), b.number(x, 0.5));
    let s = b.add(one, e);
    let cdf = b.mul(half, s);
    let pdf = density(b, x);
    let tail = b.mul(x, pdf);
    b.add(cdf, tail)
}

/// The standard normal density as a graph.
fn density(b: &mut GraphBuilder, x: Value) -> Value {
    let g = gauss(b, x, 0.5);
    let norm = b.number(x, FRAC_1_SQRT_2PI);
    b.mul(norm, g)
}

fn normal_density(x: f64) -> f64 {
    FRAC_1_SQRT_2PI * (-0.5 * x * x).exp()
}

/// `phi(x) (2 - x^2)`
fn gelu_second_derivative(b: &mut GraphBuilder, x: Value, _: Value) -> Value {
    let (pdf, square, two) = (density(b, x), b.square(x), b.number(x, 2.0));
    let rest = b.sub(two, square);
    b.mul(pdf, rest)
}

fn gelu_tanh_inner(b: &mut GraphBuilder, x: Value) -> Value {
    let (c, a) = (b.number(x, SQRT_2_OVER_PI), b.number(x, 0.044715));
    let s = b.square(x);
    let cube = b.mul(s, x);
    let p = b.mul(a, cube);
    let t = b.add(x, p);
    b.mul(c, t)
}

/// `sigmoid(v)` and `v'`, for `v = 2 sqrt(2/pi) (x + 0.044715 x^3)`.
fn gelu_tanh_gate(b: &mut GraphBuilder, x: Value) -> (Value, Value) {
    let u = gelu_tanh_inner(b, x);
    let v = b.add(u, u);
    let s = b.sigmoid(v);
    let square = b.square(x);
    let (c0, c1) = (b.number(x, 2.0 * SQRT_2_OVER_PI), b.number(x, 6.0 * SQRT_2_OVER_PI * 0.044715));
    let t = b.mul(c1, square);
    (s, b.add(c0, t))
}

fn define_gelu_tanh_derivative(b: &mut GraphBuilder, x: Value) -> Value {
    let (s, slope) = gelu_tanh_gate(b, x);
    gated_derivative(b, x, s, slope)
}

fn gelu_tanh_derivative(x: f64) -> f64 {
    if x.abs() > 100.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let s = 1.0 / (1.0 + (-2.0 * gelu_inner(x)).exp());
    let slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x * x);
    s + x * s * slope * (1.0 - s)
}

/// `s (1 - s) (4 v' - 2 v'(0) + x v'^2 (1 - 2 s))`
fn gelu_tanh_second_derivative(b: &mut GraphBuilder, x: Value, _: Value) -> Value {
    let (s, slope) = gelu_tanh_gate(b, x);
    let (one, four, at_zero) = (b.number(x, 1.0), b.number(x, 4.0), b.number(x, 4.0 * SQRT_2_OVER_PI));
    let rest = b.sub(one, s);
    let odd = b.sub(rest, s);
    let slopes = b.mul(four, slope);
    let even = b.sub(slopes, at_zero);
    let square = b.square(slope);
    let t = b.mul(x, square);
    let t = b.mul(t, odd);
    let sum = b.add(even, t);
    let gate = b.mul(s, rest);
    b.mul(gate, sum)
}

/// The derivative of `x s(v)` for a sigmoid `s` of `v` with derivative `slope`:
/// `s (1 + x slope (1 - s))`. It needs no exponential but that of `s`.
fn gated_derivative(b: &mut GraphBuilder, x: Value, s: Value, slope: Value) -> Value {
    let one = b.number(x, 1.0);
    let rest = b.sub(one, s);
    let scaled = b.mul(x, slope);
    let t = b.mul(scaled, rest);
    let t = b.add(one, t);
    b.mul(s, t)
}

/// `t + x s (1 - t^2)` with `s = sigmoid(x)` and `t = tanh(softplus(x)) = w / (2 - w)`,
/// `w = s (2 - s)`.
fn mish_derivative(b: &mut GraphBuilder, x: Value, _: Value) -> Value {
    let (one, two) = (b.number(x, 1.0), b.number(x, 2.0));
    let s = b.sigmoid(x);
    let rest = b.sub(two, s);
    let w = b.mul(s, rest);
    let d = b.sub(two, w);
    let t = b.div(w, d);
    let square = b.square(t);
    let c = b.sub(one, square);
    let xs = b.mul(x, s);
    let p = b.mul(xs, c);
    b.add(t, p)
}

fn hardswish_derivative(b: &mut GraphBuilder, x: Value, _: Value) -> Value {
    let (third, half, zero, one) =
        (b.number(x, 1.0 / 3.0), b.number(x, 0.5), b.number(x, 0.0), b.number(x, 1.0));
    let (low, high) = (b.number(x, -3.0), b.number(x, 3.0));
    let t = b.mul(x, third);
    let middle = b.add(t, half);
    let below = b.lt(x, low);
    let above = b.gt(x, high);
    let t = b.select(above, one, middle);
    b.select(below, zero, t)
}

/// 1 where `low < x < high`, else 0.
fn inside(b: &mut GraphBuilder, x: Value, low: f64, high: f64) -> Value {
    let (l, h) = (b.number(x, low), b.number(x, high));
    let (above, below) = (b.sub(x, l), b.sub(h, x));
    let (above, below) = (b.step(above), b.step(below));
    b.mul(above, below)
}

fn elu_like(b: &mut GraphBuilder, x: Value, scale: f64, alpha: f64) -> Value {
    let zero = b.number(x, 0.0);
    let positive = b.gt(x, zero);
    let low = b.min(x, zero);
    let e = b.expm1(low);
    let (scale, alpha) = (b.number(x, scale), b.number(x, alpha));
    let e = b.mul(alpha, e);
    let y = b.select(positive, x, e);
    b.mul(scale, y)
}

fn emit_elu(k: &mut ScalarFn, x: Reg, scale: f64, alpha: f64) -> Reg {
    let ty = k.ty(x);
    let zero = k.zero(ty);
    let low = k.min(zero, x);
    let e = math::expm1(k, low);
    let (high_scale, low_scale) = (k.float(ty, scale), k.float(ty, scale * alpha));
    let e = k.mul(low_scale, e);
    let high = k.max(zero, x);
    k.fma(high_scale, high, e)
}

fn emit_sign(k: &mut ScalarFn, x: Reg) -> Reg {
    let ty = k.ty(x);
    let (zero, one, minus) = (k.zero(ty), k.float(ty, 1.0), k.float(ty, -1.0));
    let above = k.compare(Compare::Gt, x, zero);
    let below = k.compare(Compare::Lt, x, zero);
    let t = k.select(below, minus, x);
    k.select(above, one, t)
}

fn range_scale(x: f64) -> f64 {
    if x.is_nan() || x <= RANGE_LIMIT {
        return 1.0;
    }
    if x.is_infinite() {
        return f32::MIN_POSITIVE.into();
    }
    let exponent = (x.to_bits() >> 52) as i64 - 1022;
    f64::from_bits(((1023 - exponent) as u64) << 52)
}

/// Exponent arithmetic on the bits: for the biased exponent e of x the result has biased
/// exponent `2 bias - 1 - e`, which is subnormal only for the largest binade (then 0: see `max`).
fn emit_range_scale(k: &mut ScalarFn, x: Reg) -> Reg {
    use crate::scalar::ScalarType::{F32, I32, I64};
    let ty = k.ty(x);
    let (int, shift) = if ty == F32 { (I32, 23) } else { (I64, 52) };
    let bits = k.bitcast(x, int);
    let exponent = k.shift_right(bits, shift);
    let top = if ty == F32 { k.i32(2 * 127 - 1) } else { k.i64(2 * 1023 - 1) };
    let flipped = k.int_sub(top, exponent);
    let least = if ty == F32 { k.i32(1) } else { k.i64(1) };
    let flipped = k.max(least, flipped);
    let scaled = k.shift_left(flipped, shift);
    let factor = k.bitcast(scaled, ty);
    let (limit, one) = (k.float(ty, RANGE_LIMIT), k.float(ty, 1.0));
    let large = k.compare(Compare::Gt, x, limit);
    k.select(large, factor, one)
}
