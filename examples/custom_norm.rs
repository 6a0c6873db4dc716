//! A normalization of your own, from primitives: fused, gradient-checked, and timed against a copy.

use evenkeel::prelude::*;
use std::time::Instant;

/// Normalizes by the mean magnitude: `x / (mean |x| + eps) * gain`, then a soft saturation.
fn magnitude_norm(x: Var, gain: Var) -> Var {
    let scale = x.abs().mean(-1) + 1e-5;
    (x / scale * gain).tanh()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect::<Vec<f32>>();

    // the gradient against differences, in f64
    let small = [Tensor::from_vec(&[3, 7], numbers(21))?, Tensor::from_vec(&[7], numbers(7))?];
    check_gradients(|x: Var, gain: Var| magnitude_norm(x, gain), &small)?;
    println!("the gradient agrees with differences");

    // forward: one kernel
    let (rows, columns) = (2048, 768);
    let (x, gain) =
        (Tensor::from_vec(&[rows, columns], numbers(rows * columns))?, Tensor::full(&[columns], 1f32));
    let forward = jit((), |_: &(), (x, gain): (Var, Var)| magnitude_norm(x, gain)).threads(1);
    let forward = forward.compile(&(x.clone(), gain.clone()))?;
    println!("forward:\n{}", forward.explain());

    // backward: one kernel and a combine step
    let loss = |x: Var, gain: Var| (magnitude_norm(x, gain) * x.stop_gradient()).sum_all();
    let gradients = grad(loss).wrt((0, 1)).threads(1);
    let (dx, dgain) = gradients.run((&x, &gain))?;
    println!("gradients: {} and {}", dx.ty(), dgain.ty());
    println!("backward:\n{}", gradients.explain((&x, &gain))?);

    // the fraction of the rate at which this machine copies the same bytes
    let mut target = x.clone();
    let copy = best(|| target.as_mut_slice::<f32>().unwrap().copy_from_slice(x.as_slice::<f32>().unwrap()));
    let own = best(|| drop(forward.run((&x, &gain)).unwrap()));
    println!("forward runs at {:.2} of the copy rate ({:.0} us, copy {:.0} us)", copy / own, own, copy);
    Ok(())
}

/// Shortest of many runs, in microseconds.
fn best(mut run: impl FnMut()) -> f64 {
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..30).map(|_| time(&mut run)).fold(f64::INFINITY, f64::min)
}
