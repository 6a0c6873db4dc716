//! Whole models: training steps of a small network and a small transformer, and the latency of one
//! row under several callers.

use super::measure::Setting;
use super::record::{Figures, Row, millis};
use super::timing::{REPETITIONS, Timing, quantile, time};
use crate::error::Error;
use crate::nn::{Embedding, LayerNorm, Linear, Module, Parameters, Rng};
use crate::optim::AdamW;
use crate::session::{IntoModel, Model, Tensors, forget_programs, jit};
use crate::trace::Var;
use crate::train::{Step, train_step};
use evenkeel_compiler::Costs;
use evenkeel_ir::op::{BinaryMethods, UnaryMethods};
use evenkeel_runtime::Tensor;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// A model to measure.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What is measured.
    pub about: &'static str,
    measure: fn(&Setting) -> Result<Figured, Error>,
}

type Figured = (Timing, Figures);

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "mlp_step",
        about: "training step of a network 64-256-256-10 with LayerNorm and GELU, batch 64, AdamW",
        measure: |setting| {
            let (model, batch) = (Model::new(Mlp::new(&mut Rng::seed(0))), digits_like(64));
            let compile = || mlp_step(model.clone(), &batch, setting.threads, &setting.costs);
            step(64, &batch, compile, setting.budget)
        },
    },
    Workload {
        name: "gpt_step",
        about: "training step of a transformer of 4 layers, width 128, 4 heads, 16 sequences of 128 tokens, AdamW",
        measure: |setting| {
            let (model, batch) = (Model::new(Gpt::new(&mut Rng::seed(0), LAYERS)), sequences());
            let compile = || gpt_step(model.clone(), &batch, setting.threads, &setting.costs);
            step(SEQUENCES, &batch, compile, setting.budget)
        },
    },
    Workload {
        name: "mlp_latency_1",
        about: "one row through a network 64-256-256-10, one caller",
        measure: |setting| latency(setting, 1),
    },
    Workload {
        name: "mlp_latency_8",
        about: "one row through a network 64-256-256-10, eight callers at once",
        measure: |setting| latency(setting, 8),
    },
];

/// All models.
pub fn workloads() -> &'static [Workload] {
    WORKLOADS
}

impl Workload {
    /// Compiles and times it. Programs that the process has compiled before are
    /// [forgotten](forget_programs).
    ///
    /// # Errors
    /// None that users cause: the models are fixed.
    pub fn measure(&self, setting: &Setting) -> Result<Row, Error> {
        let (timing, figures) = (self.measure)(setting)?;
        Ok(Row::new(self.name, setting.threads, timing, figures))
    }
}

/// Times a training step, and compiles it with nothing remembered and again.
fn step<M: Parameters, B: Tensors>(
    samples: usize,
    batch: &B,
    compile: impl Fn() -> Result<Step<M>, Error>,
    budget: Duration,
) -> Result<Figured, Error> {
    forget_programs();
    let clock = Instant::now();
    let mut step = compile()?;
    let compile_ms = millis(clock.elapsed());
    let recompile = time(|| compile().map(drop), Duration::ZERO)?;
    let timing = time(|| step.run(batch)?.loss().map(drop), budget)?;
    let steps = super::steps(&mut step, batch, budget / 6)?;
    Ok((timing, Figures::Step { samples, compile_ms, recompile_ms: recompile.micros() / 1e3, steps }))
}

/// Callers that each pass one row again and again.
fn latency(setting: &Setting, callers: usize) -> Result<Figured, Error> {
    let Setting { threads, budget, ref costs } = *setting;
    let row = digits_like(1).0;
    let model = Mlp::new(&mut Rng::seed(0));
    let predict =
        jit(model, |m: &Mlp, x: Var| m.forward(x)).threads(threads).costs(costs.clone()).compile(&row)?;
    predict.run(&row)?;
    let (mut all, mut medians) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let barrier = Barrier::new(callers);
        let caller = || -> Result<Vec<f64>, Error> {
            barrier.wait();
            let (begin, mut times) = (Instant::now(), Vec::new());
            while begin.elapsed() < budget / REPETITIONS || times.is_empty() {
                let start = Instant::now();
                predict.run(&row)?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
            Ok(times)
        };
        let mut times = Vec::new();
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            for caller in callers {
                times.extend(caller.join().expect("callers do not panic")?);
            }
            Ok::<(), Error>(())
        })?;
        medians.push(quantile(&mut times, 0.5));
        all.append(&mut times);
    }
    let (p50_micros, p99_micros) = (quantile(&mut all, 0.5), quantile(&mut all, 0.99));
    Ok((Timing { repetitions: medians }, Figures::Latency { callers, p50_micros, p99_micros }))
}

/// A network with two hidden layers.
#[derive(Debug, Clone, Parameters)]
pub struct Mlp {
    hidden: Vec<(Linear, LayerNorm)>,
    out: Linear,
}

impl Mlp {
    /// `64-256-256-10`.
    pub fn new(rng: &mut Rng) -> Mlp {
        let hidden = [64, 256].map(|inputs| (Linear::new(rng, inputs, 256), LayerNorm::new(256)));
        Mlp { hidden: hidden.into(), out: Linear::new(rng, 256, 10) }
    }
}

