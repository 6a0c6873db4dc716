//! House rules that the compiler does not know: crate edges, where `unsafe` may be, file sizes.
//!
//! A rule is a function from a file to what is wrong in it, as `path:line: message`; [`RULES`] lists
//! them with the folders they hold in. Code rules look at tokens, so comments and strings are free.
//!
//! Not here: function length, `todo!` in ordinary code and missing docs, which are lints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Folders that hold our source.
const FOLDERS: &[&str] = &["benches", "compiler", "examples", "ir", "macros", "runtime", "src", "tests"];

/// The only files that may say `unsafe`: executable memory, threads, raw buffers, panel products,
/// vector loops at the limits of a machine, the best ones for our kernels, and the allocator that
/// counts in tests.
const UNSAFE_FILES: &[&str] = &[
    "benches/limits/compare.rs",
    "benches/limits/vector.rs",
    "runtime/src/ceilings.rs",
    "runtime/src/code.rs",
    "runtime/src/executable.rs",
    "runtime/src/gang.rs",
    "runtime/src/gemm.rs",
    "runtime/src/panels.rs",
    "runtime/src/tensor.rs",
    "tests/allocation.rs",
];

/// Longest file that needs no reason.
const MAX_LINES: usize = 500;

/// Files over [`MAX_LINES`] and why: only tables, which are read one row at a time.
const LONG_FILES: &[(&str, &str)] = &[("ir/src/op/unary.rs", "the table of pointwise functions")];

/// Who may depend on whom: a manifest and all that its dependencies may name of ours or of the compiler's.
const EDGES: &[(&str, &[&str])] = &[
    ("ir/Cargo.toml", &[]),
    ("macros/Cargo.toml", &[]),
    ("compiler/Cargo.toml", &["evenkeel-ir", "egg", "cranelift", "cranelift-codegen"]),
    ("runtime/Cargo.toml", &["evenkeel-ir"]),
];

/// Names that mark a code generator; no op knows one.
const BACKENDS: &[&str] = &["cranelift", "clif", "ptx"];

/// A source file by its path from the root.
struct Source {
    path: String,
    text: String,
}

/// Folders a rule holds in (path prefixes) and the rule.
struct Rule {
    name: &'static str,
    folders: &'static [&'static str],
    check: fn(&Source) -> Vec<String>,
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { name: "module doc",       folders: &[""],                                           check: starts_with_doc },
    Rule { name: "file length",      folders: &[""],                                           check: is_short },
    Rule { name: "unsafe",           folders: &[""],                                           check: keeps_unsafe_apart },
    Rule { name: "unfinished",       folders: &[""],                                           check: is_finished },
    Rule { name: "printing",         folders: &["ir/src/", "compiler/src/", "runtime/src/"],   check: is_silent },
    Rule { name: "compiler crates",  folders: &["ir/", "runtime/"],                            check: avoids_compiler_crates },
    Rule { name: "op knows backend", folders: &["ir/src/op"],                                  check: names_no_backend },
    Rule { name: "backend knows op", folders: &["compiler/src/emit"],                          check: names_no_op },
];

#[test]
fn every_file_keeps_the_rules() {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path == "tests/tidy.rs"), "the walk finds our files");
    let mut wrong = Vec::new();
    for rule in RULES {
        let applies = |source: &&Source| rule.folders.iter().any(|folder| source.path.starts_with(folder));
        wrong.extend(
            sources.iter().filter(applies).flat_map(rule.check).map(|at| format!("{at} [{}]", rule.name)),
        );
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn crates_depend_downward_only() {
    for (manifest, allowed) in EDGES {
        let found = watched_dependencies(&read(manifest));
        let wrong: Vec<&String> = found.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{manifest} must not depend on {wrong:?}");
    }
}

#[test]
fn exemptions_are_still_needed() {
    for (path, reason) in LONG_FILES {
        assert!(read(path).lines().count() > MAX_LINES, "{path} ({reason}) is short now: drop its row");
    }
}

#[test]
fn the_readme_shows_the_quickstart_that_runs() {
    let (readme, example) = (root().join("README.md"), root().join("examples/quickstart.rs"));
    if readme.exists() && example.exists() {
        let shown = first_rust_block(&fs::read_to_string(readme).unwrap());
        assert_eq!(shown, without_module_doc(&fs::read_to_string(example).unwrap()));
    }
}

fn starts_with_doc(source: &Source) -> Vec<String> {
    let fine = source.text.starts_with("//!");
    report(source, (!fine).then_some((1, "starts without a `//!` module doc".into())))
}

fn is_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let fine = lines <= MAX_LINES || LONG_FILES.iter().any(|(path, _)| *path == source.path);
    report(source, (!fine).then(|| (lines, format!("{lines} lines, at most {MAX_LINES}"))))
}

