//! Functions whose derivative the user writes.

use crate::nn::State;
use crate::trace::{self, Fault, Located, TraceError, Var};
use evenkeel_ir::op::{CustomVjp, Subgraph};
use evenkeel_ir::{Graph, Op, Place, TensorType};
use std::sync::Arc;

/// Applies a function with a derivative of its own in the running trace.
///
/// * `forward` maps the arguments to the result and to residuals, which are kept.
/// * `backward` maps residuals and the cotangent of the result to cotangents of the arguments,
///   in order and of the same types; it may leave out the last ones, which then get none.
///
/// Neither may use values from outside: pass them as arguments. Neither may tap values: tap the
/// result. Both are traced now; mistakes in them are reported with those of the running trace. Higher orders differentiate `backward`, and
/// residuals by what computes them. Forward mode through the result is an error.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
///
/// // the identity whose cotangent is halved
/// let half = |x: Var| custom_vjp(&[x], |x| (x[0] * 1.0, vec![]), |_, g| vec![g * 0.5]);
/// let x = Tensor::scalar(3f32);
/// let g = grad(move |x: Var| half(x).square()).wrt(0).device(Device::Interp).run(&x)?;
/// assert_eq!(g.item()?, 3.0);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[track_caller]
pub fn custom_vjp(
    arguments: &[Var],
    forward: impl FnOnce(&[Var]) -> (Var, Vec<Var>),
    backward: impl FnOnce(&[Var], Var) -> Vec<Var>,
) -> Var {
    let function = Function { arguments, states: &[], place: Place::caller() };
    function.apply(|x, _| forward(x), |residuals, g, _| (backward(residuals, g), Vec::new()))
}

/// As [`custom_vjp`], with states of the model that the backward pass updates.
///
/// * `forward` also gets the values of the states.
/// * `backward` also gets the values that the states had in the forward pass, and gives, after the
///   cotangents, one new value per state, of the same type.
///
/// A training step stores the new values, as [`State::set`] does, unless it is not finite. Where
/// nothing is differentiated the states stay. A state may have one update per step.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
///
/// /// Passes on the cotangent's excess over its running mean.
/// #[derive(Clone, Parameters)]
/// struct Centered { mean: State, gain: Param }
///
/// impl Centered {
///     fn forward(&self, x: Var) -> Var {
///         let y = x * &self.gain;
///         custom_vjp_with_state(
///             &[y],
///             &[&self.mean],
///             |y, _| (y[0] * 1.0, vec![]),
///             |_, g, mean| (vec![g - mean[0]], vec![mean[0] * 0.9 + g.mean_all() * 0.1]),
///         )
///     }
/// }
///
/// let model = Centered { mean: State::zeros(&[]), gain: Param::ones(&[]) };
/// let x = Tensor::full(&[4], 1f32);
/// let mut step = train_step(model, Sgd::new(0.1), |m: &Centered, x: Var| m.forward(x).sum_all());
/// let mut step = step.compile(&x)?;
/// step.run(&x)?;
/// assert!((step.model().get().mean.tensor().item()? - 0.1).abs() < 1e-6);
/// # Ok::<(), evenkeel::Error>(())
/// ```
#[track_caller]
pub fn custom_vjp_with_state(
    arguments: &[Var],
    states: &[&State],
    forward: impl FnOnce(&[Var], &[Var]) -> (Var, Vec<Var>),
    backward: impl FnOnce(&[Var], Var, &[Var]) -> (Vec<Var>, Vec<Var>),
) -> Var {
    Function { arguments, states, place: Place::caller() }.apply(forward, backward)
}

/// What a function with a derivative of its own is applied to, and where.
struct Function<'a> {
    arguments: &'a [Var],
    states: &'a [&'a State],
    place: Place,
}

