//! `evenkeel explain`: a text graph after a stage, or what the compiler makes of it.

use super::{Failure, input};
use crate::bench::{Costs, Profile};
use crate::host::host_target;
use evenkeel_compiler::expand::expand;
use evenkeel_compiler::fold::{Fold, Folded, Outcome, Refused, fold};
use evenkeel_compiler::fuse::fuse;
use evenkeel_compiler::plan::{Plan, plan};
use evenkeel_compiler::rewrite::{recognize, recognize_explained, simplify_with};
use evenkeel_compiler::schedule::schedule;
use evenkeel_compiler::{Options, Report, compile};
use evenkeel_ir::program::Code;
use evenkeel_ir::{Graph, Kernel, Target};
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
    /// Bits of the widest vectors, of those that this machine has; all of them by default
    #[arg(long, value_name = "BITS", value_parser = ["128", "256", "512"])]
    vectors: Option<String>,
    /// Rewrite for the machine of this profile, which `bench --calibrate` wrote
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Print the graph as written and as rewritten in the language of Graphviz
    #[arg(long, conflicts_with = "after")]
    dot: bool,
}

/// Stages whose value can be printed, in order.
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
    /// How each kernel is looped
    Schedule,
    /// The kernels
    Lower,
    /// Steps, buffers and the arena
    Plan,
    /// Bytes of machine code of each kernel
    Emit,
}

/// This machine, with vectors as wide as asked for.
fn target(args: &Args) -> Target {
    let host = host_target(1);
    let bits = args.vectors.as_ref().and_then(|bits| bits.parse::<u32>().ok());
    Target { vector_bytes: bits.map_or(host.vector_bytes, |bits| host.vector_bytes.min(bits / 8)), ..host }
}

/// The graphs of a file on its way to the compiler.
struct Graphs {
    written: Graph,
    recognized: Graph,
    folded: Outcome,
    /// What is compiled.
    last: Graph,
    target: Target,
    options: Options,
}

impl Graphs {
    fn of(args: &Args) -> Result<Graphs, Failure> {
        let written = input::graph(&args.file)?;
        let recognized = recognize(&written)?.graph;
        let folded = folded(&recognized, &args.parameters)?;
        let gradients = args.grad || args.after == Some(Stage::Grad);
        let last = input::with_gradients(folded.graph.clone(), gradients)?;
        let profile = args.profile.as_deref().map(Profile::load).transpose()?;
        let costs = profile.map_or(Costs::REFERENCE, |profile| profile.costs(1));
        let options = Options { costs, ..Options::default() };
        Ok(Graphs { written, recognized, folded, last, target: target(args), options })
    }

    fn rewritten(&self) -> Result<Graph, Failure> {
        Ok(simplify_with(&self.last, &self.options)?.graph)
    }

    fn planned(&self) -> Result<Plan, Failure> {
        let expanded = expand(&self.rewritten()?);
        Ok(plan(&expanded, &fuse(&expanded, true), &[]))
    }

    /// The value after a stage.
    fn after(&self, stage: Stage) -> Result<String, Failure> {
        Ok(match stage {
            Stage::Trace => self.written.to_string(),
            Stage::Recognize => self.recognized.to_string(),
            Stage::Fold => self.folded.graph.to_string(),
            Stage::Grad => self.last.to_string(),
            Stage::Rewrite => self.rewritten()?.to_string(),
            Stage::Expand => expand(&self.rewritten()?).to_string(),
            Stage::Fuse => {
                let expanded = expand(&self.rewritten()?);
                fuse(&expanded, true).describe(&expanded)
            }
            Stage::Schedule => {
                let widest = self.target.widest();
                let line = |kernel: &Kernel| format!("{}: {}\n", kernel.name, schedule(kernel, widest));
                self.planned()?.kernels.iter().map(|planned| line(&planned.kernel)).collect()
            }
            Stage::Lower => {
                self.planned()?.kernels.iter().map(|planned| format!("{}\n", planned.kernel)).collect()
            }
            Stage::Plan => self.planned()?.to_string(),
            Stage::Emit => {
                let program = compile(&self.last, &self.target, &self.options)?.program;
                let line = |code: &Code| {
                    format!(
                        "{}: {} bytes of code, {} of scratch\n",
                        code.name,
                        code.bytes.len(),
                        code.scratch
                    )
                };
                program.codes.iter().map(line).collect()
            }
        })
    }

    /// What the compiler makes of it.
    fn report(&self) -> Result<Report, Failure> {
        let compiled = compile(&self.last, &self.target, &self.options)?;
        let mut report = compiled.report.explained(&self.last, &self.options)?;
        let Options { rules, float, .. } = &self.options;
        report.recognize(&self.written, &recognize_explained(&self.written, rules, *float)?);
        report.folded = self.folded.folded.iter().map(Folded::to_string).collect();
        report.not_folded = self.folded.refused.iter().map(Refused::to_string).collect();
        Ok(report)
    }

    /// The graph before and after as Graphviz.
    fn dot(&self) -> Result<String, Failure> {
        Ok(self.written.to_dot("before") + &self.rewritten()?.to_dot("after"))
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let graphs = Graphs::of(args)?;
    let text = match args.after {
        Some(stage) => graphs.after(stage)?,
        None if args.dot => graphs.dot()?,
        None => graphs.report()?.to_string(),
    };
    Ok(write!(out, "{text}")?)
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
        let args = Args {
            file: file.clone(),
            after,
            grad: false,
            parameters,
            vectors: None,
            profile: None,
            dot: false,
        };
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
