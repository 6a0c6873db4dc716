//! Every f32 through the machine code of the functions of one element.

use evenkeel::host::host_target;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::op::{Unary, UnaryDef};
use evenkeel_ir::scalar::ulps;
use evenkeel_ir::{DType, GraphBuilder, Shape, TensorType};
use evenkeel_runtime::{Argument, Executable, Tensor};

/// Numbers per call of a kernel.
const BLOCK: u32 = 1 << 16;
/// Functions with smaller bounds are one or two instructions.
const TRANSCENDENTAL: f64 = 2.0;

/// A function, compiled for one block.
fn compiled(f: Unary) -> Executable {
    let mut b = GraphBuilder::new();
    let x = b.input("x", TensorType::new(DType::F32, Shape::of(&[BLOCK as usize])));
    let y = b.unary(f, x);
    let graph = b.finish([("y".to_string(), y)]);
    let program = compile(&graph, &host_target(1), &Options::default()).expect("it compiles").program;
    Executable::load(program, 1).expect("it loads")
}

/// The worst error among the numbers whose upper bits are `block`, and where it is.
fn worst_of_block(executable: &Executable, def: &UnaryDef, block: u32) -> (f64, f32) {
    let x: Vec<f32> = (0..BLOCK).map(|low| f32::from_bits(block * BLOCK + low)).collect();
    let promised = |x: f32| x.is_nan() || (def.promised.0..=def.promised.1).contains(&x.into());
    if !x.iter().copied().any(promised) {
        return (0.0, 0.0);
    }
    let (tensor, mut outputs) = (Tensor::from_vec(&[x.len()], x.clone()).expect("sizes fit"), Vec::new());
    executable.run(&mut [Argument::In(&tensor)], &mut outputs).expect("it runs");
    let y = outputs[0].to_vec::<f32>().expect("it is f32");
    let pairs = x.into_iter().zip(y).filter(|&(x, _)| promised(x));
    let errors = pairs.map(|(x, y)| (ulps(y, (def.eval)(x.into())), x));
    errors.fold((0.0, 0.0), |worst, found| if found.0 > worst.0 { found } else { worst })
}

/// About half a minute per function on two cores. Run it after a change of a recipe and look at
/// what it prints: `cargo test --release --test main exhaustive -- --ignored --nocapture`.
#[test]
#[ignore = "all 2^32 arguments of twenty functions take about a quarter of an hour"]
fn every_f32_keeps_what_its_row_promises() {
    for f in Unary::ALL.iter().filter(|f| f.def().ulps >= TRANSCENDENTAL) {
        let (def, half) = (f.def(), 1 << 15);
        let worst_from = |first: u32| {
            let executable = compiled(*f);
            let errors = (first..first + half).map(|block| worst_of_block(&executable, def, block));
            errors.fold((0.0, 0.0), |worst, found| if found.0 > worst.0 { found } else { worst })
        };
        let (error, x) = std::thread::scope(|scope| {
            let upper = scope.spawn(|| worst_from(half));
            let lower = worst_from(0);
            let upper = upper.join().expect("no panic");
            if lower.0 > upper.0 { lower } else { upper }
        });
        println!("{}: {error:.3} ulp at {x:e}, promised {}", f.name(), def.ulps);
        assert!(error <= def.ulps, "{}", f.name());
    }
}
