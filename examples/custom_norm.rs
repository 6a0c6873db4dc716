//! A normalization of your own, from primitives: fused, gradient-checked, and timed against a copy.

use evenkeel::bench::{Case, Costs, Setting, measure};
use evenkeel::prelude::*;
use std::time::Duration;

/// Like LayerNorm with the mean absolute deviation in place of the root of the variance:
/// `d / (mean |d| + eps) * gain + bias`, with `d = x - mean(x)`.
fn deviation_norm(x: Var, gain: Var, bias: Var) -> Var {
    let centred = x - x.mean(-1);
    centred / (centred.abs().mean(-1) + 1e-5) * gain + bias
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // the gradient against differences, in f64
    let numbers = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect::<Vec<f32>>();
    let rows = Tensor::from_vec(&[3, 7], numbers(21))?;
    let row = Tensor::from_vec(&[7], numbers(7))?;
    check_gradients(deviation_norm, &[rows, row.clone(), row])?;
    println!("the gradient agrees with differences");

    // forward and backward as graphs of their own
    let rows = TensorType::new(DType::F32, Shape::of(&[2048, 768]));
    let row = TensorType::new(DType::F32, Shape::of(&[768]));
    let operands = [("x", rows.clone()), ("gain", row.clone()), ("bias", row), ("dy", rows)];
    let forward = trace(&operands[..3], |v| vec![("y", deviation_norm(v[0], v[1], v[2]))])?;
    let backward = trace(&operands, |v| {
        let (_, d) = vjp(deviation_norm).call(v).expect("every op in it has a derivative");
        vec![("dx", d[0]), ("dgain", d[1]), ("dbias", d[2])]
    })?;

    // kernels, and speed as a fraction of the rate at which this machine copies as many bytes
    let setting = Setting { threads: 1, budget: Duration::from_millis(300), costs: Costs::REFERENCE };
    for (name, graph) in [("forward", forward), ("backward", backward)] {
        let measured = measure(&Case { name: name.into(), graph, gradients: false, batch: 2048 }, &setting)?;
        let report = &measured.report;
        print!("{}", report.brief());
        println!("{name}: fused to {} kernel, {} combine step", report.kernels.len(), report.combines);
        println!(
            "{name}: {:.2} of the copy rate ({:.0} us, copy {:.0} us), unfused {:.1} times slower\n",
            measured.of_copy(),
            measured.timing.micros(),
            measured.copy_micros,
            measured.over_unfused()
        );
    }
    Ok(())
}
