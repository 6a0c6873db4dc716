//! How long does rewriting take: one spelling, a whole region, a deep model?
//!
//! Times are per graph, on one thread, from a graph of primitives; nothing is remembered from one
//! iteration to the next.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::rewrite::{recognize, simplify};
use evenkeel_ir::{Graph, parse};
use std::fmt::Write;
use std::hint::black_box;

const INPUTS: &str = "x = input f32[N,256]\ng = input f32[256]\nb = input f32[256]\n";

/// A normalization of `x` to `y` from primitives; names carry `k`.
fn norm(k: usize, x: &str, y: &str) -> String {
    format!(
        "m{k} = mean @1 {x}\nc{k} = sub {x} m{k}\nv{k} = mean @1 (mul c{k} c{k})\n\
         {y} = add (mul (mul c{k} (rsqrt (add v{k} 1e-5))) g) b\n"
    )
}

fn graph(text: &str) -> Graph {
    parse(text, "bench.ek").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Blocks `x + linear(gelu(linear(norm(x))))`.
fn model(blocks: usize) -> Graph {
    let mut text = format!("{INPUTS}w = input f32[256,256]\nh0 = mul x 1\n");
    for k in 0..blocks {
        let (x, next) = (format!("h{k}"), format!("h{}", k + 1));
        text += &norm(k, &x, &format!("n{k}"));
        let gelu = format!("mul (mul u{k} 0.5) (add 1 (erf (mul u{k} 0.7071067811865476)))");
        writeln!(text, "u{k} = dot @1 @0 n{k} w\na{k} = {gelu}\n{next} = add {x} (dot @1 @0 a{k} w)")
            .expect("text grows");
    }
    writeln!(text, "return h{blocks}").expect("text grows");
    graph(&text)
}

/// What does one composite cost to find?
fn spellings(c: &mut Criterion) {
    let mut group = c.benchmark_group("recognize");
    let softmax = "e = exp (sub x (max @1 x))\nreturn div e (sum @1 e)";
    let rows = [
        ("layer_norm", format!("{}return y", norm(0, "x", "y"))),
        ("rms_norm", "return mul g (mul x (rsqrt (add (mean @1 (square x)) 1e-6)))".to_string()),
        ("softmax", softmax.to_string()),
    ];
    for (name, text) in rows {
        let graph = graph(&format!("{INPUTS}{text}"));
        group.bench_function(name, |b| b.iter(|| recognize(black_box(&graph))));
    }
    let region = graph(&format!("{INPUTS}{}return mul y (sigmoid (mul y 1.702))", norm(0, "x", "y")));
    group.bench_function("layer_norm and quick_gelu", |b| b.iter(|| recognize(black_box(&region))));
    group.finish();
}

/// Does the time per block stay the same in a deep model? Blocks per second.
fn depth(c: &mut Criterion) {
    let mut group = c.benchmark_group("recognize blocks");
    for blocks in [1, 8, 64] {
        let graph = model(blocks);
        group.throughput(Throughput::Elements(blocks as u64));
        group.bench_function(blocks.to_string(), |b| b.iter(|| recognize(black_box(&graph))));
    }
    group.finish();
}

/// What does it cost to derive a compact backward from an op-by-op gradient? Forward and backward
/// are one region, solved cold.
fn derivation(c: &mut Criterion) {
    let mut group = c.benchmark_group("derive");
    let layer_norm = format!("{INPUTS}{}return y", norm(0, "x", "y"));
    let evonorm = "x = input f32[N,8,4,49]\nv = input f32[8,4,1]\nm = mean @2,3 x\n\
        s = mean @2,3 (square (sub x m))\n\
        return div (mul x (sigmoid (mul v x))) (sqrt (add s 1e-5))";
    for (name, text) in [("layer_norm", layer_norm.as_str()), ("evonorm_s0", evonorm)] {
        let graph = graph(text);
        let both = vjp_graph(&graph, &float_inputs(&graph)).expect("every op has a derivative");
        group.bench_function(name, |b| b.iter(|| simplify(black_box(&both))));
    }
    group.finish();
}

/// Is a whole training graph rewritten within a frame of video? Forward and backward of a deep
/// model: recognition, differentiation, simplification. Blocks per second.
fn training(c: &mut Criterion) {
    let mut group = c.benchmark_group("recognize, differentiate, simplify");
    for blocks in [1, 8, 64] {
        let graph = model(blocks);
        group.throughput(Throughput::Elements(blocks as u64));
        group.bench_function(blocks.to_string(), |b| {
            b.iter(|| {
                let graph = recognize(black_box(&graph)).expect("it recognizes").graph;
                let both = vjp_graph(&graph, &float_inputs(&graph)).expect("every op has a derivative");
                simplify(&both)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, spellings, depth, derivation, training);
criterion_main!(benches);
