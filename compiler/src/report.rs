//! What a compilation did, for `explain` and `bench`.

use crate::error::CompileError;
use crate::pipeline::Options;
use crate::rewrite::{Change, Found, Kept, NearMiss, Recognized, Tally, simplify_explained};
use evenkeel_ir::program::Program;
use evenkeel_ir::{Extent, Graph};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A number, of bytes or flops, that may depend on the batch size: a polynomial in `N`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amount(BTreeMap<u8, u64>);

impl Amount {
    /// Adds one more.
    pub fn add(&mut self, extent: Extent) {
        if extent.scale > 0 {
            *self.0.entry(extent.power).or_default() += extent.scale;
        }
    }

    /// Adds as many.
    pub fn extend(&mut self, other: &Amount) {
        other.0.iter().for_each(|(&power, &scale)| self.add(Extent { scale, power }));
    }

    /// The number for a batch size.
    pub fn at(&self, batch: u64) -> u64 {
        self.0.iter().map(|(&power, &scale)| Extent { scale, power }.at(batch)).sum()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = |(power, scale): (&u8, &u64)| match power {
            0 => scale.to_string(),
            1 => format!("{scale} N"),
            _ => format!("{scale} N^{power}"),
        };
        let terms: Vec<String> = self.0.iter().rev().map(term).collect();
        if terms.is_empty() { f.write_str("0") } else { f.write_str(&terms.join(" + ")) }
    }
}

/// One compiled kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelReport {
    /// Its name.
    pub name: String,
    /// Index space as text: rows and row.
    pub space: String,
    /// Passes over the row.
    pub phases: u32,
    /// Buffers that it reads.
    pub reads: usize,
    /// Buffers that it writes.
    pub writes: usize,
    /// Bytes of those buffers.
    pub bytes: Amount,
    /// Names of the fused ops.
    pub ops: Vec<String>,
    /// The product on whose panels it runs.
    pub panels_of: Option<String>,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// Bytes of its vectors.
    pub vector_bytes: u32,
    /// Why they are not wider, where the target has wider ones.
    pub not_wider: Vec<String>,
    /// The kernel as text.
    pub listing: String,
}

/// The memory that a program needs beside its inputs and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arena {
    /// Its size.
    pub bytes: usize,
    /// The batch size for which this is its size, where that matters.
    pub batch: Option<u64>,
}

/// The batch size for which the size of an arena is told.
const BATCH: u64 = 1024;

impl Arena {
    /// That of a program.
    pub fn of(program: &Program) -> Arena {
        let fixed = program.buffers.iter().all(|buffer| buffer.elements.known().is_some());
        Arena { bytes: program.pack(BATCH).bytes, batch: (!fixed).then_some(BATCH) }
    }
}

impl fmt::Display for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arena: {} bytes", self.bytes)?;
        self.batch.map_or(Ok(()), |batch| write!(f, " for a batch of {batch}"))
    }
}

