//! Stochastic gradient descent. Source of the Nesterov form: Sutskever et al. 2013, as PyTorch
//! writes it.

use super::{Optimizer, Progress, Trained, Updated, descend, scale};
use evenkeel_ir::{GraphBuilder, Value};

/// Gradient descent with momentum:
///
/// `d = g + weight_decay * p`, `v' = momentum * v + d`, `p' = p - learning_rate * v'`,
/// with Nesterov's look-ahead `p' = p - learning_rate * (d + momentum * v')`.
///
/// Without momentum nothing is kept and `p' = p - learning_rate * d`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
}

impl Sgd {
    /// Plain descent with a learning rate.
    pub fn new(learning_rate: f64) -> Sgd {
        Sgd { learning_rate, momentum: 0.0, weight_decay: 0.0, nesterov: false }
    }

    /// How much of the last velocity stays; 0 (the default) keeps no velocity, usual is 0.9.
    pub fn momentum(self, momentum: f64) -> Sgd {
        Sgd { momentum, ..self }
    }

    /// Looks ahead along the velocity; needs momentum.
    pub fn nesterov(self) -> Sgd {
        Sgd { nesterov: true, ..self }
    }

    /// Adds `weight_decay * p` to the gradient (an L2 penalty); default 0.
    pub fn weight_decay(self, weight_decay: f64) -> Sgd {
        Sgd { weight_decay, ..self }
    }

    /// The direction and the new velocity.
    fn accelerate(&self, b: &mut GraphBuilder, gradient: Value, velocity: Value) -> (Value, Value) {
        let kept = scale(b, self.momentum, velocity);
        let velocity = b.add(kept, gradient);
        if !self.nesterov {
            return (velocity, velocity);
        }
        let ahead = scale(b, self.momentum, velocity);
        (b.add(gradient, ahead), velocity)
    }
}

impl Optimizer for Sgd {
    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn slots(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["velocity"] }
    }

    fn decays(&self) -> bool {
        self.weight_decay != 0.0
    }

    fn update(&self, b: &mut GraphBuilder, progress: Progress, trained: Trained<'_>) -> Updated {
        let mut direction = trained.gradient;
        if self.weight_decay != 0.0 {
            let decay = scale(b, self.weight_decay, trained.parameter);
            direction = b.add(direction, decay);
        }
        let mut slots = Vec::new();
        if let [velocity] = *trained.slots {
            let (ahead, velocity) = self.accelerate(b, direction, velocity);
            direction = ahead;
            slots.push(velocity);
        }
        Updated { parameter: descend(b, progress.learning_rate, trained.parameter, direction), slots }
    }
}
