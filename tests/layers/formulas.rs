//! The layers once more, as loops over f64 numbers: what further cases are compared with.
//!
//! Nothing here is shared with the library. Gradients are central differences of fourth order,
//! so inputs keep away from kinks. Start at [`Layer`].

use std::collections::BTreeMap;

/// Numbers with sizes, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) sizes: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

pub(crate) type Arrays = BTreeMap<String, Array>;

/// What a formula reads beside its tensors.
pub(crate) struct Attributes<'a> {
    pub(crate) json: &'a serde_json::Value,
    pub(crate) train: bool,
    /// How many steps came before.
    pub(crate) step: usize,
}

/// Outputs from inputs, parameters and state; new state is named `new.NAME`.
pub(crate) type Layer = fn(&Attributes<'_>, &Arrays) -> Arrays;

impl Attributes<'_> {
    fn number(&self, name: &str, default: f64) -> f64 {
        self.json[name].as_f64().unwrap_or(default)
    }

    fn truth(&self, name: &str, default: bool) -> bool {
        self.json[name].as_bool().unwrap_or(default)
    }
}

impl Array {
    fn like(&self, data: Vec<f64>) -> Array {
        Array { sizes: self.sizes.clone(), data }
    }

    /// For every element, the same function of its place and value.
    fn map(&self, f: impl Fn(usize, f64) -> f64) -> Array {
        self.like(self.data.iter().enumerate().map(|(at, &x)| f(at, x)).collect())
    }

    /// The index of a place.
    fn index(&self, at: usize) -> Vec<usize> {
        let mut rest = at;
        let mut index: Vec<usize> = self.sizes.iter().rev().map(|&n| (rest % n, rest /= n).0).collect();
        index.reverse();
        index
    }

    /// Indices of a place with one axis left out, so that equal ones share a row along it.
    fn row(&self, at: usize, axis: usize) -> Vec<usize> {
        let mut index = self.index(at);
        index.remove(axis);
        index
    }

    /// Mean of `f` over the elements of equal keys, by place.
    fn mean_by<K: Ord>(&self, key: impl Fn(usize) -> K, f: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        let mut sums: BTreeMap<K, (f64, f64)> = BTreeMap::new();
        for (at, &x) in self.data.iter().enumerate() {
            let sum = sums.entry(key(at)).or_default();
            *sum = (sum.0 + f(at, x), sum.1 + 1.0);
        }
        (0..self.data.len()).map(|at| sums[&key(at)]).map(|(sum, n)| sum / n).collect()
    }

    /// `(x - mean) / sqrt(var + eps)` over the elements of equal keys.
    fn standardized<K: Ord + Clone>(&self, key: impl Fn(usize) -> K, eps: f64) -> Array {
        let mean = self.mean_by(&key, |_, x| x);
        let var = self.mean_by(&key, |at, x| (x - mean[at]).powi(2));
        self.map(|at, x| (x - mean[at]) / (var[at] + eps).sqrt())
    }
}

/// `x * (offset + gamma) + beta`, where `place` says which parameter belongs to an element.
fn affine(x: Array, params: &Arrays, offset: f64, place: impl Fn(usize) -> usize) -> Array {
    let gain = |at: usize| params.get("gamma").map_or(1.0, |gamma| offset + gamma.data[place(at)]);
    let bias = |at: usize| params.get("beta").map_or(0.0, |beta| beta.data[place(at)]);
    x.map(|at, x| x * gain(at) + bias(at))
}

fn output(name: &str, value: Array) -> Arrays {
    BTreeMap::from([(name.to_string(), value)])
}

pub(crate) fn layer_norm(a: &Attributes<'_>, t: &Arrays) -> Arrays {
    let x = &t["x"];
    let axes = a.number("naxes", 1.0) as usize;
    let size: usize = x.sizes[x.sizes.len() - axes..].iter().product();
    let unit = x.standardized(|at| at / size, a.number("eps", 1e-5));
    output("y", affine(unit, t, 0.0, |at| at % size))
}

pub(crate) fn rms_norm(a: &Attributes<'_>, t: &Arrays) -> Arrays {
    let (x, eps) = (&t["x"], a.number("eps", 1e-6));
    let size = *x.sizes.last().unwrap();
    let counted = (size as f64 * a.number("partial", 1.0)).floor() as usize;
    let square = |at: usize, x: f64| if at % size < counted { x * x } else { 0.0 };
    let scale = size as f64 / counted as f64;
    let square = x.mean_by(|at| at / size, square);
    let root = |at: usize| match a.truth("eps_outside", false) {
        true => (square[at] * scale).sqrt() + eps,
        false => (square[at] * scale + eps).sqrt(),
    };
    output("y", affine(x.map(|at, x| x / root(at)), t, a.number("offset", 0.0), |at| at % size))
}

pub(crate) fn group_norm(a: &Attributes<'_>, t: &Arrays) -> Arrays {
    let x = &t["x"];
    let per_group = x.sizes[1] / a.number("groups", 32.0) as usize;
    let group = |at: usize| (x.index(at)[0], x.index(at)[1] / per_group);
    output("y", affine(x.standardized(group, a.number("eps", 1e-5)), t, 0.0, |at| x.index(at)[1]))
}

