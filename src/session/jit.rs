//! Compiled closures: run from any thread, with parameters shared with whoever trains them.
//!
//! Invariant: a [`Jit`] never changes parameters; it holds them for reading while it runs, so
//! a training step never changes them under it.

use super::engine::{Engine, Setup, check_count, setup_methods};
use super::model::{IntoModel, Model};
use super::origin::Origin;
use super::traced::{Tracing, tapped, trace_model, tracing_methods};
use super::tree::{Tensors, Tree};
use crate::error::Error;
use crate::nn::Parameters;
use crate::trace::{Mode, Var};
use evenkeel_ir::Graph;
use evenkeel_runtime::{Argument, Tensor};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A closure over a model and tensors, to be compiled.
///
/// `model` is a model, a reference to one (its values are copied), or a [`Model`] handle, whose
/// parameters are then shared: a step that trains them changes what the compiled closure gives.
///
/// Plain Rust numbers that the closure captures are constants of the compiled function.
pub fn jit<M, A, R, F>(model: impl IntoModel<M>, function: F) -> JitBuilder<M, A, F>
where
    M: Parameters,
    F: Fn(&M, A) -> R,
{
    JitBuilder {
        model: model.into_model(),
        function,
        setup: Setup::default(),
        tracing: Tracing::new(Mode::Eval),
        seed: 0,
        arguments: PhantomData,
    }
}

/// What [`jit`] gives; [`compile`](JitBuilder::compile) ends it.
pub struct JitBuilder<M, A, F> {
    model: Model<M>,
    function: F,
    setup: Setup,
    tracing: Tracing,
    seed: i64,
    arguments: PhantomData<fn(A)>,
}

impl<M: Parameters, A, F> JitBuilder<M, A, F> {
    setup_methods!(setup);
    tracing_methods!(
        tracing,
        "Folds and moves normalizations by these rows, such as [`Fold::safe`](super::Fold::safe); none by \
         default. Parameters stay what they are: what folds make of them is computed on each call. To \
         compute it once, see [`optimize_for_inference`](super::optimize_for_inference)."
    );

    /// Seed of random ops; 0 by default.
    pub fn seed(mut self, seed: i64) -> Self {
        self.seed = seed;
        self
    }

    /// Behave as in training or as in use, the default. State that the model sets is dropped
    /// either way.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.tracing.mode = mode;
        self
    }

    /// Traces and compiles for tensors like those of the example, whose leading axis may vary.
    ///
    /// # Errors
    /// Mistakes of the closure, with their places; types that the device does not execute.
    #[track_caller]
    pub fn compile<R>(self, example: &A::With<Tensor>) -> Result<Jit<M, R::With<usize>>, Error>
    where
        A: Tree<Leaf = Var>,
        A::With<Tensor>: Tree<Leaf = Tensor, With<Var> = A>,
        R: Tree<Leaf = Var>,
        F: Fn(&M, A) -> R,
    {
        let Closed { graph, origin, layout } =
            close(&self.model, &self.function, &self.tracing, &self.setup, example)?;
        Jit::compile(self.model, graph, &origin, layout, self.seed, &self.setup)
    }
}

/// A closure over a model as a folded graph. `L` is the tree of its results.
pub(super) struct Closed<L> {
    pub(super) graph: Graph,
    pub(super) origin: Origin,
    pub(super) layout: L,
}

/// Traces and folds a closure; new state is dropped.
#[track_caller]
pub(super) fn close<M, A, R>(
    model: &Model<M>,
    function: impl Fn(&M, A) -> R,
    how: &Tracing,
    setup: &Setup,
    example: &A::With<Tensor>,
) -> Result<Closed<R::With<usize>>, Error>
where
    M: Parameters,
    A: Tree<Leaf = Var>,
    A::With<Tensor>: Tree<Leaf = Tensor, With<Var> = A>,
    R: Tree<Leaf = Var>,
{
    let mut layout = None;
    let numbered = |model: &M, arguments: A| {
        let (places, vars) = numbered(&function(model, arguments));
        layout = Some(places);
        vars
    };
    let traced = trace_model(model, how, setup, example, numbered)?;
    let layout = layout.expect("the closure has run");
    let reported: Vec<usize> = (0..traced.reported).collect();
    let graph = super::derive::select_outputs(&traced.graph, &reported);
    let mut origin = traced.origin;
    let graph = origin.fold(&graph, traced.trained.len(), &how.folds)?;
    Ok(Closed { graph, origin, layout })
}

