//! Handwritten digits with dropout, a schedule, clipping, a checkpoint and validation.

use evenkeel::data::{batches, digits};
use evenkeel::prelude::*;

#[derive(Clone, Parameters)]
struct Network {
    layers: Vec<(Linear, LayerNorm)>,
    dropout: Dropout,
    head: Linear,
}

impl Network {
    fn new(rng: &mut Rng, widths: &[usize]) -> Network {
        let layer = |pair: &[usize]| (Linear::new(rng, pair[0], pair[1]), LayerNorm::new(pair[1]));
        let layers = widths.windows(2).map(layer).collect();
        Network { layers, dropout: Dropout { p: 0.2 }, head: Linear::new(rng, widths[widths.len() - 1], 10) }
    }

    fn forward(&self, x: Var) -> Var {
        let hidden = self
            .layers
            .iter()
            .fold(x, |x, (linear, norm)| self.dropout.forward(norm.forward(linear.forward(x)).gelu()));
        self.head.forward(hidden)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = digits().split_every_fifth();
    let ((x, y), (test_x, test_y)) = (train.tensors(), test.tensors());
    let model = Network::new(&mut Rng::seed(1), &[64, 128, 128]);
    let mut step =
        train_step(model, AdamW::new(3e-3).weight_decay(0.05), |m: &Network, (x, y): (Var, Var)| {
            let logits = m.forward(x);
            (
                logits.cross_entropy_with(y, 0.05, -1),
                metrics! { accuracy: logits.argmax(-1).equals(y).mean_all() },
            )
        })
        .clip_norm(1.0)
        .schedule(Schedule::cosine(23, 23 * 20))
        .compile(&(x.rows(0..64)?, y.rows(0..64)?))?;
    let validate =
        jit(step.model(), |m: &Network, (x, y): (Var, Var)| m.forward(x).argmax(-1).equals(y).mean_all())
            .compile(&(test_x.clone(), test_y.clone()))?;
    for epoch in 0..20 {
        let mut accuracy = 0.0;
        for batch in batches(&x, &y, 64, 1)?.epoch(epoch) {
            let rows = batch.1.len() as f64;
            accuracy += step.run(batch)?.metric("accuracy")? * rows / train.len() as f64;
        }
        if epoch % 5 == 4 {
            let held_out = validate.run((&test_x, &test_y))?.item()?;
            println!("epoch {}: training accuracy {accuracy:.4}, test accuracy {held_out:.4}", epoch + 1);
        }
    }
    let path = std::env::temp_dir().join("evenkeel-digits.safetensors");
    step.save(&path)?;
    println!("saved the training state to {}", path.display());
    Ok(())
}
