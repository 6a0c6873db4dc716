//! The activations that vectors name by kind: one row each.
//!
//! Ops of the table of pointwise functions are kinds by their own name; the rows here are other
//! names, and functions with a parameter.

use crate::trace::Var;
use evenkeel_ir::Unary;
use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
use serde_json::{Map, Value};

/// The attributes that some kind reads.
pub(super) const ATTRIBUTES: &[&str] = &["kind", "alpha", "slope", "beta"];

type Apply = Box<dyn Fn(Var) -> Var>;

/// A kind of activation.
struct Kind {
    name: &'static str,
    /// Its parameter and the default.
    parameter: Option<(&'static str, f64)>,
    apply: fn(Var, f64) -> Var,
}

const fn plain(name: &'static str, apply: fn(Var, f64) -> Var) -> Kind {
    Kind { name, parameter: None, apply }
}

const fn with(name: &'static str, parameter: &'static str, default: f64, apply: fn(Var, f64) -> Var) -> Kind {
    Kind { name, parameter: Some((parameter, default)), apply }
}

/// `x` where it is not positive, with slope 1 at 0, where `min(x, 0)` has one half.
fn below(x: Var) -> Var {
    x.gt(0.0).select(0.0, x)
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    plain("identity",     |x, _| x),
    plain("gelu_erf",     |x, _| x.gelu()),
    plain("gelu_exact",   |x, _| x.gelu()),
    plain("relu2",        |x, _| x.relu().square()),
    plain("squared_relu", |x, _| x.relu().square()),
    plain("hardtanh",     |x, _| x.clamp(-1.0, 1.0)),
    plain("softsign",     |x, _| x / (x.abs() + 1.0)),
    plain("tanhshrink",   |x, _| x - x.tanh()),
    with("swish",      "beta",  1.0,  |x, beta| x * (x * beta).sigmoid()),
    with("softplus",   "beta",  1.0,  |x, beta| (x * beta).softplus() / beta),
    with("leaky_relu", "slope", 0.01, |x, slope| x.gt(0.0).select(x, x * slope)),
    with("elu",        "alpha", 1.0,  |x, alpha| x.gt(0.0).select(x, below(x).expm1() * alpha)),
    with("celu",       "alpha", 1.0,  |x, alpha| x.gt(0.0).select(x, (below(x) / alpha).expm1() * alpha)),
];

/// The function that a case's attributes describe.
pub(super) fn activation(attrs: &Map<String, Value>) -> Result<Apply, String> {
    let name = attrs.get("kind").and_then(Value::as_str).ok_or("attribute kind: expected a name")?;
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let parameter = kind.and_then(|kind| kind.parameter);
    let read = |attr: &&String| *attr == "kind" || parameter.is_some_and(|(name, _)| name == *attr);
    if let Some(unread) = attrs.keys().find(|attr| !read(attr)) {
        return Err(format!("attribute {unread}: {name} has none"));
    }
    let Some(kind) = kind else {
        let op = Unary::from_name(name).ok_or_else(|| format!("unknown kind {name}"))?;
        return Ok(Box::new(move |x| x.unary(op)));
    };
    let value = match parameter {
        Some((name, default)) => super::layers::number(attrs, name, default)?,
        None => 0.0,
    };
    let apply = kind.apply;
    Ok(Box::new(move |x| apply(x, value)))
}
