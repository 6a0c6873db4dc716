//! The command line: one file per verb, one row in its `Verb` table.
//!
//! Commands write to a `Write`, so tests capture them; only [`main`] knows exit codes:
//! 0 success, 1 a failed check, 2 bad usage or input.

mod bench;
mod check;
mod explain;
mod input;
mod layers;
mod ops;
mod rules;
mod run;
mod table;
mod train;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// An autodiff compiler with a normalization IR.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Train a classifier: the bundled handwritten digits, or a CSV file of yours
    Train(train::Args),
    /// Play evenkeel.vectors.v1 files through the layers and compare every number
    Check(check::Args),
    /// Run a text graph on tensors from a safetensors file
    Run(run::Args),
    /// Show what the compiler makes of a text graph, or the graph after a stage
    Explain(explain::Args),
    /// Measure layers, models and text graphs: speed against what this machine can do at best, unfused
    /// and in an earlier run, and compile times
    Bench(bench::Args),
    /// List the rewrite rules with tier, guards and source, or check them
    Rules(rules::Args),
    /// List every operation with its formula
    Ops(ops::Args),
    /// List the layers that `check` can play, with their attributes
    Layers(layers::Args),
}

/// How a command ended without success.
#[derive(Debug)]
pub enum Failure {
    /// A check did not pass; the report is written already.
    Check,
    /// Bad usage or input.
    Input(String),
    /// Whoever read the output has left, such as `head`.
    Closed,
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        let source = (&error as &dyn std::error::Error).downcast_ref::<std::io::Error>();
        match source.map(std::io::Error::kind) {
            Some(std::io::ErrorKind::BrokenPipe) => Failure::Closed,
            _ => Failure::Input(error.to_string()),
        }
    }
}

/// Runs the program on the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    exit_code(dispatch(&cli, &mut std::io::stdout()))
}

/// Runs one command; `arguments` start with the program's name.
///
/// # Errors
/// Bad usage, bad input, or a check that failed.
pub fn run_with<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let cli = Cli::try_parse_from(arguments).map_err(|error| Failure::Input(error.to_string()))?;
    dispatch(&cli, out)
}

fn dispatch(cli: &Cli, out: &mut dyn Write) -> Result<(), Failure> {
    match &cli.verb {
        Verb::Train(args) => train::run(args, out),
        Verb::Check(args) => check::run(args, out),
        Verb::Run(args) => run::run(args, out),
        Verb::Explain(args) => explain::run(args, out),
        Verb::Bench(args) => bench::run(args, out),
        Verb::Rules(args) => rules::run(args, out),
        Verb::Ops(args) => ops::run(args, out),
        Verb::Layers(args) => layers::run(args, out),
    }
}

fn exit_code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Check) => ExitCode::from(1),
        Err(Failure::Input(message)) => {
            // the error stream may be closed; there is nobody left to tell then
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(2)
        }
    }
}