pub(crate) fn batch_norm(a: &Attributes<'_>, t: &Arrays) -> Arrays {
    let (x, eps) = (&t["x"], a.number("eps", 1e-5));
    let channel = |at: usize| x.index(at)[1];
    let (old_mean, old_var) = (&t["run_mean"], &t["run_var"]);
    if !a.train {
        let unit = x.map(|at, x| (x - old_mean.data[channel(at)]) / (old_var.data[channel(at)] + eps).sqrt());
        return output("y", affine(unit, t, 0.0, channel));
    }
    let mut outputs = output("y", affine(x.standardized(channel, eps), t, 0.0, channel));
    let mean = x.mean_by(channel, |_, x| x);
    let var = x.mean_by(channel, |at, x| (x - mean[at]).powi(2));
    let n = x.data.len() as f64 / x.sizes[1] as f64;
    let correction = if a.truth("unbiased_running", true) { n / (n - 1.0) } else { 1.0 };
    let weight = match a.json.get("momentum") {
        Some(serde_json::Value::Null) => 1.0 / (a.step as f64 + 1.0),
        _ => a.number("momentum", 0.1),
    };
    let of_channel =
        |values: &[f64], c: usize| (0..x.data.len()).find(|&at| channel(at) == c).map(|at| values[at]);
    let moved = |old: &Array, values: &[f64], correction: f64| {
        old.map(|c, old| old * (1.0 - weight) + of_channel(values, c).unwrap() * correction * weight)
    };
    outputs.insert("new.run_mean".into(), moved(old_mean, &mean, 1.0));
    outputs.insert("new.run_var".into(), moved(old_var, &var, correction));
    outputs
}

/// Logarithm of the softmax along an axis.
fn log_softmax(x: &Array, axis: usize) -> Array {
    let row = |at: usize| x.row(at, axis);
    let n = x.sizes[axis] as f64;
    let sum = x.mean_by(row, |_, x| x.exp());
    x.map(|at, x| x - (sum[at] * n).ln())
}

pub(crate) fn softmax_losses(a: &Attributes<'_>, t: &Arrays) -> Arrays {
    let x = &t["x"];
    let axis = a.number("axis", -1.0) as i64;
    let axis = axis.rem_euclid(x.sizes.len() as i64) as usize;
    let logp = log_softmax(x, axis);
    let Some(target) = t.get("target") else {
        let log = a.truth("log", false) || a.json["kind"] == "log_softmax";
        return output("y", logp.map(|_, p| if log { p } else { p.exp() }));
    };
    let (classes, smoothing) = (x.sizes[axis] as f64, a.number("smoothing", 0.0));
    let mut loss = 0.0;
    for (at, p) in logp.data.iter().enumerate() {
        let row = x.row(at, axis).iter().zip(&target.sizes).fold(0, |row, (i, n)| row * n + i);
        let hit = target.data[row] == x.index(at)[axis] as f64;
        loss -= p * ((1.0 - smoothing) * f64::from(hit) + smoothing / classes);
    }
    output("loss", Array { sizes: vec![], data: vec![loss / target.data.len() as f64] })
}

/// The error function by its series, for small arguments.
fn erf(x: f64) -> f64 {
    let term = |(sum, power): (f64, f64), n: i32| {
        let n = f64::from(n);
        (sum + power / (2.0 * n + 1.0), -power * x * x / (n + 1.0))
    };
    (0..100).fold((0.0, x), term).0 * std::f64::consts::FRAC_2_SQRT_PI
}

pub(crate) fn activations(a: &Attributes<'_>, t: &Arrays) -> Arrays {
    let (alpha, beta, slope) = (a.number("alpha", 1.0), a.number("beta", 1.0), a.number("slope", 0.01));
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let f = |_: usize, x: f64| match a.json["kind"].as_str().unwrap() {
        "identity" => x,
        "relu" => x.max(0.0),
        "relu2" | "squared_relu" => x.max(0.0).powi(2),
        "relu6" => x.clamp(0.0, 6.0),
        "hardtanh" => x.clamp(-1.0, 1.0),
        "hardsigmoid" => (x / 6.0 + 0.5).clamp(0.0, 1.0),
        "softsign" => x / (1.0 + x.abs()),
        "tanhshrink" => x - x.tanh(),
        "swish" => x * sigmoid(beta * x),
        "softplus" => (beta * x).exp().ln_1p() / beta,
        "leaky_relu" => x * if x > 0.0 { 1.0 } else { slope },
        "elu" => {
            if x > 0.0 {
                x
            } else {
                alpha * (x.exp() - 1.0)
            }
        }
        "celu" => {
            if x > 0.0 {
                x
            } else {
                alpha * ((x / alpha).exp() - 1.0)
            }
        }
        "gelu" | "gelu_exact" => x * 0.5 * (1.0 + erf(x / 2f64.sqrt())),
        "mish" => x * x.exp().ln_1p().tanh(),
        "exp" => x.exp(),
        "sin" => x.sin(),
        other => panic!("no formula of {other}"),
    };
    output("y", t["x"].map(f))
}

/// Gradient of `sum(output * cotangent)` with respect to one tensor.
pub(crate) fn gradient(
    layer: Layer,
    a: &Attributes<'_>,
    tensors: &Arrays,
    wrt: &str,
    (output, cotangent): (&str, &Array),
) -> Array {
    const STEP: f64 = 1e-3;
    let at = |place: usize, distance: f64| {
        let mut moved = tensors.clone();
        moved.get_mut(wrt).unwrap().data[place] += distance * STEP;
        let y = layer(a, &moved).remove(output).unwrap();
        y.data.iter().zip(&cotangent.data).map(|(y, c)| y * c).sum::<f64>()
    };
    let slope = |k: usize, _| (8.0 * (at(k, 1.0) - at(k, -1.0)) - at(k, 2.0) + at(k, -2.0)) / (12.0 * STEP);
    tensors[wrt].map(slope)
}
