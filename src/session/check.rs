//! Comparing derivatives with differences.

use super::derive::{float_inputs, vjp_graph};
use super::engine::Setup;
use super::functional::Function;
use super::traced::trace_function;
use crate::error::Error;
use crate::session::Tensors;
use evenkeel_ir::{Data, Graph, Literal, TensorType, eval};
use evenkeel_runtime::Tensor;

/// A derivative that is not the slope of its function.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{input}, element {element}: the derivative is {derivative}, the slope is {slope}")]
pub struct GradientMismatch {
    /// Name of the input.
    pub input: String,
    /// Position of the element, row-major.
    pub element: usize,
    /// What reverse mode gives.
    pub derivative: f64,
    /// What central differences give.
    pub slope: f64,
}

/// Largest allowed error, relative to the larger of 1 and the slope.
const TOLERANCE: f64 = 1e-5;
/// Step of the differences, relative to the larger of 1 and the element.
const STEP: f64 = 1e-5;

/// Compares the gradients of a function with central differences, in f64 in the interpreter.
///
/// Every element of every float input is moved by `h = 1e-5 max(1, |x|)` both ways. Results of
/// several elements are weighted differently, so errors do not cancel. Near a kink, such as that
/// of `relu` at 0, the two differ rightly.
///
/// # Errors
/// [`GradientMismatch`] for the first element whose derivative is off by more than `1e-5`,
/// relative above 1; a function that cannot be traced or differentiated.
#[track_caller]
pub fn check_gradients<A, F: Function<A>>(f: F, inputs: impl Tensors) -> Result<(), Error> {
    let mut tensors: Vec<&Tensor> = Vec::new();
    inputs.visit(&mut |tensor| tensors.push(tensor));
    let types: Vec<TensorType> = tensors.iter().map(|tensor| tensor.ty()).collect();
    let (graph, _) = trace_function(&f, &types, false, &Setup::default())?;
    // the first input is the seed of random ops
    let seed = Tensor::scalar(0i64);
    let literals: Vec<Literal> = [&seed].iter().chain(&tensors).map(|tensor| tensor.to_literal()).collect();
    compare(&graph, &literals)
}

/// Cotangents of outputs: between 1 and 2, not all equal.
fn weights(literal: &Literal) -> Literal {
    let weight = |i: usize| 1.0 + (i % 7) as f64 / 7.0;
    Literal::floats(literal.dtype, &literal.sizes, (0..literal.len()).map(weight).collect())
}

fn compare(graph: &Graph, inputs: &[Literal]) -> Result<(), Error> {
    let wrt = float_inputs(graph);
    let floats = |values: Vec<Literal>| values.into_iter().filter(|v| v.dtype.is_float()).collect::<Vec<_>>();
    let cotangents: Vec<Literal> = floats(eval(graph, inputs)?).iter().map(weights).collect();
    let results = eval(&vjp_graph(graph, &wrt)?, &[inputs, &cotangents].concat())?;
    let gradients = &results[graph.outputs().len()..];
    let value = |inputs: &[Literal]| -> Result<f64, Error> {
        let weighted = |(y, w): (&Literal, &Literal)| -> f64 {
            (0..y.len()).map(|i| y.float_at(i) * w.float_at(i)).sum()
        };
        Ok(floats(eval(graph, inputs)?).iter().zip(&cotangents).map(weighted).sum())
    };
    for (&place, gradient) in wrt.iter().zip(gradients) {
        for element in 0..gradient.len() {
            let derivative = gradient.float_at(element);
            let slope = slope(inputs, place, element, &value)?;
            let error = (derivative - slope).abs() / slope.abs().max(1.0);
            if error.is_nan() || error > TOLERANCE {
                let input = graph.inputs()[place].name.clone();
                return Err(GradientMismatch { input, element, derivative, slope }.into());
            }
        }
    }
    Ok(())
}

/// `(f(x + h) - f(x - h)) / 2h` for one element.
fn slope(
    inputs: &[Literal],
    place: usize,
    element: usize,
    value: &impl Fn(&[Literal]) -> Result<f64, Error>,
) -> Result<f64, Error> {
    let x = inputs[place].float_at(element);
    let step = STEP * x.abs().max(1.0);
    let mut moved = inputs.to_vec();
    let mut at = |x: f64| {
        if let Data::Float(data) = &mut moved[place].data {
            data[element] = x;
        }
        value(&moved)
    };
    let (high, low) = (x + step, x - step);
    Ok((at(high)? - at(low)?) / (high - low))
}
