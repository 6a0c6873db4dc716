//! How many samples per second does training reach, on one thread and on two: on the digits, and a
//! small transformer on sequences of characters?
//!
//! A step is forward, backward and AdamW on a batch (64 digits, clipped too; 16 sequences of 128);
//! compiling is not timed.

#[path = "common/mlp.rs"]
mod mlp;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::bench::Costs;
use evenkeel::bench::models::{self, Gpt, LAYERS};
use evenkeel::nn::Rng;

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

fn gpt(c: &mut Criterion) {
    let (model, batch) = (Gpt::new(&mut Rng::seed(0), LAYERS), models::sequences());
    let mut group = c.benchmark_group("train transformer");
    group.throughput(Throughput::Elements(batch.1.sizes()[0] as u64)).sample_size(10);
    for threads in [1, 2] {
        let mut step = models::gpt_step(&model, &batch, threads, &Costs::REFERENCE).expect("it compiles");
        let mut run = || step.run(&batch).and_then(|output| output.loss());
        group.bench_function(BenchmarkId::new("threads", threads), |b| b.iter(&mut run));
    }
    group.finish();
}

criterion_group!(benches, digits, gpt);
criterion_main!(benches);
