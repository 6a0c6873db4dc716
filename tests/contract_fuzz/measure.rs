//! The contract, measured: truth, the spelling run op by op in f32, and what is compiled.
//!
//! Truth is the graph as written in f64; nothing of recognition is used for it. How much worse than
//! the spelling a compiled result may be is measured too: truth is evaluated again with every input
//! and every computed value off by [`UNITS`] units of its last place in f32, up or down at random,
//! and what a result moves by that is what operands of this accuracy justify. Results below the
//! normal numbers may be lost, and what depends on a NaN may be NaN. Start at
//! [`Forms::failure`].

use crate::generate::Dice;
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::expand::expand;
use evenkeel_compiler::grad::inline;
use evenkeel_compiler::rewrite::{recognize, simplify_with};
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::eval::{decomposed, eval_nodes_by};
use evenkeel_ir::{DType, Graph, GraphBuilder, Literal, Node, Op, Reduce, Target, Value};
use evenkeel_runtime::{Argument, Executable, Tensor};
use std::fmt;

/// How far operands may be off, in units of the last place in f32.
const UNITS: f64 = 4.0;

/// How often truth is disturbed.
const TRIALS: u64 = 4;

/// A program and inputs for it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) graph: Graph,
    /// Are gradients asked for?
    pub(crate) gradients: bool,
    pub(crate) batch: u64,
    pub(crate) inputs: Vec<Literal>,
    /// One per output.
    pub(crate) cotangents: Vec<Literal>,
}

/// A result that is worse than what the spelling gives.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) output: String,
    pub(crate) element: usize,
    pub(crate) truth: f64,
    pub(crate) spelled: f64,
    pub(crate) compiled: f64,
    /// The error that the contract allows.
    pub(crate) allowed: f64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { output, element, truth, spelled, compiled, allowed } = self;
        write!(
            f,
            "{output}[{element}]: truth {truth:e}, spelled {spelled:e}, compiled {compiled:e}, allowed {allowed:e}"
        )
    }
}

/// A program in the forms that are compared.
pub(crate) struct Forms {
    /// As written, in primitives.
    spelled: Graph,
    /// In primitives, after all rewriting.
    rewritten: Graph,
    /// Machine code that is run instead.
    machine: Option<Executable>,
}

impl Forms {
    /// For evaluation op by op, or with machine code for a target. None where the program has no
    /// derivative.
    pub(crate) fn of(graph: &Graph, gradients: bool, target: Option<&Target>) -> Option<Forms> {
        let whole = |graph: &Graph| match gradients {
            true => vjp_graph(graph, &float_inputs(graph)).ok(),
            false => Some(graph.clone()),
        };
        let spelled = primitives(&whole(graph)?);
        let named = whole(&recognize(graph).expect("recognition succeeds").graph)?;
        let simple = simplify_with(&named, &Options::default()).expect("it simplifies").graph;
        let machine = target.map(|target| {
            let program = compile(&named, target, &Options::default()).expect("it compiles").program;
            Executable::load(program, 1).expect("it is code of this machine")
        });
        Some(Forms { spelled, rewritten: expand(&simple), machine })
    }

