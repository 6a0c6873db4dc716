//! The layers that vectors can be played through: one row each.

use super::file::Tensors;
use crate::nn::{BatchNorm, GroupNorm, LayerNorm, Module, Param, Parameters, RmsNorm, State};
use crate::trace::Var;
use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
use evenkeel_ir::{EpsKind, Unary};
use evenkeel_runtime::Tensor;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A layer made for one case.
pub(super) enum Made {
    /// A module from `x` to `y`.
    Module(Box<dyn PlayedModule>),
    /// A function of the inputs to a named output.
    Function(Function),
}

type Function = Box<dyn Fn(&BTreeMap<String, Var>) -> Option<(&'static str, Var)>>;

/// A module with parameters.
pub(super) trait PlayedModule: Parameters + Module {}
impl<T: Parameters + Module> PlayedModule for T {}

/// Attributes and tensors of a case.
pub(super) struct Setting<'a> {
    pub(super) attrs: &'a Map<String, Value>,
    pub(super) params: &'a Tensors,
    pub(super) state: &'a Tensors,
}

/// One layer.
pub struct LayerRow {
    /// Its name in vector files.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The attributes it accepts.
    pub attributes: &'static [&'static str],
    /// Names of parameters and states in vector files, with their field paths.
    pub names: &'static [(&'static str, &'static str)],
    pub(super) make: fn(&Setting<'_>) -> Result<Made, String>,
}

const AFFINE: &[(&str, &str)] = &[("gamma", "gain"), ("beta", "bias")];

/// All layers.
pub const LAYERS: &[LayerRow] = &[
    LayerRow {
        name: "layer_norm",
        about: "(x - mean) / sqrt(var + eps) * gamma + beta over the last axes",
        attributes: &["naxes", "eps"],
        names: AFFINE,
        make: layer_norm,
    },
    LayerRow {
        name: "rms_norm",
        about: "x / sqrt(mean(x^2) + eps) * (offset + gamma) + beta over the last axis",
        attributes: &["eps", "eps_outside", "partial", "offset"],
        names: AFFINE,
        make: rms_norm,
    },
    LayerRow {
        name: "batch_norm",
        about: "normalizes channels (axis 1) over the batch, with running moments",
        attributes: &["momentum", "eps", "unbiased_running"],
        names: &[
            ("gamma", "gain"),
            ("beta", "bias"),
            ("run_mean", "running_mean"),
            ("run_var", "running_var"),
        ],
        make: batch_norm,
    },
    LayerRow {
        name: "group_norm",
        about: "normalizes groups of channels (axis 1) of each sample",
        attributes: &["groups", "eps"],
        names: AFFINE,
        make: group_norm,
    },
    LayerRow {
        name: "activations",
        about: "a pointwise function, by kind",
        attributes: &["kind", "alpha", "slope", "beta"],
        names: &[],
        make: activations,
    },
    LayerRow {
        name: "softmax_losses",
        about: "softmax, log_softmax, logsumexp, or cross entropy with integer targets",
        attributes: &["axis", "smoothing", "log", "kind"],
        names: &[],
        make: softmax_losses,
    },
];

impl Setting<'_> {
    fn number(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.attrs.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                value.as_f64().ok_or_else(|| format!("attribute {name}: expected a number, found {value}"))
            }
        }
    }

    /// An axis; negative ones count from the last.
    fn axis(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.attrs.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                value.as_i64().ok_or_else(|| format!("attribute {name}: expected an axis, found {value}"))
            }
        }
    }

    /// A number of axes or groups.
    fn count(&self, name: &str, default: usize) -> Result<usize, String> {
        match self.number(name, default as f64)? {
            count if count.fract() == 0.0 && (0.0..=1e9).contains(&count) => Ok(count as usize),
            count => Err(format!("attribute {name}: expected a whole number, found {count}")),
        }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.attrs.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| format!("attribute {name}: expected a truth value, found {value}")),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.attrs.get(name).is_some_and(|value| !value.is_null())
    }

    fn param(&self, name: &str) -> Option<Param> {
        self.params.get(name).map(|value| Param::new(Tensor::from_literal(value)))
    }

    fn state(&self, name: &str) -> Result<State, String> {
        let value = self.state.get(name).ok_or_else(|| format!("state {name} is missing"))?;
        Ok(State::new(Tensor::from_literal(value)))
    }
}

