//! What a compilation did, for `explain` and `bench`.

use std::fmt;
use std::time::Duration;

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
    /// The kernels, in order of launch.
    pub kernels: Vec<KernelReport>,
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

    /// The timings as one line.
    pub fn timings(&self) -> String {
        let part = |(name, time): &(&str, Duration)| format!("{name} {:.2} ms", time.as_secs_f64() * 1e3);
        self.stages.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.recognized.is_empty() {
            writeln!(f, "recognized:")?;
            self.recognized.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        writeln!(
            f,
            "steps: {} kernels, {} products, {} combine steps, {} copies or fills",
            self.kernels.len(),
            self.products,
            self.combines,
            self.others
        )?;
        for kernel in &self.kernels {
            write!(
                f,
                "  {}: {}, phases {}, reads {}, writes {}, fuses {} ops",
                kernel.name,
                kernel.space,
                kernel.phases,
                kernel.reads,
                kernel.writes,
                kernel.ops.len()
            )?;
            match &kernel.epilogue_of {
                Some(product) => writeln!(f, ", on panels of {product}")?,
                None => writeln!(f)?,
            }
        }
        if !self.refusals.is_empty() {
            writeln!(f, "not fused:")?;
            self.refusals.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        Ok(())
    }
}
