//! The training steps of `evenkeel bench`; `steps_torch.py` and `steps_jax.py` say the same in
//! their words.

use crate::Contender;
use evenkeel::bench::Costs;
use evenkeel::bench::models::{Gpt, LAYERS, Mlp, digits_like, gpt_step, mlp_step, sequences};
use evenkeel::checkpoint;
use evenkeel::nn::{FieldPath, LeafRef};
use evenkeel::prelude::*;
use std::error::Error;

/// Steps whose losses are compared.
const LOSSES: usize = 5;
/// The rate of the plain descent that shows the gradients: so large that nothing is lost when the
/// old parameters are added, and a power of two, which scales exactly.
const PLAIN_RATE: f32 = 1024.0;

/// Prepares the step of this name.
pub(crate) fn step(name: &str, threads: usize) -> Result<Box<dyn Contender>, Box<dyn Error>> {
    Ok(match name {
        "mlp" => {
            let batch = digits_like(64);
            let start = Mlp::new(&mut Rng::seed(0));
            Box::new(Training { step: mlp_step(&start, &batch, threads, &Costs::REFERENCE)?, batch, start })
        }
        "gpt" => {
            let batch = sequences();
            let start = Gpt::new(&mut Rng::seed(0), LAYERS);
            Box::new(Training { step: gpt_step(&start, &batch, threads, &Costs::REFERENCE)?, batch, start })
        }
        _ => return Err(format!("no training step is named {name}").into()),
    })
}

/// A compiled step with its batch.
struct Training<M> {
    step: Step<M>,
    batch: (Tensor, Tensor),
    /// The model before the first step.
    start: M,
}

impl<M: Module + Parameters + Clone> Training<M> {
    /// What one step of plain descent takes from each parameter, by field path.
    fn gradients(&self) -> Result<Vec<(String, Tensor)>, Box<dyn Error>> {
        let loss = |m: &M, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
        let mut step = train_step(&self.start, Sgd::new(PLAIN_RATE.into()), loss).compile(&self.batch)?;
        let before = leaves(&self.start);
        step.run((&self.batch.0, &self.batch.1))?;
        let after = leaves(&step.model().get());
        let gradient = |(name, before): (String, Tensor), after: &Tensor| {
            let pairs = before.as_slice::<f32>()?.iter().zip(after.as_slice::<f32>()?);
            let values: Vec<f32> = pairs.map(|(before, after)| (before - after) / PLAIN_RATE).collect();
            Ok((format!("gradient.{name}"), Tensor::from_vec(before.sizes(), &values)?))
        };
        before.into_iter().zip(&after).map(|(before, (_, after))| gradient(before, after)).collect()
    }
}

impl<M: Module + Parameters + Clone> Contender for Training<M> {
    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        self.step.run((&self.batch.0, &self.batch.1))?;
        Ok(())
    }

    /// Writes the batch, the first parameters, their gradients, and the losses of the next steps,
    /// the first of which has the first parameters when nothing has run before.
    fn save(&mut self, path: &str) -> Result<(), Box<dyn Error>> {
        let mut losses = Vec::new();
        for _ in 0..LOSSES {
            losses.push(self.step.run((&self.batch.0, &self.batch.1))?.loss()? as f32);
        }
        let losses = Tensor::from_vec(&[LOSSES], &losses)?;
        let parameters = leaves(&self.start);
        let gradients = self.gradients()?;
        let named = [("x", &self.batch.0), ("y", &self.batch.1), ("losses", &losses)];
        let named = named.into_iter().map(|(name, tensor)| (name.to_string(), tensor));
        let parameters = parameters.iter().map(|(name, tensor)| (format!("parameter.{name}"), tensor));
        let gradients = gradients.iter().map(|(name, tensor)| (name.clone(), tensor));
        Ok(checkpoint::write(path, named.chain(parameters).chain(gradients))?)
    }
}

/// All parameters by field path.
fn leaves<M: Parameters>(model: &M) -> Vec<(String, Tensor)> {
    let mut found = Vec::new();
    model.visit(&mut FieldPath::root(), &mut |path, leaf| {
        if let LeafRef::Param(param) = leaf {
            found.push((path.to_string(), param.tensor().clone()));
        }
    });
    found
}
