//! Do fused kernels reach the speed of memory? Bytes per second, each beside a copy.
//!
//! Layers of `evenkeel bench` over 2048 rows of 768 f32, on one thread, warm; bytes count every
//! input and output once, and the copy reads half of them and writes the other half.

#[path = "common/prepared.rs"]
mod prepared;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::bench::{Case, Kind, layers};
use prepared::Prepared;
use std::hint::black_box;
use std::time::Duration;

const SHAPE: &[u64] = &[2048, 768];

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

criterion_group!(benches, kernels);
criterion_main!(benches);
