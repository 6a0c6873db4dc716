//! From a model, an optimizer and a loss to a compiled [`Step`].

use super::resume;
use super::step::{Pace, Scratch, Step};
use super::update::{GRADIENT_NORM, LOSS, NONFINITE, STEP, slot_name, step_graph};
use crate::error::Error;
use crate::nn::{FieldPath, LeafRef, Parameters};
use crate::optim::{Optimizer, Schedule};
use crate::session::engine::{Engine, Setup, setup_methods};
use crate::session::traced::{Tracing, trace_model, tracing_methods};
use crate::session::{IntoModel, Model, Tree, select_outputs};
use crate::trace::{self, Fault, Mode, Var};
use evenkeel_ir::Place;
use evenkeel_runtime::Tensor;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Mutex;

/// Values that a step reports beside its loss, by name; see [`metrics!`](crate::metrics).
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub Vec<(&'static str, Var)>);

/// Names values that a training step reports: `metrics! { accuracy: correct.mean_all() }`.
#[macro_export]
macro_rules! metrics {
    ($($name:ident: $value:expr),* $(,)?) => {
        $crate::train::Metrics(vec![$((stringify!($name), $value)),*])
    };
}

/// What the closure of a training step gives: a loss, or a loss and metrics.
pub trait Objective {
    /// The loss, a scalar, and what else is reported.
    fn parts(self) -> (Var, Metrics);
}

impl Objective for Var {
    fn parts(self) -> (Var, Metrics) {
        (self, Metrics::default())
    }
}

impl Objective for (Var, Metrics) {
    fn parts(self) -> (Var, Metrics) {
        self
    }
}

/// A training step over a model and batches, to be compiled.
///
/// `loss` gets the model and the batch as traced values and gives a scalar loss, alone or with
/// `metrics!`. The learning rate and the seed are inputs of the compiled step; every other Rust
/// number that the closure captures is a constant of it.
pub fn train_step<M, A, R, O, F>(model: impl IntoModel<M>, optimizer: O, loss: F) -> TrainStep<M, A, O, F>
where
    M: Parameters,
    O: Optimizer,
    R: Objective,
    F: Fn(&M, A) -> R,
{
    TrainStep {
        model: model.into_model(),
        optimizer,
        loss,
        setup: Setup::default(),
        seed: 0,
        clip_norm: None,
        schedule: Schedule::Constant,
        tracing: Tracing::new(Mode::Train),
        batch: PhantomData,
    }
}

/// What [`train_step`] gives; [`compile`](TrainStep::compile) ends it.
pub struct TrainStep<M, A, O, F> {
    model: Model<M>,
    optimizer: O,
    loss: F,
    setup: Setup,
    seed: i64,
    clip_norm: Option<f64>,
    schedule: Schedule,
    tracing: Tracing,
    batch: PhantomData<fn(A)>,
}

impl<M: Parameters, A, O: Optimizer, F> TrainStep<M, A, O, F> {
    setup_methods!(setup);
    tracing_methods!(
        tracing,
        "Folds and moves normalizations by these rows, such as [`Fold::safe`](crate::session::Fold::safe), \
         before the step is differentiated; none by default. What folds make of parameters is a function \
         of them, so parameters, their gradients and checkpoints stay the same; a step computes it once \
         more, so folds pay where a batch has more rows than the weights."
    );

    /// Seed of random ops, such as dropout; each step derives its own from it. 0 by default.
    pub fn seed(mut self, seed: i64) -> Self {
        self.seed = seed;
        self
    }

    /// Scales gradients so that the norm of all together is at most `limit`:
    /// `g' = g * limit / max(norm, limit)`.
    pub fn clip_norm(mut self, limit: f64) -> Self {
        self.clip_norm = Some(limit);
        self
    }

    /// How the learning rate changes from step to step; constant by default.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Behave as in training, the default, or as in use (for training with frozen statistics).
    pub fn mode(mut self, mode: Mode) -> Self {
        self.tracing.mode = mode;
        self
    }

    /// Traces, differentiates and compiles for batches like the example, whose leading axis may
    /// vary.
    ///
    /// # Errors
    /// Mistakes of the closure, with their places; a loss that is not one float; an op without a
    /// derivative between a parameter and the loss; types that the device does not execute; a
    /// learning rate or a clipping norm that is not finite; a leaf whose field path is the name of
    /// something else in a checkpoint, such as `optimizer.step`.
    #[track_caller]
    pub fn compile<R>(self, example: &A::With<Tensor>) -> Result<Step<M>, Error>
    where
        A: Tree<Leaf = Var>,
        A::With<Tensor>: Tree<Leaf = Tensor, With<Var> = A>,
        R: Objective,
        F: Fn(&M, A) -> R,
    {
        let place = Place::caller();
        self.check_settings()?;
        let reported = |model: &M, batch: A| {
            self.check_names(model, place);
            let (loss, Metrics(metrics)) = (self.loss)(model, batch).parts();
            for (name, _) in metrics.iter().filter(|(name, _)| [NONFINITE, GRADIENT_NORM].contains(name)) {
                trace::fault(Fault::Name { what: "results", name: name.to_string() }, place);
            }
            let named = metrics.into_iter().map(|(name, var)| (name.to_string(), var));
            std::iter::once((LOSS.to_string(), loss)).chain(named).collect()
        };
        let mut forward = trace_model(&self.model, &self.tracing, &self.setup, example, reported)?;
        let found = forward.graph.ty(forward.graph.outputs()[0].1);
        if found.rank() > 0 || !found.dtype.is_float() {
            return Err(Error::Loss { found: found.clone() });
        }
        let mut origin = std::mem::take(&mut forward.origin);
        let trained: Vec<usize> = (0..forward.trained.len()).filter(|&leaf| forward.trained[leaf]).collect();
        origin.lint(&select_outputs(&forward.graph, &[0]), &trained, self.optimizer.decays());
        forward.graph = origin.fold(&forward.graph, forward.trained.len(), &self.tracing.folds)?;
        let source = origin.stage("grad", || step_graph(&forward, &self.optimizer, self.clip_norm))?;
        let engine = Engine::compile(&source.graph, &origin, &source.updates, &self.setup)?;
        let kept = &source.graph.inputs()[forward.trained.len()..source.replaced.len()];
        let optimizer =
            kept.iter().map(|input| Tensor::zeros(input.ty.dtype, &input.ty.shape.at(1))).collect();
        let (schedule, learning_rate) = (self.schedule, self.optimizer.learning_rate());
        let pace = Pace { schedule, learning_rate, seed: self.seed, step: 0 };
        let scratch = Scratch::new(&source);
        Ok(Step { model: self.model, optimizer, pace, engine, source, scratch, saved: Mutex::default() })
    }

    /// Records a fault for a leaf that would be saved under the name of something else.
    fn check_names(&self, model: &M, place: Place) {
        let mut taken: HashSet<String> = [STEP, resume::STEP, resume::SEED].map(String::from).into();
        let mut leaves = Vec::new();
        model.visit(&mut FieldPath::root(), &mut |path, leaf| {
            if matches!(leaf, LeafRef::Param(_)) {
                taken.extend(self.optimizer.slots().iter().map(|slot| slot_name(slot, path.as_str())));
            }
            leaves.push(path.to_string());
        });
        for name in leaves.into_iter().filter(|name| taken.contains(name)) {
            trace::fault(Fault::Name { what: "tensors of a checkpoint", name }, place);
        }
    }

    fn check_settings(&self) -> Result<(), Error> {
        check_setting("learning rate", self.optimizer.learning_rate(), false)?;
        self.clip_norm.map_or(Ok(()), |limit| check_setting("clip_norm", limit, true))
    }
}

/// Checks a number that training works with.
pub(super) fn check_setting(what: &'static str, found: f64, positive: bool) -> Result<(), Error> {
    let fits = (found as f32).is_finite() && if positive { found > 0.0 } else { found >= 0.0 };
    if fits { Ok(()) } else { Err(Error::Setting { what, positive, found }) }
}
