//! A crate outside the workspace that depends on `evenkeel` alone builds, trains, saves and loads.
//!
//! It is built with the workspace's lock file into the workspace's target folder, so third-party
//! crates are those that are built already; our own are built again, without optimization.

use crate::cargo::cargo;
use std::fs;
use std::path::Path;

const MANIFEST: &str = r#"
[package]
name = "evenkeel-outside"
version = "0.0.0"
edition = "2024"

[dependencies]
evenkeel = { path = "ROOT" }

[workspace]

[profile.dev.package."*"]
opt-level = 3
debug = false
"#;

/// Our crates, which cargo does not share between workspaces.
const OURS: [&str; 4] = ["evenkeel", "evenkeel-ir", "evenkeel-compiler", "evenkeel-runtime"];

fn manifest() -> String {
    let root = env!("CARGO_MANIFEST_DIR").replace('\\', "/");
    let quick =
        |profile: &str| OURS.map(|name| format!("[profile.{profile}.package.{name}]\nopt-level = 0\n"));
    MANIFEST.replace("ROOT", &root) + &quick("dev").concat() + &quick("release").concat()
}

#[test]
fn a_crate_outside_the_workspace_defines_a_layer_trains_saves_and_loads() {
    let folder = std::env::temp_dir().join(format!("evenkeel-outside-{}", std::process::id()));
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest()).unwrap();
    fs::write(folder.join("src/main.rs"), include_str!("outside/main.rs")).unwrap();
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock")).unwrap();
    let saved = folder.join("gated.safetensors");
    let printed = cargo(&folder, "run", &["--", &saved.to_string_lossy()]);
    let (first, last) = printed.lines().next().unwrap()["loss ".len()..].split_once(" -> ").unwrap();
    let (first, last): (f64, f64) = (first.parse().unwrap(), last.parse().unwrap());
    assert!(last < first / 10.0, "{printed}");
    assert!(printed.contains("loaded predicts alike: true, as before loading: false"), "{printed}");
    assert!(saved.exists());
    fs::remove_dir_all(folder).unwrap();
}
