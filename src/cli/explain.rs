//! `evenkeel explain`: a text graph after a stage, or what the compiler makes of it.

use super::{Failure, input};
use crate::host::host_target;
use evenkeel_compiler::expand::expand;
use evenkeel_compiler::fuse::fuse;
use evenkeel_compiler::rewrite::{Found, recognize, simplify};
use evenkeel_compiler::{Options, compile};
use std::io::Write;
use std::path::PathBuf;

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A graph in text form
    #[arg(value_name = "FILE.ek")]
    file: PathBuf,
    /// Print the value after this stage
    #[arg(long, value_enum)]
    after: Option<Stage>,
    /// Add the gradients of every float input
    #[arg(long)]
    grad: bool,
}

/// Stages whose value can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// The graph as written
    Trace,
    /// The graph in terms of named ops
    Recognize,
    /// The graph with its gradients
    Grad,
    /// The graph with cheaper expressions
    Rewrite,
    /// The graph in primitives
    Expand,
    /// Which ops share a kernel, which values are stored
    Fuse,
    /// The kernels
    Lower,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let written = input::graph(&args.file)?;
    let recognized = recognize(&written)?;
    let gradients = args.grad || args.after == Some(Stage::Grad);
    let graph = input::with_gradients(recognized.graph.clone(), gradients)?;
    match args.after {
        Some(Stage::Trace) => write!(out, "{written}")?,
        Some(Stage::Recognize) => write!(out, "{}", recognized.graph)?,
        Some(Stage::Grad) => write!(out, "{graph}")?,
        Some(Stage::Rewrite) => write!(out, "{}", simplify(&graph)?.graph)?,
        Some(Stage::Expand) => write!(out, "{}", expand(&simplify(&graph)?.graph))?,
        Some(Stage::Fuse) => {
            let expanded = expand(&simplify(&graph)?.graph);
            write!(out, "{}", fuse(&expanded, true).describe(&expanded))?;
        }
        Some(Stage::Lower) => {
            let compiled = compile(&graph, &host_target(1), &Options::default())?;
            compiled.report.kernels.iter().try_for_each(|kernel| writeln!(out, "{}", kernel.listing))?;
        }
        None => {
            let mut report = compile(&graph, &host_target(1), &Options::default())?.report;
            report.recognized = recognized.found.iter().map(Found::to_string).collect();
            write!(out, "{report}")?;
        }
    }
    Ok(())
}
