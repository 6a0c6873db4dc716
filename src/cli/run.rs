//! `evenkeel run`: runs a text graph on tensors from a file.

use super::{Failure, input};
use crate::checkpoint;
use crate::host::host_target;
use crate::vectors::Machine;
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::{Graph, Literal, eval};
use evenkeel_runtime::{Argument, Executable, Gang, Tensor};
use std::io::Write;
use std::path::PathBuf;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A graph in text form
    #[arg(value_name = "FILE.ek")]
    file: PathBuf,
    /// Tensors by input name; with --grad also `cotangent.NAME` for every float output
    #[arg(long = "in", value_name = "FILE.safetensors")]
    input: Option<PathBuf>,
    /// Write outputs (and `grad.NAME`) here; they are printed otherwise
    #[arg(long = "out", value_name = "FILE.safetensors")]
    output: Option<PathBuf>,
    /// Also compute the gradients of every float input
    #[arg(long)]
    grad: bool,
    /// Where to run
    #[arg(long, value_enum, default_value_t = Machine::Cpu)]
    target: Machine,
    /// Threads; EVENKEEL_THREADS or all cores by default
    #[arg(long)]
    threads: Option<usize>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    args.output.as_ref().map_or(Ok(()), checkpoint::check_writable)?;
    let written = input::graph(&args.file)?;
    let forward = if args.target == Machine::Written { written } else { recognize(&written)?.graph };
    let graph = input::with_gradients(forward, args.grad)?;
    let tensors = input::tensors(&graph, args.input.as_deref())?;
    let results = match args.target {
        Machine::Interp | Machine::Written => interpret(&graph, &tensors)?,
        Machine::Cpu => execute(&graph, &tensors, args.threads)?,
    };
    let names = graph.outputs().iter().map(|(name, _)| name.clone());
    match &args.output {
        Some(path) => checkpoint::write(path, names.zip(&results))?,
        None => names.zip(&results).try_for_each(|(name, tensor)| writeln!(out, "{name} = {tensor}"))?,
    }
    Ok(())
}

fn interpret(graph: &Graph, tensors: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let literals: Vec<Literal> = tensors.iter().map(Tensor::to_literal).collect();
    Ok(eval(graph, &literals)?.iter().map(Tensor::from_literal).collect())
}

fn execute(graph: &Graph, tensors: &[Tensor], threads: Option<usize>) -> Result<Vec<Tensor>, Failure> {
    let threads = threads.map_or_else(Gang::threads_from_env, Ok)?;
    let compiled = compile(graph, &host_target(threads), &Options::default())?;
    let executable = Executable::load(compiled.program, threads)?;
    let mut outputs = Vec::new();
    let mut arguments: Vec<Argument<'_>> = tensors.iter().map(Argument::In).collect();
    executable.run(&mut arguments, &mut outputs)?;
    Ok(outputs)
}
