//! How long does compiling take, stage by stage and as a whole training step: of the digits network,
//! and of transformers of growing depth?
//!
//! Every iteration starts from nothing except where the name says `again`; times are per compilation,
//! on one thread except where the name says otherwise. Times in a fresh process are figures of
//! `evenkeel bench`.

#[path = "common/mlp.rs"]
mod mlp;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::bench::Costs;
use evenkeel::bench::models::{self, Gpt};
use evenkeel::host::host_target;
use evenkeel::prelude::*;
use evenkeel::session::{forget_programs, grad_graph};
use evenkeel_compiler::expand::expand;
use evenkeel_compiler::fuse::fuse;
use evenkeel_compiler::plan::plan;
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::Graph;
use evenkeel_runtime::Executable;
use std::hint::black_box;
use std::time::Duration;

/// The loss of the digits network, with LayerNorm written out.
fn traced() -> Graph {
    let float = |sizes: &[usize]| TensorType::new(DType::F32, Shape::of(sizes));
    let inputs = [
        ("up.weight", float(&[128, 64])),
        ("up.bias", float(&[128])),
        ("gain", float(&[128])),
        ("bias", float(&[128])),
        ("down.weight", float(&[10, 128])),
        ("down.bias", float(&[10])),
        ("x", float(&[64, 64])),
        ("y", TensorType::new(DType::I64, Shape::of(&[64]))),
    ];
    let loss = |v: &[Var]| {
        let h = v[6].linear(v[0]) + v[1];
        let h = (h - h.mean(-1)) / (h.var(-1) + 1e-5).sqrt() * v[2] + v[3];
        vec![("loss", (h.gelu().linear(v[4]) + v[5]).cross_entropy(v[7]))]
    };
    trace(&inputs, loss).expect("the shapes fit")
}

/// Which stage costs how much? The output of each is the input of the next.
fn stages(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile digits network");
    group.bench_function("trace", |b| b.iter(traced));
    let graph = traced();
    group.bench_function("recognize", |b| b.iter(|| recognize(black_box(&graph))));
    let graph = recognize(&graph).expect("it is sound").graph;
    let parameters = [0, 1, 2, 3, 4, 5];
    group.bench_function("grad", |b| b.iter(|| grad_graph(black_box(&graph), &parameters)));
    let graph = grad_graph(&graph, &parameters).expect("it has a derivative");
    group.bench_function("expand", |b| b.iter(|| expand(black_box(&graph))));
    let expanded = expand(&graph);
    group.bench_function("fuse", |b| b.iter(|| fuse(black_box(&expanded), true)));
    let fusion = fuse(&expanded, true);
    group.bench_function("lower and plan", |b| b.iter(|| plan(black_box(&expanded), &fusion, &[])));
    let (target, options) = (host_target(1), Options::default());
    group.bench_function("expand to emit", |b| b.iter(|| compile(black_box(&graph), &target, &options)));
    let program = compile(&graph, &target, &options).expect("it compiles").program;
    group.bench_function("load", |b| {
        b.iter_batched(|| program.clone(), |p| Executable::load(p, 1), BatchSize::SmallInput);
    });
    group.finish();
}

/// How long does a user wait for a whole training step, from closure to loaded code?
fn train_step(c: &mut Criterion) {
    let batch = mlp::batch();
    let mut group = c.benchmark_group("compile digits training step");
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("threads", threads), |b| {
            b.iter(|| {
                forget_programs();
                mlp::step(&batch, threads)
            });
        });
    }
    group.bench_function("again", |b| b.iter(|| mlp::step(&batch, 1)));
    group.finish();
}

/// Is every stage linear in depth? Blocks per second, from the times that a compilation of the whole
/// training step notes.
fn depth(c: &mut Criterion) {
    let batch = models::sequences();
    let stages =
        ["trace", "recognize", "lint", "grad", "rewrite", "expand", "fuse", "lower and plan", "emit"];
    for stage in stages {
        let mut group = c.benchmark_group(format!("compile blocks: {stage}"));
        group.sample_size(10);
        for blocks in [1, 4, 16, 64] {
            let model = Model::new(Gpt::new(&mut Rng::seed(0), blocks));
            group.throughput(Throughput::Elements(blocks as u64));
            group.bench_function(blocks.to_string(), |b| {
                b.iter_custom(|count| {
                    let time = |_| {
                        forget_programs();
                        let step = models::gpt_step(model.clone(), &batch, 1, &Costs::REFERENCE)
                            .expect("it compiles");
                        let report = step.report().expect("it is compiled");
                        let own = report.stages.iter().filter(|(name, _)| *name == stage);
                        own.map(|(_, time)| *time).sum::<Duration>()
                    };
                    (0..count).map(time).sum()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, stages, train_step, depth);
criterion_main!(benches);
