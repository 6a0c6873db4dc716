//! A transformer of any depth: pre-norm blocks of attention and a GELU network, and a loss.

use evenkeel::prelude::*;

/// Features of a token.
const WIDTH: usize = 32;
/// Tokens of a sequence.
const TOKENS: usize = 8;
/// Sequences of a batch.
const BATCH: usize = 4;

#[derive(Clone, Parameters)]
struct Block {
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
    fn new(rng: &mut Rng) -> Block {
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

    fn forward(&self, x: Var) -> Var {
        let n = self.attention_norm.forward(x);
        let (q, k, v) = (self.query.forward(n), self.key.forward(n), self.value.forward(n));
        let weights = (q.matmul(k.permute([0, 2, 1])) / (WIDTH as f64).sqrt()).softmax(-1);
        let x = x + self.out.forward(weights.matmul(v));
        x + self.down.forward(self.up.forward(self.norm.forward(x)).gelu())
    }
}

/// Blocks, and a projection to the size of a token.
#[derive(Clone, Parameters)]
pub(crate) struct Transformer {
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Transformer {
    fn new(blocks: usize) -> Transformer {
        let rng = &mut Rng::seed(0);
        Transformer {
            blocks: (0..blocks).map(|_| Block::new(rng)).collect(),
            norm: LayerNorm::new(WIDTH),
            head: Linear::new(rng, WIDTH, WIDTH),
        }
    }

    fn forward(&self, x: Var) -> Var {
        self.head.forward(self.norm.forward(self.blocks.iter().fold(x, |x, block| block.forward(x))))
    }
}

/// Sequences and what should come out.
pub(crate) fn batch() -> (Tensor, Tensor) {
    let tensor = |phase: f32| {
        let values: Vec<f32> = (0..BATCH * TOKENS * WIDTH).map(|i| (i as f32 * 0.37 + phase).sin()).collect();
        Tensor::from_vec(&[BATCH, TOKENS, WIDTH], &values).expect("as many values")
    };
    (tensor(0.0), tensor(1.0))
}

/// The compiled training step of as many blocks, on one thread.
pub(crate) fn step(blocks: usize, batch: &(Tensor, Tensor)) -> Step<Transformer> {
    let loss = |m: &Transformer, (x, y): (Var, Var)| m.forward(x).mse(y);
    let step = train_step(Transformer::new(blocks), AdamW::new(1e-3).weight_decay(0.01), loss);
    step.clip_norm(1.0).threads(1).compile(batch).expect("it compiles")
}
