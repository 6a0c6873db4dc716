//! The program as a user runs it: output, error stream and exit code of every verb.
//!
//! A test writes files into a [`Folder`] and runs the program there, so that no path of this machine
//! reaches a snapshot; [`without_times`] takes out what differs from run to run.

use evenkeel::checkpoint;
use evenkeel_runtime::Tensor;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder of a test, deleted in the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("evenkeel-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Folder {
        std::fs::write(self.0.join(name), content).unwrap();
        self
    }

    /// A safetensors file.
    fn tensors(&self, name: &str, tensors: &[(&str, Tensor)]) -> &Folder {
        let named = tensors.iter().map(|(name, tensor)| (name.to_string(), tensor));
        checkpoint::write(self.0.join(name), named).unwrap();
        self
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.current_dir(&self.0).env("EVENKEEL_THREADS", "2").args(arguments.split_whitespace());
        command
    }

    /// The one door: what the program prints and how it ends.
    pub(crate) fn run(&self, arguments: &str) -> String {
        shown(arguments, &self.command(arguments).output().unwrap())
    }

    /// Several runs.
    pub(crate) fn runs(&self, lines: &[&str]) -> String {
        lines.iter().map(|arguments| self.run(arguments)).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // a folder that stays is only untidy
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shown(arguments: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| without_times(std::str::from_utf8(bytes).expect("the program writes UTF-8"));
    let code = output.status.code().expect("the program ends by itself");
    format!(
        "$ evenkeel {}\n{}{}exit code {code}\n",
        arguments.trim(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// Numbers before a unit of time become `T`.
fn without_times(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_unit = |word: &str| {
        let unit: String = word.chars().take_while(char::is_ascii_alphabetic).collect();
        ["ms", "us", "s"].contains(&unit.as_str())
    };
    let shown = words.iter().enumerate().map(|(i, word)| {
        let timed = words.get(i + 1).is_some_and(|next| is_unit(next))
            && word.ends_with(|c: char| c.is_ascii_digit());
        let head = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        if timed { format!("{head}T") } else { word.to_string() }
    });
    shown.collect::<Vec<_>>().join(" ")
}

const NORM: &str = "# centres rows, then gates them
x = input f32[N,4]
g = input f32[4]
m = mean @1 x
d = sub x m
y = relu (mul d g)
return y
";

/// The graph [`NORM`] and tensors for it.
pub(crate) fn norm(name: &str) -> Folder {
    let folder = Folder::new(name);
    let x = Tensor::from_vec(&[2, 4], [1f32, 2.0, 3.0, 6.0, 0.0, 0.0, 1.0, -1.0]).unwrap();
    let g = Tensor::full(&[4], 2f32);
    let cotangent = Tensor::full(&[2, 4], 1f32);
    folder.file("norm.ek", NORM);
    folder.tensors("in.safetensors", &[("x", x.clone()), ("g", g.clone())]);
    folder.tensors("grad.safetensors", &[("x", x.clone()), ("g", g.clone()), ("cotangent.y", cotangent)]);
    folder.tensors("extra.safetensors", &[("x", x.clone()), ("bias", g.clone()), ("gain", g.clone())]);
    folder.tensors("wrong.safetensors", &[("x", x.clone()), ("g", x)]);
    folder
}

#[test]
fn help_of_every_verb() {
    let folder = Folder::new("help");
    for verb in ["", "train", "check", "run", "explain", "bench", "rules", "ops", "layers"] {
        let name = if verb.is_empty() { "help".to_string() } else { format!("help_{verb}") };
        insta::assert_snapshot!(name, folder.run(&format!("{verb} --help")));
    }
}

#[test]
fn bad_usage() {
    let folder = norm("usage");
    insta::assert_snapshot!(folder.runs(&[
        "frobnicate",
        "run",
        "run norm.ek --target cuda",
        "run norm.ek --in in.safetensors --threads 0",
        "explain norm.ek --after lunch",
        "train faces",
        "train --hidden 0",
        "train --epochs many",
        "bench layer_morn",
        "rules --name nonsense",
        "ops nonsense",
        "check",
    ]));
    assert!(shown("", &folder.command("").output().unwrap()).contains("exit code 2"));
}

#[test]
fn a_graph_runs_on_every_target() {
    let folder = norm("run");
    // a softmax in a spelling that overflows: only `written` does what it says
    folder.file("unshifted.ek", "x = input f32[N,2]\ne = exp x\nreturn y=div e (sum @1 e)\n");
    folder.tensors("large.safetensors", &[("x", Tensor::from_vec(&[1, 2], [1000f32, 0.0]).unwrap())]);
    insta::assert_snapshot!(folder.runs(&[
        "run norm.ek --in in.safetensors",
        "run norm.ek --in in.safetensors --target interp",
        "run norm.ek --in in.safetensors --target written",
        "run norm.ek --in grad.safetensors --grad --threads 64",
        "run norm.ek --in grad.safetensors --grad --target written",
        "run norm.ek --in grad.safetensors --grad --target interp --out out.safetensors",
        "run unshifted.ek --in large.safetensors --target interp",
        "run unshifted.ek --in large.safetensors --target written",
        "run unshifted.ek --in large.safetensors",
    ]));
    let written = checkpoint::read(folder.0.join("out.safetensors")).unwrap();
    assert_eq!(written.keys().collect::<Vec<_>>(), ["grad.g", "grad.x", "y"]);
    assert_eq!(written["grad.g"].to_vec::<f32>().unwrap(), [0.0, 0.0, 1.0, 3.0]);
}

#[test]
fn bad_graphs_and_tensors() {
    let folder = norm("bad");
    folder
        .file("empty.ek", "")
        .file("bytes.ek", b"x = \xff\xfe")
        .file("typo.ek", "x = input f32[4]\nreturn esp x\n");
    folder.file("huge.ek", "x = input f32[]\nreturn y=broadcast [1000000,1000000,1000] x\n");
    folder.file("overflow.ek", "x = input f32[4294967296,4294967296]\nreturn x\n");
    folder.file("deep.ek", format!("x = input f32[]\nreturn {}x{}\n", "exp (".repeat(99), ")".repeat(99)));
    folder.file("half.ek", "x = input f16[]\nreturn y=exp x\n");
    folder
        .file("ints.ek", "x = input i32[4]\nreturn y=neg x\n")
        .file("cut.safetensors", b"\x50\0\0\0\0\0\0\0{\"x\"");
    folder.tensors("one.safetensors", &[("x", Tensor::scalar(1f32))]);
    folder.tensors("four.safetensors", &[("x", Tensor::full(&[4], 1i32))]);
    insta::assert_snapshot!(folder.runs(&[
        "run absent.ek",
        "run empty.ek",
        "run bytes.ek",
        "run typo.ek",
        "run overflow.ek",
        "run deep.ek",
        "run norm.ek",
        "run norm.ek --in absent.safetensors",
        "run norm.ek --in cut.safetensors",
        "run norm.ek --in extra.safetensors",
        "run norm.ek --in wrong.safetensors",
        "run norm.ek --in wrong.safetensors --target interp",
        "run norm.ek --in in.safetensors --grad",
        "run norm.ek --in in.safetensors --out no/such/folder",
        "run huge.ek --in one.safetensors",
        "run huge.ek --in one.safetensors --target interp",
        "run ints.ek --in four.safetensors --grad",
        "explain half.ek",
        "bench gelu --rows 99999999999 --time 0",
    ]));
}

#[test]
fn threads_of_the_environment() {
    let folder = norm("threads");
    let run = |threads: &str| {
        let arguments = "run norm.ek --in in.safetensors";
        shown(arguments, &folder.command(arguments).env("EVENKEEL_THREADS", threads).output().unwrap())
    };
    let (few, many) = (run("1"), run("64"));
    assert_eq!(few, many);
    for threads in ["garbage", "0", "-1", "", "1025"] {
        let expected = format!("EVENKEEL_THREADS: expected a whole number from 1 to 1024, found `{threads}`");
        let found = run(threads);
        assert!(found.contains(&expected) && found.ends_with("exit code 2\n"), "{found}");
    }
}

#[test]
fn explain_after_every_stage() {
    let folder = norm("explain");
    let stages =
        ["trace", "recognize", "fold", "grad", "rewrite", "expand", "fuse", "schedule", "lower", "plan"];
    let lines: Vec<String> =
        stages.iter().map(|stage| format!("explain norm.ek --vectors 128 --after {stage}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["explain norm.ek --grad"]).collect();
    insta::assert_snapshot!(folder.runs(&lines));
}

#[test]
fn explain_after_emit_tells_code_sizes() {
    let text = norm("emit").run("explain norm.ek --after emit");
    let size =
        text.split_once("g0_relu: ").and_then(|(_, rest)| rest.split_once(" bytes of code")).unwrap().0;
    assert!(size.parse::<usize>().unwrap() > 64, "{text}");
}

/// Graphs whose explanations are snapshots: a name, arguments, the text.
const EXPLAINED: [(&str, &str, &str); 5] = [
    (
        "layer_norm",
        "",
        "x = input f32[N,64]\ng = input f32[64]\nb = input f32[64]\nm = mean @1 x\nd = sub x m\n\
      v = mean @1 (square d)\ns = sqrt (add v 1e-5)\ny = add (mul (div d s) g) b\nreturn y\n",
    ),
    (
        "evo_norm",
        " --grad",
        "x = input f32[N,8,4,4]\nv = input f32[1,8,1,1]\ng = input f32[1,8,1,1]\n\
      b = input f32[1,8,1,1]\nm = mean @1,2,3 x\nd = sub x m\ns = sqrt (add (mean @1,2,3 (mul d d)) 1e-5)\n\
      y = add (mul (div (mul x (sigmoid (mul x v))) s) g) b\nreturn y\n",
    ),
    (
        "near_misses",
        "",
        "x = input f32[N,64]\nm = mean @1 x\nd = sub x m\nv = mean @1 (square d)\n\
      outside = div d (add (sqrt v) 1e-5)\nadded = mul d (add (rsqrt (add v 1e-5)) 1e-6)\n\
      unbiased = div d (sqrt (add (div (sum @1 (square d)) 63.0) 1e-5))\n\
      divisor = div d (sqrt (add (div (sum @1 (square d)) 62.0) 1e-5))\n\
      gelu = mul x (sigmoid (mul x 1.70))\ne = exp x\nsoftmax = div e (add (sum @1 e) 1e-6)\n\
      plain = max (mul x 1.5) 0.25\nreturn outside, added, unbiased, divisor, gelu, softmax, plain\n",
    ),
    (
        "rules",
        "",
        "x = input f32[N,64]\nw = input f32[8,64]\nh = dot @1 @1 x w\nm = mean @1 h\nd = sub h m\n\
      v = mean @1 (square d)\ns = sqrt (add (max v 0.0) 1e-5)\na = select (gt h 0.0) h 0.0\n\
      return y=div d s, a=a\n",
    ),
    (
        "fold",
        " --parameters g,w,u",
        "x = input f32[N,6]\ng = input f32[6]\nw = input f32[4,6]\nu = input f32[6,6]\n\
      n = rms_norm @1 eps=1e-6 x g\nk = rms_norm @1 eps=1e-6 (dot @1 @1 x u) g\n\
      return y=dot @1 @1 n w, z=dot @1 @1 k w, k=tanh k\n",
    ),
];

#[test]
fn explanations_are_readable_and_the_same_each_time() {
    for (name, arguments, text) in EXPLAINED {
        let folder = Folder::new(&format!("explained-{name}"));
        folder.file(&format!("{name}.ek"), text);
        let shown = folder.run(&format!("explain {name}.ek{arguments}"));
        assert_eq!(shown, folder.run(&format!("explain {name}.ek{arguments}")), "{name}");
        insta::assert_snapshot!(format!("explained_{name}"), shown);
    }
}

#[test]
fn near_misses_name_the_constant_that_differs() {
    let folder = Folder::new("near");
    folder.file("gelu.ek", "x = input f32[N,8]\nreturn y=mul x (sigmoid (mul x 1.70))\n");
    let missed = folder.run("explain gelu.ek");
    assert!(missed.contains("almost quick_gelu at gelu.ek:2:10: constant 1.7 of mul"), "{missed}");
    folder.file("gelu.ek", "x = input f32[N,8]\nreturn y=mul x (sigmoid (mul x 1.702))\n");
    assert!(!folder.run("explain gelu.ek").contains("almost"), "it is one");
}

#[test]
fn dot_prints_the_graph_before_and_after() {
    let text = norm("dot").run("explain norm.ek --dot");
    let (before, after) = text.split_once("digraph \"after\"").unwrap();
    assert!(
        before.contains("label=\"mean\\nf32[N,1]\\nnorm.ek:4:5\"") && !before.contains("center"),
        "{text}"
    );
    assert!(after.contains("center") && after.contains("label=\"y\""), "{text}");
    let edges = |text: &str| text.lines().filter(|line| line.contains(" -> ")).count();
    assert_eq!((edges(before), edges(after)), (7, 5), "{text}");
}

#[test]
fn tables() {
    let folder = Folder::new("tables");
    insta::assert_snapshot!(folder.runs(&[
        "rules --name max-of-opposites",
        "rules --name max-of-opposites --check",
        "ops sigmoid",
        "layers",
    ]));
    let (rules, ops) = (folder.run("rules"), folder.run("ops"));
    assert!(rules.lines().count() > 10 && rules.ends_with("exit code 0\n"), "{rules}");
    assert!(ops.contains("layer_norm") && ops.ends_with("exit code 0\n"), "{ops}");
}

/// A vector file over relu of `[-1, 2]`.
fn vectors(layer: &str, attributes: &str, y: &str) -> String {
    format!(
        r#"{{"schema": "evenkeel.vectors.v1", "layer": "{layer}", "cases": [{{"name": "two", "attrs": {attributes},
        "steps": [{{"in": {{"x": {{"shape": [2], "data": [-1, 2]}}}}, "out": {{"y": {{"shape": [2], "data": {y}}}}},
        "cotangent": {{"y": {{"shape": [2], "data": [1, 1]}}}}, "grad": {{"x": {{"shape": [2], "data": [0, 1]}}}}}}]}}]}}"#
    )
}

#[test]
fn vectors_are_played() {
    let folder = Folder::new("check");
    let relu = r#"{"kind": "relu"}"#;
    folder.file("good.json", vectors("activations", relu, "[0, 2]"));
    folder.file("off.json", vectors("activations", relu, "[0, 3]"));
    let (y, short) = (r#""shape": [2], "data": [0, 2]"#, r#""shape": [1], "data": [0]"#);
    folder.file("sizes.json", vectors("activations", relu, "[0, 2]").replace(y, short));
    folder.file("layer.json", vectors("frob_norm", "{}", "[0, 2]"));
    folder.file("attribute.json", vectors("activations", r#"{"kind": "relu", "frob": 1}"#, "[0, 2]"));
    folder.file("kind.json", vectors("activations", r#"{"kind": "frob"}"#, "[0, 2]"));
    folder.file("axes.json", vectors("layer_norm", r#"{"naxes": 1e12}"#, "[0, 2]"));
    folder.file("none.json", "").file("other.json", r#"{"schema": "v2"}"#);
    insta::assert_snapshot!(folder.runs(&[
        "check good.json",
        "check good.json --target interp",
        "check good.json --target written",
        "check good.json --dtype f64",
        "check good.json off.json",
        "check sizes.json layer.json attribute.json kind.json axes.json",
        "check good.json none.json",
        "check other.json",
        "check absent.json",
    ]));
}

/// The output of `train` without the compiler's report, which `explain` shows, and the accuracy's digits.
fn without_report(text: &str) -> String {
    let report = |line: &&str| {
        let of_report = ["  ", "recognized:", "steps:", "bytes of", "not fused:", "cost,", "region "];
        !of_report.iter().any(|head| line.starts_with(head))
    };
    let line = |line: &str| match line.strip_prefix("test accuracy: 0.") {
        Some(digits) if digits.len() == 4 && digits > "7" => "test accuracy: 0.9xxx\n".to_string(),
        _ => format!("{line}\n"),
    };
    text.lines().filter(report).map(line).collect()
}

#[test]
fn training_saves_and_resumes() {
    let folder = Folder::new("train");
    let first = folder.run("train digits --epochs 2 --hidden 32 --save run.safetensors");
    let second = folder.run("train digits --epochs 3 --hidden 32 --resume run.safetensors --explain");
    assert!(second.contains("kernel"), "{second}");
    insta::assert_snapshot!(without_report(&format!("{first}\n{second}")));
}

#[test]
fn training_on_bad_input() {
    let folder = Folder::new("untrained");
    folder.run("train --epochs 1 --hidden 8 --save small.safetensors");
    let bytes = std::fs::read(folder.0.join("small.safetensors")).unwrap();
    folder.file("cut.safetensors", &bytes[..bytes.len() / 2]).file("empty.csv", "");
    folder.file("bad.csv", "a,b,label\n1,2,0\n3,x,1\n").file("one.csv", "1,2,0\n");
    insta::assert_snapshot!(without_report(&folder.runs(&[
        "train --resume absent.safetensors",
        "train --resume cut.safetensors",
        "train --resume small.safetensors --hidden 16",
        "train --data absent.csv",
        "train --data empty.csv",
        "train --data bad.csv",
        "train --data one.csv",
        "train --lr nan",
        "train --lr -1",
        "train --epochs 1 --hidden 8 --save no/such/folder.safetensors",
    ])));
    assert_eq!(std::fs::read(folder.0.join("small.safetensors")).unwrap(), bytes);
}

#[test]
fn a_step_that_is_not_finite_loses_nothing() {
    let folder = Folder::new("nonfinite");
    let text = folder.run("train --lr 1e30 --hidden 8");
    assert!(
        text.contains("error: step 1: ") && text.contains(" is not finite, at src/cli/train.rs:"),
        "{text}"
    );
    let ending = "saved the state after 1 steps to interrupted.safetensors\nexit code 2\n";
    assert!(text.ends_with(ending), "{text}");
    let saved = std::fs::read(folder.0.join("interrupted.safetensors")).unwrap();
    // the older checkpoint is named and stays
    let text = folder.run("train --lr 1e30 --hidden 8 --resume interrupted.safetensors");
    assert!(
        text.ends_with("last checkpoint: interrupted.safetensors, after 1 steps\nexit code 2\n"),
        "{text}"
    );
    assert_eq!(std::fs::read(folder.0.join("interrupted.safetensors")).unwrap(), saved);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_resumes() {
    let folder = Folder::new("interrupted");
    let mut command = folder.command("train --epochs 100000 --hidden 8 --save run.safetensors");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let text = shown("train", &child.wait_with_output().unwrap());
    assert!(text.ends_with("continue with --resume run.safetensors\nexit code 0\n"), "{text}");
    let state = checkpoint::read(folder.0.join("run.safetensors")).unwrap();
    let steps = state["train.step"].item().unwrap();
    assert!(text.contains(&format!("interrupted after {steps} steps")), "{text}");
    let resumed = folder.run("train --epochs 1 --hidden 8 --resume run.safetensors");
    assert!(resumed.contains(&format!("resumed at step {steps} from run.safetensors")), "{resumed}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = Folder::new("closed");
    let mut child = folder.command("ops").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}
