//! Where a compiled function runs.

/// Where to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Machine code for this computer.
    #[default]
    Cpu,
    /// The interpreter: every value in f64, op by op, slowly. For finding mistakes.
    Interp,
}
