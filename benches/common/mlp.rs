//! The network that is trained on the digits: its step, and a batch for it.

use evenkeel::data::digits;
use evenkeel::prelude::*;

#[derive(Clone, Parameters)]
pub(crate) struct Mlp {
    up: Linear,
    norm: LayerNorm,
    down: Linear,
}

impl Mlp {
    fn new() -> Mlp {
        let rng = &mut Rng::seed(0);
        Mlp { up: Linear::new(rng, 64, 128), norm: LayerNorm::new(128), down: Linear::new(rng, 128, 10) }
    }

    fn forward(&self, x: Var) -> Var {
        self.down.forward(self.norm.forward(self.up.forward(x)).gelu())
    }
}

/// The first 64 digits and their labels.
pub(crate) fn batch() -> (Tensor, Tensor) {
    let (x, y) = digits().tensors();
    (x.rows(0..64).expect("there are 64"), y.rows(0..64).expect("there are 64"))
}

/// The compiled training step.
pub(crate) fn step(batch: &(Tensor, Tensor), threads: usize) -> Step<Mlp> {
    let loss = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    let step = train_step(Mlp::new(), AdamW::new(3e-3).weight_decay(0.01), loss);
    step.clip_norm(1.0).threads(threads).compile(batch).expect("it compiles")
}
