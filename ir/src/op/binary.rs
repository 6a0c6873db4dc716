//! Functions of two elements: one row each. Comparisons give truth values.

use super::table::table;
use super::unary::{Class, Derivative};
use crate::graph::{GraphBuilder, Value};
use crate::scalar::{Compare, Reg, ScalarFn, math};

/// The partial derivative towards one operand as a graph, given x, y and the result.
pub type Partial = fn(&mut GraphBuilder, Value, Value, Value) -> Value;

/// Everything the compiler knows about a function of two elements.
pub struct BinaryDef {
    /// The accepted element types; both operands have the same type.
    pub class: Class,
    /// True when the result is a truth value, else it has the operands' type.
    pub gives_bool: bool,
    /// Reference value on floats (truth values as 0 and 1).
    pub eval: fn(f64, f64) -> f64,
    /// Value on integers.
    pub eval_int: fn(i64, i64) -> i64,
    /// Both partial derivatives.
    pub partials: Derivative<[Partial; 2]>,
    /// Code for every target.
    pub emit: fn(&mut ScalarFn, Reg, Reg) -> Reg,
    /// Where tests draw x and y from.
    pub domain: [(f64, f64); 2],
    /// Allowed f32 error, in units of the last place.
    pub ulps: f64,
    /// Operands may be exchanged.
    pub commutes: bool,
}

const NUMBER: BinaryDef = BinaryDef {
    class: Class::Number,
    gives_bool: false,
    eval: |x, _| x,
    eval_int: |x, _| x,
    partials: Derivative::None,
    emit: |_, x, _| x,
    domain: [(-10.0, 10.0), (-10.0, 10.0)],
    ulps: 1.0,
    commutes: false,
};
const COMPARE: BinaryDef = BinaryDef { gives_bool: true, ulps: 0.0, ..NUMBER };
const LOGIC: BinaryDef =
    BinaryDef { class: Class::Bool, gives_bool: true, ulps: 0.0, commutes: true, ..NUMBER };

use Derivative::Rule;

