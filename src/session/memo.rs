//! Compilations that are remembered: compiling the same graph again costs no more than comparing it.
//!
//! Invariant: what is remembered is what compiling would give, places of the user's lines included;
//! only the times in the report differ.
//!
//! Programs are remembered, not executables: memory that calls need is freed with those who call.

use crate::error::Error;
use evenkeel_compiler::{Compiled, Options, Report};
use evenkeel_ir::program::{Code, Program};
use evenkeel_ir::{Graph, Node, Provenance, Target};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How many programs are remembered.
const PROGRAMS: usize = 64;
/// Bytes of code, its text and graphs in all of them.
const BYTES: usize = 64 << 20;

/// The compilations of this process.
static MEMO: Memo = Memo::new(PROGRAMS, BYTES);

/// Compiles a graph, or gives what compiling it gave before: where graph, names, places in the
/// user's code, target and options are the same.
pub(crate) fn compile(graph: &Graph, target: &Target, options: &Options) -> Result<Compiled, Error> {
    MEMO.compile(graph, target, options)
}

/// Forgets every program that this process has compiled.
///
/// [`jit`](super::jit), [`train_step`](crate::train::train_step), [`grad`](super::grad) and the like
/// remember the last 64 programs, or fewer where their code, its text and their graphs have more than
/// 64 MiB; who compiles the same closure with the same types and options again waits only for its
/// trace. Memory for values is never kept. Forgetting frees this memory, and makes the next compilation take as
/// long as the first, for those who time it.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
/// use evenkeel::session::forget_programs;
///
/// let x = Tensor::full(&[4], 2f32);
/// let compiled = || jit((), |_: &(), x: Var| x.square()).compile(&x);
/// let (first, again) = (compiled()?, compiled()?);
/// let stages = |f: &Jit<(), usize>| f.report().map_or(0, |report| report.stages.len());
/// assert!(stages(&again) < stages(&first), "the second compilation has no stages of its own");
/// forget_programs();
/// assert_eq!(stages(&compiled()?), stages(&first));
/// # Ok::<(), evenkeel::Error>(())
/// ```
pub fn forget_programs() {
    MEMO.entries().clear();
}

/// Programs by all that they depend on, the least recently used first.
struct Memo {
    entries: Mutex<Vec<Entry>>,
    programs: usize,
    bytes: usize,
}

/// A compilation and what it depended on.
struct Entry {
    hash: u64,
    graph: Graph,
    target: Target,
    options: Options,
    compiled: Arc<Compiled>,
    bytes: usize,
}

impl Memo {
    const fn new(programs: usize, bytes: usize) -> Memo {
        Memo { entries: Mutex::new(Vec::new()), programs, bytes }
    }

    /// A panic of another thread cannot leave the list half changed.
    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Threads that compile the same graph at the same time may both do it.
    fn compile(&self, graph: &Graph, target: &Target, options: &Options) -> Result<Compiled, Error> {
        let clock = Instant::now();
        let hash = hash(graph, target);
        if let Some(known) = self.find(hash, graph, target, options) {
            let Compiled { program, report } = (*known).clone();
            let stages = vec![("recall", clock.elapsed())];
            return Ok(Compiled { program, report: Report { stages, ..report } });
        }
        let compiled = evenkeel_compiler::compile(graph, target, options)?;
        let (graph, target, options) = (graph.clone(), target.clone(), options.clone());
        let (bytes, compiled) = (size(&graph, &compiled.program), Arc::new(compiled));
        self.keep(Entry { hash, graph, target, options, compiled: compiled.clone(), bytes });
        Ok(Arc::unwrap_or_clone(compiled))
    }

    fn find(&self, hash: u64, graph: &Graph, target: &Target, options: &Options) -> Option<Arc<Compiled>> {
        let mut entries = self.entries();
        let place = entries.iter().position(|entry| {
            entry.hash == hash
                && entry.target == *target
                && entry.options == *options
                && entry.graph.is_same_source(graph)
        })?;
        let entry = entries.remove(place);
        let compiled = entry.compiled.clone();
        entries.push(entry);
        Some(compiled)
    }

    /// What is too large by itself would push out everything else.
    fn keep(&self, entry: Entry) {
        if entry.bytes > self.bytes {
            return;
        }
        let mut entries = self.entries();
        entries.push(entry);
        let mut bytes: usize = entries.iter().map(|entry| entry.bytes).sum();
        let mut oldest = 0;
        while entries.len() - oldest > self.programs || bytes > self.bytes {
            bytes -= entries[oldest].bytes;
            oldest += 1;
        }
        entries.drain(..oldest);
    }
}

fn hash(graph: &Graph, target: &Target) -> u64 {
    let mut hasher = DefaultHasher::new();
    (graph, target).hash(&mut hasher);
    hasher.finish()
}