fn keeps_unsafe_apart(source: &Source) -> Vec<String> {
    let fine = UNSAFE_FILES.contains(&source.path.as_str());
    let found = tokens(source).into_iter().filter(|token| !fine && token.text == "unsafe");
    report(source, found.map(|token| (token.line, "`unsafe` outside the files that own it".into())))
}

fn is_finished(source: &Source) -> Vec<String> {
    let macros =
        sequences(source, |name, next| next == "!" && ["todo", "dbg", "unimplemented"].contains(&name));
    let mark = concat!("FIX", "ME");
    let marks = source.text.lines().enumerate().filter(|(_, line)| line.contains(mark));
    let marks = marks.map(|(index, _)| (index + 1, format!("`{mark}`")));
    report(source, macros.into_iter().chain(marks))
}

fn is_silent(source: &Source) -> Vec<String> {
    report(
        source,
        sequences(source, |name, next| {
            next == "!" && ["print", "println", "eprint", "eprintln"].contains(&name)
        }),
    )
}

fn avoids_compiler_crates(source: &Source) -> Vec<String> {
    let foreign = |name: &str, next: &str| (name == "egg" && next == ":") || name.starts_with("cranelift");
    report(source, sequences(source, foreign))
}

/// Comments count too: a doc that explains an op by a backend is in the wrong place.
fn names_no_backend(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let found = lines.flat_map(|(index, line)| {
        let line = line.to_lowercase();
        let named = |backend: &&&str| words(&line).any(|word| word == **backend);
        let backends: Vec<&&str> = BACKENDS.iter().filter(named).collect();
        backends.into_iter().map(move |backend| (index + 1, format!("an op names the backend `{backend}`")))
    });
    report(source, found)
}

/// Emission sees kernels and scalar code: it reaches into no `op` module and names no table of ops.
fn names_no_op(source: &Source) -> Vec<String> {
    let tables = op_tables();
    let is_op = |name: &str, next: &str| (name == "op" && next == ":") || tables.contains(name);
    report(source, sequences(source, is_op))
}

/// `Op` and the enums that the op tables of `ir` declare, written `enum Name: RowType`.
fn op_tables() -> BTreeSet<String> {
    let mut names = BTreeSet::from(["Op".to_string()]);
    for source in sources().iter().filter(|source| source.path.starts_with("ir/src/op")) {
        let tokens = tokens(source);
        let heads = tokens.windows(3).filter(|window| window[0].text == "enum" && window[2].text == ":");
        names.extend(heads.map(|window| window[1].text.clone()));
    }
    names
}

fn report(source: &Source, found: impl IntoIterator<Item = (usize, String)>) -> Vec<String> {
    found.into_iter().map(|(line, message)| format!("{}:{line}: {message}", source.path)).collect()
}

/// Places where a token and its follower satisfy `matches`.
fn sequences(source: &Source, matches: impl Fn(&str, &str) -> bool) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let followers = tokens.iter().skip(1).map(|token| token.text.as_str()).chain([""]);
    let found = tokens.iter().zip(followers).filter(|(token, next)| matches(&token.text, next));
    found.map(|(token, _)| (token.line, format!("`{}` must not be here", token.text))).collect()
}

struct Token {
    line: usize,
    text: String,
}

/// Identifiers and punctuation in order; no comments, no literals.
fn tokens(source: &Source) -> Vec<Token> {
    let stream = source.text.parse().unwrap_or_else(|error| panic!("{}: {error}", source.path));
    let mut found = Vec::new();
    flatten(stream, &mut found);
    found
}

fn flatten(stream: TokenStream, found: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => flatten(group.stream(), found),
            TokenTree::Ident(ident) => found.push(Token { line, text: ident.to_string() }),
            TokenTree::Punct(punct) => found.push(Token { line, text: punct.to_string() }),
            TokenTree::Literal(_) => {}
        }
    }
}

/// Maximal runs of letters and digits.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_ascii_alphanumeric())
}

/// Our crates, egg and Cranelift, as far as any dependency section of a manifest names them.
fn watched_dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        }
        let names = line.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
        let watched =
            |name: &&str| ["evenkeel", "egg", "cranelift"].contains(&name.split('-').next().unwrap_or(name));
        found.extend(names.filter(|_| inside).filter(watched).map(String::from));
    }
    found
}

fn first_rust_block(markdown: &str) -> String {
    let after = markdown.split_once("```rust\n").map_or("", |(_, after)| after);
    after.split("```").next().unwrap_or_default().trim().into()
}