impl Module for Mlp {
    fn forward(&self, x: Var) -> Var {
        let hidden = self.hidden.iter().fold(x, |x, (linear, norm)| norm.forward(linear.forward(x)).gelu());
        self.out.forward(hidden)
    }
}

/// Rows of 64 numbers, and labels.
pub fn digits_like(rows: usize) -> (Tensor, Tensor) {
    let x = Rng::seed(1).normal(&[rows, 64], 1.0).tensor().clone();
    (x, whole(&[rows], 10))
}

/// The compiled training step of [`Mlp`].
///
/// # Errors
/// A batch that is not as [`digits_like`] gives it.
pub fn mlp_step(
    model: impl IntoModel<Mlp>,
    batch: &(Tensor, Tensor),
    threads: usize,
    costs: &Costs,
) -> Result<Step<Mlp>, Error> {
    let loss = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    train_step(model, AdamW::new(1e-3), loss).threads(threads).costs(costs.clone()).compile(batch)
}

/// Features of a token.
const WIDTH: usize = 128;
const HEADS: usize = 4;
/// Layers of the transformer that is measured.
pub const LAYERS: usize = 4;
/// Tokens of a sequence.
const TOKENS: usize = 128;
/// Sequences of a batch.
const SEQUENCES: usize = 16;
const VOCABULARY: usize = 96;

/// A block of a transformer, normalized before attention and before its network.
#[derive(Debug, Clone, Parameters)]
pub(super) struct Block {
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    pub(super) fn new(rng: &mut Rng) -> Block {
        let square = |rng: &mut Rng| Linear::new(rng, WIDTH, WIDTH);
        Block {
            attention_norm: LayerNorm::new(WIDTH),
            query: square(rng),
            key: square(rng),
            value: square(rng),
            out: square(rng),
            norm: LayerNorm::new(WIDTH),
            up: Linear::new(rng, WIDTH, 4 * WIDTH),
            down: Linear::new(rng, 4 * WIDTH, WIDTH),
        }
    }

    /// Attention in which a token sees itself and those before it.
    fn attention(&self, x: Var) -> Var {
        let head = WIDTH / HEADS;
        let split = |x: Var| x.reshape([-1, TOKENS as i64, HEADS as i64, head as i64]).permute([0, 2, 1, 3]);
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|linear| split(linear.forward(x)));
        let scores = q.matmul(k.transpose()) / (head as f64).sqrt();
        let seen = scores.iota(2).ge(scores.iota(3));
        let weights = seen.select(scores, f64::NEG_INFINITY).softmax(-1);
        let joined = weights.matmul(v).permute([0, 2, 1, 3]).reshape([-1, TOKENS as i64, WIDTH as i64]);
        self.out.forward(joined)
    }
}

impl Module for Block {
    fn forward(&self, x: Var) -> Var {
        let x = x + self.attention(self.attention_norm.forward(x));
        x + self.down.forward(self.up.forward(self.norm.forward(x)).gelu())
    }
}

/// A small transformer over characters.
#[derive(Debug, Clone, Parameters)]
pub struct Gpt {
    token: Embedding,
    position: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    /// So many layers, width 128, 4 heads, 96 characters, up to 128 tokens.
    pub fn new(rng: &mut Rng, layers: usize) -> Gpt {
        Gpt {
            token: Embedding::new(rng, VOCABULARY, WIDTH),
            position: Embedding::new(rng, TOKENS, WIDTH),
            blocks: (0..layers).map(|_| Block::new(rng)).collect(),
            norm: LayerNorm::new(WIDTH),
            head: Linear::new(rng, WIDTH, VOCABULARY),
        }
    }
}

impl Module for Gpt {
    /// Characters `[n, 128]` to logits `[n, 128, 96]`.
    fn forward(&self, tokens: Var) -> Var {
        let x = self.token.forward(tokens) + self.position.weight.value();
        self.head.forward(self.norm.forward(self.blocks.forward(x)))
    }
}

/// Sequences of characters, and what follows each.
pub fn sequences() -> (Tensor, Tensor) {
    let sizes = [SEQUENCES, TOKENS];
    (whole(&sizes, VOCABULARY), whole(&sizes, VOCABULARY - 1))
}

/// What a block gets for [`sequences`].
pub(super) fn hidden() -> Tensor {
    Rng::seed(1).normal(&[SEQUENCES, TOKENS, WIDTH], 1.0).tensor().clone()
}

/// The compiled training step of [`Gpt`].
///
/// # Errors
/// A batch that is not as [`sequences`] gives it.
pub fn gpt_step(
    model: impl IntoModel<Gpt>,
    batch: &(Tensor, Tensor),
    threads: usize,
    costs: &Costs,
) -> Result<Step<Gpt>, Error> {
    let loss = |m: &Gpt, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    train_step(model, AdamW::new(1e-3), loss).threads(threads).costs(costs.clone()).compile(batch)
}

/// Whole numbers below a limit.
fn whole(sizes: &[usize], limit: usize) -> Tensor {
    let count: usize = sizes.iter().product();
    let numbers: Vec<i64> = (0..count).map(|i| (i * 37 % limit) as i64).collect();
    Tensor::from_vec(sizes, numbers).expect("as many numbers as the sizes say")
}
