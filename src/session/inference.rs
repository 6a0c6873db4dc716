//! A model folded for use: normalizations move into the weights beside them, once.
//!
//! Start at [`optimize_for_inference`]; what is folded is in `evenkeel_compiler::fold`.
//!
//! Invariant: an [`Optimized`] owns its parameters; training the source model does not change it.

use super::engine::{Setup, setup_methods};
use super::jit::{Closed, Jit, close};
use super::model::{IntoModel, Model};
use super::origin::Origin;
use super::traced::{Tracing, tracing_methods};
use super::tree::{Tensors, Tree};
use super::{Derived, Fold, Folded, Refused};
use crate::error::Error;
use crate::nn::{FieldPath, LeafMut, LeafRef, Param, Parameters};
use crate::trace::{Mode, Var};
use evenkeel_compiler::fold::hoist;
use evenkeel_ir::{Graph, Literal, eval};
use evenkeel_runtime::Tensor;
use std::fmt::Write;
use std::marker::PhantomData;

/// Folds the normalizations of a model into its parameters, for use.
///
/// The closure is traced as in use ([`Mode::Eval`]) and folded by the rows of [`Fold::safe`]:
/// BatchNorm with running statistics goes into the linear before it, gain and bias of a norm
/// into the linears after it, a Pre-LN network becomes one of RMSNorms. Everything that depends
/// on parameters only is computed once, in f64, from their current values; the results are the
/// parameters of the new model. The source model stays as it is.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
///
/// let mut rng = Rng::seed(1);
/// let model = (Linear::new(&mut rng, 4, 8), BatchNorm::new(8), Linear::new(&mut rng, 8, 2));
/// let x = Tensor::full(&[3, 4], 1f32);
/// let forward = |m: &(Linear, BatchNorm, Linear), x: Var| m.2.forward(m.1.forward(m.0.forward(x)).relu());
/// let optimized = optimize_for_inference(&model, forward).compile(&x)?;
/// let names: Vec<&str> = optimized.parameters().iter().map(|new| new.name.as_str()).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "2.weight", "2.bias"]);
/// assert_eq!(optimized.run(&x)?.sizes(), [3, 2]);
/// # Ok::<(), evenkeel::Error>(())
/// ```
pub fn optimize_for_inference<M, A, R, F>(model: impl IntoModel<M>, function: F) -> InferenceBuilder<M, A, F>
where
    M: Parameters,
    F: Fn(&M, A) -> R,
{
    InferenceBuilder {
        model: model.into_model(),
        function,
        setup: Setup::default(),
        tracing: Tracing { folds: Fold::safe(), ..Tracing::new(Mode::Eval) },
        arguments: PhantomData,
    }
}

/// What [`optimize_for_inference`] gives; [`compile`](InferenceBuilder::compile) ends it.
pub struct InferenceBuilder<M, A, F> {
    model: Model<M>,
    function: F,
    setup: Setup,
    tracing: Tracing,
    arguments: PhantomData<fn(A)>,
}

impl<M: Parameters, A, F> InferenceBuilder<M, A, F> {
    setup_methods!(setup);
    tracing_methods!(
        tracing,
        "Folds by these rows only; without any, parameters are merely computed as far as they can."
    );

    /// Traces, folds, computes the new parameters and compiles for tensors like those of the
    /// example, whose leading axis may vary.
    ///
    /// # Errors
    /// Mistakes of the closure, with their places; types that the device does not execute.
    pub fn compile<R>(self, example: &A::With<Tensor>) -> Result<Optimized<R::With<usize>>, Error>
    where
        A: Tree<Leaf = Var>,
        A::With<Tensor>: Tree<Leaf = Tensor, With<Var> = A>,
        R: Tree<Leaf = Var>,
        F: Fn(&M, A) -> R,
    {
        let Closed { graph, mut origin, layout } =
            close(&self.model, &self.function, &self.tracing, &self.setup, example)?;
        let (model, rest, parameters) = origin.stage("derive parameters", || derived(&self.model, &graph))?;
        let Origin { folded, refused, .. } = origin.clone();
        let jit = Jit::compile(Model::new(model), rest, &origin, layout, 0, &self.setup)?;
        Ok(Optimized { jit, parameters, folded, refused })
    }
}

