//! Derivatives of closures over traced values: [`grad`], [`value_and_grad`], [`vjp`], [`jvp`].
//!
//! Each gives a [`Derivative`], which runs on tensors and compiles itself for their types.

use super::derive::{grad_graph, jvp_graph, select_outputs, vjp_graph};
use super::engine::{Setup, setup_methods};
use super::jit::Jit;
use super::model::Model;
use super::traced::trace_function;
use super::tree::{Tensors, Tree};
use crate::error::Error;
use crate::trace::{self, Var};
use evenkeel_ir::op::Subgraph;
use evenkeel_ir::{DType, Graph, Op, Place, Real, TensorType};
use evenkeel_runtime::Tensor;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

/// A closure of one to six traced values. `A` tells apart closures by their arguments; it is
/// always inferred.
pub trait Function<A> {
    /// What it gives.
    type Output: Tree<Leaf = Var>;
    /// How many arguments it takes.
    const ARGUMENTS: usize;
    /// Calls it with as many values as it takes.
    fn call(&self, arguments: &[Var]) -> Self::Output;
}

macro_rules! functions {
    ($($count:literal ($($place:literal $Var:ident)*))*) => {$(
        impl<F, R> Function<($($Var,)*)> for F
        where
            F: Fn($($Var),*) -> R,
            R: Tree<Leaf = Var>,
        {
            type Output = R;
            const ARGUMENTS: usize = $count;
            fn call(&self, arguments: &[Var]) -> R {
                self($(arguments[$place]),*)
            }
        }
    )*};
}

functions! {
    1 (0 Var)
    2 (0 Var 1 Var)
    3 (0 Var 1 Var 2 Var)
    4 (0 Var 1 Var 2 Var 3 Var)
    5 (0 Var 1 Var 2 Var 3 Var 4 Var)
    6 (0 Var 1 Var 2 Var 3 Var 4 Var 5 Var)
}

/// Turns the graph of a closure into that of its derivative, with the places of its results.
type Transform<L> = Box<dyn Fn(&Graph, usize) -> Result<(Graph, L), Error> + Send + Sync>;
type Cache<L> = Mutex<Option<(Vec<TensorType>, Arc<Jit<(), L>>)>>;

/// A derivative of a closure. It compiles itself for the types of its arguments and keeps the
/// last compilation. `L` is the tree of its results.
pub struct Derivative<A, F, L> {
    function: F,
    transform: Transform<L>,
    setup: Setup,
    cache: Cache<L>,
    arguments: PhantomData<fn(A)>,
}

impl<A, F: Function<A>, L: Tree<Leaf = usize>> Derivative<A, F, L> {
    fn new(
        function: F,
        transform: impl Fn(&Graph, usize) -> Result<(Graph, L), Error> + Send + Sync + 'static,
    ) -> Derivative<A, F, L> {
        let (transform, setup) = (Box::new(transform), Setup::default());
        Derivative { function, transform, setup, cache: Mutex::default(), arguments: PhantomData }
    }

    setup_methods!(setup);

    /// Computes it. Arguments are those of the closure; after them the cotangents of its results
    /// ([`vjp`]) or the tangents of its arguments ([`jvp`]).
    ///
    /// # Errors
    /// Mistakes of the closure, an op without a derivative, too few or too many tensors.
    #[track_caller]
    pub fn run(&self, arguments: impl Tensors) -> Result<L::With<Tensor>, Error> {
        let mut tensors: Vec<&Tensor> = Vec::new();
        arguments.visit(&mut |tensor| tensors.push(tensor));
        self.compiled(&tensors)?.run(tensors)
    }

    /// What the compiler makes of it for arguments of these types.
    ///
    /// # Errors
    /// As [`run`](Derivative::run).
    #[track_caller]
    pub fn explain(&self, arguments: impl Tensors) -> Result<String, Error> {
        let mut tensors: Vec<&Tensor> = Vec::new();
        arguments.visit(&mut |tensor| tensors.push(tensor));
        Ok(self.compiled(&tensors)?.explain())
    }

    /// Adds the derivative to the running trace, so that it can be part of a loss or be
    /// differentiated again. Values from outside must be arguments of the closure.
    ///
    /// # Errors
    /// As [`run`](Derivative::run); the faults of the running trace so far when an argument came out
    /// of one.
    #[track_caller]
    pub fn call(&self, arguments: &[Var]) -> Result<L::With<Var>, Error> {
        let place = Place::caller();
        if arguments.iter().any(|var| var.ty_at("call", place).is_none()) {
            return Err(trace::faults().into());
        }
        let own = F::ARGUMENTS.min(arguments.len());
        let types: Vec<TensorType> = arguments[..own].iter().map(|var| var.ty()).collect();
        let (graph, _) = trace_function(&self.function, &types, true, &self.setup)?;
        let (graph, layout) = (self.transform)(&graph, F::ARGUMENTS)?;
        let count = graph.outputs().len();
        // the place of the seed, which a nested closure does not read
        let mut operands = vec![trace::apply(Op::Const(Real::new(0.0), DType::I64), &[], place)];
        operands.extend(arguments);
        let first = trace::apply(Op::Call(Subgraph(Arc::new(graph))), &operands, place);
        let results = trace::results(first, count);
        Ok(layout.map(&mut |&at| results[at]))
    }