/// Bytes of code, of its text, which the report has as well, and of the graph.
fn size(graph: &Graph, program: &Program) -> usize {
    let code = |code: &Code| {
        let streaming = code.streaming.as_ref().map_or(0, |streaming| streaming.bytes.len());
        code.bytes.len() + 2 * code.listing.len() + streaming
    };
    let codes: usize = program.codes.iter().map(code).sum();
    codes + graph.nodes().len() * size_of::<(Node, Provenance)>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Costs;
    use crate::rewrite::{Rules, Tier, composite, rule, traced};
    use evenkeel_ir::op::{Subgraph, UnaryMethods};
    use evenkeel_ir::{DType, GraphBuilder, Op, Place, TensorType, parse};

    const TEXT: &str = "x = input f32[N,8]\ny = add (exp x) x\nreturn y";

    fn graph(text: &str) -> Graph {
        parse(text, "memo.ek").unwrap()
    }

    /// True where a compilation after that of [`TEXT`] is remembered.
    fn found(graph: &Graph, target: &Target, options: &Options) -> bool {
        let memo = Memo::new(4, 1 << 20);
        memo.compile(&self::graph(TEXT), &Target::BASELINE, &Options::default()).unwrap();
        let again = memo.compile(graph, target, options).unwrap();
        let fresh = evenkeel_compiler::compile(graph, target, options).unwrap();
        assert_eq!(again.program, fresh.program);
        assert_eq!(again.report.to_string(), fresh.report.to_string());
        again.report.stages.len() == 1
    }

    #[test]
    fn the_same_is_found_and_gives_the_same_program() {
        assert!(found(&graph(TEXT), &Target::BASELINE, &Options::default()));
    }

    #[test]
    fn whatever_changes_a_program_or_a_report_is_not_the_same() {
        for text in [
            "x = input f32[N,9]\ny = add (exp x) x\nreturn y",
            "a = input f32[N,8]\ny = add (exp a) a\nreturn y",
            "x = input f32[N,8]\nz = add (exp x) x\nreturn z",
            "x = input f32[N,8]\ny = add (exp x) 1.0\nreturn y",
            "# a line before\nx = input f32[N,8]\ny = add (exp x) x\nreturn y",
        ] {
            assert!(!found(&graph(text), &Target::BASELINE, &Options::default()), "{text}");
        }
        let target = Target { threads: 2, ..Target::BASELINE };
        assert!(!found(&graph(TEXT), &target, &Options::default()));
    }

    #[test]
    fn a_function_called_from_the_same_line_may_be_written_elsewhere() {
        let at = |line| {
            let place = Place { file: "model.rs", line, column: 1 };
            let mut b = GraphBuilder::new();
            let x = b.input("x", TensorType::scalar(DType::F32));
            b.set_provenance(Provenance { place: Some(place), path: None });
            let y = b.exp(x);
            let callee = Subgraph(Arc::new(b.finish([("y".to_string(), y)])));
            let mut b = GraphBuilder::new();
            let x = b.input("x", TensorType::scalar(DType::F32));
            let y = b.op(Op::Call(callee), &[x]);
            b.finish([("y".to_string(), y)])
        };
        assert!(at(1) == at(2) && at(1).is_same_source(&at(1)) && !at(1).is_same_source(&at(2)));
    }

    #[test]
    fn other_options_are_not_the_same() {
        const DOUBLED: crate::rewrite::Rule =
            rule("doubled", "(add ?x ?x)", "(mul 2 ?x)").example("(add x x)").fails_when("(add x g)");
        let own = composite("own", &[("x", &[4, 8])], traced(|v| vec![v[0] * v[0].tanh()]))
            .example("(mul (tanh x) x)")
            .fails_when("(mul (tanh x) (exp x))");
        let rules = Rules::standard();
        let default = Options::default;
        for options in [
            Options { fuse: false, ..default() },
            Options { rewrite: false, ..default() },
            Options { float: Tier::Exact, ..default() },
            Options { costs: Costs { step_micros: 0.0, ..Costs::REFERENCE }, ..default() },
            Options { taps: vec![0], ..default() },
            Options { updates: vec![(0, 0)], ..default() },
            Options { rules: rules.with(&[DOUBLED]).unwrap(), ..default() },
            Options { rules: rules.with_composites(&[own]).unwrap(), ..default() },
        ] {
            assert!(!found(&graph(TEXT), &Target::BASELINE, &options), "{options:?}");
        }
        let [first, second] = [(); 2].map(|()| rules.with(&[DOUBLED]).unwrap());
        assert!(first == second, "the same rows, checked twice");
    }

    /// Which of these graphs are remembered, tried from the last to the first.
    fn remembered(memo: &Memo, texts: &[String]) -> Vec<bool> {
        let stages = |text: &String| {
            let compiled = memo.compile(&graph(text), &Target::BASELINE, &Options::default());
            compiled.unwrap().report.stages.len()
        };
        texts.iter().map(|text| stages(text) == 1).collect()
    }

    #[test]
    fn the_least_recently_used_is_forgotten_first() {
        let texts: Vec<String> = (1..=4).map(|n| format!("x = input f32[{n}]\nreturn y=exp x")).collect();
        let memo = Memo::new(3, 1 << 20);
        assert_eq!(remembered(&memo, &texts[..3]), [false; 3]);
        assert_eq!(remembered(&memo, &texts[..1]), [true], "used again");
        assert_eq!(remembered(&memo, &texts[3..]), [false], "the second makes room");
        assert_eq!(remembered(&memo, &[&texts[..1], &texts[2..]].concat()), [true; 3]);
        assert_eq!(remembered(&memo, &texts[1..2]), [false]);
    }

    #[test]
    fn large_code_makes_room_by_size_and_none_that_is_too_large_stays() {
        let texts = ["exp x", "tanh x", "erf x"].map(|f| format!("x = input f32[N]\nreturn y={f}"));
        let sizes = texts.each_ref().map(|text| {
            let graph = graph(text);
            let compiled = evenkeel_compiler::compile(&graph, &Target::BASELINE, &Options::default());
            size(&graph, &compiled.unwrap().program)
        });
        let memo = Memo::new(9, sizes[1] + sizes[2]);
        assert_eq!(remembered(&memo, &texts), [false; 3]);
        assert_eq!(remembered(&memo, &texts[1..]), [true; 2]);
        let memo = Memo::new(9, sizes[0]);
        let [first, second, _] = texts;
        assert!(sizes[1] > sizes[0], "{sizes:?}");
        assert_eq!(remembered(&memo, &[first.clone(), second, first]), [false, false, true]);
    }
}
