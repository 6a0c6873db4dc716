//! What a compilation did, for `explain` and `bench`.

use evenkeel_ir::Extent;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A number of bytes that may depend on the batch size: a polynomial in `N`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(BTreeMap<u8, u64>);

impl Bytes {
    /// Adds the bytes of one more tensor.
    pub fn add(&mut self, extent: Extent) {
        if extent.scale > 0 {
            *self.0.entry(extent.power).or_default() += extent.scale;
        }
    }

    /// Adds as many bytes.
    pub fn extend(&mut self, other: &Bytes) {
        other.0.iter().for_each(|(&power, &scale)| self.add(Extent { scale, power }));
    }

    /// The number for a batch size.
    pub fn at(&self, batch: u64) -> u64 {
        self.0.iter().map(|(&power, &scale)| Extent { scale, power }.at(batch)).sum()
    }
}

impl fmt::Display for Bytes {
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
    pub bytes: Bytes,
    /// Names of the fused ops.
    pub ops: Vec<String>,
    /// The product on whose panels it runs.
    pub epilogue_of: Option<String>,
    /// Bytes of machine code.
    pub code_bytes: usize,
    /// The kernel as text.
    pub listing: String,
}

/// What a compilation did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Time per stage, in order.
    pub stages: Vec<(&'static str, Duration)>,
    /// What was recognized, one line each.
    pub recognized: Vec<String>,
    /// Folds that were asked for and happened, one line each.
    pub folded: Vec<String>,
    /// Folds that nearly matched, and which side condition failed.
    pub not_folded: Vec<String>,
    /// What normalization makes of parameters.
    pub lints: Vec<String>,
    /// Scopes that became cheaper, one line each.
    pub simplified: Vec<String>,
    /// The kernels, in order of launch.
    pub kernels: Vec<KernelReport>,
    /// Bytes that the kernels' ops would read and write one by one.
    pub unfused_bytes: Bytes,
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
    pub fn bytes(&self) -> Bytes {
        let mut sum = Bytes::default();
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
        write_list(f, "simplified", &self.simplified)?;
        write_list(f, "folded", &self.folded)?;
        write_list(f, "not folded", &self.not_folded)?;
        write_list(f, "lints", &self.lints)
    }

    fn write_totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { products, combines, others, .. } = self;
        let kernels = self.kernels.len();
        writeln!(
            f,
            "steps: {kernels} kernels, {products} products, {combines} combine steps, {others} copies or fills"
        )?;
        if kernels > 0 {
            writeln!(f, "bytes of kernels: {}, op by op {}", self.bytes(), self.unfused_bytes)?;
        }
        Ok(())
    }
}

/// A title and one line per entry; nothing for no entries.
fn write_list(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if !lines.is_empty() {
        writeln!(f, "{title}:")?;
    }
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}

impl fmt::Display for KernelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelReport { name, space, phases, reads, writes, bytes, .. } = self;
        write!(f, "{name}: {space}, phases {phases}, reads {reads}, writes {writes}, bytes {bytes}, ")?;
        write!(f, "fuses {} ops", self.ops.len())?;
        match &self.epilogue_of {
            Some(product) => write!(f, ", on panels of {product}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_rewrites(f)?;
        self.write_totals(f)?;
        self.kernels.iter().try_for_each(|kernel| writeln!(f, "  {kernel}"))?;
        write_list(f, "not fused", &self.refusals)
    }
}
