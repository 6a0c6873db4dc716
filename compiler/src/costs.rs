//! What work costs on a machine: the ratios by which the rewriter chooses between expressions.

use crate::error::CompileError;

/// Speeds of a machine. Only their ratios matter: how many operations per element are worth another
/// step of the program, another sweep over a row, or another value from memory.
///
/// The default is a fixed reference, so that a program does not depend on where it was compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// f32 operations per nanosecond.
    pub operations: f64,
    /// Bytes per nanosecond at which a row that is in cache is read once more.
    pub cached: f64,
    /// Rates of moving values that are not in the row at hand, the smallest level first. Beyond the
    /// last one, or without any, memory keeps up with arithmetic, which then decides.
    pub levels: Vec<Bandwidth>,
    /// Microseconds of one more step of a program, beside its work.
    pub step_micros: f64,
}

/// How fast the values of a region move if a cache level, or memory, holds them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// Bytes that the level holds; infinite for memory.
    pub holds: f64,
    /// Bytes per nanosecond, read and written together.
    pub rate: f64,
}

/// Bytes of an element. An f64 has twice as many and half the operations, so ratios are the same.
const ELEMENT: f64 = 4.0;
/// Elements of a region for which a step is weighed: what one thread takes at a time.
const ELEMENTS: f64 = 8192.0;

impl Costs {
    /// The reference: a step is worth one operation per element, a sweep 0.3, and memory keeps up.
    pub const REFERENCE: Costs =
        Costs { operations: 16.0, cached: 16.0 * ELEMENT / 0.3, levels: Vec::new(), step_micros: 0.512 };

    /// Operations per element that take as long as a step.
    pub(crate) fn step(&self) -> f64 {
        self.step_micros * 1e3 * self.operations / ELEMENTS
    }

    /// Operations per element that take as long as another sweep over the row.
    pub(crate) fn sweep(&self) -> f64 {
        self.operations * ELEMENT / self.cached
    }

    /// Operations per element that take as long as moving one of so many values.
    pub(crate) fn transfer(&self, values: f64) -> f64 {
        let level = self.levels.iter().find(|level| values * ELEMENT <= level.holds);
        level.map_or(0.0, |level| self.operations * ELEMENT / level.rate)
    }

    /// Checks that the figures are those of some machine.
    pub(crate) fn check(&self) -> Result<(), CompileError> {
        let Costs { operations, cached, ref levels, step_micros } = *self;
        let rates = levels.iter().map(|level| ("rate", level.rate, true));
        let others =
            [("operations", operations, true), ("cached", cached, true), ("step_micros", step_micros, false)];
        let fits =
            |found: f64, positive: bool| found.is_finite() && (found > 0.0 || found == 0.0 && !positive);
        let mut wrong =
            others.into_iter().chain(rates).filter(|&(_, found, positive)| !fits(found, positive));
        wrong.next().map_or(Ok(()), |(what, found, _)| Err(CompileError::Costs { what, found }))
    }
}

impl Default for Costs {
    fn default() -> Costs {
        Costs::REFERENCE
    }
}
