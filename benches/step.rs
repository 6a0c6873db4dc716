//! How many samples per second does training on the digits reach, on one thread and on two?
//!
//! A step is forward, backward, clipping and AdamW on a batch of 64; compiling is not timed.

#[path = "common/mlp.rs"]
mod mlp;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn digits(c: &mut Criterion) {
    let batch = mlp::batch();
    let mut group = c.benchmark_group("train digits");
    group.throughput(Throughput::Elements(batch.1.len() as u64));
    for threads in [1, 2] {
        let mut step = mlp::step(&batch, threads);
        let mut run = || step.run((&batch.0, &batch.1)).and_then(|output| output.loss());
        group.bench_function(BenchmarkId::new("threads", threads), |b| b.iter(&mut run));
    }
    group.finish();
}

criterion_group!(benches, digits);
criterion_main!(benches);
