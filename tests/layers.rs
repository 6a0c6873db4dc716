//! Layers against numbers that were computed elsewhere: reference files, and further cases from
//! formulas written out in this test.
//!
//! Every case plays in the f64 interpreter, as written and with its named ops, and compiled in f32 and f64. Start at [`failures`].

mod formulas;

use self::formulas::{Array, Arrays, Attributes, Layer, gradient};
use evenkeel::vectors::{CaseReport, LAYERS, Machine, Precision, play};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const MACHINES: [(Machine, Precision); 4] = [
    (Machine::Written, Precision::F64),
    (Machine::Interp, Precision::F64),
    (Machine::Cpu, Precision::F32),
    (Machine::Cpu, Precision::F64),
];

fn reference(layer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/{layer}.json"))
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Plays cases from memory.
#[track_caller]
fn played(name: &str, file: &Value, machine: Machine, precision: Precision) -> Vec<CaseReport> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    std::fs::write(&path, file.to_string()).unwrap();
    play(&path, machine, precision).unwrap()
}

/// Lines of the failed ones.
fn failures(reports: &[CaseReport]) -> Vec<String> {
    reports.iter().filter(|case| case.problem.is_some()).map(CaseReport::to_string).collect()
}

#[test]
fn every_layer_reproduces_its_reference_file() {
    for row in LAYERS {
        for (machine, precision) in MACHINES {
            let reports = play(&reference(row.name), machine, precision).unwrap();
            assert!(!reports.is_empty(), "{}", row.name);
            let failed = failures(&reports);
            assert!(failed.is_empty(), "{machine:?} {precision:?}\n{}", failed.join("\n"));
        }
    }
}

#[test]
fn every_reference_file_has_a_layer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let layer = read(&entry.unwrap().path())["layer"].as_str().unwrap().to_string();
        assert!(LAYERS.iter().any(|row| row.name == layer), "{layer}");
        files += 1;
    }
    assert_eq!(files, LAYERS.len());
}

/// Changes the first number of a tensor by a thousandth of its largest.
fn disturb(tensor: &mut Value) {
    let data = tensor["data"].as_array_mut().unwrap();
    let largest = data.iter().filter_map(Value::as_f64).fold(1.0, |a: f64, x| a.max(x.abs()));
    let first = data[0].as_f64().unwrap();
    data[0] = json!(first + 1e-3 * largest);
}

#[test]
fn a_wrong_number_in_any_tensor_fails_its_case() {
    for row in LAYERS {
        let file = read(&reference(row.name));
        for part in ["out", "new_state", "grad"] {
            for name in ["y", "loss", "x", "gamma", "beta", "run_mean", "run_var"] {
                let mut wrong = file.clone();
                let cases = wrong["cases"].as_array_mut().unwrap();
                cases.retain(|case| case["steps"][0][part].get(name).is_some());
                cases.iter_mut().for_each(|case| disturb(&mut case["steps"][0][part][name]));
                let count = cases.len();
                let file = format!("wrong_{}_{part}_{name}", row.name);
                let failed = failures(&played(&file, &wrong, Machine::Cpu, Precision::F32));
                assert_eq!(failed.len(), count, "{file}: {failed:?}");
                assert!(failed.iter().all(|line| line.contains("tolerances")), "{failed:?}");
            }
        }
    }
}

