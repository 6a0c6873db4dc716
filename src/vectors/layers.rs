//! The layers that vectors can be played through: one row each.

use super::activations;
use super::file::Tensors;
use crate::nn::{BatchNorm, GroupNorm, LayerNorm, Module, Param, Parameters, RmsNorm, State};
use crate::trace::Var;
use evenkeel_ir::{DType, EpsKind, Literal};
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
    pub(super) inputs: &'a Tensors,
    pub(super) params: &'a Tensors,
    pub(super) state: &'a Tensors,
    /// How many steps of the case came before.
    pub(super) step: usize,
    /// Element type of what the case does not give.
    pub(super) dtype: DType,
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
            ("iters", "batches"),
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
        attributes: activations::ATTRIBUTES,
        names: &[],
        make: activation,
    },
    LayerRow {
        name: "softmax_losses",
        about: "softmax, log_softmax, logsumexp, or cross entropy with integer targets",
        attributes: &["axis", "smoothing", "log", "kind"],
        names: &[],
        make: softmax_losses,
    },
];

/// A number among attributes; absent or null is the default.
pub(super) fn number(attrs: &Map<String, Value>, name: &str, default: f64) -> Result<f64, String> {
    match attrs.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => {
            value.as_f64().ok_or_else(|| format!("attribute {name}: expected a number, found {value}"))
        }
    }
}

impl Setting<'_> {
    fn number(&self, name: &str, default: f64) -> Result<f64, String> {
        number(self.attrs, name, default)
    }

    /// A whole number, such as an axis.
    fn whole(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.attrs.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_i64()
                .ok_or_else(|| format!("attribute {name}: expected a whole number, found {value}")),
        }
    }

    /// A number of things, at least one.
    fn count(&self, name: &str, default: i64) -> Result<usize, String> {
        let number = self.whole(name, default)?;
        let count = usize::try_from(number).ok().filter(|&count| count > 0);
        count.ok_or_else(|| format!("attribute {name}: expected at least 1, found {number}"))
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.attrs.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| format!("attribute {name}: expected a truth value, found {value}")),
        }
    }

    fn name(&self, name: &str) -> Result<Option<&str>, String> {
        match self.attrs.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| format!("attribute {name}: expected a name, found {value}")),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.attrs.get(name).is_some_and(|value| !value.is_null())
    }

    fn param(&self, name: &str) -> Option<Param> {
        self.params.get(name).map(|value| Param::new(Tensor::from_literal(value)))
    }

    /// A state of the case, or one with this value everywhere.
    fn state(&self, name: &str, sizes: &[usize], start: f64) -> State {
        let floats = |sizes: &[usize], data| Literal::floats(self.dtype, sizes, data);
        let value = match self.state.get(name) {
            Some(given) => floats(&given.sizes, given.to_floats()),
            None => floats(sizes, vec![start; sizes.iter().product()]),
        };
        State::new(Tensor::from_literal(&value))
    }

    /// Size of axis 1 of `x`.
    fn channels(&self) -> Result<usize, String> {
        let x = self.inputs.get("x").ok_or("the case has no input x")?;
        x.sizes.get(1).copied().ok_or_else(|| format!("expected x as [n, channels, ..], found {:?}", x.sizes))
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

/// A momentum of null averages all batches alike; without a count in the state, earlier steps of
/// the case are those batches.
fn batch_norm(s: &Setting<'_>) -> Result<Made, String> {
    let cumulative = s.attrs.get("momentum").is_some_and(Value::is_null);
    let channels = [s.channels()?];
    Ok(Made::Module(Box::new(BatchNorm {
        gain: s.param("gamma"),
        bias: s.param("beta"),
        running_mean: s.state("run_mean", &channels, 0.0),
        running_var: s.state("run_var", &channels, 1.0),
        eps: s.number("eps", 1e-5)?,
        momentum: s.number("momentum", 0.1)?,
        batches: cumulative.then(|| s.state("iters", &[], s.step as f64)),
        unbiased_running: s.flag("unbiased_running", true)?,
    })))
}

fn group_norm(s: &Setting<'_>) -> Result<Made, String> {
    let groups = s.count("groups", 32)?;
    let layer =
        GroupNorm { gain: s.param("gamma"), bias: s.param("beta"), groups, eps: s.number("eps", 1e-5)? };
    Ok(Made::Module(Box::new(layer)))
}

fn activation(s: &Setting<'_>) -> Result<Made, String> {
    let apply = activations::activation(s.attrs)?;
    Ok(Made::Function(Box::new(move |inputs| Some(("y", apply(*inputs.get("x")?))))))
}

/// Kinds that the input decides are not named: a target asks for the cross entropy.
fn softmax_losses(s: &Setting<'_>) -> Result<Made, String> {
    let (axis, smoothing) = (s.whole("axis", -1)?, s.number("smoothing", 0.0)?);
    let fallback = match (s.inputs.contains_key("target"), s.flag("log", false)?) {
        (true, _) => "cross_entropy",
        (false, true) => "log_softmax",
        (false, false) => "softmax",
    };
    type Kind = fn(Var, &BTreeMap<String, Var>, i64, f64) -> Option<(&'static str, Var)>;
    let kind: Kind = match s.name("kind")?.unwrap_or(fallback) {
        "softmax" => |x, _, axis, _| Some(("y", x.softmax(axis))),
        "log_softmax" => |x, _, axis, _| Some(("y", x.log_softmax(axis))),
        "logsumexp" => |x, _, axis, _| Some(("y", x.logsumexp(axis))),
        "cross_entropy" => |x, inputs, axis, smoothing| {
            Some(("loss", x.cross_entropy_with(*inputs.get("target")?, smoothing, axis)))
        },
        other => return Err(format!("unknown kind {other}")),
    };
    Ok(Made::Function(Box::new(move |inputs| kind(*inputs.get("x")?, inputs, axis, smoothing))))
}
