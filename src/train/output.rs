//! What a step reports.

use crate::error::Error;
use evenkeel_runtime::Tensor;
use std::sync::Arc;

/// The loss of a step, its metrics and the values that were tapped.
///
/// Dropping it before the next step lets that step reuse its memory.
#[derive(Clone, Debug)]
pub struct StepOutput {
    pub(super) report: Arc<Report>,
}

/// Named results of a run.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) names: Arc<[String]>,
    pub(super) values: Vec<Tensor>,
}

impl Report {
    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        let place = self.names.iter().position(|known| known == name);
        let unknown = || Error::Unknown { name: name.into(), known: self.names.to_vec() };
        place.and_then(|place| self.values.get(place)).ok_or_else(unknown)
    }
}

impl StepOutput {
    /// The loss of the batch, before the step.
    ///
    /// # Errors
    /// None in a step that was compiled: the loss is a scalar.
    pub fn loss(&self) -> Result<f64, Error> {
        Ok(self.report.tensor(super::update::LOSS)?.item()?)
    }

    /// A metric of the closure, by its name in `metrics!`.
    ///
    /// # Errors
    /// No metric of this name, or one of several elements: use [`StepOutput::tensor`].
    pub fn metric(&self, name: &str) -> Result<f64, Error> {
        Ok(self.report.tensor(name)?.item()?)
    }

    /// The value of `x.tap(name)`.
    ///
    /// # Errors
    /// No tap of this name.
    pub fn tap(&self, name: &str) -> Result<&Tensor, Error> {
        self.report.tensor(&crate::session::traced::tap_name(name))
    }

    /// A metric of any shape.
    ///
    /// # Errors
    /// No metric of this name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        self.report.tensor(name)
    }

    /// The norm of all gradients together, before clipping.
    ///
    /// # Errors
    /// None in a step that was compiled.
    pub fn gradient_norm(&self) -> Result<f64, Error> {
        Ok(self.report.tensor(super::update::GRADIENT_NORM)?.item()?)
    }
}
