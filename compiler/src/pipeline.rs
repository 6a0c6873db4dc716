//! The flow from graph to program, in one screen.

use crate::costs::Costs;
use crate::emit::clif::Generator;
use crate::emit::{EmitError, Emitted, emit};
use crate::error::CompileError;
use crate::expand::expand;
use crate::fuse::{Class, Fusion, fuse, taps};
use crate::plan::{Plan, Planned, plan};
use crate::report::{Amount, Arena, KernelReport, Report};
use crate::rewrite::rule::Tier;
use crate::rewrite::{Rules, Simplified, Tally, simplify_with};
use crate::schedule::{LINE_ELEMENTS, has_dense_lanes};
use evenkeel_ir::kernel::{Kernel, Role};
use evenkeel_ir::program::{Buffer, Code, Program, Step};
use evenkeel_ir::{Extent, Graph, Target, Value};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// What the caller decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Outputs that overwrite inputs: `(output, input)`, by position.
    pub updates: Vec<(usize, usize)>,
    /// Fuse ops into kernels; without it every op is a kernel of its own.
    pub fuse: bool,
    /// Rewrite scopes to cheaper expressions ([`simplify_with`]).
    pub rewrite: bool,
    /// By these rules.
    pub rules: Rules,
    /// How far rewriting may change results in floating point: up to this tier.
    pub float: Tier,
    /// What work costs where the program will run.
    pub costs: Costs,
    /// Outputs that are there to be looked at; the report says what fusion they prevent.
    pub taps: Vec<usize>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            updates: Vec::new(),
            fuse: true,
            rewrite: true,
            rules: Rules::standard(),
            float: Tier::default(),
            costs: Costs::default(),
            taps: Vec::new(),
        }
    }
}

/// A program and how it came about.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the runtime needs.
    pub program: Program,
    /// What happened.
    pub report: Report,
}

/// Compiles a graph: rewrite, expand, fuse, plan, emit.
///
/// The program depends on graph, target and options only.
///
/// # Errors
/// Element types that are not executable; costs that are not positive and finite; bugs of passes and
/// code generation.
pub fn compile(graph: &Graph, target: &Target, options: &Options) -> Result<Compiled, CompileError> {
    let mut clock = Clock::start();
    check(graph)?;
    options.costs.check()?;
    let rewritten =
        if options.rewrite { simplify_with(graph, options)? } else { Simplified::unchanged(graph) };
    clock.stage("rewrite");
    let expanded = verified("expand", expand(&rewritten.graph))?;
    clock.stage("expand");
    let fusion = fuse(&expanded, options.fuse);
    sound("fuse", || fusion.verify(&expanded))?;
    clock.stage("fuse");
    let Plan { mut program, kernels } = plan(&expanded, &fusion, &options.updates);
    clock.stage("lower and plan");
    let emitted = emit_all(&kernels, target)?;
    let report = attach(&mut program, &kernels, emitted, refusals(&expanded, &fusion, &options.taps));
    clock.stage("emit");
    let (unfused_bytes, arena) = (unfused_bytes(&expanded, &fusion), Arena::of(&program));
    let simplified = rewritten.scopes.iter().map(ToString::to_string).collect();
    let costs = vec![
        ("named ops and gradients, op by op", Tally::op_by_op(graph)),
        ("program", program_cost(&program, &report, &rewritten.graph)),
    ];
    Ok(Compiled {
        program,
        report: Report { stages: clock.stages, simplified, unfused_bytes, arena, costs, ..report },
    })
}

/// What the steps of a program cost, whose values are those of a graph.
fn program_cost(program: &Program, report: &Report, graph: &Graph) -> Tally {
    let phases = report.kernels.iter().map(|kernel| kernel.phases).sum::<u32>();
    let others = program.steps.iter().filter(|step| !matches!(step, Step::Kernels(_))).count();
    let mut tally = Tally { phases: phases + others as u32, ..Tally::arithmetic(graph) };
    tally.launches = program.steps.len() as u32;
    for buffer in program.steps.iter().flat_map(Step::buffers) {
        let Buffer { elements, dtype, .. } = &program.buffers[buffer.0 as usize];
        tally.bytes.add(elements.times(Extent::fixed(dtype.size() as u64)));
    }
    tally
}