#[test]
fn mistakes_are_listed_as_failed_cases() {
    let tensor = |sizes: &[usize]| {
        let count = sizes.iter().product();
        json!({"shape": sizes, "data": vec![0.5; count]})
    };
    let play = |layer: &str, attrs: Value, inputs: Value| {
        let y = json!({"y": tensor(&[2, 4])});
        let case = json!({"name": "case", "attrs": attrs, "steps": [{"in": inputs, "out": y}]});
        let file = json!({"schema": "evenkeel.vectors.v1", "layer": layer, "cases": [case]});
        let failed = failures(&played("mistakes", &file, Machine::Interp, Precision::F64)).concat();
        failed.split(", at ").next().unwrap().to_string() + "\n"
    };
    let x = || json!({"x": tensor(&[2, 4])});
    let target = json!({"x": tensor(&[2, 4]), "target": {"shape": [3], "data": [0, 1, 2], "dtype": "i64"}});
    let lines = [
        play("layer_nrom", json!({}), x()),
        play("layer_norm", json!({"axis": 1}), x()),
        play("layer_norm", json!({"eps": "small"}), x()),
        play("layer_norm", json!({"naxes": 0}), x()),
        play("layer_norm", json!({"naxes": 3}), x()),
        play("layer_norm", json!({}), json!({})),
        play("rms_norm", json!({"eps_outside": 1}), x()),
        play("group_norm", json!({"groups": 3}), x()),
        play("group_norm", json!({"groups": 0.5}), x()),
        play("batch_norm", json!({}), json!({"x": tensor(&[8])})),
        play("activations", json!({}), x()),
        play("activations", json!({"kind": "rellu"}), x()),
        play("activations", json!({"kind": "relu", "alpha": 2}), x()),
        play("softmax_losses", json!({"axis": 2}), x()),
        play("softmax_losses", json!({"kind": "hinge"}), x()),
        play("softmax_losses", json!({"kind": "cross_entropy"}), x()),
        play("softmax_losses", json!({}), target),
    ];
    insta::assert_snapshot!(lines.concat());
}

#[test]
fn a_case_that_expects_nothing_fails() {
    let file = |steps: Value| {
        let case = json!({"name": "empty", "attrs": {}, "steps": steps});
        json!({"schema": "evenkeel.vectors.v1", "layer": "layer_norm", "cases": [case]})
    };
    let x = json!({"x": {"shape": [1, 2], "data": [1, 2]}});
    for steps in [json!([]), json!([{"in": x}])] {
        let reports = played("nothing", &file(steps), Machine::Interp, Precision::F64);
        assert_eq!(failures(&reports), ["FAIL  layer_norm/empty: the case expects nothing"]);
    }
}

/// Cases of a layer that its reference file lacks.
struct Further {
    layer: &'static str,
    formula: Layer,
    cases: Vec<(Value, Vec<usize>, &'static [&'static str], Mode)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Any,
    Eval,
    /// So many steps in training.
    Train(usize),
}

/// Numbers in `-2..2` at least 1/128 away from every whole number.
fn numbers(sizes: &[usize], seed: usize) -> Array {
    let word = |i: usize| evenkeel_ir::random::threefry([seed as u32, 11], [i as u32, 0])[0] % 256;
    let count = sizes.iter().product();
    Array { sizes: sizes.to_vec(), data: (0..count).map(|i| (f64::from(word(i)) - 127.5) / 64.0).collect() }
}

fn tensors(arrays: &Arrays) -> Value {
    let tensor = |(name, array): (&String, &Array)| {
        let dtype = if name == "target" { "i64" } else { "f64" };
        (name.clone(), json!({"shape": array.sizes, "data": array.data, "dtype": dtype}))
    };
    Value::Object(arrays.iter().map(tensor).collect())
}

fn picked(arrays: &Arrays, names: &[&str]) -> Arrays {
    names.iter().filter_map(|name| arrays.get_key_value(*name)).map(|(n, a)| (n.clone(), a.clone())).collect()
}

/// One step: expected outputs from the formula, gradients by differences. Leaves the new state
/// among the tensors.
fn step(further: &Further, a: &Attributes<'_>, all: &mut Arrays, params: &[&str], seed: usize) -> Value {
    let mut outputs = (further.formula)(a, all);
    let new: Arrays = ["run_mean", "run_var"]
        .iter()
        .filter_map(|name| Some((name.to_string(), outputs.remove(&format!("new.{name}"))?)))
        .collect();
    let (name, y) = outputs.first_key_value().unwrap();
    let cotangent = numbers(&y.sizes, seed);
    let gradients: Arrays = ["x"]
        .iter()
        .chain(params)
        .map(|wrt| (wrt.to_string(), gradient(further.formula, a, all, wrt, (name, &cotangent))))
        .collect();
    let json = json!({
        "in": tensors(&picked(all, &["x", "target"])),
        "params": tensors(&picked(all, params)),
        "state": tensors(&picked(all, &["run_mean", "run_var"])),
        "out": tensors(&outputs),
        "new_state": tensors(&new),
        "cotangent": tensors(&Arrays::from([(name.clone(), cotangent)])),
        "grad": tensors(&gradients),
        "grad_method": "fd4",
    });
    all.extend(new);
    json
}

