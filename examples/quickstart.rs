//! The shortest complete program: define, train, save, predict.

use evenkeel::data::{batches, digits};
use evenkeel::prelude::*;

#[derive(Clone, Parameters)]
struct Mlp {
    up: Linear,
    norm: LayerNorm,
    down: Linear,
}

impl Mlp {
    fn new(rng: &mut Rng) -> Mlp {
        Mlp { up: Linear::new(rng, 64, 128), norm: LayerNorm::new(128), down: Linear::new(rng, 128, 10) }
    }

    fn forward(&self, x: Var) -> Var {
        self.down.forward(self.norm.forward(self.up.forward(x)).gelu())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = digits().split_every_fifth();
    let ((x, y), (test_x, test_y)) = (train.tensors(), test.tensors());
    let example = (x.rows(0..64)?, y.rows(0..64)?);

    let loss = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    let model = Mlp::new(&mut Rng::seed(0));
    let mut step = train_step(model, AdamW::new(3e-3).weight_decay(0.01), loss).compile(&example)?;
    println!("{}", step.explain());
    for epoch in 0..10 {
        let mut last = 0.0;
        for batch in batches(&x, &y, 64, 0)?.epoch(epoch) {
            last = step.run(batch)?.loss()?;
        }
        println!("epoch {epoch}: loss {last:.4}");
    }

    let predict = jit(step.model(), |m: &Mlp, x: Var| m.forward(x).argmax(-1)).compile(&test_x)?;
    let hits =
        predict.run(&test_x)?.to_f64s().iter().zip(test_y.to_f64s()).filter(|(a, b)| **a == *b).count();
    println!("test accuracy: {:.4}", hits as f64 / test.len() as f64);
    step.model().save(std::env::temp_dir().join("mlp.safetensors"))?;
    Ok(())
}
