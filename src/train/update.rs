//! The graph of a training step: forward, reverse, clipping, optimizer, guard.
//!
//! Inputs, in this order: what training changes (parameters and state by field path, the
//! optimizer's slots as `optimizer.SLOT.PATH`, `optimizer.step`), `seed`, the batch,
//! `learning_rate`. Outputs: what the step reports (loss, metrics, taps), [`NONFINITE`], the
//! gradient's norm, and the new value of everything that changes.
//!
//! Invariant: when the loss, a gradient or a new state is not finite, every new value is the old
//! one.
//!
//! Start at [`step_graph`].

use crate::optim::{Optimizer, Progress, Trained};
use crate::session::traced::Forward;
use evenkeel_compiler::grad::{Backward, GradError, backward, inline};
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, NodeId, Op, TensorType, Value};

/// Name of the output that counts non-finite elements of the loss, the gradients and new states.
pub(crate) const NONFINITE: &str = "nonfinite";
/// Name of the output with the norm of all gradients, before clipping.
pub(crate) const GRADIENT_NORM: &str = "gradient_norm";
/// Name of the loss among the outputs.
pub(crate) const LOSS: &str = "loss";
/// Name of the optimizer's step count.
pub(crate) const STEP: &str = "optimizer.step";
const LEARNING_RATE: &str = "learning_rate";

/// A training step as one graph.
#[derive(Clone, Debug)]
pub(crate) struct StepGraph {
    /// The graph.
    pub(crate) graph: Graph,
    /// For each of the first inputs, which training keeps: does a step replace it?
    pub(crate) replaced: Vec<bool>,
    /// Outputs that are new values of inputs, as `(output, input)`; the last ones.
    pub(crate) updates: Vec<(usize, usize)>,
    /// The loss, the gradients and new states: what must be finite.
    pub(crate) watched: Vec<Value>,
}

/// Appends everything that training needs to a forward graph.
///
/// # Errors
/// An op without a derivative between a parameter and the loss.
pub(crate) fn step_graph(
    forward: &Forward,
    optimizer: &dyn Optimizer,
    clip_norm: Option<f64>,
) -> Result<StepGraph, GradError> {
    let mut b = GraphBuilder::new();
    let inputs = Inputs::declare(&mut b, forward, optimizer);
    let mut step = Builder { b, forward, inputs, changes: Vec::new() };
    let map = inline(&mut step.b, &forward.graph, &step.inputs.forward);
    let value = |v: Value| map[v.node.0 as usize][v.result as usize];
    let outputs: Vec<(String, Value)> =
        forward.graph.outputs().iter().map(|(name, v)| (name.clone(), value(*v))).collect();
    let Backward { gradients, states, .. } = step.gradients(&map)?;
    step.b.set_provenance(Default::default());
    let norm = step.norm(&gradients);
    let kept = outputs[forward.reported..].iter().take(forward.states.len()).map(|(_, state)| *state);
    let reverse = states.iter().flat_map(|(_, new)| new.iter().copied());
    let mut watched: Vec<Value> = std::iter::once(outputs[0].1).chain(gradients.iter().copied()).collect();
    watched.extend(kept.chain(reverse).filter(|state| step.b.ty(*state).dtype.is_float()));
    let mut bad = step.nonfinite(&watched);
    let gradients = match clip_norm {
        Some(limit) => {
            let unknown = step.b.nonfinite(norm);
            bad = step.b.add(bad, unknown);
            step.clip(limit, norm, gradients)
        }
        None => step.admit(bad, gradients),
    };
    step.optimize(optimizer, &gradients);
    step.states(&outputs);
    step.reverse_states(&states);
    Ok(step.finish(outputs, bad, norm, watched))
}

/// Name of an optimizer's array for a leaf.
pub(super) fn slot_name(slot: &str, leaf: &str) -> String {
    format!("optimizer.{slot}.{leaf}")
}

/// The declared inputs of a step.
struct Inputs {
    /// Inputs of the forward graph.
    forward: Vec<Value>,
    /// Slots of each trained leaf.
    slots: Vec<Vec<Value>>,
    progress: Progress,
    /// How many inputs training changes.
    kept: usize,
}

