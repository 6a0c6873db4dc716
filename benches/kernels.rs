//! Do fused kernels reach the speed of memory? Bytes per second, each beside a copy.
//!
//! Graphs of `evenkeel bench`, and every function of one element that is more than a few
//! instructions, over 2048 rows of 768 f32, on one thread, warm; bytes count every input and
//! output once, and the copy reads half of them and writes the other half.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::bench::{Case, inputs, suite};
use evenkeel::host::host_target;
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::{Unary, parse};
use evenkeel_runtime::{Argument, Executable, Tensor};
use std::hint::black_box;
use std::time::Duration;

const ROWS: u64 = 2048;
const COLUMNS: usize = 768;

/// A compiled case with its inputs.
fn prepared(case: &Case) -> (Executable, Vec<Tensor>) {
    let mut graph = recognize(&case.graph).expect("it is sound").graph;
    if case.gradients {
        graph = vjp_graph(&graph, &float_inputs(&graph)).expect("it has a derivative");
    }
    let inputs = inputs(&graph, ROWS);
    let program = compile(&graph, &host_target(1), &Options::default()).expect("it compiles").program;
    (Executable::load(program, 1).expect("it loads"), inputs)
}

/// Times a case and a copy of as many bytes.
fn measure(group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>, case: &Case) {
    let (executable, inputs) = prepared(case);
    let mut arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::In).collect();
    let mut outputs = Vec::new();
    executable.run(&mut arguments, &mut outputs).expect("it runs");
    let bytes: usize = inputs.iter().chain(&outputs).map(|tensor| tensor.bytes().len()).sum();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(&case.name, |b| b.iter(|| executable.run(&mut arguments, &mut outputs)));
    let (from, mut to) = (vec![1u8; bytes / 2], vec![0u8; bytes / 2]);
    group.bench_function(format!("{}: copy of as many bytes", case.name), |b| {
        b.iter(|| {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        });
    });
}

fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("{ROWS}x{COLUMNS}"));
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(20);
    for case in suite(COLUMNS).expect("the graphs are sound") {
        measure(&mut group, &case);
    }
    group.finish();
}

/// A function of one element with a bound that only recipes need, with or without its gradient.
fn function(f: Unary, gradients: bool) -> Case {
    let name = format!("{}{}", f.name(), if gradients { " and gradient" } else { "" });
    let text = format!("x = input f32[N,{COLUMNS}]\nreturn y={} x", f.name());
    Case { name, graph: parse(&text, "function").expect("it parses"), gradients }
}

fn functions(c: &mut Criterion) {
    let mut group = c.benchmark_group("functions");
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1)).sample_size(20);
    for f in Unary::ALL.iter().filter(|f| f.def().ulps >= 2.0) {
        for gradients in [false, true] {
            measure(&mut group, &function(*f, gradients));
        }
    }
    group.finish();
}

criterion_group!(benches, kernels, functions);
criterion_main!(benches);