table! {
    /// A function applied to each pair of elements.
    pub enum Binary: BinaryDef, methods two BinaryMethods {
        /// `x + y`
        Add add => BinaryDef {
            eval: |x, y| x + y,
            eval_int: i64::wrapping_add,
            partials: Rule([|b, x, _, _| b.number(x, 1.0), |b, x, _, _| b.number(x, 1.0)]),
            emit: |k, x, y| if k.ty(x).is_float() { k.add(x, y) } else { k.int_add(x, y) },
            commutes: true,
            ..NUMBER
        },
        /// `x - y`
        Sub sub => BinaryDef {
            eval: |x, y| x - y,
            eval_int: i64::wrapping_sub,
            partials: Rule([|b, x, _, _| b.number(x, 1.0), |b, x, _, _| b.number(x, -1.0)]),
            emit: |k, x, y| if k.ty(x).is_float() { k.sub(x, y) } else { k.int_sub(x, y) },
            ..NUMBER
        },
        /// `x * y`
        Mul mul => BinaryDef {
            eval: |x, y| x * y,
            eval_int: i64::wrapping_mul,
            partials: Rule([|_, _, y, _| y, |_, x, _, _| x]),
            emit: |k, x, y| if k.ty(x).is_float() { k.mul(x, y) } else { k.int_mul(x, y) },
            commutes: true,
            ..NUMBER
        },
        /// `x / y`
        Div div => BinaryDef {
            class: Class::Float,
            eval: |x, y| x / y,
            partials: Rule([|b, _, y, _| b.recip(y), |b, _, y, z| { let t = b.div(z, y); b.neg(t) }]),
            emit: |k, x, y| k.div(x, y),
            domain: [(-10.0, 10.0), (0.1, 10.0)],
            ..NUMBER
        },
        /// The larger of `x` and `y`; NaN if either is NaN; equal operands share the derivative.
        Max max => BinaryDef {
            eval: |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) },
            eval_int: i64::max,
            partials: Rule([|b, x, y, _| share(b, x, y), |b, x, y, _| share(b, y, x)]),
            emit: |k, x, y| { let m = k.max(x, y); keep_nan(k, x, m) },
            ulps: 0.0,
            commutes: true,
            ..NUMBER
        },
        /// The smaller of `x` and `y`; NaN if either is NaN; equal operands share the derivative.
        Min min => BinaryDef {
            eval: |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) },
            eval_int: i64::min,
            partials: Rule([|b, x, y, _| share(b, y, x), |b, x, y, _| share(b, x, y)]),
            emit: |k, x, y| { let m = k.min(x, y); keep_nan(k, x, m) },
            ulps: 0.0,
            commutes: true,
            ..NUMBER
        },
        /// `x^y`; the derivative towards `y` is 0 at `x = 0`.
        Pow pow => BinaryDef {
            class: Class::Float,
            eval: f64::powf,
            partials: Rule([pow_base, pow_exponent]),
            emit: math::pow,
            domain: [(0.1, 5.0), (-3.0, 3.0)],
            ulps: 16.0,
            ..NUMBER
        },
        /// `x` where `x > 0`, else `y * x`: leaky relu with slope `y`, or PReLU. At 0 the derivative
        /// is the slope.
        LeakyRelu leaky_relu => BinaryDef {
            class: Class::Float,
            eval: |x, y| if x > 0.0 { x } else { y * x },
            partials: Rule([leaky_slope, |b, x, _, _| { let zero = b.number(x, 0.0); b.min(x, zero) }]),
            emit: |k, x, y| {
                let zero = k.zero(k.ty(x));
                let above = k.compare(Compare::Gt, x, zero);
                let scaled = k.mul(y, x);
                k.select(above, x, scaled)
            },
            ..NUMBER
        },
        /// `x == y`
        Eq eq => BinaryDef { eval: |x, y| f64::from(x == y), eval_int: |x, y| (x == y).into(), emit: |k, x, y| k.compare(Compare::Eq, x, y), commutes: true, ..COMPARE },
        /// `x != y`
        Ne ne => BinaryDef { eval: |x, y| f64::from(x != y), eval_int: |x, y| (x != y).into(), emit: |k, x, y| k.compare(Compare::Ne, x, y), commutes: true, ..COMPARE },
        /// `x < y`
        Lt lt => BinaryDef { eval: |x, y| f64::from(x < y), eval_int: |x, y| (x < y).into(), emit: |k, x, y| k.compare(Compare::Lt, x, y), ..COMPARE },
        /// `x <= y`
        Le le => BinaryDef { eval: |x, y| f64::from(x <= y), eval_int: |x, y| (x <= y).into(), emit: |k, x, y| k.compare(Compare::Le, x, y), ..COMPARE },
        /// `x > y`
        Gt gt => BinaryDef { eval: |x, y| f64::from(x > y), eval_int: |x, y| (x > y).into(), emit: |k, x, y| k.compare(Compare::Gt, x, y), ..COMPARE },
        /// `x >= y`
        Ge ge => BinaryDef { eval: |x, y| f64::from(x >= y), eval_int: |x, y| (x >= y).into(), emit: |k, x, y| k.compare(Compare::Ge, x, y), ..COMPARE },
        /// Both are true.
        And and => BinaryDef { eval: |x, y| x * y, emit: |k, x, y| k.and(x, y), ..LOGIC },
        /// At least one is true.
        Or or => BinaryDef { eval: f64::max, emit: |k, x, y| k.or(x, y), ..LOGIC },
        /// Exactly one is true.
        Xor xor => BinaryDef { eval: |x, y| (x - y).abs(), emit: |k, x, y| k.xor(x, y), ..LOGIC },
    }
}

/// 1 where `x > y`, 1/2 where equal, else 0.
fn share(b: &mut GraphBuilder, x: Value, y: Value) -> Value {
    let d = b.sub(x, y);
    let r = b.sub(y, x);
    let (up, down) = (b.step(d), b.step(r));
    let (one, half) = (b.number(x, 1.0), b.number(x, 0.5));
    let t = b.sub(up, down);
    let t = b.add(t, one);
    b.mul(half, t)
}

fn leaky_slope(b: &mut GraphBuilder, x: Value, y: Value, _: Value) -> Value {
    let (zero, one) = (b.number(x, 0.0), b.number(x, 1.0));
    let above = b.gt(x, zero);
    b.select(above, one, y)
}

fn keep_nan(k: &mut ScalarFn, x: Reg, otherwise: Reg) -> Reg {
    if !k.ty(x).is_float() || k.is_constant(x) {
        return otherwise;
    }
    let nan = k.compare(Compare::Ne, x, x);
    k.select(nan, x, otherwise)
}

fn pow_base(b: &mut GraphBuilder, x: Value, y: Value, _: Value) -> Value {
    let one = b.number(y, 1.0);
    let less = b.sub(y, one);
    let p = b.pow(x, less);
    b.mul(y, p)
}

fn pow_exponent(b: &mut GraphBuilder, x: Value, _: Value, z: Value) -> Value {
    let zero = b.number(x, 0.0);
    let one = b.number(x, 1.0);
    let at_zero = b.eq(x, zero);
    let safe = b.select(at_zero, one, x);
    let l = b.log(safe);
    let d = b.mul(z, l);
    b.select(at_zero, zero, d)
}
