//! `evenkeel explain`: a text graph after a stage, or what the compiler makes of it.

use super::{Failure, input};
use crate::host::host_target;
use evenkeel_compiler::expand::expand;
use evenkeel_compiler::fold::{Fold, Folded, Outcome, Refused, fold};
use evenkeel_compiler::fuse::fuse;
use evenkeel_compiler::rewrite::{Found, recognize, simplify};
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::Graph;
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
    /// Inputs that are parameters: normalizations are folded into them
    #[arg(long, value_name = "INPUT,..", value_delimiter = ',')]
    parameters: Vec<String>,
}

/// Stages whose value can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// The graph as written
    Trace,
    /// The graph in terms of named ops
    Recognize,
    /// The graph with normalizations folded into its parameters
    Fold,
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
    let folded = folded(&recognized.graph, &args.parameters)?;
    let graph = input::with_gradients(folded.graph.clone(), gradients)?;
    match args.after {
        Some(Stage::Trace) => write!(out, "{written}")?,
        Some(Stage::Recognize) => write!(out, "{}", recognized.graph)?,
        Some(Stage::Fold) => write!(out, "{}", folded.graph)?,
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
            report.folded = folded.folded.iter().map(Folded::to_string).collect();
            report.not_folded = folded.refused.iter().map(Refused::to_string).collect();
            write!(out, "{report}")?;
        }
    }
    Ok(())
}

/// The graph after folds into the inputs with these names; without names nothing is folded.
fn folded(graph: &Graph, parameters: &[String]) -> Result<Outcome, Failure> {
    let place = |name: &String| {
        let found = graph.inputs().iter().position(|input| input.name == *name);
        found.ok_or_else(|| Failure::Input(format!("the graph has no input named {name}")))
    };
    let places: Vec<usize> = parameters.iter().map(place).collect::<Result<_, _>>()?;
    let rows = if places.is_empty() { Vec::new() } else { Fold::safe() };
    Ok(fold(graph, &places, &rows)?)
}

#[cfg(test)]
mod tests {
    use super::{Args, Stage, run};

    /// What is printed for a text graph whose `g` and `w` are parameters.
    fn explained(text: &str, after: Option<Stage>, parameters: &[&str]) -> String {
        let name = format!("evenkeel-explain-{}-{:?}.ek", std::process::id(), std::thread::current().id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).unwrap();
        let parameters = parameters.iter().map(|name| (*name).to_string()).collect();
        let args = Args { file: file.clone(), after, grad: false, parameters };
        let mut out = Vec::new();
        let ran = run(&args, &mut out);
        std::fs::remove_file(file).unwrap();
        ran.map_or_else(|failure| format!("{failure:?}"), |()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn folds_need_parameters_and_say_what_they_did() {
        let text = "x = input f32[N,6]\ng = input f32[6]\nw = input f32[4,6]\n\
                    n = rms_norm @1 eps=1e-6 x g\nreturn y=dot @1 @1 n w, z=tanh n";
        let refused = explained(text, None, &["g", "w"]);
        assert!(refused.contains("not folded:\n  into-following-linears"), "{refused}");
        assert!(refused.contains("it is also read by tanh"), "{refused}");
        let text = text.replace(", z=tanh n", "");
        assert!(explained(&text, Some(Stage::Fold), &["g", "w"]).contains("rms_unit"));
        assert!(explained(&text, Some(Stage::Fold), &[]).contains("rms_norm"));
        assert!(explained(&text, None, &["g", "v"]).contains("the graph has no input named v"));
    }
}
