//! The tool that measures: its layers, and its figures of what is known.

use crate::cli::{Folder, norm};
use evenkeel::bench::{self, Costs, Kind, inputs, layers, models, shapes_of};
use evenkeel::host::host_target;
use evenkeel::prelude::*;
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::eval;
use evenkeel_runtime::{Argument, Executable};
use std::time::Duration;

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
        let [written, graph] = [case.graph.clone(), recognize(&case.graph).unwrap().graph]
            .map(|graph| vjp_graph(&graph, &float_inputs(&graph)).unwrap());
        let inputs = inputs(&graph, case.batch);
        let program = compile(&graph, &host_target(1), &Options::default()).unwrap().program;
        let executable = Executable::load(program, 1).unwrap();
        let mut found = Vec::new();
        executable.run(&mut inputs.iter().map(Argument::In).collect::<Vec<_>>(), &mut found).unwrap();
        let literals: Vec<_> = inputs.iter().map(Tensor::to_literal).collect();
        for (found, expected) in found.iter().zip(eval(&written, &literals).unwrap()) {
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

/// A profile of no machine, which saves measuring this one.
const PROFILE: &str = r#"{
    "schema": "evenkeel.profile.v1", "about": "made by hand", "fields": {}, "call_overhead_micros": 0.1,
    "machine": { "processor": "none", "system": "none", "cores": 1, "features": [], "caches": [] },
    "ceilings": { "vector_bits": 128, "threads": [{
        "threads": 1, "gigaflops": 1.0, "fork_join_micros": 1.0, "levels": [
            { "name": "L1", "measured_bytes": 1, "holds_bytes": 300, "read": 1.0, "copy": 2.0, "copy_streaming": 1.0 },
            { "name": "memory", "measured_bytes": 1, "holds_bytes": null, "read": 1.0, "copy": 1.0, "copy_streaming": 1.5 }
        ] }] }
}"#;

/// A folder with a text graph and that profile.
fn folder(name: &str) -> Folder {
    let folder = norm(name);
    folder.file("profile.json", PROFILE);
    folder
}

fn json(folder: &Folder, file: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder.0.join(file)).unwrap()).unwrap()
}

