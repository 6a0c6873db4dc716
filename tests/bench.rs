//! The tool that measures: its layers, and its figures of what is known.

use evenkeel::bench::{Kind, inputs, layers, shapes_of};
use evenkeel::host::host_target;
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::eval;
use evenkeel_runtime::{Argument, Executable, Tensor};

/// A shape on which the interpreter is fast.
fn small(kind: Kind) -> &'static [u64] {
    match kind {
        Kind::Rows | Kind::LongRows | Kind::Logits => &[3, 20],
        Kind::Image => &[2, 64, 3, 3],
    }
}

/// Forward and backward of every layer against the interpreter.
#[test]
fn every_layer_computes_what_its_graph_says() {
    for layer in layers() {
        let case = layer.case(small(layer.kind), true).unwrap();
        let graph = recognize(&case.graph).unwrap().graph;
        let graph = vjp_graph(&graph, &float_inputs(&graph)).unwrap();
        let inputs = inputs(&graph, case.batch);
        let program = compile(&graph, &host_target(1), &Options::default()).unwrap().program;
        let executable = Executable::load(program, 1).unwrap();
        let mut found = Vec::new();
        executable.run(&mut inputs.iter().map(Argument::In).collect::<Vec<_>>(), &mut found).unwrap();
        let literals: Vec<_> = inputs.iter().map(Tensor::to_literal).collect();
        for (found, expected) in found.iter().zip(eval(&graph, &literals).unwrap()) {
            let expected = expected.to_floats();
            let scale = expected.iter().fold(1f64, |scale, x| scale.max(x.abs()));
            let pairs = found.to_f64s().into_iter().zip(expected);
            let worst = pairs.map(|(x, y)| (x - y).abs() / scale).fold(0.0, f64::max);
            assert!(worst < 1e-5, "{}: {worst}", case.name);
        }
    }
}

#[test]
fn every_layer_traces_at_its_shapes() {
    for layer in layers() {
        for shape in shapes_of(layer.kind) {
            let case = layer.case(shape, false).unwrap();
            assert_eq!(case.batch, shape[0], "{}", case.name);
        }
    }
}

#[test]
fn a_shape_that_a_layer_is_not_for_is_an_error() {
    let case = |name: &str, shape: &[u64]| {
        layers().iter().find(|layer| layer.name == name).unwrap().case(shape, false)
    };
    for (name, shape) in [
        ("evonorm_s0", &[2, 33, 3, 3][..]),
        ("evonorm_s0", &[2, 64]),
        ("batch_norm_relu", &[2, 64, 3]),
        ("group_norm_silu", &[]),
        ("softmax", &[]),
        ("cross_entropy", &[]),
    ] {
        assert!(case(name, shape).is_err(), "{name} at {shape:?}");
    }
    assert!(case("evonorm_b0", &[1, 33, 1, 2]).is_ok());
}
