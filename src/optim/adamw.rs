//! Adam with decoupled weight decay. Sources: Kingma & Ba 2015, arXiv:1412.6980; Loshchilov &
//! Hutter 2019, arXiv:1711.05101.

use super::{Optimizer, Progress, Trained, Updated, average, descend, scale};
use evenkeel_ir::{GraphBuilder, Value};

/// Adam with decoupled weight decay:
///
/// `m' = beta1 m + (1 - beta1) g`, `v' = beta2 v + (1 - beta2) g^2`,
/// `p' = p - learning_rate * (mhat / (sqrt(vhat) + eps) + weight_decay * p)`, with
/// `mhat = m' / (1 - beta1^t)` and `vhat = v' / (1 - beta2^t)` at step `t = 1, 2, ..`.
///
/// Defaults: `beta1 = 0.9`, `beta2 = 0.999`, `eps = 1e-8`, `weight_decay = 0.01`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    learning_rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
}

impl AdamW {
    /// The defaults with a learning rate.
    pub fn new(learning_rate: f64) -> AdamW {
        AdamW { learning_rate, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01 }
    }

    /// Decay of the averages of the gradient and of its square, both in `[0, 1)`.
    pub fn betas(self, beta1: f64, beta2: f64) -> AdamW {
        AdamW { betas: (beta1, beta2), ..self }
    }

    /// Added to the root, so its unit is that of a gradient.
    pub fn eps(self, eps: f64) -> AdamW {
        AdamW { eps, ..self }
    }

    /// How fast parameters shrink, times the learning rate; 0 gives plain Adam.
    pub fn weight_decay(self, weight_decay: f64) -> AdamW {
        AdamW { weight_decay, ..self }
    }
}

/// `x / (1 - beta^step)`; the difference is computed as `-expm1(step * log(beta))`, which does
/// not cancel for beta close to 1.
fn unbiased(b: &mut GraphBuilder, beta: f64, step: Value, x: Value) -> Value {
    if beta == 0.0 {
        return x;
    }
    let exponent = scale(b, beta.ln(), step);
    let grown = b.expm1(exponent);
    let weight = b.neg(grown);
    let dtype = b.ty(x).dtype;
    let weight = b.cast(weight, dtype);
    b.div(x, weight)
}

impl Optimizer for AdamW {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn slots(&self) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn decays(&self) -> bool {
        self.weight_decay != 0.0
    }

    fn update(&self, b: &mut GraphBuilder, progress: Progress, trained: Trained<'_>) -> Updated {
        let squared = b.square(trained.gradient);
        let m = average(b, self.betas.0, trained.slots[0], trained.gradient);
        let v = average(b, self.betas.1, trained.slots[1], squared);
        let m_hat = unbiased(b, self.betas.0, progress.step, m);
        let v_hat = unbiased(b, self.betas.1, progress.step, v);
        let root = b.sqrt(v_hat);
        let eps = b.number(root, self.eps);
        let denominator = b.add(root, eps);
        let mut direction = b.div(m_hat, denominator);
        if self.weight_decay != 0.0 {
            let decay = scale(b, self.weight_decay, trained.parameter);
            direction = b.add(direction, decay);
        }
        let parameter = descend(b, progress.learning_rate, trained.parameter, direction);
        Updated { parameter, slots: vec![m, v] }
    }
}
