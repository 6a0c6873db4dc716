//! The built-in layers: one row each, and the shapes that they are measured at.
//!
//! A row says what the inputs are and computes the outputs from them; [`Layer::case`] makes a graph
//! of it at any shape. Formulas are written as users write them; what is recognized in them is the
//! compiler's affair.

use super::Case;
use crate::error::Error;
use crate::trace::{Var, trace};
use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
use evenkeel_ir::{DType, EpsKind, Extent, Shape, TensorType};

/// What a layer runs over, which decides its shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows of features, `[rows, columns]`.
    Rows,
    /// As [`Rows`](Kind::Rows), and rows as long as a vocabulary too.
    LongRows,
    /// Rows of logits as long as a vocabulary.
    Logits,
    /// Images, `[batch, channels, height, width]`.
    Image,
}

/// An input of a layer over a value of some shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// As the shape.
    Whole(&'static str),
    /// One number per column or channel.
    Parameter(&'static str),
    /// One number.
    Scalar(&'static str),
    /// One class per row.
    Targets(&'static str),
}
use Input::{Parameter, Scalar, Targets, Whole};

/// Names of outputs with their values.
type Outputs = Vec<(&'static str, Var)>;

/// One layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// What it runs over.
    pub kind: Kind,
    /// What it computes.
    pub formula: &'static str,
    inputs: &'static [Input],
    outputs: fn(&[Var]) -> Outputs,
}

const X: Input = Whole("x");
const AFFINE: &[Input] = &[X, GAIN, BIAS];
const GAIN: Input = Parameter("gain");
const BIAS: Input = Parameter("bias");

const LAYERS: &[Layer] = &[
    Layer {
        name: "layer_norm",
        kind: Kind::LongRows,
        formula: "(x - mean) / sqrt(var + 1e-5) * gain + bias",
        inputs: AFFINE,
        outputs: |v| y(layer_norm(v[0], v[1], v[2])),
    },
    Layer {
        name: "rms_norm",
        kind: Kind::Rows,
        formula: "x / sqrt(mean(x^2) + 1e-6) * gain",
        inputs: &[X, GAIN],
        outputs: |v| y(v[0].rms_unit(-1, 1e-6, EpsKind::Inside) * v[1]),
    },
    Layer {
        name: "softmax",
        kind: Kind::LongRows,
        formula: "exp(x) / sum(exp(x))",
        inputs: &[X],
        outputs: |v| y(v[0].softmax(-1)),
    },
    Layer {
        name: "add_layer_norm",
        kind: Kind::Rows,
        formula: "sum = x + residual; y = layer_norm(sum)",
        inputs: &[X, Whole("residual"), GAIN, BIAS],
        outputs: |v| {
            let sum = v[0] + v[1];
            vec![("y", layer_norm(sum, v[2], v[3])), ("sum", sum)]
        },
    },
    Layer {
        name: "layer_norm_gelu",
        kind: Kind::Rows,
        formula: "gelu(layer_norm(x))",
        inputs: AFFINE,
        outputs: |v| y(layer_norm(v[0], v[1], v[2]).gelu()),
    },
    Layer {
        name: "gelu_tanh",
        kind: Kind::Rows,
        formula: "x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2",
        inputs: &[X],
        outputs: |v| y(v[0].gelu_tanh()),
    },
    Layer {
        name: "gelu",
        kind: Kind::Rows,
        formula: "x (1 + erf(x / sqrt(2))) / 2",
        inputs: &[X],
        outputs: |v| y(v[0].gelu()),
    },
    Layer {
        name: "silu",
        kind: Kind::Rows,
        formula: "x sigmoid(x)",
        inputs: &[X],
        outputs: |v| y(v[0].silu()),
    },
    Layer {
        name: "swiglu",
        kind: Kind::Rows,
        formula: "silu(a) b",
        inputs: &[Whole("a"), Whole("b")],
        outputs: |v| y(v[0].silu() * v[1]),
    },
    Layer {
        name: "dyt",
        kind: Kind::Rows,
        formula: "tanh(alpha x) * gain + bias",
        inputs: &[X, Scalar("alpha"), GAIN, BIAS],
        outputs: |v| y((v[1] * v[0]).tanh() * v[2] + v[3]),
    },
    Layer {
        name: "derf",
        kind: Kind::Rows,
        formula: "erf(alpha x) * gain + bias",
        inputs: &[X, Scalar("alpha"), GAIN, BIAS],
        outputs: |v| y((v[1] * v[0]).erf() * v[2] + v[3]),
    },
    Layer {
        name: "scale_norm",
        kind: Kind::Rows,
        formula: "scale x / sqrt(sum(x^2) + 1e-6)",
        inputs: &[X, Scalar("scale")],
        outputs: |v| y(v[1] * v[0].l2_norm(-1, 1e-6, EpsKind::Inside)),
    },
    Layer {
        name: "cross_entropy",
        kind: Kind::Logits,
        formula: "mean of -log softmax(x)[target]",
        inputs: &[X, Targets("target")],
        outputs: |v| vec![("loss", v[0].cross_entropy(v[1]))],
    },
    Layer {
        name: "group_norm_silu",
        kind: Kind::Image,
        formula: "silu(group_norm(x) * gain + bias), 32 groups",
        inputs: AFFINE,
        outputs: |v| {
            let unit = by_group(v[0]).standardize([2, 3, 4], 1e-5).with_shape(v[0].shape());
            y((unit * v[1] + v[2]).silu())
        },
    },
    Layer {
        name: "batch_norm_relu",
        kind: Kind::Image,
        formula: "relu((x - mean) / sqrt(var + 1e-5) * gain + bias), moments of the batch",
        inputs: AFFINE,
        outputs: |v| y((v[0].standardize([0, 2, 3], 1e-5) * v[1] + v[2]).relu()),
    },
    Layer {
        name: "instance_norm",
        kind: Kind::Image,
        formula: "(x - mean) / sqrt(var + 1e-5) * gain + bias, moments of each channel of each image",
        inputs: AFFINE,
        outputs: |v| y(v[0].standardize([2, 3], 1e-5) * v[1] + v[2]),
    },
    // Liu et al. 2020, arXiv:2004.02967
    Layer {
        name: "evonorm_s0",
        kind: Kind::Image,
        formula: "x sigmoid(v x) / sqrt(var + 1e-5) * gain + bias, variance of 32 groups",
        inputs: &[X, Parameter("v"), GAIN, BIAS],
        outputs: |v| {
            let groups = by_group(v[0]);
            let deviation = (groups.var([2, 3, 4]) + 1e-5).sqrt();
            let gated = by_group(v[0] * (v[1] * v[0]).sigmoid());
            y((gated / deviation).with_shape(v[0].shape()) * v[2] + v[3])
        },
    },
    Layer {
        name: "evonorm_b0",
        kind: Kind::Image,
        formula: "x / max(sqrt(var of the batch + 1e-5), v x + sqrt(var of the image + 1e-5)) * gain + bias",
        inputs: &[X, Parameter("v"), GAIN, BIAS],
        outputs: |v| {
            let batch = (v[0].var([0, 2, 3]) + 1e-5).sqrt();
            let image = (v[0].var([2, 3]) + 1e-5).sqrt();
            y(v[0] / batch.max(v[1] * v[0] + image) * v[2] + v[3])
        },
    },
];

/// The only output of most layers.
fn y(value: Var) -> Outputs {
    vec![("y", value)]
}

fn layer_norm(x: Var, gain: Var, bias: Var) -> Var {
    x.layer_norm(-1, 1e-5, gain, bias)
}

/// `[batch, channels, height, width]` as `[batch, 32, channels / 32, height, width]`.
fn by_group(x: Var) -> Var {
    let shape = x.shape();
    let extent = |axis: usize| shape.0.get(axis).and_then(|e| e.known()).map_or(-1, |size| size as i64);
    x.reshape([extent(0), 32, extent(1) / 32, extent(2), extent(3)])
}

/// All built-in layers.
pub fn layers() -> &'static [Layer] {
    LAYERS
}

/// The shapes that layers of a kind are measured at; the first is the one for a quick look.
pub fn shapes_of(kind: Kind) -> &'static [&'static [u64]] {
    match kind {
        Kind::Rows => &[&[2048, 768], &[1, 768], &[32, 768], &[8192, 1024], &[2048, 4096]],
        Kind::LongRows => &[&[2048, 768], &[1, 768], &[32, 768], &[8192, 1024], &[2048, 4096], &[512, 32000]],
        Kind::Logits => &[&[512, 32000]],
        Kind::Image => &[&[32, 256, 14, 14], &[8, 64, 56, 56]],
    }
}

impl Layer {
    /// Its graph for a value of this shape, such as `[2048, 768]`, with the gradients of every float
    /// input if wanted. Rows are compiled for any number of them, images for exactly this shape.
    ///
    /// # Errors
    /// A shape that the layer is not for: of too few axes, or channels in no 32 groups.
    ///
    /// # Examples
    /// ```
    /// use evenkeel::bench::layers;
    ///
    /// let softmax = layers().iter().find(|layer| layer.name == "softmax").expect("it is one");
    /// let case = softmax.case(&[4, 8], true)?;
    /// assert_eq!(case.name, "softmax 4x8 fwd+bwd");
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    pub fn case(&self, shape: &[u64], gradients: bool) -> Result<Case, Error> {
        let declared: Vec<(&str, TensorType)> =
            self.inputs.iter().map(|&input| self.declare(input, shape)).collect();
        let graph = trace(&declared, |v| (self.outputs)(v))?;
        let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
        let direction = if gradients { " fwd+bwd" } else { "" };
        let name = format!("{} {}{direction}", self.name, sizes.join("x"));
        Ok(Case { name, graph, gradients, batch: shape.first().copied().unwrap_or(1) })
    }

    /// Name and type of an input for a value of this shape.
    fn declare(&self, input: Input, shape: &[u64]) -> (&'static str, TensorType) {
        let fixed = |size: &u64| Extent::fixed(*size);
        let mut whole: Vec<Extent> = shape.iter().map(fixed).collect();
        let mut parameter: Vec<Extent> = shape.last().map(fixed).into_iter().collect();
        match (self.kind, whole.first_mut()) {
            (Kind::Image, _) => {
                parameter = shape.get(1..2).unwrap_or_default().iter().map(fixed).collect();
                parameter.extend([Extent::ONE; 2]);
            }
            (_, Some(first)) => *first = Extent::BATCH,
            (_, None) => {}
        }
        let float = |extents: Vec<Extent>| TensorType::new(DType::F32, Shape(extents.into_iter().collect()));
        match input {
            Whole(name) => (name, float(whole)),
            Parameter(name) => (name, float(parameter)),
            Scalar(name) => (name, float(vec![Extent::ONE])),
            Targets(name) => {
                let rows = whole.split_last().map_or(vec![], |(_, rows)| rows.to_vec());
                (name, TensorType::new(DType::I64, float(rows).shape))
            }
        }
    }
}
