//! From a closure to a [`Forward`] graph: the one place that drives a trace.
//!
//! Invariant: inputs of the graph are the model's leaves by field path, `seed`, and the closure's
//! tensors as `input.0`, `input.1`, ...; outputs are what the closure reports, taps, new state.

use super::engine::Setup;
use super::functional::Function;
use super::model::Model;
use super::origin::Origin;
use super::tree::Tree;
use crate::error::Error;
use crate::nn::{FieldPath, Parameters};
use crate::trace::{self, Mode, Var};
use evenkeel_compiler::fold::Fold;
use evenkeel_ir::{DType, EvalError, Extent, Graph, Place, TensorType};
use evenkeel_runtime::Tensor;
use std::time::Instant;

/// How a closure over a model is traced.
pub(crate) struct Tracing {
    pub(crate) mode: Mode,
    /// An axis 0 as long as that of the first tensor is the batch axis, whose length the compiled
    /// function learns when it runs.
    pub(crate) symbolic: bool,
    /// Folds that follow.
    pub(crate) folds: Vec<&'static Fold>,
}

impl Tracing {
    /// With a batch axis, without folds.
    pub(crate) fn new(mode: Mode) -> Tracing {
        Tracing { mode, symbolic: true, folds: Vec::new() }
    }
}

/// The methods of a builder that change its [`Tracing`], which is at `self.$tracing`, with what is to
/// be said of folds.
macro_rules! tracing_methods {
    ($($tracing:ident).+, $folds:literal) => {
        /// Compiles for the sizes of the example only, its leading axis included.
        pub fn fixed_batch(mut self) -> Self {
            self.$($tracing).+.symbolic = false;
            self
        }

        #[doc = $folds]
        pub fn folds(mut self, rows: &[&'static evenkeel_compiler::fold::Fold]) -> Self {
            self.$($tracing).+.folds = rows.to_vec();
            self
        }
    };
}
pub(crate) use tracing_methods;

/// A traced closure and what its inputs and outputs are.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    /// The traced graph, in terms of named ops.
    pub(crate) graph: Graph,
    /// How it came about.
    pub(crate) origin: Origin,
    /// For each leaf of the model (the graph's first inputs): is it trained?
    pub(crate) trained: Vec<bool>,
    /// How many of the first outputs are reported.
    pub(crate) reported: usize,
    /// For each output after those, the leaf whose new value it is.
    pub(crate) states: Vec<usize>,
    /// For each of the last outputs, a result of a function whose backward pass updates states,
    /// the leaves that it updates.
    pub(crate) reverse_updates: Vec<Vec<usize>>,
}

/// Name of a tapped value among the outputs.
pub(crate) fn tap_name(name: &str) -> String {
    format!("tap.{name}")
}

/// The name of a tapped value, if an output is one.
pub(crate) fn tapped(output: &str) -> Option<&str> {
    output.strip_prefix("tap.")
}