    /// The first result that breaks the contract.
    pub(crate) fn failure(&self, case: &Case) -> Option<Failure> {
        let cotangents = case.cotangents.iter().filter(|_| case.gradients);
        let inputs: Vec<Literal> = case.inputs.iter().chain(cotangents).cloned().collect();
        let truth = outputs(&self.spelled, &inputs, case.batch, |_, _, results| results);
        let spelled = outputs(&self.spelled, &inputs, case.batch, in_f32);
        let compiled = match &self.machine {
            None => outputs(&self.rewritten, &inputs, case.batch, in_f32),
            Some(executable) => run(executable, &inputs),
        };
        let suspects = suspects(&truth, &spelled, &compiled);
        if suspects.is_empty() {
            return None;
        }
        let finite = all(&inputs).all(|x| x.is_finite());
        let disturbed = |trial: u64| {
            let dice = Dice { seed: trial, count: 0 };
            let mut noise = Noise { dice, gradients: case.gradients, finite };
            outputs(&self.spelled, &inputs, case.batch, |node, _, results| noise.disturb(node, results))
        };
        let moved: Vec<Vec<Vec<f64>>> = (0..TRIALS).map(disturbed).collect();
        let unknowns = self.unknowns(&inputs, case.batch);
        let judge = |(k, i): (usize, usize)| {
            let (truth, spelled, compiled) = (truth[k][i], spelled[k][i], compiled[k][i]);
            let moves = moved.iter().map(|trial| (trial[k][i] - truth).abs());
            let moves = moves.fold(0.0, |m: f64, d| if d.is_nan() { f64::INFINITY } else { m.max(d) });
            let allowed = (spelled - truth).abs() + 1.01 * moves + slack(truth);
            let overflows = compiled.is_infinite() && truth.abs() + allowed >= f64::from(f32::MAX);
            let unknown = unknowns.iter().any(|other| other[k][i] != spelled);
            let worse = !compiled.is_finite() || (compiled - truth).abs() > allowed;
            // where operands a few units away give a NaN too
            let luck = moves.is_infinite();
            let output = self.spelled.outputs()[k].0.clone();
            (worse && !overflows && !unknown && !luck).then_some(Failure {
                output,
                element: i,
                truth,
                spelled,
                compiled,
                allowed,
            })
        };
        suspects.into_iter().find_map(judge)
    }

    /// What the spelling gives with numbers for NaNs: results that these change may be NaN.
    fn unknowns(&self, inputs: &[Literal], batch: u64) -> Vec<Vec<Vec<f64>>> {
        if !all(inputs).any(f64::is_nan) {
            return Vec::new();
        }
        let with = |number: f64| {
            let known = |x: &Literal| each_float(x.clone(), |x| if x.is_nan() { number } else { x });
            outputs(&self.spelled, &inputs.iter().map(known).collect::<Vec<_>>(), batch, in_f32)
        };
        [1.0, -2.0].map(with).into()
    }
}

fn all(inputs: &[Literal]) -> impl Iterator<Item = f64> + '_ {
    inputs.iter().flat_map(Literal::to_floats)
}

/// What is always allowed: some units of the result, and to lose what is below the normal numbers.
fn slack(truth: f64) -> f64 {
    UNITS * unit(truth) + f64::from(f32::MIN_POSITIVE)
}