/// What a compilation did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Time per stage, in order.
    pub stages: Vec<(&'static str, Duration)>,
    /// What was recognized: a line each, and lines of details where those were asked for.
    pub recognized: Vec<String>,
    /// Spellings that are almost named ops and what differs, where that was asked for.
    pub nearly_recognized: Vec<String>,
    /// Folds that were asked for and happened, one line each.
    pub folded: Vec<String>,
    /// Folds that nearly matched, and which side condition failed.
    pub not_folded: Vec<String>,
    /// What normalization makes of parameters.
    pub lints: Vec<String>,
    /// Scopes that became cheaper: a line each, and lines of details where those were asked for.
    pub simplified: Vec<String>,
    /// Scopes that stay as they are, where that was asked for.
    pub kept: Vec<String>,
    /// Cost of the graph as it is before each change, and of the program.
    pub costs: Vec<(&'static str, Tally)>,
    /// The kernels, in order of launch.
    pub kernels: Vec<KernelReport>,
    /// Bytes that the kernels' ops would read and write one by one.
    pub unfused_bytes: Amount,
    /// Bytes of all intermediate results at a time.
    pub arena: Arena,
    /// Number of steps that run kernels of no product.
    pub launches: usize,
    /// Number of different kernels.
    pub codes: usize,
    /// Number of matrix products.
    pub products: usize,
    /// Number of combine steps.
    pub combines: usize,
    /// Other steps: copies and zero fills.
    pub others: usize,
    /// Fusions that a reader might expect and why they did not happen.
    pub refusals: Vec<String>,
}

impl Report {
    /// Time of the whole compilation.
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|(_, time)| *time).sum()
    }

    /// Bytes that the kernels read and write.
    pub fn bytes(&self) -> Amount {
        let mut sum = Amount::default();
        self.kernels.iter().for_each(|kernel| sum.extend(&kernel.bytes));
        sum
    }

    /// The timings as one line.
    pub fn timings(&self) -> String {
        let part = |(name, time): &(&str, Duration)| format!("{name} {:.2} ms", time.as_secs_f64() * 1e3);
        self.stages.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

impl Report {
    /// The report with details of every scope of `graph`, which was compiled with these options.
    ///
    /// # Errors
    /// Bugs of the rewriter.
    pub fn explained(&self, graph: &Graph, options: &Options) -> Result<Report, CompileError> {
        let rewritten = simplify_explained(graph, options)?;
        let simplified = rewritten.scopes.iter().map(Change::to_string).collect();
        let kept = rewritten.kept.iter().map(Kept::to_string).collect();
        Ok(Report { simplified, kept, ..self.clone() })
    }

    /// Adds what recognition made of the graph that the user wrote.
    pub fn recognize(&mut self, written: &Graph, recognized: &Recognized) {
        self.costs.insert(0, ("as written, op by op", Tally::op_by_op(written)));
        self.recognized = recognized.found.iter().map(Found::to_string).collect();
        self.nearly_recognized = recognized.nearly.iter().map(NearMiss::to_string).collect();
    }

    /// The report without the kernels.
    pub fn brief(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            self.write_rewrites(f)?;
            self.write_totals(f)?;
            write_list(f, "not fused", &self.refusals)
        })
    }

    fn write_rewrites(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, "recognized", &self.recognized)?;
        write_list(f, "nearly recognized", &self.nearly_recognized)?;
        write_list(f, "simplified", &self.simplified)?;
        write_list(f, "folded", &self.folded)?;
        write_list(f, "not folded", &self.not_folded)?;
        write_list(f, "lints", &self.lints)
    }

    fn write_totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { launches, codes, products, combines, others, .. } = self;
        let kernels = self.kernels.len();
        let alone = self.kernels.iter().filter(|kernel| kernel.panels_of.is_none()).count();
        write!(f, "steps: {kernels} kernels")?;
        if *launches < alone || *codes < kernels {
            write!(f, " ({codes} different, {launches} launches)")?;
        }
        writeln!(f, ", {products} products, {combines} combine steps, {others} copies or fills")?;
        if kernels > 0 {
            writeln!(f, "bytes of kernels: {}, op by op {}", self.bytes(), self.unfused_bytes)?;
        }
        if self.arena.bytes > 0 { writeln!(f, "{}", self.arena) } else { Ok(()) }
    }
}

/// A title and the first line of every entry; nothing for no entries.
fn write_list(f: &mut fmt::Formatter<'_>, title: &str, entries: &[String]) -> fmt::Result {
    if !entries.is_empty() {
        writeln!(f, "{title}:")?;
    }
    entries.iter().try_for_each(|entry| writeln!(f, "  {}", entry.lines().next().unwrap_or_default()))
}

impl Report {
    /// Every region with details in full, those with equal details once.
    fn write_regions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages =
            [("recognized", &self.recognized), ("simplified", &self.simplified), ("kept", &self.kept)];
        let entries = stages.iter().flat_map(|(stage, entries)| entries.iter().map(move |e| (stage, e)));
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for (number, (stage, entry)) in entries.filter(|(_, e)| e.lines().count() > 1).enumerate() {
            let mut lines = entry.lines();
            writeln!(f, "region {number}, {stage}: {}", lines.next().unwrap_or_default())?;
            let own: Vec<&str> = lines.clone().skip_while(|line| !line.starts_with("before")).collect();
            let first = *known.entry(own.join("\n")).or_insert(number);
            if first != number && !own.is_empty() {
                writeln!(f, "  as region {first}")?;
                continue;
            }
            lines.try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for KernelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelReport { name, space, phases, reads, writes, bytes, .. } = self;
        write!(f, "{name}: {space}, phases {phases}, reads {reads}, writes {writes}, bytes {bytes}, ")?;
        write!(f, "fuses {} ops", self.ops.len())?;
        if let Some(product) = &self.panels_of {
            write!(f, ", on panels of {product}")?;
        }
        let bits = 8 * self.vector_bytes;
        self.not_wider.iter().try_for_each(|reason| write!(f, ", {bits}-bit vectors: {reason}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_rewrites(f)?;
        self.write_totals(f)?;
        self.kernels.iter().try_for_each(|kernel| writeln!(f, "  {kernel}"))?;
        write_list(f, "not fused", &self.refusals)?;
        self.costs.iter().try_for_each(|(what, cost)| writeln!(f, "cost, {what}: {cost}"))?;
        self.write_regions(f)
    }
}
