//! The examples run, print what they promise, and stay short.

use crate::cargo::{cargo, output, profile_folder};
use std::env::consts::EXE_EXTENSION;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

const NAMES: [&str; 4] = ["custom_norm", "digits", "quickstart", "user_rule"];

/// Built once; nothing to do where `cargo test --workspace` has built them. Examples of the whole
/// workspace: features of dependencies then are those of its tests.
static BUILT: LazyLock<()> = LazyLock::new(|| {
    cargo(Path::new(env!("CARGO_MANIFEST_DIR")), "build", &["--workspace", "--examples"]);
});

/// What an example prints.
fn run(name: &str) -> String {
    LazyLock::force(&BUILT);
    let program = profile_folder().join("examples").join(name).with_extension(EXE_EXTENSION);
    output(&mut Command::new(program))
}

/// The number after a text, in the last line that holds it.
#[track_caller]
fn number_after(printed: &str, text: &str) -> f64 {
    let line = printed.lines().rev().find_map(|line| line.split_once(text));
    let (_, rest) = line.unwrap_or_else(|| panic!("no `{text}` in\n{printed}"));
    rest.trim().split([' ', ',']).next().unwrap().parse().unwrap_or_else(|_| panic!("{text}{rest}"))
}

#[test]
fn every_example_is_run_and_short() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 80, "{}: {lines} lines", path.display());
        found.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    found.sort();
    assert_eq!(found, NAMES);
}

#[test]
fn quickstart_trains_to_97_percent() {
    let printed = run("quickstart");
    assert!(printed.contains("recognized:"), "{printed}");
    assert!(number_after(&printed, "epoch 0: loss ") > number_after(&printed, "epoch 9: loss "), "{printed}");
    assert!(number_after(&printed, "test accuracy: ") >= 0.97, "{printed}");
}

#[test]
fn digits_trains_to_97_percent_and_saves() {
    let printed = run("digits");
    assert!(number_after(&printed, "test accuracy ") >= 0.97, "{printed}");
    assert!(printed.contains("saved the training state to "), "{printed}");
}

#[test]
fn custom_norm_is_one_kernel_in_each_direction() {
    let printed = run("custom_norm");
    assert!(printed.contains("the gradient agrees with differences"), "{printed}");
    assert!(printed.contains("forward: fused to 1 kernel, 0 combine step"), "{printed}");
    assert!(printed.contains("backward: fused to 1 kernel, 1 combine step"), "{printed}");
    for direction in ["forward: ", "backward: "] {
        let fraction = number_after(&printed, direction);
        assert!(fraction > 0.02 && fraction < 20.0, "{fraction} of the copy rate\n{printed}");
    }
}

#[test]
fn user_rule_is_checked_and_fires() {
    let printed = run("user_rule");
    assert!(printed.contains("select-larger: (select (gt ?x ?y) ?x ?y) -> (max ?x ?y), finite"), "{printed}");
    assert!(printed.contains("recognized: max from "), "{printed}");
    assert!(printed.contains("; tanh_gate, a composite of yours, from tanh, mul"), "{printed}");
    assert!(printed.contains("rule select-smaller: with ?x = "), "{printed}");
}