/// Bytes of the operands and results of every op that is part of a kernel.
fn unfused_bytes(graph: &Graph, fusion: &Fusion) -> Amount {
    let mut bytes = Amount::default();
    for (id, node) in graph.iter().filter(|(id, _)| fusion.group_of[id.0 as usize].is_some()) {
        let uniform = |v: &Value| fusion.classes[v.node.0 as usize] == Class::Uniform;
        if !uniform(&Value { node: id, result: 0 }) {
            node.inputs.iter().filter(|v| !uniform(v)).for_each(|v| bytes.add(graph.ty(*v).bytes()));
            node.types.iter().for_each(|ty| bytes.add(ty.bytes()));
        }
    }
    bytes
}

/// Measures stages.
struct Clock {
    last: Instant,
    stages: Vec<(&'static str, Duration)>,
}

impl Clock {
    fn start() -> Clock {
        Clock { last: Instant::now(), stages: Vec::new() }
    }

    fn stage(&mut self, name: &'static str) {
        self.stages.push((name, self.last.elapsed()));
        self.last = Instant::now();
    }
}

/// Passes leave verified graphs; checked where debug assertions are on.
pub(crate) fn verified(pass: &'static str, graph: Graph) -> Result<Graph, CompileError> {
    if cfg!(debug_assertions) {
        graph.verify().map_err(|source| CompileError::Pass { pass, source })?;
    }
    Ok(graph)
}

/// Stages leave what their invariant says; checked where debug assertions are on.
fn sound(stage: &'static str, verify: impl FnOnce() -> Result<(), String>) -> Result<(), CompileError> {
    if cfg!(debug_assertions) {
        verify().map_err(|reason| CompileError::Broken { stage, reason })?;
    }
    Ok(())
}

fn check(graph: &Graph) -> Result<(), CompileError> {
    for (id, node) in graph.iter() {
        for ty in &node.types {
            if ty.dtype.scalar().is_none() {
                let place = graph.provenance(id).place;
                return Err(CompileError::NotExecutable { dtype: ty.dtype, ty: ty.clone(), place });
            }
        }
    }
    Ok(())
}

/// Refused fusions of ops that the user wrote and fusions that taps prevent, each line once.
fn refusals(graph: &Graph, fusion: &Fusion, tapped: &[usize]) -> Vec<String> {
    let mut lines: Vec<String> = taps(graph, fusion, tapped);
    let mut known: HashSet<String> = lines.iter().cloned().collect();
    for (id, reason) in &fusion.refusals {
        let from = graph.provenance(*id);
        let Some(place) = from.place else { continue };
        let path = from.path.as_ref().map(|path| format!(" (in {path})")).unwrap_or_default();
        let line = format!("{} at {place}{path}: {reason}", graph.node(*id).op.name());
        if known.insert(line.clone()) {
            lines.push(line);
        }
    }
    lines
}

/// A kernel for any number of rows, where its code does not depend on it: rows of several axes are
/// split by their extents, few rows take narrow vectors or small tiles, and rows that end within
/// a line are no results to stream.
fn for_any_rows(kernel: &Kernel) -> Kernel {
    let mut kernel = kernel.clone();
    let lines =
        kernel.space.first().and_then(|rows| rows.known()).is_none_or(|n| n.is_multiple_of(LINE_ELEMENTS));
    if kernel.parallel == 1 && lines && has_dense_lanes(&kernel) {
        kernel.space[0] = Extent::BATCH;
    }
    kernel
}

/// What makes two kernels the same code: everything but names.
fn code_key(mut kernel: Kernel, volatile: &[bool]) -> String {
    kernel.name = String::new();
    kernel
        .args
        .iter_mut()
        .enumerate()
        .for_each(|(i, arg)| arg.name = format!("a{i}:{}:{:?}", arg.dtype, arg.role));
    format!("{kernel}{volatile:?}")
}

/// Compiles the distinct kernels, in parallel; gives the code number of each kernel.
fn emit_all(kernels: &[Planned], target: &Target) -> Result<(Vec<usize>, Vec<Emitted>), EmitError> {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut distinct: Vec<(Kernel, &[bool])> = Vec::new();
    let mut numbers = Vec::new();
    for Planned { kernel, volatile, .. } in kernels {
        let (next, kernel) = (distinct.len(), for_any_rows(kernel));
        let number = *known.entry(code_key(kernel.clone(), volatile)).or_insert(next);
        if number == next {
            distinct.push((kernel, volatile));
        }
        numbers.push(number);
    }
    let threads = (target.threads.max(1) as usize).min(distinct.len().max(1));
    let generator = Generator::new(target)?;
    let share = |worker: usize| -> Result<Vec<(usize, Emitted)>, EmitError> {
        let mine = distinct.iter().enumerate().skip(worker).step_by(threads);
        mine.map(|(i, (kernel, volatile))| Ok((i, emit(&generator, kernel, volatile, target)?))).collect()
    };
    let parts: Vec<Result<Vec<(usize, Emitted)>, EmitError>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|worker| scope.spawn(move || share(worker))).collect();
        let own = share(0);
        let joined =
            others.into_iter().map(|handle| handle.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
        std::iter::once(own).chain(joined).collect()
    });
    let mut emitted: Vec<(usize, Emitted)> = Vec::new();
    for part in parts {
        emitted.extend(part?);
    }
    emitted.sort_by_key(|(i, _)| *i);
    Ok((numbers, emitted.into_iter().map(|(_, e)| e).collect()))
}