/// Sizes of parameters: of the channels, or of the last axes.
fn parameter_sizes(layer: &str, attrs: &Value, x: &[usize]) -> Vec<usize> {
    match layer {
        "batch_norm" | "group_norm" => vec![x[1]],
        "activations" | "softmax_losses" => Vec::new(),
        _ => x[x.len() - attrs["naxes"].as_u64().unwrap_or(1) as usize..].to_vec(),
    }
}

fn case(further: &Further, number: usize) -> Value {
    let (attrs, x, params, mode) = &further.cases[number];
    let sizes = parameter_sizes(further.layer, attrs, x);
    let mut all = Arrays::new();
    for (k, name) in params.iter().enumerate() {
        if *name == "target" {
            let axis = attrs["axis"].as_i64().unwrap_or(-1).rem_euclid(x.len() as i64) as usize;
            let mut rows = x.clone();
            let classes = rows.remove(axis);
            let count: usize = rows.iter().product();
            let data = (0..count).map(|i| ((i * 5 + 1) % classes) as f64).collect();
            all.insert("target".into(), Array { sizes: rows, data });
        } else {
            all.insert(name.to_string(), numbers(&sizes, k + 1));
        }
    }
    if further.layer == "batch_norm" {
        let variance = numbers(&sizes, 9).data.iter().map(|x| x.abs() + 0.5).collect();
        all.insert("run_mean".into(), numbers(&sizes, 8));
        all.insert("run_var".into(), Array { sizes, data: variance });
    }
    let params: Vec<&str> = params.iter().copied().filter(|name| *name != "target").collect();
    let (train, steps) = match mode {
        Mode::Train(steps) => (true, *steps),
        _ => (false, 1),
    };
    let one = |step_number: usize| {
        all.insert("x".into(), numbers(x, 100 * number + step_number));
        let a = Attributes { json: attrs, train, step: step_number };
        step(further, &a, &mut all, &params, 50 + step_number)
    };
    let steps: Vec<Value> = (0..steps).map(one).collect();
    let name = format!("{number} {attrs} {x:?} {params:?}");
    json!({"name": name, "mode": if train { "train" } else { "eval" }, "attrs": attrs, "steps": steps})
}

/// Plays all cases everywhere.
#[track_caller]
fn agrees(further: &Further) {
    let cases: Vec<Value> = (0..further.cases.len()).map(|number| case(further, number)).collect();
    let file = json!({"schema": "evenkeel.vectors.v1", "layer": further.layer, "cases": cases});
    for (machine, precision) in MACHINES {
        let name = format!("further_{}", further.layer);
        let failed = failures(&played(&name, &file, machine, precision));
        assert!(failed.is_empty(), "{machine:?} {precision:?}\n{}", failed.join("\n"));
    }
}

const AFFINE: &[&str] = &["gamma", "beta"];

#[test]
fn layer_norm_over_any_axes_with_either_parameter() {
    let any = |attrs: Value, x: &[usize], params| (attrs, x.to_vec(), params, Mode::Any);
    let cases = vec![
        any(json!({}), &[7], AFFINE),
        any(json!({}), &[3, 17], &["gamma"]),
        any(json!({"eps": 1e-12}), &[5, 33], &["beta"]),
        any(json!({"naxes": 1, "eps": null}), &[2, 3, 2, 9], &[]),
        any(json!({"naxes": 2}), &[2, 1, 3, 4, 5], AFFINE),
        any(json!({"naxes": 3, "eps": 0.1}), &[2, 3, 2, 5], AFFINE),
        any(json!({"naxes": 2}), &[3, 5], AFFINE),
        any(json!({"eps": 0}), &[4, 8], AFFINE),
        any(json!({}), &[2, 131], AFFINE),
        any(json!({"naxes": 2}), &[1, 19, 13], AFFINE),
    ];
    agrees(&Further { layer: "layer_norm", formula: formulas::layer_norm, cases });
}

