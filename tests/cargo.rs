//! Running cargo from a test, with the profile and the target folder that the test was built
//! with, so that dependencies are those that are built already.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of this profile: the test is `target/release/deps/main-HASH`.
pub(crate) fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its path");
    test.ancestors().nth(2).expect("cargo puts tests two folders deep").to_path_buf()
}

/// Runs `cargo VERB` in a folder, offline; gives what it prints.
#[track_caller]
pub(crate) fn cargo(folder: &Path, verb: &str, arguments: &[&str]) -> String {
    let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(folder).args([verb, "--quiet", "--offline"]).args(profile).args(arguments);
    output(command.env("CARGO_TARGET_DIR", profile_folder().parent().expect("target")))
}

/// What a command prints; it must succeed.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}