/// The parameters that a folded graph needs, the graph of them, and where they come from.
fn derived<M: Parameters>(
    model: &Model<M>,
    graph: &Graph,
) -> Result<(FlatModel, Graph, Vec<Derived>), Error> {
    let old: Vec<Literal> = model.read().iter().map(Tensor::to_literal).collect();
    let hoisted = hoist(graph, &(0..old.len()).collect::<Vec<_>>());
    let new = eval(&hoisted.derive, &old)?;
    let named = hoisted.parameters.iter().zip(&new);
    let leaves =
        named.map(|(new, value)| (new.name.clone(), Param::new(Tensor::from_literal(value)))).collect();
    Ok((FlatModel { leaves }, hoisted.rest, hoisted.parameters))
}

/// Parameters by name, without the structure of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatModel {
    leaves: Vec<(String, Param)>,
}

impl FlatModel {
    /// The parameter with a name.
    pub fn parameter(&self, name: &str) -> Option<&Tensor> {
        self.leaves.iter().find(|(known, _)| known == name).map(|(_, param)| param.tensor())
    }
}

impl Parameters for FlatModel {
    fn visit<'a>(&'a self, path: &mut FieldPath, visitor: &mut dyn FnMut(&FieldPath, LeafRef<'a>)) {
        for (name, param) in &self.leaves {
            path.within(name, |path| visitor(path, LeafRef::Param(param)));
        }
    }

    fn visit_mut<'a>(&'a mut self, path: &mut FieldPath, visitor: &mut dyn FnMut(&FieldPath, LeafMut<'a>)) {
        for (name, param) in &mut self.leaves {
            path.within(&*name, |path| visitor(path, LeafMut::Param(param)));
        }
    }
}

/// A compiled model whose normalizations are folded into its parameters. `L` is the tree of its
/// results.
pub struct Optimized<L> {
    jit: Jit<FlatModel, L>,
    parameters: Vec<Derived>,
    folded: Vec<Folded>,
    refused: Vec<Refused>,
}

impl<L: Tree<Leaf = usize>> Optimized<L> {
    /// Runs on tensors like those of the example; the leading axis may differ.
    ///
    /// # Errors
    /// Tensors of other types.
    pub fn run(&self, arguments: impl Tensors) -> Result<L::With<Tensor>, Error> {
        self.jit.run(arguments)
    }

    /// The parameter map: for every new parameter its name, type, formula and the old parameters
    /// that it is computed from.
    pub fn parameters(&self) -> &[Derived] {
        &self.parameters
    }

    /// The new parameters; [`Model::save`] and [`Model::load`] keep them as safetensors.
    pub fn model(&self) -> Model<FlatModel> {
        self.jit.model()
    }

    /// What was folded.
    pub fn folded(&self) -> &[Folded] {
        &self.folded
    }

    /// What nearly was, and which side condition failed.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The folded closure as a graph: its inputs are the new parameters, the seed and the
    /// arguments.
    pub fn graph(&self) -> &Graph {
        self.jit.graph()
    }

    /// What the compiler did, with times per stage; nothing for the interpreter.
    pub fn report(&self) -> Option<&evenkeel_compiler::Report> {
        self.jit.report()
    }

    /// What became of the parameters, and what the compiler made of the closure.
    pub fn explain(&self) -> String {
        let mut text = String::from("parameters:\n");
        for Derived { name, ty, formula, .. } in &self.parameters {
            let _ = writeln!(text, "  {name}: {ty} = {formula}");
        }
        text + &self.jit.explain()
    }
}