#[test]
fn rms_norm_with_every_combination_of_attributes() {
    let mut cases = Vec::new();
    for (k, x) in [&[11][..], &[3, 8], &[2, 3, 5], &[2, 1, 3, 7], &[1, 2, 1, 2, 19]].iter().enumerate() {
        for (outside, partial) in [(false, None), (true, None), (false, Some(0.7)), (true, Some(0.34))] {
            let offset = [0.0, 1.0, 0.5][k % 3];
            let attrs = json!({"eps": 1e-3, "eps_outside": outside, "partial": partial, "offset": offset});
            let params = [AFFINE, &["gamma"], &["beta"], &[]][k % 4];
            cases.push((attrs, x.to_vec(), params, Mode::Any));
        }
    }
    cases.push((json!({}), vec![4, 6], AFFINE, Mode::Any));
    cases.push((json!({"partial": 0.51}), vec![2, 131], AFFINE, Mode::Any));
    agrees(&Further { layer: "rms_norm", formula: formulas::rms_norm, cases });
}

#[test]
fn group_norm_of_any_rank_and_number_of_groups() {
    let any = |attrs: Value, x: &[usize], params| (attrs, x.to_vec(), params, Mode::Any);
    let cases = vec![
        any(json!({"groups": 2}), &[3, 10], AFFINE),
        any(json!({"groups": 1}), &[2, 4, 5], &["gamma"]),
        any(json!({"groups": 4, "eps": 0.1}), &[2, 4, 7], &["beta"]),
        any(json!({"groups": 3, "eps": 1e-3}), &[1, 6, 2, 3], &[]),
        any(json!({"groups": 5}), &[2, 5, 3, 3], AFFINE),
        any(json!({"groups": 2}), &[2, 4, 2, 3, 2], AFFINE),
        any(json!({}), &[1, 64, 3], AFFINE),
        any(json!({"groups": 3}), &[2, 3, 67], AFFINE),
    ];
    agrees(&Further { layer: "group_norm", formula: formulas::group_norm, cases });
}

#[test]
fn batch_norm_of_any_rank_over_several_steps() {
    let cases = vec![
        (json!({}), vec![5, 3], AFFINE, Mode::Train(3)),
        (json!({"momentum": 0.3}), vec![3, 2, 5], &["gamma"][..], Mode::Train(2)),
        (json!({"unbiased_running": false, "eps": 1e-3}), vec![2, 3, 2, 3], &["beta"], Mode::Train(2)),
        (json!({"momentum": 1.0}), vec![2, 3, 2, 3, 2], AFFINE, Mode::Train(2)),
        (json!({"momentum": null}), vec![7, 5], AFFINE, Mode::Train(4)),
        (json!({"momentum": null, "unbiased_running": false}), vec![2, 1, 9], &[], Mode::Train(3)),
        (json!({"momentum": 0.0}), vec![4, 4], &[], Mode::Train(1)),
        (json!({}), vec![1, 3, 11], AFFINE, Mode::Train(1)),
        (json!({}), vec![37, 5], AFFINE, Mode::Train(2)),
        (json!({"momentum": 0.1, "eps": 1e-3}), vec![1, 3], AFFINE, Mode::Eval),
        (json!({"unbiased_running": true}), vec![2, 3, 4], &["gamma"], Mode::Eval),
        (json!({"momentum": null}), vec![2, 3, 2, 1, 3], &["beta"], Mode::Eval),
        (json!({}), vec![3, 5, 2, 2], &[], Mode::Eval),
    ];
    agrees(&Further { layer: "batch_norm", formula: formulas::batch_norm, cases });
}

#[test]
fn activations_of_every_kind_and_parameter() {
    let kinds = [
        json!({"kind": "identity"}),
        json!({"kind": "relu"}),
        json!({"kind": "relu2"}),
        json!({"kind": "squared_relu"}),
        json!({"kind": "relu6"}),
        json!({"kind": "hardtanh"}),
        json!({"kind": "hardsigmoid"}),
        json!({"kind": "softsign"}),
        json!({"kind": "tanhshrink"}),
        json!({"kind": "swish"}),
        json!({"kind": "swish", "beta": 1.7}),
        json!({"kind": "softplus", "beta": 0.5}),
        json!({"kind": "leaky_relu"}),
        json!({"kind": "leaky_relu", "slope": 0.2}),
        json!({"kind": "elu", "alpha": 0.7}),
        json!({"kind": "celu"}),
        json!({"kind": "celu", "alpha": 1.3}),
        json!({"kind": "gelu"}),
        json!({"kind": "gelu_exact"}),
        json!({"kind": "mish"}),
        json!({"kind": "exp"}),
        json!({"kind": "sin"}),
    ];
    let sizes = [vec![3, 7], vec![2, 1, 5], vec![], vec![13], vec![2, 2, 3, 1, 2]];
    let case = |(k, kind): (usize, Value)| (kind, sizes[k % sizes.len()].clone(), &[][..], Mode::Any);
    let cases = kinds.into_iter().enumerate().map(case).collect();
    agrees(&Further { layer: "activations", formula: formulas::activations, cases });
}