#[test]
fn a_run_prints_writes_and_draws_its_figures() {
    let folder = folder("bench");
    let arguments = "bench norm.ek silu --rows 4 --columns 8 --time 1 --profile profile.json \
                     --json figures.json --html page.html";
    let text = folder.run(arguments);
    for part in ["unfused takes", "norm.ek fwd+bwd", "silu 4x8", "kernel g0_", "call overhead", "recognize"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.ends_with("exit code 0\n"), "{text}");
    let figures = json(&folder, "figures.json");
    assert_eq!(figures["schema"], "evenkeel.bench.v2");
    let rows = figures["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| format!("{} {}", row["name"], row["threads"])).collect();
    let case = |name: &str| [format!("\"{name}\" 1"), format!("\"{name}\" 2")];
    assert_eq!(names, ["norm.ek", "norm.ek fwd+bwd", "silu 4x8", "silu 4x8 fwd+bwd"].map(case).concat());
    let silu = &rows[4];
    assert_eq!((&silu["bytes"], &silu["level"], &silu["kind"]), (&256.into(), &"L1".into(), &"layer".into()));
    let number = |field: &str| silu[field].as_f64().unwrap();
    let rate = 256.0 / number("micros") / 1e3;
    assert!((number("gigabytes_per_second") / rate - 1.0).abs() < 1e-9, "{silu}");
    assert!((number("of_ceiling") / (rate / 2.0) - 1.0).abs() < 1e-9, "{silu}");
    let least = silu["repetitions"].as_array().unwrap().iter().map(|time| time.as_f64().unwrap());
    assert_eq!(least.fold(f64::INFINITY, f64::min), number("micros"));
    let page = std::fs::read_to_string(folder.0.join("page.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3, "two thread counts, and compile times");
    assert!(page.contains("silu 4x8 fwd+bwd") && !page.contains("src="), "it needs no other file");
}

#[test]
fn a_quick_run_measures_one_shape() {
    let folder = folder("bench-quick");
    let text = folder.run("bench scale_norm --quick --threads 1 --time 0 --steps --profile profile.json");
    assert!(text.contains("scale_norm 2048x768 fwd+bwd") && !text.contains("1x768 "), "{text}");
    assert!(text.contains("kernel g0_") && text.ends_with("exit code 0\n"), "{text}");
}

#[test]
fn models_are_measured_by_name() {
    let folder = folder("bench-models");
    let text = folder
        .run("bench mlp_step mlp_latency --threads 1 --time 1 --steps --profile profile.json --json a.json");
    assert!(text.ends_with("exit code 0\n"), "{text}");
    for part in ["product with kernel", "kernel g", "combine", "share"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let rows = json(&folder, "a.json")["rows"].clone();
    let kinds: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["step", "latency", "latency"]);
    assert_eq!((&rows[0]["samples"], &rows[2]["callers"]), (&64.into(), &8.into()));
    assert!(rows[2]["p50_micros"].as_f64() <= rows[2]["p99_micros"].as_f64());
    let steps = rows[0]["steps"].as_array().unwrap();
    assert!(steps.len() > 10 && steps.iter().all(|step| step["micros"].as_f64() > Some(0.0)), "{}", rows[0]);
}

#[test]
fn the_interpreter_has_no_steps_and_others_count_their_bytes() {
    let batch = (Tensor::full(&[3, 4], 1f32), Tensor::full(&[3, 2], 1f32));
    let model = Linear::new(&mut Rng::seed(0), 4, 2);
    let timed = |device, batch: &(Tensor, Tensor)| {
        let loss = |m: &Linear, (x, y): (Var, Var)| m.forward(x).mse(y);
        let mut step = train_step(&model, Sgd::new(0.1), loss).device(device).compile(batch).unwrap();
        bench::steps(&mut step, batch, Duration::ZERO).unwrap()
    };
    assert_eq!(timed(Device::Interp, &batch), []);
    let few = timed(Device::Cpu, &batch);
    assert!(few.iter().any(|step| step.kind() == "product with kernel"), "{few:?}");
    let more = timed(Device::Cpu, &(Tensor::full(&[6, 4], 1f32), Tensor::full(&[6, 2], 1f32)));
    let bytes = |steps: &[bench::StepTime]| steps.iter().map(|step| step.bytes).sum::<u64>();
    assert!(bytes(&few) < bytes(&more), "{few:?}, {more:?}");
}

#[test]
fn other_processes_compile_and_compete() {
    let folder = folder("bench-processes");
    let text = folder.run(
        "bench fresh_layer_norm crowd --threads 1 --time 10 --profile profile.json --json processes.json",
    );
    assert!(text.ends_with("exit code 0\n"), "{text}");
    let rows = json(&folder, "processes.json")["rows"].clone();
    let number = |row: usize, field: &str| rows[row][field].as_f64().unwrap();
    assert_eq!((&rows[0]["kind"], &rows[1]["kind"]), (&"fresh".into(), &"crowd".into()));
    assert_eq!(rows[0]["repetitions"].as_array().unwrap().len(), 11, "one per process");
    assert!(number(0, "compile_ms") * 1e3 >= number(0, "micros"), "{rows}");
    assert!(number(1, "p50_micros") <= number(1, "p99_micros"), "{rows}");
    assert!(number(1, "p99_micros") <= number(1, "longest_micros"), "{rows}");
    let text = folder.run("bench --process nothing");
    assert!(text.contains("nothing named nothing") && text.ends_with("exit code 2\n"), "{text}");
}

#[test]
fn the_models_learn() {
    let batch = models::sequences();
    let mut step =
        models::gpt_step(models::Gpt::new(&mut Rng::seed(0), models::LAYERS), &batch, 2, &Costs::REFERENCE)
            .unwrap();
    let losses = [(); 3].map(|()| step.run(&batch).unwrap().loss().unwrap());
    // it knows nothing yet: about the logarithm of 96 characters
    assert!((4.0..6.5).contains(&losses[0]) && losses[2] < losses[0], "{losses:?}");
    let batch = models::digits_like(64);
    let mut step =
        models::mlp_step(models::Mlp::new(&mut Rng::seed(0)), &batch, 1, &Costs::REFERENCE).unwrap();
    let losses = [(); 20].map(|()| step.run(&batch).unwrap().loss().unwrap());
    assert!(losses[19] < losses[0] / 2.0, "{losses:?}");
}

#[test]
fn a_calibration_is_a_profile() {
    let folder = norm("bench-calibrate");
    let text = folder.run("bench --calibrate own.json --time 0 --threads 1");
    assert!(text.contains("GFLOP/s") && text.ends_with("exit code 0\n"), "{text}");
    let own = json(&folder, "own.json");
    let levels = own["ceilings"]["threads"][0]["levels"].as_array().unwrap();
    assert_eq!(
        levels.iter().map(|level| level["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["L1", "L2", "L3", "memory"]
    );
    for level in levels {
        for rate in ["read", "copy", "copy_streaming"] {
            assert!(level[rate].as_f64().is_some_and(|rate| rate > 0.0), "{level}");
        }
    }
    let text = folder.run("bench norm.ek --profile own.json --threads 1 --time 0 --json run.json");
    assert!(text.ends_with("exit code 0\n"), "{text}");
    assert_eq!(json(&folder, "run.json")["ceilings"], own["ceilings"]);
}

#[test]
fn the_compiler_reads_what_a_profile_says() {
    let folder = folder("bench-costs");
    folder.file(
        "recip.ek",
        "x = input f32[N,64]\na = input f32[64]\nb = input f32[64]\nreturn y=div x (mul a b)",
    );
    let free = PROFILE.replace("\"fork_join_micros\": 1.0", "\"fork_join_micros\": 0.0");
    folder.file("free.json", free.replace("\"call_overhead_micros\": 0.1", "\"call_overhead_micros\": 0.0"));
    folder.file("dear.json", PROFILE.replace("\"fork_join_micros\": 1.0", "\"fork_join_micros\": 1e6"));
    let rewritten = |profile: &str| folder.run(&format!("explain recip.ek --grad --after rewrite {profile}"));
    let text = |text: String| text.split_once('\n').map(|(_, rest)| rest.to_string());
    let [free, dear] = ["--profile free.json", "--profile dear.json"].map(|p| text(rewritten(p)));
    assert!(free.as_ref().is_some_and(|text| text.contains("exit code 0")) && free != dear, "{dear:?}");
}

/// The figures of a run with all times multiplied, as if nothing had disturbed it.
fn scaled(figures: &serde_json::Value, factor: f64) -> String {
    let mut figures = figures.clone();
    for row in figures["rows"].as_array_mut().unwrap() {
        let micros = row["micros"].as_f64().unwrap() * factor;
        (row["micros"], row["repetitions"]) = (micros.into(), serde_json::json!([micros, 1.01 * micros]));
    }
    figures.to_string()
}

#[test]
fn runs_are_compared() {
    let folder = folder("bench-compare");
    folder.run(
        "bench softmax --rows 4 --columns 8 --threads 1 --time 1 --profile profile.json --json run.json",
    );
    let run = json(&folder, "run.json");
    folder.file("run.json", scaled(&run, 1.0));
    folder.file("fast.json", scaled(&run, 1e-6)).file("slow.json", scaled(&run, 1e6));
    for (before, counts, code) in [
        ("run.json", "0 faster, 0 slower, 2 without change", 0),
        ("fast.json", "0 faster, 2 slower, 0 without change", 1),
        ("slow.json", "2 faster, 0 slower, 0 without change", 0),
    ] {
        let text = folder.run(&format!("bench run.json --compare {before}"));
        assert!(text.ends_with(&format!("{counts}\nexit code {code}\n")), "{text}");
    }
    let text = folder.run(
        "bench softmax silu --rows 4 --columns 8 --threads 1 --time 1 --profile profile.json --compare fast.json",
    );
    assert!(text.contains("0 rows of the earlier run only, 2 of this one only"), "{text}");
    assert!(text.contains("slower") && text.ends_with("exit code 1\n"), "{text}");
}

#[test]
fn wrong_files_are_told_apart() {
    let folder = folder("bench-files");
    folder.run(
        "bench softmax --rows 4 --columns 8 --threads 1 --time 0 --profile profile.json --json run.json",
    );
    folder
        .run("bench silu --rows 4 --columns 8 --threads 1 --time 0 --profile profile.json --json other.json");
    let mut cut = json(&folder, "run.json");
    cut["rows"][0].as_object_mut().unwrap().remove("bytes");
    folder.file("cut.json", cut.to_string()).file("text.json", "softmax").file("list.json", "[]");
    folder
        .file("missing.json", PROFILE.replace("\"gigaflops\": 1.0,", ""))
        .file("negative.json", PROFILE.replace("\"gigaflops\": 1.0", "\"gigaflops\": -1.0"))
        .file("late.json", PROFILE.replace("\"fork_join_micros\": 1.0", "\"fork_join_micros\": -0.5"))
        .file("infinite.json", PROFILE.replace("\"copy\": 2.0", "\"copy\": 1e999"))
        .file("version.json", PROFILE.replace("profile.v1", "profile.v9"));
    insta::assert_snapshot!(folder.runs(&[
        "bench none.json",
        "bench text.json",
        "bench list.json",
        "bench cut.json",
        "bench profile.json",
        "bench run.json --threads 1",
        "bench silu --compare none.json",
        "bench silu --profile run.json",
        "explain norm.ek --profile none.json",
        "explain norm.ek --profile missing.json",
        "explain norm.ek --profile negative.json",
        "explain norm.ek --profile late.json",
        "explain norm.ek --profile infinite.json",
        "bench silu --profile version.json",
        "bench silu --calibrate c.json",
        "bench rewrite --html page.html",
        "bench evonorm_s0 --rows 4",
        "bench silu --rows 4 --time 0 --profile profile.json --threads 0",
        "bench none.ek",
    ]));
    let text = folder.run("bench run.json --compare other.json");
    assert!(text.contains("no row in common") && text.ends_with("exit code 2\n"), "{text}");
    let text = folder.run("bench run.json --html no/such/folder");
    assert!(text.contains("no/such/folder: ") && text.ends_with("exit code 2\n"), "{text}");
}