fn layer_norm(s: &Setting<'_>) -> Result<Made, String> {
    let axes = s.count("naxes", 1)?;
    let layer =
        LayerNorm { gain: s.param("gamma"), bias: s.param("beta"), eps: s.number("eps", 1e-5)?, axes };
    Ok(Made::Module(Box::new(layer)))
}

fn rms_norm(s: &Setting<'_>) -> Result<Made, String> {
    let kind = if s.flag("eps_outside", false)? { EpsKind::Outside } else { EpsKind::Inside };
    let partial = s.has("partial").then(|| s.number("partial", 1.0)).transpose()?;
    Ok(Made::Module(Box::new(RmsNorm {
        gain: s.param("gamma"),
        bias: s.param("beta"),
        eps: s.number("eps", 1e-6)?,
        kind,
        offset: s.number("offset", 0.0)?,
        partial,
    })))
}

fn batch_norm(s: &Setting<'_>) -> Result<Made, String> {
    Ok(Made::Module(Box::new(BatchNorm {
        gain: s.param("gamma"),
        bias: s.param("beta"),
        running_mean: s.state("run_mean")?,
        running_var: s.state("run_var")?,
        eps: s.number("eps", 1e-5)?,
        momentum: s.number("momentum", 0.1)?,
        unbiased_running: s.flag("unbiased_running", true)?,
    })))
}

fn group_norm(s: &Setting<'_>) -> Result<Made, String> {
    let groups = s.count("groups", 32)?;
    let layer =
        GroupNorm { gain: s.param("gamma"), bias: s.param("beta"), groups, eps: s.number("eps", 1e-5)? };
    Ok(Made::Module(Box::new(layer)))
}

fn activations(s: &Setting<'_>) -> Result<Made, String> {
    let kind = s.attrs.get("kind").and_then(Value::as_str).ok_or("attribute kind: expected a name")?;
    let (alpha, slope) = (s.number("alpha", 1.0)?, s.number("slope", 0.01)?);
    let apply: Box<dyn Fn(Var) -> Var> = match kind {
        "leaky_relu" => Box::new(move |x| x.gt(0.0).select(x, x * slope)),
        "elu" if alpha != 1.0 => Box::new(move |x| x.gt(0.0).select(x, x.min(0.0).expm1() * alpha)),
        "celu" => Box::new(move |x| x.gt(0.0).select(x, (x.min(0.0) / alpha).expm1() * alpha)),
        "gelu_erf" | "gelu_exact" => Box::new(|x| x.gelu()),
        "swish" => Box::new(|x| x.silu()),
        name => {
            let op = Unary::from_name(name).ok_or_else(|| format!("unknown kind {name}"))?;
            Box::new(move |x| x.unary(op))
        }
    };
    Ok(Made::Function(Box::new(move |inputs| Some(("y", apply(*inputs.get("x")?))))))
}

fn softmax_losses(s: &Setting<'_>) -> Result<Made, String> {
    let (axis, smoothing) = (s.axis("axis", -1)?, s.number("smoothing", 0.0)?);
    let kind = s.attrs.get("kind").and_then(Value::as_str).unwrap_or("").to_string();
    let log = s.flag("log", false)? || kind == "log_softmax";
    Ok(Made::Function(Box::new(move |inputs| {
        let x = *inputs.get("x")?;
        Some(match inputs.get("target") {
            Some(&target) => ("loss", x.cross_entropy_with(target, smoothing, axis)),
            None if log => ("y", x.log_softmax(axis)),
            None if kind == "logsumexp" => ("y", x.logsumexp(axis)),
            None => ("y", x.softmax(axis)),
        })
    })))
}
