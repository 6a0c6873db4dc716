//! Attributes of ops: axes, eps and its kind, divisor. Part of an op's identity.

use crate::shape::Axes;
use std::fmt;

/// An f64 that can be compared and hashed (by its bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Real(u64);

impl Real {
    /// Zero.
    pub const ZERO: Real = Real(0);

    /// Wraps a number; the two zeros become one.
    pub fn new(x: f64) -> Real {
        Real((x + 0.0).to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Where `eps` enters `1 / sqrt(v)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EpsKind {
    /// `1 / sqrt(v + eps)`
    #[default]
    Inside,
    /// `1 / (sqrt(v) + eps)`
    Outside,
    /// `1 / max(sqrt(v), eps)`
    Clamp,
}

impl EpsKind {
    /// Every kind with its name in the text form.
    pub const NAMES: [(EpsKind, &'static str); 3] =
        [(EpsKind::Inside, "inside"), (EpsKind::Outside, "outside"), (EpsKind::Clamp, "clamp")];

    /// Name in the text form.
    pub fn name(self) -> &'static str {
        EpsKind::NAMES[self as usize].1
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<EpsKind> {
        EpsKind::NAMES.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

/// Attributes of a composite op. Rows state which of them they read; the others keep
/// their defaults, so that equal ops are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attrs {
    /// The axes of the statistic.
    pub axes: Axes,
    /// Stabilizer of a division, in the unit of `eps_kind`.
    pub eps: Real,
    /// Where `eps` enters.
    pub eps_kind: EpsKind,
    /// Subtracted from the count in a variance: 0 (divide by n) or 1 (by n - 1).
    pub correction: u8,
}

impl Attrs {
    /// Attributes with these axes and defaults elsewhere (eps 0, inside, divisor n).
    pub fn over(axes: Axes) -> Attrs {
        Attrs { axes, eps: Real::new(0.0), eps_kind: EpsKind::Inside, correction: 0 }
    }

    /// The same with an `eps` of some kind.
    pub fn eps(self, eps: f64, kind: EpsKind) -> Attrs {
        Attrs { eps: Real::new(eps), eps_kind: kind, ..self }
    }

    /// The same with a variance divisor `n - correction`.
    pub fn correction(self, correction: u8) -> Attrs {
        Attrs { correction, ..self }
    }
}