impl Inputs {
    fn declare(b: &mut GraphBuilder, forward: &Forward, optimizer: &dyn Optimizer) -> Inputs {
        let (leaves, rest) = forward.graph.inputs().split_at(forward.trained.len());
        let mut values: Vec<Value> = leaves.iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
        let trained = leaves.iter().zip(&forward.trained).filter(|(_, trained)| **trained);
        let slot = |b: &mut GraphBuilder, slot: &str, leaf: &evenkeel_ir::Input| {
            b.input(slot_name(slot, &leaf.name), leaf.ty.clone())
        };
        let slots: Vec<Vec<Value>> = trained
            .map(|(leaf, _)| optimizer.slots().iter().map(|name| slot(b, name, leaf)).collect())
            .collect();
        let scalar = TensorType::scalar(DType::F32);
        let step = b.input(STEP, scalar.clone());
        let kept = b.graph().inputs().len();
        values.extend(rest.iter().map(|i| b.input(i.name.clone(), i.ty.clone())));
        let learning_rate = b.input(LEARNING_RATE, scalar);
        Inputs { forward: values, slots, progress: Progress { learning_rate, step }, kept }
    }
}

/// A new value of an input.
struct Change {
    old: Value,
    new: Value,
}

struct Builder<'a> {
    b: GraphBuilder,
    forward: &'a Forward,
    inputs: Inputs,
    changes: Vec<Change>,
}

