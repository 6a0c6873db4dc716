//! Functions whose derivative the user writes.

use crate::trace::{self, Fault, TraceError, Var};
use evenkeel_ir::op::{CustomVjp, Subgraph};
use evenkeel_ir::{Graph, Op, Place, TensorType};
use std::sync::Arc;

/// Applies a function with a derivative of its own in the running trace.
///
/// * `forward` maps the arguments to the result and to residuals, which are kept.
/// * `backward` maps residuals and the cotangent of the result to cotangents of the arguments,
///   in order and of the same types; it may leave out the last ones, which then get none.
///
/// Neither may use values from outside: pass them as arguments. Both are traced now; mistakes in
/// them are reported with those of the running trace. Forward mode through it is an error.
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
    let place = Place::caller();
    if arguments.iter().any(|var| var.ty_at("custom_vjp", place).is_none()) {
        return Var::POISONED;
    }
    let types: Vec<TensorType> = arguments.iter().map(|var| var.ty()).collect();
    let made = nested(&types, place, |x| {
        let (result, residuals) = forward(x);
        std::iter::once(result).chain(residuals).collect()
    })
    .and_then(|forward| {
        let outputs: Vec<TensorType> = forward.output_types().cloned().collect();
        let (result, residuals) = outputs.split_first().expect("a result");
        let kept: Vec<TensorType> = residuals.iter().chain([result]).cloned().collect();
        let backward = nested(&kept, place, |x| backward(&x[..x.len() - 1], x[x.len() - 1]))?;
        Ok((forward, backward))
    });
    match made {
        Ok((forward, backward)) => apply(arguments, &types, forward, backward, place),
        Err(TraceError { faults }) => faults
            .into_iter()
            .map(|found| trace::fault(found.fault, found.place))
            .next_back()
            .unwrap_or(Var::POISONED),
    }
}

/// Traces a closure over values of these types.
fn nested(
    types: &[TensorType],
    place: Place,
    closure: impl FnOnce(&[Var]) -> Vec<Var>,
) -> Result<Graph, TraceError> {
    let tracing = trace::start(trace::mode());
    let declare = |(i, ty): (usize, &TensorType)| trace::input(&format!("x{i}"), ty.clone());
    let inputs: Vec<Var> = types.iter().enumerate().map(declare).collect();
    let outputs = closure(&inputs);
    let named = outputs.into_iter().enumerate().map(|(i, var)| (format!("y{i}"), var));
    tracing.finish_at(named.collect(), place)
}

fn apply(arguments: &[Var], types: &[TensorType], forward: Graph, backward: Graph, place: Place) -> Var {
    let found: Vec<&TensorType> = backward.output_types().collect();
    if !found.iter().copied().eq(types.iter().take(found.len())) {
        let list = |types: &mut dyn Iterator<Item = &TensorType>| {
            types.map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ")
        };
        let expected = format!("cotangents {}", list(&mut types.iter()));
        return trace::fault(
            Fault::Expected { op: "custom_vjp", expected, found: list(&mut found.into_iter()) },
            place,
        );
    }
    let differentiable = found.len() as u32;
    let [forward, backward] = [forward, backward].map(|graph| Subgraph(Arc::new(graph)));
    let custom = CustomVjp { forward, backward, results: 1, differentiable };
    trace::apply(Op::CustomVjp(Box::new(custom)), arguments, place)
}
