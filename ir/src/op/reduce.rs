//! Reductions: one row each. A reduction keeps its axes with size 1.

use super::table::table;
use crate::graph::{GraphBuilder, Value};
use crate::scalar::{Constant, Reg, ScalarFn, ScalarType};

/// Everything the compiler knows about a reduction.
pub struct ReduceDef {
    /// Value of an empty reduction, on floats.
    pub identity: f64,
    /// Value of an empty reduction, on integers.
    pub identity_int: fn(ScalarType) -> Constant,
    /// Combines two partial results, reference.
    pub combine: fn(f64, f64) -> f64,
    /// The same on integers.
    pub combine_int: fn(i64, i64) -> i64,
    /// The same as code for every target.
    pub emit: fn(&mut ScalarFn, Reg, Reg) -> Reg,
    /// What the cotangent of the result is multiplied with to give that of the operand,
    /// from operand, result and the reduction itself; `None`: linear, the cotangent is stretched.
    pub weight: Option<fn(&mut GraphBuilder, Value, Value, crate::Axes) -> Value>,
}

table! {
    /// A reduction over axes.
    pub enum Reduce: ReduceDef {
        /// Sum; 0 over an empty axis.
        Sum sum => ReduceDef {
            identity: 0.0,
            identity_int: |ty| int(ty, 0, 0),
            combine: |x, y| x + y,
            combine_int: i64::wrapping_add,
            emit: |k, x, y| if k.ty(x).is_float() { k.add(x, y) } else { k.int_add(x, y) },
            weight: None,
        },
        /// Largest element; negative infinity over an empty axis; ties share the cotangent.
        Max max => ReduceDef {
            identity: f64::NEG_INFINITY,
            identity_int: |ty| int(ty, i32::MIN, i64::MIN),
            combine: f64::max,
            combine_int: i64::max,
            emit: |k, x, y| k.max(x, y),
            weight: Some(share_among_ties),
        },
        /// Smallest element; infinity over an empty axis; ties share the cotangent.
        Min min => ReduceDef {
            identity: f64::INFINITY,
            identity_int: |ty| int(ty, i32::MAX, i64::MAX),
            combine: f64::min,
            combine_int: i64::min,
            emit: |k, x, y| k.min(x, y),
            weight: Some(share_among_ties),
        },
    }
}

fn int(ty: ScalarType, narrow: i32, wide: i64) -> Constant {
    if ty == ScalarType::I64 { Constant::I64(wide) } else { Constant::I32(narrow) }
}

fn share_among_ties(b: &mut GraphBuilder, x: Value, y: Value, axes: crate::Axes) -> Value {
    let ties = b.eq(x, y);
    let ties = b.cast(ties, b.ty(x).dtype);
    // constant wherever it has a derivative
    let ties = b.stop_gradient(ties);
    let count = b.sum(ties, axes);
    // a row of nothing but NaN has no largest element, and no gradient
    let one = b.number(count, 1.0);
    let count = b.max(count, one);
    b.div(ties, count)
}