impl Builder<'_> {
    /// Which leaves are trained, by position.
    fn trained(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.forward.trained.len()).filter(|&leaf| self.forward.trained[leaf])
    }

    /// Derivatives of the loss with respect to the trained leaves.
    fn gradients(&mut self, map: &[Vec<Value>]) -> Result<Backward, GradError> {
        let graph = &self.forward.graph;
        let loss = graph.outputs()[0].1;
        let inputs = graph.input_values();
        let wrt: Vec<Value> = self.trained().map(|leaf| inputs[leaf]).collect();
        let one = self.b.number(map[loss.node.0 as usize][loss.result as usize], 1.0);
        backward(&mut self.b, graph, map, &[(loss, one)], &wrt)
    }

    /// Sum of all elements as an f32 scalar.
    fn total(&mut self, x: Value) -> Value {
        let rank = self.b.ty(x).rank();
        let sum = self.b.sum(x, Axes::all(rank));
        let sum = self.b.reshape(sum, &Default::default());
        self.b.cast(sum, DType::F32)
    }

    fn sum_of(&mut self, terms: Vec<Value>) -> Value {
        let sum = terms.into_iter().reduce(|x, y| self.b.add(x, y));
        let like = self.inputs.progress.step;
        sum.unwrap_or_else(|| self.b.number(like, 0.0))
    }

    /// `sqrt(sum of g^2 over every element of every gradient)`.
    fn norm(&mut self, gradients: &[Value]) -> Value {
        let term = |step: &mut Self, g: Value| {
            let squared = step.b.square(g);
            step.total(squared)
        };
        let terms = gradients.iter().map(|&g| term(self, g)).collect();
        let sum = self.sum_of(terms);
        self.b.sqrt(sum)
    }

    /// How many elements of these values are not finite.
    fn nonfinite(&mut self, watched: &[Value]) -> Value {
        let term = |step: &mut Self, x: Value| {
            let bad = step.b.nonfinite(x);
            step.total(bad)
        };
        let terms = watched.iter().map(|&x| term(self, x)).collect();
        self.sum_of(terms)
    }

    /// `g * limit / max(norm, limit)`: exactly `g` where the norm is within the limit.
    fn clip(&mut self, limit: f64, norm: Value, gradients: Vec<Value>) -> Vec<Value> {
        let limit = self.b.number(norm, limit);
        let larger = self.b.max(norm, limit);
        let factor = self.b.div(limit, larger);
        self.scaled(factor, gradients)
    }

    /// `g` where everything is finite, else `0 g`. The update thus waits for the check, so one
    /// kernel computes and guards it; else its values would be written once before the check
    /// and once after it.
    fn admit(&mut self, bad: Value, gradients: Vec<Value>) -> Vec<Value> {
        let (zero, one) = (self.b.number(bad, 0.0), self.b.number(bad, 1.0));
        let fine = self.b.eq(bad, zero);
        let factor = self.b.select(fine, one, zero);
        self.scaled(factor, gradients)
    }

    fn scaled(&mut self, factor: Value, gradients: Vec<Value>) -> Vec<Value> {
        let scaled = |b: &mut GraphBuilder, g: Value| {
            let dtype = b.ty(g).dtype;
            let factor = b.cast(factor, dtype);
            b.mul(g, factor)
        };
        gradients.into_iter().map(|g| scaled(&mut self.b, g)).collect()
    }

    fn optimize(&mut self, optimizer: &dyn Optimizer, gradients: &[Value]) {
        let old_step = self.inputs.progress.step;
        let one = self.b.number(old_step, 1.0);
        let step = self.b.add(old_step, one);
        self.changes.push(Change { old: old_step, new: step });
        let progress = Progress { step, ..self.inputs.progress };
        let leaves: Vec<usize> = self.trained().collect();
        for (place, leaf) in leaves.into_iter().enumerate() {
            let (parameter, gradient) = (self.inputs.forward[leaf], gradients[place]);
            let slots = &self.inputs.slots[place];
            let updated = optimizer.update(&mut self.b, progress, Trained { parameter, gradient, slots });
            self.changes.push(Change { old: parameter, new: updated.parameter });
            let slots = slots.iter().zip(updated.slots);
            self.changes.extend(slots.map(|(&old, new)| Change { old, new }));
        }
    }

    fn states(&mut self, outputs: &[(String, Value)]) {
        let new = outputs[self.forward.reported..].iter().map(|(_, value)| *value);
        let old = self.forward.states.iter().map(|&leaf| self.inputs.forward[leaf]);
        self.changes.extend(old.zip(new).map(|(old, new)| Change { old, new }));
    }

    /// New values that backward passes of the user's functions give, by their node.
    fn reverse_states(&mut self, states: &[(NodeId, Vec<Value>)]) {
        let outputs = self.forward.graph.outputs();
        let results = &outputs[outputs.len() - self.forward.reverse_updates.len()..];
        for ((_, result), leaves) in results.iter().zip(&self.forward.reverse_updates) {
            let new = states.iter().find(|(node, _)| *node == result.node);
            let new = new.map_or(&[][..], |(_, new)| new);
            let old = leaves.iter().map(|&leaf| self.inputs.forward[leaf]);
            self.changes.extend(old.zip(new).map(|(old, &new)| Change { old, new }));
        }
    }

    /// Guards the changes and names the outputs.
    fn finish(
        mut self,
        outputs: Vec<(String, Value)>,
        bad: Value,
        norm: Value,
        watched: Vec<Value>,
    ) -> StepGraph {
        let zero = self.b.number(bad, 0.0);
        let ok = self.b.eq(bad, zero);
        let mut named: Vec<(String, Value)> = outputs.into_iter().take(self.forward.reported).collect();
        named.push((NONFINITE.into(), bad));
        named.push((GRADIENT_NORM.into(), norm));
        let mut updates = Vec::new();
        let mut replaced = vec![false; self.inputs.kept];
        for Change { old, new } in std::mem::take(&mut self.changes) {
            let input = input_index(self.b.graph(), old);
            updates.push((named.len(), input));
            replaced[input] = true;
            let guarded = self.b.select(ok, new, old);
            named.push((format!("new.{}", self.b.graph().inputs()[input].name), guarded));
        }
        StepGraph { graph: self.b.finish(named), replaced, updates, watched }
    }
}

fn input_index(graph: &Graph, value: Value) -> usize {
    match graph.op(value) {
        Op::Input(index) => *index as usize,
        op => unreachable!("{} is not an input", op.name()),
    }
}
