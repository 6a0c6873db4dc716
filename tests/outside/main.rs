//! A program of another crate: a layer of its own, trained, saved and loaded.

use evenkeel::prelude::*;

/// `linear(x) * sigmoid(gate(x)) * scale`.
#[derive(Clone, Parameters)]
struct Gated {
    linear: Linear,
    gate: Linear,
    scale: Param,
}

impl Gated {
    fn new(seed: u64) -> Gated {
        let rng = &mut Rng::seed(seed);
        Gated { linear: Linear::new(rng, 3, 2), gate: Linear::new(rng, 3, 2), scale: Param::ones(&[2]) }
    }
}

impl Module for Gated {
    fn forward(&self, x: Var) -> Var {
        self.linear.forward(x) * self.gate.forward(x).sigmoid() * &self.scale
    }
}

fn predictions(model: Gated, x: &Tensor) -> Result<Vec<f64>, evenkeel::Error> {
    Ok(jit(model, |m: &Gated, x: Var| m.forward(x)).compile(x)?.run(x)?.to_f64s())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("expected a path to save to")?;
    let wave = |n: usize, pace: f32| (0..n).map(|i| (i as f32 * pace).sin()).collect::<Vec<f32>>();
    let x = Tensor::from_vec(&[64, 3], wave(192, 0.7))?;
    let y = Tensor::from_vec(
        &[64, 2],
        wave(192, 0.7).chunks(3).flat_map(|x| [x[0] * 0.5, x[1] - x[2]]).collect::<Vec<f32>>(),
    )?;

    let loss = |m: &Gated, (x, y): (Var, Var)| m.forward(x).mse(y);
    let mut step = train_step(Gated::new(1), AdamW::new(3e-2), loss).compile(&(x.clone(), y.clone()))?;
    let first = step.run((&x, &y))?.loss()?;
    let mut last = first;
    for _ in 0..300 {
        last = step.run((&x, &y))?.loss()?;
    }

    step.model().save(&path)?;
    let mut loaded = Gated::new(2);
    let before = predictions(loaded.clone(), &x)?;
    loaded.load(&path)?;
    let (trained, after) = (predictions(step.model().get(), &x)?, predictions(loaded, &x)?);
    println!("loss {first} -> {last}");
    println!("loaded predicts alike: {}, as before loading: {}", trained == after, trained == before);
    Ok(())
}