fn without_module_doc(source: &str) -> String {
    let code = source.lines().skip_while(|line| line.starts_with("//!"));
    code.collect::<Vec<_>>().join("\n").trim().into()
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every `.rs` file of ours, sorted by path; snapshots are data.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    FOLDERS.iter().for_each(|folder| walk(&root().join(folder), &mut paths));
    paths.sort();
    paths
        .iter()
        .map(|path| load(path))
        .filter(|source| !source.path.starts_with("tests/snapshots/"))
        .collect()
}

fn load(path: &Path) -> Source {
    let relative = path.strip_prefix(root()).expect("the walk starts at the root");
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Source { path: relative.to_string_lossy().replace('\\', "/"), text }
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a folder can be listed").path()) {
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The rules themselves: each fires on a small offender and is silent on what only looks like one.
mod rules {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_file_without_module_doc_is_found() {
        assert_eq!(starts_with_doc(&source("a.rs", "use x;")), ["a.rs:1: starts without a `//!` module doc"]);
        assert!(starts_with_doc(&source("a.rs", "//! A.")).is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(is_short(&source("a.rs", &"\n".repeat(501))), ["a.rs:501: 501 lines, at most 500"]);
        assert!(is_short(&source("a.rs", &"\n".repeat(500))).is_empty());
    }

    #[test]
    fn unsafe_code_is_found_outside_its_files() {
        let text = "// unsafe\nfn f() { let s = \"unsafe\"; }\nunsafe fn g() {}";
        let message = "`unsafe` outside the files that own it";
        assert_eq!(keeps_unsafe_apart(&source("ir/src/a.rs", text)), [format!("ir/src/a.rs:3: {message}")]);
        assert!(keeps_unsafe_apart(&source("runtime/src/code.rs", text)).is_empty());
        assert!(keeps_unsafe_apart(&source("a.rs", "#![deny(unsafe_code)]")).is_empty());
    }

    #[test]
    fn unfinished_code_is_found_in_macros_and_comments() {
        let text = format!("fn f() {{\n todo!()\n}}\n// {}: later", concat!("FIX", "ME"));
        assert_eq!(is_finished(&source("a.rs", &text)).len(), 2);
        assert!(is_finished(&source("a.rs", "// todo!()\nfn todo() { let a = \"dbg!\"; }")).is_empty());
    }

    #[test]
    fn printing_is_found() {
        assert_eq!(
            is_silent(&source("a.rs", "fn f() { println!(\"x\") }")),
            ["a.rs:1: `println` must not be here"]
        );
        assert!(is_silent(&source("a.rs", "/// println!(\"x\")\nfn f() { writeln!(w) }")).is_empty());
    }

    #[test]
    fn compiler_crates_are_found() {
        assert_eq!(
            avoids_compiler_crates(&source("a.rs", "use egg::EGraph;\nuse cranelift_codegen::ir;")).len(),
            2
        );
        assert!(
            avoids_compiler_crates(&source("a.rs", "// egg::EGraph, cranelift\nlet egg = 1;")).is_empty()
        );
    }

    #[test]
    fn a_backend_in_an_op_is_found_even_in_a_comment() {
        let found = names_no_backend(&source("op.rs", "// explicit\n// PTX has none\nfn emit_clif() {}"));
        assert_eq!(
            found,
            ["op.rs:2: an op names the backend `ptx`", "op.rs:3: an op names the backend `clif`"]
        );
    }

    #[test]
    fn an_op_in_emission_is_found() {
        let found = names_no_op(&source("a.rs", "use evenkeel_ir::op::Unary;\nfn f(op: Op) {}"));
        assert!(found.contains(&"a.rs:1: `op` must not be here".into()), "{found:?}");
        assert!(found.contains(&"a.rs:2: `Op` must not be here".into()), "{found:?}");
        assert!(names_no_op(&source("a.rs", "// Op\nuse evenkeel_ir::{Inst, Kernel};")).is_empty());
    }

    #[test]
    fn dependencies_are_found_in_every_form() {
        let manifest = "[package]\nname = \"evenkeel-ir\"\n[dependencies]\nlibm = \"1\" # egg\n\
                        [target.'cfg(unix)'.dependencies]\nold = { package = \"evenkeel-compiler\" }\n\
                        [dev-dependencies.cranelift-jit]\nversion = \"1\"\n[lints]\nevenkeel = 1";
        let found = watched_dependencies(manifest);
        assert_eq!(found.iter().collect::<Vec<_>>(), ["cranelift-jit", "evenkeel-compiler"]);
    }

    #[test]
    fn the_readme_block_is_compared_without_the_module_doc() {
        let markdown = "# A\n```sh\ncargo\n```\n```rust\nfn main() {}\n```\n```rust\nother\n```";
        assert_eq!(first_rust_block(markdown), without_module_doc("//! Doc.\n\nfn main() {}\n"));
    }
}