    #[track_caller]
    fn compiled(&self, tensors: &[&Tensor]) -> Result<Arc<Jit<(), L>>, Error> {
        let types: Vec<TensorType> = tensors.iter().map(|tensor| tensor.ty()).collect();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, jit)) = cache.as_ref().filter(|(known, _)| *known == types) {
            return Ok(jit.clone());
        }
        let own = F::ARGUMENTS.min(types.len());
        let (graph, mut origin) = trace_function(&self.function, &types[..own], false, &self.setup)?;
        let (graph, layout) = origin.stage("grad", || (self.transform)(&graph, F::ARGUMENTS))?;
        let jit = Arc::new(Jit::compile(Model::new(()), graph, &origin, layout, 0, &self.setup)?);
        *cache = Some((types, jit.clone()));
        Ok(jit)
    }
}

/// Chooses arguments; see [`grad`].
pub struct Gradient<A, F> {
    function: F,
    arguments: PhantomData<fn(A)>,
}

/// Chooses arguments; see [`value_and_grad`].
pub struct ValueAndGradient<A, F> {
    function: F,
    arguments: PhantomData<fn(A)>,
}

/// The gradient of a scalar function: `grad(f).wrt(0).run((x, w))?` is a tensor like `x`,
/// `grad(f).wrt((0, 1))` gives two.
pub fn grad<A, F: Function<A>>(function: F) -> Gradient<A, F> {
    Gradient { function, arguments: PhantomData }
}

/// As [`grad`], with the value: `value_and_grad(f).wrt(0).run((x, w))?` is `(f(x, w), df/dx)`.
pub fn value_and_grad<A, F: Function<A>>(function: F) -> ValueAndGradient<A, F> {
    ValueAndGradient { function, arguments: PhantomData }
}

impl<A, F: Function<A, Output = Var>> Gradient<A, F> {
    /// Differentiates with respect to arguments, by position: `0`, `(0, 2)`, `[0, 1]`.
    pub fn wrt<W>(self, wrt: W) -> Derivative<A, F, W::With<usize>>
    where
        W: Tree<Leaf = usize> + Send + Sync + 'static,
    {
        Derivative::new(self.function, move |graph, count| {
            let (graph, layout) = differentiated(graph, count, &wrt, 0)?;
            let outputs: Vec<usize> = (1..graph.outputs().len()).collect();
            Ok((select_outputs(&graph, &outputs), layout))
        })
    }
}

impl<A, F: Function<A, Output = Var>> ValueAndGradient<A, F> {
    /// Differentiates with respect to arguments, by position: `0`, `(0, 2)`, `[0, 1]`.
    pub fn wrt<W>(self, wrt: W) -> Derivative<A, F, (usize, W::With<usize>)>
    where
        W: Tree<Leaf = usize> + Send + Sync + 'static,
    {
        Derivative::new(self.function, move |graph, count| {
            let (graph, layout) = differentiated(graph, count, &wrt, 1)?;
            Ok((graph, (0, layout)))
        })
    }
}

/// The gradient graph, with results numbered from `first`.
fn differentiated<W: Tree<Leaf = usize>>(
    graph: &Graph,
    count: usize,
    wrt: &W,
    first: usize,
) -> Result<(Graph, W::With<usize>), Error> {
    let mut places = Vec::new();
    let layout = wrt.map(&mut |&argument| {
        places.push(argument);
        first + places.len() - 1
    });
    if let Some(&index) = places.iter().find(|&&place| place >= count) {
        return Err(Error::Argument { index, count });
    }
    let found = graph.ty(graph.outputs()[0].1);
    if found.rank() > 0 || !found.dtype.is_float() {
        return Err(Error::Loss { found: found.clone() });
    }
    // input 0 is the seed
    let inputs: Vec<usize> = places.iter().map(|place| place + 1).collect();
    Ok((grad_graph(graph, &inputs)?, layout))
}

/// The product of cotangents and derivatives: `vjp(f).run(((x, w), g))?` is
/// `(results, gradients)`, with one cotangent per float result and one gradient per float
/// argument, in order.
pub fn vjp<A, F: Function<A>>(function: F) -> Derivative<A, F, (Vec<usize>, Vec<usize>)> {
    Derivative::new(function, |graph, _| {
        let wrt: Vec<usize> = super::derive::float_inputs(graph);
        Ok(split(graph, vjp_graph(graph, &wrt)?))
    })
}

/// The product of derivatives and tangents: `jvp(f).run(((x, w), (dx, dw)))?` is
/// `(results, tangents)`, with one tangent per float argument and one per float result, in order.
pub fn jvp<A, F: Function<A>>(function: F) -> Derivative<A, F, (Vec<usize>, Vec<usize>)> {
    Derivative::new(function, |graph, _| {
        let wrt: Vec<usize> = super::derive::float_inputs(graph);
        Ok(split(graph, jvp_graph(graph, &wrt)?))
    })
}

/// Places of the results of the closure and of what was added to them.
fn split(before: &Graph, after: Graph) -> (Graph, (Vec<usize>, Vec<usize>)) {
    let (own, all) = (before.outputs().len(), after.outputs().len());
    (after, ((0..own).collect(), (own..all).collect()))
}
