//! Do fused kernels reach the speed of memory? Bytes per second, each beside a copy.
//!
//! Layers of `evenkeel bench`, and every function of one element that is more than a few
//! instructions, over 2048 rows of 768 f32, on one thread, warm; bytes count every
//! input and output once, and the copy reads half of them and writes the other half.

#[path = "common/prepared.rs"]
mod prepared;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::bench::{Case, Kind, layers};
use evenkeel_ir::{Unary, parse};
use prepared::Prepared;
use std::hint::black_box;
use std::time::Duration;

const ROWS: u64 = 2048;
const COLUMNS: u64 = 768;
const SHAPE: &[u64] = &[ROWS, COLUMNS];

/// Times a case and a copy of as many bytes.
fn measure(group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>, case: &Case) {
    let mut prepared = Prepared::new(case, 1).expect("it compiles and runs");
    let bytes = prepared.bytes();
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function(&case.name, |b| b.iter(|| prepared.run()));
    let (from, mut to) = (vec![1u8; bytes / 2], vec![0u8; bytes / 2]);
    group.bench_function(format!("{}: copy of as many bytes", case.name), |b| {
        b.iter(|| {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
        });
    });
}

fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("layers over rows");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(20);
    for layer in layers().iter().filter(|layer| matches!(layer.kind, Kind::Rows | Kind::LongRows)) {
        for gradients in [false, true] {
            measure(&mut group, &layer.case(SHAPE, gradients).expect("the graphs are sound"));
        }
    }
    group.finish();
}

/// A function of one element with a bound that only recipes need, with or without its gradient.
fn function(f: Unary, gradients: bool) -> Case {
    let name = format!("{}{}", f.name(), if gradients { " and gradient" } else { "" });
    let text = format!("x = input f32[N,{COLUMNS}]\nreturn y={} x", f.name());
    Case { name, graph: parse(&text, "function").expect("it parses"), gradients, batch: ROWS }
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

/// Reads that are not dense along the rows that vectors walk.
const STRIDED: &[(&str, &str)] = &[
    ("transpose", "x = input f32[768,2048]\nreturn y=transpose @1,0 x"),
    (
        "gelu of a transpose, plus dense",
        "x = input f32[768,2048]\ny = input f32[2048,768]\nreturn y=add (gelu (transpose @1,0 x)) y",
    ),
    (
        "layer norm of a transpose",
        "x = input f32[768,2048]\ng = input f32[768]\nb = input f32[768]\n\
         return y=layer_norm @1 eps=1e-5 (transpose @1,0 x) g b",
    ),
    (
        "gelu of every second element",
        "x = input f32[2048,1536]\nreturn y=gelu (slice axis=1 start=0 length=768 stride=2 x)",
    ),
];

fn strided(c: &mut Criterion) {
    let mut group = c.benchmark_group("strided");
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(1)).sample_size(20);
    for (name, text) in STRIDED {
        let graph = parse(text, "strided").expect("it parses");
        measure(&mut group, &Case { name: name.to_string(), graph, gradients: false, batch: 1 });
    }
    group.finish();
}

criterion_group!(benches, kernels, functions, strided);
criterion_main!(benches);