/// Elements that the spelling computes and that are not as good compiled.
fn suspects(truth: &[Vec<f64>], spelled: &[Vec<f64>], compiled: &[Vec<f64>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for k in 0..truth.len() {
        for i in 0..truth[k].len() {
            let (t, s, c) = (truth[k][i], spelled[k][i], compiled[k][i]);
            let worse = !c.is_finite() || (c - t).abs() > (s - t).abs() + slack(t);
            if s.is_finite() && t.is_finite() && worse {
                found.push((k, i));
            }
        }
    }
    found
}

fn outputs(
    graph: &Graph,
    inputs: &[Literal],
    batch: u64,
    revise: impl FnMut(&Node, &[&Literal], Vec<Literal>) -> Vec<Literal>,
) -> Vec<Vec<f64>> {
    let values = eval_nodes_by(graph, inputs, batch, revise);
    graph.outputs().iter().map(|(_, v)| values[v.node.0 as usize][v.result as usize].to_floats()).collect()
}

/// The results of machine code.
fn run(executable: &Executable, inputs: &[Literal]) -> Vec<Vec<f64>> {
    let tensors: Vec<Tensor> = inputs.iter().map(Tensor::from_literal).collect();
    let mut results = Vec::new();
    let mut arguments: Vec<Argument<'_>> = tensors.iter().map(Argument::In).collect();
    executable.run(&mut arguments, &mut results).expect("the inputs fit");
    results.iter().map(Tensor::to_f64s).collect()
}

/// The graph without named composites: each is what it says.
fn primitives(graph: &Graph) -> Graph {
    let mut b = GraphBuilder::new();
    let mut map: Vec<Value> = Vec::new();
    for (_, node) in graph.iter() {
        let operands: Vec<Value> = node.inputs.iter().map(|v| map[v.node.0 as usize]).collect();
        map.push(match &node.op {
            Op::Input(index) => {
                let input = &graph.inputs()[*index as usize];
                b.input(input.name.clone(), input.ty.clone())
            }
            Op::Composite(..) => {
                let body = primitives(&decomposed(graph, node));
                let values = inline(&mut b, &body, &operands);
                values[body.outputs()[0].1.node.0 as usize][0]
            }
            op => b.op(op.clone(), &operands),
        });
    }
    b.finish(graph.outputs().iter().map(|(name, v)| (name.clone(), map[v.node.0 as usize])))
}

/// A unit of the last place of a number in f32.
pub(crate) fn unit(x: f64) -> f64 {
    let size = x.abs().clamp(f32::MIN_POSITIVE.into(), f32::MAX.into());
    let exponent = (size.to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent - 23)
}

/// Every float rounded to f32; sums are added up in f32.
fn in_f32(node: &Node, operands: &[&Literal], mut results: Vec<Literal>) -> Vec<Literal> {
    if let Op::Reduce(Reduce::Sum, axes) = node.op
        && node.types[0].dtype.is_float()
    {
        results = vec![sum_in_f32(operands[0], &results[0].sizes, |axis| axes.contains(axis))];
    }
    results.into_iter().map(|x| each_float(x, |x| f64::from(x as f32))).collect()
}

fn each_float(mut x: Literal, mut f: impl FnMut(f64) -> f64) -> Literal {
    if let (evenkeel_ir::Data::Float(data), true) = (&mut x.data, x.dtype.is_float()) {
        data.iter_mut().for_each(|x| *x = f(*x));
    }
    x
}

fn sum_in_f32(x: &Literal, sizes: &[usize], summed: impl Fn(usize) -> bool) -> Literal {
    let mut totals = vec![0f32; sizes.iter().product()];
    for (x, place) in x.to_floats().into_iter().zip(places(&x.sizes, sizes, summed)) {
        totals[place] += x as f32;
    }
    Literal::floats(DType::F32, sizes, totals.into_iter().map(f64::from).collect())
}

/// Where each element of `from` is added in `to`.
fn places(from: &[usize], to: &[usize], summed: impl Fn(usize) -> bool) -> Vec<usize> {
    let place = |index: usize| {
        let (mut rest, mut place, mut stride) = (index, 0, 1);
        for axis in (0..from.len()).rev() {
            let digit = rest % from[axis];
            rest /= from[axis];
            place += if summed(axis) { 0 } else { digit * stride };
            stride *= to[axis];
        }
        place
    };
    (0..from.iter().product()).map(place).collect()
}

/// A disturbance of every value that rounding reaches.
struct Noise {
    dice: Dice,
    /// Zeros move too: beside a kink either derivative is right.
    gradients: bool,
    /// The inputs are finite, so that what is infinite has overflowed and may stand for any large number.
    finite: bool,
}

impl Noise {
    fn disturb(&mut self, node: &Node, results: Vec<Literal>) -> Vec<Literal> {
        let units = match &node.op {
            Op::Input(_) | Op::Dot { .. } | Op::Reduce(Reduce::Sum, _) | Op::Size(..) => UNITS,
            // constants that f32 holds are what they are
            Op::Const(x, _) if f64::from(x.get() as f32) == x.get() => 0.0,
            Op::Const(..) => 1.0,
            Op::Unary(f) if f.def().ulps > 0.0 => UNITS.max(f.def().ulps),
            Op::Binary(f) if f.def().ulps > 0.0 => UNITS.max(f.def().ulps),
            _ => 0.0,
        };
        if units == 0.0 {
            return results;
        }
        let zero = if self.gradients { f64::from(f32::from_bits(1)) } else { 0.0 };
        let mut shift = |x: f64| {
            if x.is_infinite() && self.finite {
                return self.dice.pick(&[1e30f64, 1e37, 1e300]).copysign(x);
            }
            let size = if x == 0.0 { zero } else { (units * unit(x)).min(0.9 * x.abs()) };
            if x.is_finite() { x + self.sign() * size } else { x }
        };
        results.into_iter().map(|x| each_float(x, &mut shift)).collect()
    }

    fn sign(&mut self) -> f64 {
        if self.dice.one_in(2) { 1.0 } else { -1.0 }
    }
}