#[test]
fn activations_take_the_lower_branch_at_kinks_and_stay_finite_far_out() {
    let far = [0.0, 1e4, -1e4];
    // kind, values and slopes at 0, 1e4 and -1e4
    let rows = [
        (json!({"kind": "relu"}), [0.0, 1e4, 0.0], [0.0, 1.0, 0.0]),
        (json!({"kind": "relu2"}), [0.0, 1e8, 0.0], [0.0, 2e4, 0.0]),
        (json!({"kind": "leaky_relu", "slope": 0.2}), [0.0, 1e4, -2e3], [0.2, 1.0, 0.2]),
        (json!({"kind": "elu", "alpha": 0.7}), [0.0, 1e4, -0.7], [0.7, 1.0, 0.0]),
        (json!({"kind": "celu", "alpha": 2.0}), [0.0, 1e4, -2.0], [1.0, 1.0, 0.0]),
        (json!({"kind": "softplus", "beta": 0.5}), [4f64.ln(), 1e4, 0.0], [0.5, 1.0, 0.0]),
        (json!({"kind": "swish", "beta": 2.0}), [0.0, 1e4, 0.0], [0.5, 1.0, 0.0]),
        (
            json!({"kind": "softsign"}),
            [0.0, 1e4 / 10001.0, -1e4 / 10001.0],
            [1.0, 1.0 / 10001f64.powi(2), 1.0 / 10001f64.powi(2)],
        ),
        (json!({"kind": "tanhshrink"}), [0.0, 9999.0, -9999.0], [0.0, 1.0, 1.0]),
    ];
    let tensor = |name: &str, data: &[f64]| json!({name: {"shape": [3], "data": data}});
    let case = |(attrs, y, slopes): (Value, [f64; 3], [f64; 3])| {
        let step = json!({
            "in": tensor("x", &far),
            "out": tensor("y", &y),
            "cotangent": tensor("y", &[1.0; 3]),
            "grad": tensor("x", &slopes),
        });
        json!({"name": attrs.to_string(), "attrs": attrs, "steps": [step]})
    };
    let cases: Vec<Value> = rows.into_iter().map(case).collect();
    let file = json!({"schema": "evenkeel.vectors.v1", "layer": "activations", "cases": cases});
    for (machine, precision) in MACHINES {
        let failed = failures(&played("far_out", &file, machine, precision));
        assert!(failed.is_empty(), "{machine:?} {precision:?}\n{}", failed.join("\n"));
    }
}

#[test]
fn softmax_and_cross_entropy_over_any_axis() {
    let mut cases = Vec::new();
    for (k, x) in
        [vec![3, 5], vec![1, 7], vec![2, 3, 5], vec![2, 4, 3, 2], vec![2, 3, 1, 2, 3]].iter().enumerate()
    {
        for axis in -(x.len() as i64)..x.len() as i64 {
            cases.push((json!({"axis": axis}), x.clone(), &[][..], Mode::Any));
            cases.push((json!({"axis": axis, "log": true}), x.clone(), &[], Mode::Any));
            let smoothing = [0.1, 0.0, 0.3][(k + axis.unsigned_abs() as usize) % 3];
            cases.push((json!({"axis": axis, "smoothing": smoothing}), x.clone(), &["target"], Mode::Any));
        }
    }
    cases.push((json!({"kind": "log_softmax"}), vec![4, 9], &[], Mode::Any));
    cases.push((json!({"kind": "cross_entropy", "smoothing": 1.0}), vec![3, 6], &["target"], Mode::Any));
    cases.push((json!({}), vec![5], &["target"], Mode::Any));
    cases.push((json!({"smoothing": 0.1}), vec![3, 37], &["target"], Mode::Any));
    cases.push((json!({"axis": 0}), vec![41, 3], &[], Mode::Any));
    agrees(&Further { layer: "softmax_losses", formula: formulas::softmax_losses, cases });
}
