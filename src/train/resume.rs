//! Saving and resuming a run: everything that the next step depends on.

use super::step::Step;
use crate::checkpoint::{self, CheckpointError};
use crate::nn::Parameters;
use evenkeel_runtime::Tensor;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A file that holds the state of a run, and which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedAt {
    /// The file.
    pub path: PathBuf,
    /// Steps taken then.
    pub step: u64,
}

pub(super) const STEP: &str = "train.step";
pub(super) const SEED: &str = "train.seed";

impl<M: Parameters> Step<M> {
    /// Writes the training state: model, optimizer, step count and seed. A run that resumes from
    /// it continues bit for bit as if it had not stopped, given the same batches.
    ///
    /// # Errors
    /// A file that cannot be written; an old file stays as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let progress = self.progress();
        let leaves = self.model.read();
        let tensors = leaves.iter().chain(&self.optimizer).chain(&progress);
        checkpoint::write(&path, self.names().into_iter().zip(tensors))?;
        self.note(path.as_ref());
        Ok(())
    }

    /// The last file that this run was saved to or resumed from.
    pub fn last_checkpoint(&self) -> Option<SavedAt> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, path: &Path) {
        let saved = SavedAt { path: path.into(), step: self.pace.step };
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
    }

    /// Continues from a saved training state of the same model and optimizer.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged; tensors that are missing, unexpected or of
    /// another type. Then nothing changes.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let found = checkpoint::read(&path)?;
        if let Some(&[step @ ..0]) = found.get(STEP).and_then(|step| step.as_slice::<i64>().ok()) {
            return Err(checkpoint::corrupt(path.as_ref(), format!("{STEP} is {step}")));
        }
        let mut progress = self.progress();
        let names = self.names();
        let mut leaves = self.model.write();
        let targets = leaves.iter_mut().chain(&mut self.optimizer).chain(&mut progress);
        checkpoint::fill(path.as_ref(), found, names.into_iter().zip(targets).collect(), &[])?;
        let [step, seed] = progress.map(|number| number.as_slice::<i64>().map_or(0, |number| number[0]));
        (self.pace.step, self.pace.seed) = (step as u64, seed);
        drop(leaves);
        self.note(path.as_ref());
        Ok(())
    }

    /// The host's part of the state: step count and seed.
    fn progress(&self) -> [Tensor; 2] {
        [self.pace.step as i64, self.pace.seed].map(Tensor::scalar)
    }

    /// Names of leaves, optimizer state and progress, in this order.
    fn names(&self) -> Vec<String> {
        let kept = &self.source.graph.inputs()[..self.source.replaced.len()];
        kept.iter().map(|input| input.name.clone()).chain([STEP, SEED].map(String::from)).collect()
    }
}