/// Results named by position, and the tree of their positions.
fn numbered<R: Tree<Leaf = Var>>(results: &R) -> (R::With<usize>, Vec<(String, Var)>) {
    let mut vars = Vec::new();
    let places = results.map(&mut |&var| {
        vars.push((format!("output.{}", vars.len()), var));
        vars.len() - 1
    });
    (places, vars)
}

/// A compiled closure. `L` is the tree of its results.
pub struct Jit<M, L> {
    model: Model<M>,
    engine: Engine,
    graph: Graph,
    layout: L,
    seed: Tensor,
}

impl<M: Parameters, L: Tree<Leaf = usize>> Jit<M, L> {
    /// Compiles a graph whose inputs are leaves of the model, seed, arguments.
    pub(super) fn compile(
        model: Model<M>,
        graph: Graph,
        origin: &Origin,
        layout: L,
        seed: i64,
        setup: &Setup,
    ) -> Result<Jit<M, L>, Error> {
        let engine = Engine::compile(&graph, origin, &[], setup)?;
        Ok(Jit { model, engine, graph, layout, seed: Tensor::scalar(seed) })
    }

    /// Runs on tensors like those of the example; the leading axis may differ.
    ///
    /// # Errors
    /// Tensors of other types.
    pub fn run(&self, arguments: impl Tensors) -> Result<L::With<Tensor>, Error> {
        Ok(self.run_tapped(arguments)?.0)
    }

    /// As [`run`](Jit::run), with the values of [`Var::tap`] by name; a name that the closure uses
    /// again ends in `.1`, `.2`, ...
    ///
    /// # Errors
    /// As [`run`](Jit::run).
    ///
    /// # Examples
    /// ```
    /// use evenkeel::prelude::*;
    ///
    /// let x = Tensor::from_vec(&[2], [1f32, 2.0])?;
    /// let f = jit((), |_: &(), x: Var| x.square().tap("square").sum_all()).compile(&x)?;
    /// let (sum, taps) = f.run_tapped(&x)?;
    /// assert_eq!((sum.item()?, taps["square"].to_f64s()), (5.0, vec![1.0, 4.0]));
    /// # Ok::<(), evenkeel::Error>(())
    /// ```
    pub fn run_tapped(
        &self,
        arguments: impl Tensors,
    ) -> Result<(L::With<Tensor>, BTreeMap<String, Tensor>), Error> {
        let mut outputs = Vec::new();
        {
            let leaves = self.model.read();
            let mut all: Vec<Argument<'_>> = leaves.iter().chain([&self.seed]).map(Argument::In).collect();
            let own = all.len();
            arguments.visit(&mut |tensor| all.push(Argument::In(tensor)));
            check_count(&self.graph, own, 0, all.len())?;
            self.engine.run(&mut all, &mut outputs, None)?;
        }
        let mut outputs: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
        let mut take = |place: usize| outputs[place].take().expect("each result is used once");
        let results = self.layout.map(&mut |&place| take(place));
        let named = self.graph.outputs().iter().enumerate();
        let taps = named.filter_map(|(place, (name, _))| Some((tapped(name)?.to_string(), take(place))));
        Ok((results, taps.collect()))
    }

    /// The handle of the model.
    pub fn model(&self) -> Model<M> {
        self.model.clone()
    }

    /// What the compiler made of the closure.
    pub fn explain(&self) -> String {
        self.engine.explain(&self.graph)
    }

    /// What the compiler did, with times per stage; nothing for the interpreter.
    pub fn report(&self) -> Option<&evenkeel_compiler::Report> {
        self.engine.report()
    }

    /// The closure as a graph: its inputs are the model's leaves, the seed and the arguments.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}
