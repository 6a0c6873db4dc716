//! The embedding layer.

use super::{Module, Param, Parameters, Rng};
use crate::trace::{Var, enter};

/// Rows of a table: integer indices `[..] -> [.., width]`.
///
/// The table `[entries, width]` starts normal with deviation 1. An index outside the table
/// gives NaN, which a training step reports.
#[derive(Debug, Clone, Parameters)]
pub struct Embedding {
    /// `[entries, width]`
    pub weight: Param,
}

impl Embedding {
    /// A table.
    pub fn new(rng: &mut Rng, entries: usize, width: usize) -> Embedding {
        Embedding { weight: rng.normal(&[entries, width], 1.0) }
    }
}

impl Module for Embedding {
    #[track_caller]
    fn forward(&self, indices: Var) -> Var {
        let _module = enter(self);
        self.weight.value().gather(indices)
    }
}