impl Function<'_> {
    fn apply(
        &self,
        forward: impl FnOnce(&[Var], &[Var]) -> (Var, Vec<Var>),
        backward: impl FnOnce(&[Var], Var, &[Var]) -> (Vec<Var>, Vec<Var>),
    ) -> Var {
        let states = self.states.iter().map(|state| trace::leaf_value((*state).into(), self.place));
        let operands: Vec<Var> = self.arguments.iter().copied().chain(states).collect();
        if operands.iter().any(|var| var.ty_at("custom_vjp", self.place).is_none()) {
            return Var::POISONED;
        }
        match self.traced(&operands, forward, backward) {
            Ok(custom) => {
                let result = trace::apply(Op::CustomVjp(Box::new(custom)), &operands, self.place);
                trace::update_states(result, self.states, self.place);
                result
            }
            Err(TraceError { faults }) => faults
                .into_iter()
                .map(|found| trace::fault(found.fault, found.place))
                .next_back()
                .unwrap_or(Var::POISONED),
        }
    }

    /// Both closures as graphs; the states follow the arguments of the one and the residuals of
    /// the other.
    fn traced(
        &self,
        operands: &[Var],
        forward: impl FnOnce(&[Var], &[Var]) -> (Var, Vec<Var>),
        backward: impl FnOnce(&[Var], Var, &[Var]) -> (Vec<Var>, Vec<Var>),
    ) -> Result<CustomVjp, TraceError> {
        let types: Vec<TensorType> = operands.iter().map(|var| var.ty()).collect();
        let (arguments, states) = types.split_at(self.arguments.len());
        let forward = nested(&types, self.place, |x| {
            let (arguments, states) = x.split_at(self.arguments.len());
            let (result, residuals) = forward(arguments, states);
            std::iter::once(result).chain(residuals).chain(states.iter().copied()).collect()
        })?;
        let outputs: Vec<TensorType> = forward.output_types().cloned().collect();
        let (result, residuals) = outputs.split_first().expect("a result");
        let kept: Vec<TensorType> = residuals.iter().chain([result]).cloned().collect();
        let mut differentiable = 0;
        let backward = nested(&kept, self.place, |x| {
            let (cotangent, residuals) = x.split_last().expect("a cotangent");
            let (residuals, states) = residuals.split_at(residuals.len() - self.states.len());
            let (cotangents, new) = backward(residuals, *cotangent, states);
            differentiable = cotangents.len();
            cotangents.into_iter().chain(new).collect()
        })?;
        let found: Vec<&TensorType> = backward.output_types().collect();
        let (cotangents, new) = found.split_at(differentiable.min(found.len()));
        self.check("cotangents", cotangents, arguments.get(..differentiable).unwrap_or(arguments))?;
        self.check("states", new, states)?;
        let [forward, backward] = [forward, backward].map(|graph| Subgraph(Arc::new(graph)));
        Ok(CustomVjp { forward, backward, results: 1, differentiable: differentiable as u32 })
    }

    /// Compares types that the backward closure gives with those it should give.
    fn check(&self, what: &str, found: &[&TensorType], expected: &[TensorType]) -> Result<(), TraceError> {
        if found.iter().copied().eq(expected) {
            return Ok(());
        }
        let list = |types: &mut dyn Iterator<Item = &TensorType>| match types
            .map(|ty| ty.to_string())
            .collect::<Vec<_>>()
        {
            types if types.is_empty() => "none".to_string(),
            types => types.join(", "),
        };
        let expected = format!("{what} {}", list(&mut expected.iter()));
        let found = list(&mut found.iter().copied());
        let fault = Fault::Expected { op: "custom_vjp", expected, found };
        Err(TraceError { faults: vec![Located { fault, place: self.place, path: None }] })
    }
}

/// Traces a closure over values of these types.
fn nested(
    types: &[TensorType],
    place: Place,
    closure: impl FnOnce(&[Var]) -> Vec<Var>,
) -> Result<Graph, TraceError> {
    let tracing = trace::start(trace::mode());
    tracing.refuse_taps("custom_vjp");
    let declare = |(i, ty): (usize, &TensorType)| trace::input(&format!("x{i}"), ty.clone());
    let inputs: Vec<Var> = types.iter().enumerate().map(declare).collect();
    let outputs = closure(&inputs);
    let named = outputs.into_iter().enumerate().map(|(i, var)| (format!("y{i}"), var));
    tracing.finish_at(named.collect(), place)
}