/// Puts code into the program and describes it.
fn attach(
    program: &mut Program,
    kernels: &[Planned],
    (numbers, emitted): (Vec<usize>, Vec<Emitted>),
    refusals: Vec<String>,
) -> Report {
    let mut report = Report { refusals, codes: emitted.len(), ..Report::default() };
    let bytes = kernel_bytes(program, kernels.len());
    for ((planned, &number), bytes) in kernels.iter().zip(&numbers).zip(bytes) {
        report.kernels.push(KernelReport { bytes, ..describe(planned, &emitted[number]) });
    }
    for step in &mut program.steps {
        for launch in step.launches_mut() {
            let number = numbers[launch.code as usize];
            launch.code = number as u32;
            launch.numbers = emitted[number].numbers.iter().copied().collect();
        }
        match step {
            Step::Product(_) => report.products += 1,
            Step::Combine(_) => report.combines += 1,
            Step::Copy { .. } | Step::Zero { .. } => report.others += 1,
            Step::Kernels(_) => report.launches += 1,
        }
    }
    let mut first: Vec<Option<&Planned>> = vec![None; emitted.len()];
    numbers.iter().zip(kernels).rev().for_each(|(&number, planned)| first[number] = Some(planned));
    let first = first.into_iter().flatten();
    program.codes = emitted
        .into_iter()
        .zip(first)
        .map(|(e, planned)| Code {
            name: planned.kernel.name.clone(),
            listing: planned.kernel.to_string(),
            bytes: e.bytes,
            streaming: e.streaming,
            scratch: e.scratch,
            vector_bytes: e.vector_bytes,
        })
        .collect();
    report
}

/// Bytes of the buffers of every kernel of the plan, whose launches still have its place as code.
fn kernel_bytes(program: &Program, kernels: usize) -> Vec<Amount> {
    let mut bytes = vec![Amount::default(); kernels];
    for launch in program.steps.iter().flat_map(Step::launches) {
        for id in &launch.buffers {
            let Buffer { elements, dtype, .. } = program.buffers[id.0 as usize];
            bytes[launch.code as usize].add(elements.times(Extent::fixed(dtype.size() as u64)));
        }
    }
    bytes
}

fn describe(planned: &Planned, emitted: &Emitted) -> KernelReport {
    let kernel = &planned.kernel;
    let sizes =
        |extents: &[evenkeel_ir::Extent]| extents.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("x");
    let (parallel, reduced) = kernel.space.split_at(kernel.parallel);
    let role = |wanted: fn(Role) -> bool| kernel.args.iter().filter(|arg| wanted(arg.role)).count();
    KernelReport {
        name: kernel.name.clone(),
        space: format!("rows [{}] of [{}]", sizes(parallel), sizes(reduced)),
        phases: kernel.sweeps(),
        reads: role(|r| matches!(r, Role::Input | Role::InOut)),
        writes: role(|r| r != Role::Input),
        bytes: Amount::default(),
        ops: planned.ops.clone(),
        panels_of: planned.panels_of.clone(),
        code_bytes: emitted.bytes.len(),
        vector_bytes: emitted.vector_bytes,
        not_wider: emitted.refused.iter().map(ToString::to_string).collect(),
        listing: kernel.to_string(),
    }
}