/// Traces a closure over a model, which names what is reported; folds are left to the caller.
#[track_caller]
pub(crate) fn trace_model<M, A>(
    model: &Model<M>,
    how: &Tracing,
    setup: &Setup,
    example: &A::With<Tensor>,
    function: impl FnOnce(&M, A) -> Vec<(String, Var)>,
) -> Result<Forward, Error>
where
    M: Parameters,
    A: Tree<Leaf = Var>,
    A::With<Tensor>: Tree<Leaf = Tensor, With<Var> = A>,
{
    let mut origin = Origin::default();
    let clock = Instant::now();
    let tracing = trace::start(how.mode);
    let leaves = model.leaves();
    bind(model);
    tracing.seed(trace::input("seed", TensorType::scalar(DType::I64)));
    let mut inputs = Inputs { batch: None, symbolic: how.symbolic, count: 0, place: Place::caller() };
    let arguments: A = example.map(&mut |tensor| inputs.declare(tensor));
    let mut outputs = function(model.structure(), arguments);
    outputs.extend(tracing.taps().into_iter().map(|(name, var)| (tap_name(&name), var)));
    let reported = outputs.len();
    let mut states = Vec::new();
    let functions = tracing.reverse_updates();
    let mut updates: Vec<Vec<(usize, usize)>> = vec![Vec::new(); functions.len()];
    let mut place = 0;
    model.structure().visit(&mut FieldPath::root(), &mut |path, leaf| {
        if let Some(new) = tracing.new_state(leaf) {
            states.push(place);
            outputs.push((format!("new.{path}"), new));
        }
        if let Some((function, position)) = tracing.reverse_update(leaf) {
            updates[function].push((position, place));
        }
        place += 1;
    });
    outputs.extend(functions.into_iter().enumerate().map(|(i, var)| (format!("reverse.{i}"), var)));
    let graph = tracing.finish(outputs)?;
    origin.took("trace", clock.elapsed());
    let graph = origin.recognize(&graph, setup)?;
    Ok(Forward {
        graph,
        origin,
        trained: leaves.into_iter().map(|(_, trained)| trained).collect(),
        reported,
        states,
        reverse_updates: updates.into_iter().map(in_order).collect(),
    })
}

/// Leaves by the position of their state.
fn in_order(mut leaves: Vec<(usize, usize)>) -> Vec<usize> {
    leaves.sort_unstable();
    leaves.into_iter().map(|(_, leaf)| leaf).collect()
}

/// Declares the leaves of a model as inputs.
#[track_caller]
fn bind<M: Parameters>(model: &Model<M>) {
    let place = Place::caller();
    let values = model.read();
    let mut types = values.iter().map(Tensor::ty);
    model.structure().visit(&mut FieldPath::root(), &mut |path, leaf| {
        let ty = types.next().expect("one value per leaf");
        trace::bind(leaf, trace::input_at(path.as_str(), ty, place));
    });
}

/// The tensors of a closure, as they are declared.
struct Inputs {
    /// Length of the batch axis.
    batch: Option<usize>,
    symbolic: bool,
    count: usize,
    place: Place,
}

impl Inputs {
    fn declare(&mut self, tensor: &Tensor) -> Var {
        let mut ty = tensor.ty();
        if let (Some(&rows), true) = (tensor.sizes().first(), self.symbolic)
            && *self.batch.get_or_insert(rows) == rows
        {
            ty.shape.0[0] = Extent::BATCH;
        }
        self.count += 1;
        trace::input_at(&format!("input.{}", self.count - 1), ty, self.place)
    }
}

/// Traces a closure without a model, for values of these types. Inputs are the seed and the
/// closure's values. Within another trace (`nested`) the closure must not draw random numbers.
#[track_caller]
pub(crate) fn trace_function<A, F: Function<A>>(
    function: &F,
    types: &[TensorType],
    nested: bool,
    setup: &Setup,
) -> Result<(Graph, Origin), Error> {
    if types.len() != F::ARGUMENTS {
        return Err(EvalError::Count { expected: F::ARGUMENTS, found: types.len() }.into());
    }
    let mut origin = Origin::default();
    let clock = Instant::now();
    let tracing = trace::start(trace::mode());
    let seed = trace::input("seed", TensorType::scalar(DType::I64));
    if !nested {
        tracing.seed(seed);
    }
    let place = Place::caller();
    let declare = |(i, ty): (usize, &TensorType)| trace::input_at(&format!("input.{i}"), ty.clone(), place);
    let arguments: Vec<Var> = types.iter().enumerate().map(declare).collect();
    let mut results = Vec::new();
    function.call(&arguments).map(&mut |&var| {
        results.push((format!("output.{}", results.len()), var));
        results.len()
    });
    let graph = tracing.finish(results)?;
    origin.took("trace", clock.elapsed());
    let graph = origin.recognize(&graph, setup)?;
    Ok((graph, origin))
}
