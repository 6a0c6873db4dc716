//! Tracing: running a closure once on symbolic values to record its graph.
//!
//! A [`Var`] is a handle to a value of the trace that runs on this thread. Faults do not stop
//! a trace: the result is *poisoned*, keeps accepting methods, and all faults are reported
//! together when the trace ends. Start at [`trace`]; drivers use [`start`].
//!
//! Not here: what is done with the graph (`session`, `train`).

mod axes;
mod error;
mod losses;
mod methods;
mod operators;
mod shapes;
mod var;

pub use axes::AxisList;
pub use error::{Fault, Located, TraceError};
pub use operators::Operand;
pub use var::Var;

use crate::nn::{FieldPath, LeafRef, Parameters, State};
use evenkeel_ir::op::limited;
use evenkeel_ir::{Graph, GraphBuilder, Op, Place, Provenance, TensorType, Value};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Whether layers behave as in training or as in use; fixed when tracing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Dropout drops, batch statistics are of the batch, state is updated.
    Train,
    /// Dropout is the identity, batch statistics are the running ones.
    #[default]
    Eval,
}

/// The trace that runs on a thread.
struct Context {
    number: u64,
    builder: GraphBuilder,
    values: Vec<Value>,
    faults: Vec<Located>,
    leaves: HashMap<usize, Var>,
    new_states: HashMap<usize, Var>,
    /// Results of functions whose backward pass updates states, with those states.
    reverse_updates: Vec<(Var, Vec<usize>)>,
    taps: Vec<(String, Var)>,
    /// What this traces, if taps in it would be lost.
    untapped: Option<&'static str>,
    seed: Option<Var>,
    mode: Mode,
    streams: u64,
    path: Vec<String>,
}

thread_local! {
    static CURRENT: RefCell<Vec<Context>> = const { RefCell::new(Vec::new()) };
    static COUNT: RefCell<u64> = const { RefCell::new(0) };
}

/// A running trace; ends when dropped.
#[derive(Debug)]
pub struct Tracing {
    number: u64,
}

/// Starts a trace on this thread. Traces may nest; values belong to the one that made them.
pub fn start(mode: Mode) -> Tracing {
    let number = COUNT.with_borrow_mut(|count| {
        *count += 1;
        *count
    });
    let context = Context {
        number,
        builder: GraphBuilder::new(),
        values: Vec::new(),
        faults: Vec::new(),
        leaves: HashMap::new(),
        new_states: HashMap::new(),
        reverse_updates: Vec::new(),
        taps: Vec::new(),
        untapped: None,
        seed: None,
        mode,
        streams: 0,
        path: Vec::new(),
    };
    CURRENT.with_borrow_mut(|stack| stack.push(context));
    Tracing { number }
}

impl Tracing {
    /// Sets the value that random numbers are derived from.
    pub fn seed(&self, seed: Var) {
        with(|context| context.seed = Some(seed));
    }

    /// Makes taps faults, because nothing returns them from `what`.
    pub(crate) fn refuse_taps(&self, what: &'static str) {
        with(|context| context.untapped = Some(what));
    }

    /// Values that were tapped, in order; names that were used before end in `.1`, `.2`, ...
    pub fn taps(&self) -> Vec<(String, Var)> {
        let taps = with(|context| context.taps.clone()).unwrap_or_default();
        let mut counts: HashMap<String, usize> = HashMap::new();
        let numbered = |(name, var): (String, Var)| {
            let count = counts.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 { (name, var) } else { (format!("{name}.{}", *count - 1), var) }
        };
        taps.into_iter().map(numbered).collect()
    }

    /// The value that a state was set to.
    pub fn new_state(&self, leaf: LeafRef<'_>) -> Option<Var> {
        with(|context| context.new_states.get(&leaf_key(leaf)).copied()).flatten()
    }

    /// Results of functions whose backward pass updates states, in order.
    pub(crate) fn reverse_updates(&self) -> Vec<Var> {
        with(|context| context.reverse_updates.iter().map(|(var, _)| *var).collect()).unwrap_or_default()
    }

    /// Which of the [`reverse_updates`](Tracing::reverse_updates) a state takes part in, and as
    /// which of its states.
    pub(crate) fn reverse_update(&self, leaf: LeafRef<'_>) -> Option<(usize, usize)> {
        let key = leaf_key(leaf);
        with(|context| {
            let mut updates = context.reverse_updates.iter().enumerate();
            updates.find_map(|(i, (_, keys))| Some((i, keys.iter().position(|&known| known == key)?)))
        })
        .flatten()
    }

    /// Ends the trace with these outputs.
    ///
    /// # Errors
    /// Every fault of the trace; two outputs of one name.
    #[track_caller]
    pub fn finish(self, outputs: Vec<(String, Var)>) -> Result<Graph, TraceError> {
        self.finish_at(outputs, Place::caller())
    }

    /// As [`finish`](Tracing::finish), asked for at this place.
    pub(crate) fn finish_at(self, outputs: Vec<(String, Var)>, place: Place) -> Result<Graph, TraceError> {
        check_names("results", outputs.iter().map(|(name, _)| name.as_str()), place);
        let values: Vec<(String, Option<Value>)> =
            outputs.into_iter().map(|(name, var)| (name, var.value("output", place))).collect();
        let context = CURRENT.with_borrow_mut(|stack| stack.pop()).expect("this trace is running");
        if !context.faults.is_empty() {
            return Err(TraceError { faults: context.faults });
        }
        let sound = values.into_iter().filter_map(|(name, value)| value.map(|v| (name, v)));
        Ok(context.builder.finish(sound))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|stack| stack.retain(|context| context.number != self.number));
    }
}

/// Runs `f` on the innermost trace of this thread, if there is one.
fn with<T>(f: impl FnOnce(&mut Context) -> T) -> Option<T> {
    CURRENT.with_borrow_mut(|stack| stack.last_mut().map(f))
}

/// Records a fault for every name that was there before.
fn check_names<'a>(what: &'static str, names: impl Iterator<Item = &'a str>, place: Place) {
    let mut known = HashSet::new();
    for name in names.filter(|name| !known.insert(*name)) {
        fault(Fault::Name { what, name: name.to_string() }, place);
    }
}

/// Declares an input of the running trace. A type beyond the limits of [`TensorType`] is a fault.
#[track_caller]
pub fn input(name: &str, ty: TensorType) -> Var {
    input_at(name, ty, Place::caller())
}

/// As [`input`], asked for at this place.
pub(crate) fn input_at(name: &str, ty: TensorType, place: Place) -> Var {
    if let Err(error) = limited("input", &ty.shape) {
        return fault(error.into(), place);
    }
    with(|context| {
        context.builder.set_provenance(Provenance::default());
        let value = context.builder.input(name, ty);
        context.var(value)
    })
    .unwrap_or(Var::POISONED)
}

fn leaf_key(leaf: LeafRef<'_>) -> usize {
    match leaf {
        LeafRef::Param(param) => std::ptr::from_ref(param) as usize,
        LeafRef::State(state) => std::ptr::from_ref(state) as usize,
    }
}

/// Records a value that a run returns under a name.
pub(crate) fn tap(name: &str, var: Var, place: Place) {
    with(|context| match context.untapped {
        None => context.taps.push((name.to_string(), var)),
        Some(what) => {
            let (expected, found) = (format!("a value outside of {what}"), format!("{name} inside of it"));
            context.fault(Fault::Expected { op: "tap", expected, found }, place);
        }
    });
}

/// Says which value a parameter or state stands for in the running trace.
pub fn bind(leaf: LeafRef<'_>, var: Var) {
    with(|context| context.leaves.insert(leaf_key(leaf), var));
}

/// The value of a parameter or state in the running trace.
pub(crate) fn leaf_value(leaf: LeafRef<'_>, place: Place) -> Var {
    let ty = match leaf {
        LeafRef::Param(param) => param.tensor().ty(),
        LeafRef::State(state) => state.tensor().ty(),
    };
    with(|context| match (context.new_states.get(&leaf_key(leaf)), context.leaves.get(&leaf_key(leaf))) {
        (Some(&var), _) | (None, Some(&var)) => var,
        (None, None) => context.fault(Fault::Unbound { ty }, place),
    })
    .unwrap_or(Var::POISONED)
}

/// Records the new value of a state.
pub(crate) fn set_state(leaf: LeafRef<'_>, new: Var, place: Place) {
    let old = leaf_value(leaf, place);
    let (Some(from), Some(to)) = (old.ty_at("set", place), new.ty_at("set", place)) else { return };
    with(|context| {
        let mut taken = context.reverse_updates.iter().flat_map(|(_, keys)| keys);
        if from != to {
            let (expected, found) = (from.to_string(), to.to_string());
            context.fault(Fault::Expected { op: "set", expected, found }, place);
        } else if taken.any(|&known| known == leaf_key(leaf)) {
            let expected = "a state that no custom_vjp updates".to_string();
            context.fault(Fault::Expected { op: "set", expected, found: "one that it does".into() }, place);
        } else {
            context.new_states.insert(leaf_key(leaf), new);
        }
    });
}

/// Says that the backward pass of the function with this result updates states.
pub(crate) fn update_states(result: Var, states: &[&State], place: Place) {
    let keys: Vec<usize> = states.iter().map(|state| leaf_key(LeafRef::State(state))).collect();
    with(|context| {
        let mut taken =
            context.reverse_updates.iter().flat_map(|(_, keys)| keys).chain(context.new_states.keys());
        let twice = keys.iter().enumerate().any(|(i, key)| keys[..i].contains(key));
        if twice || taken.any(|known| keys.contains(known)) {
            let (expected, found) = ("one update per state".to_string(), "another one".to_string());
            context.fault(Fault::Expected { op: "custom_vjp", expected, found }, place);
        } else if !keys.is_empty() {
            context.reverse_updates.push((result, keys));
        }
    });
}

/// The mode of the running trace.
pub fn mode() -> Mode {
    with(|context| context.mode).unwrap_or_default()
}

/// The seed of the running trace and the number of a new stream.
pub(crate) fn random_stream(place: Place) -> (Var, u64) {
    with(|context| {
        context.streams += 1;
        let seed = context.seed.unwrap_or_else(|| {
            let expected = "a trace with a seed".to_string();
            context.fault(Fault::Expected { op: "random", expected, found: "none".into() }, place)
        });
        (seed, context.streams)
    })
    .unwrap_or((Var::POISONED, 0))
}

/// Runs `f` with `name` appended to the module path that errors and `explain` show.
pub fn with_module<T>(name: &str, f: impl FnOnce() -> T) -> T {
    with(|context| context.path.push(name.to_string()));
    let result = f();
    with(|context| context.path.pop());
    result
}

/// A module that is running; ends when dropped. See [`enter`].
#[derive(Debug)]
#[must_use = "the module is left when this is dropped"]
pub struct Entered {
    outer: Option<Vec<String>>,
}

/// Makes the field path of a module of the traced model, such as `blocks.0.norm`, the module path
/// that errors, `Debug` and `explain` show, until what it returns is dropped.
///
/// Every layer of this crate begins with it. A module without parameters has no path of its own.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
///
/// #[derive(Clone, Parameters)]
/// struct Scale { gain: Param }
///
/// impl Module for Scale {
///     #[track_caller]
///     fn forward(&self, x: Var) -> Var {
///         let _module = enter(self);
///         x * &self.gain
///     }
/// }
/// ```
pub fn enter<M: Parameters>(module: &M) -> Entered {
    let mut first = None;
    module.visit(&mut FieldPath::root(), &mut |path, leaf| {
        first.get_or_insert_with(|| (path.to_string(), leaf));
    });
    let outer = first.and_then(|(own, leaf)| {
        with(|context| {
            let name = context.leaf_name(leaf)?;
            let module = name.strip_suffix(&own)?.trim_end_matches('.').to_string();
            let path = if module.is_empty() { vec![] } else { vec![module] };
            Some(std::mem::replace(&mut context.path, path))
        })
        .flatten()
    });
    Entered { outer }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            with(|context| context.path = outer);
        }
    }
}

impl Context {
    /// Field path of a leaf in the traced model.
    fn leaf_name(&self, leaf: LeafRef<'_>) -> Option<String> {
        let var = self.leaves.get(&leaf_key(leaf))?;
        let graph = self.builder.graph();
        match graph.op(self.values[var.index()]) {
            Op::Input(index) => Some(graph.inputs()[*index as usize].name.clone()),
            _ => None,
        }
    }

    fn var(&mut self, value: Value) -> Var {
        self.values.push(value);
        Var::new(self.number, self.values.len() as u32 - 1)
    }

    fn fault(&mut self, fault: Fault, place: Place) -> Var {
        let path = (!self.path.is_empty()).then(|| self.path.join("."));
        self.faults.push(Located { fault, place, path });
        Var::POISONED
    }

    fn apply(&mut self, op: Op, operands: &[Value], place: Place) -> Var {
        let path = (!self.path.is_empty()).then(|| Arc::from(self.path.join(".")));
        self.builder.set_provenance(Provenance { place: Some(place), path });
        match self.builder.apply(op, operands) {
            Ok(value) => self.var(value),
            Err(error) => self.fault(error.into(), place),
        }
    }
}

/// Applies an op to values of the running trace.
pub(crate) fn apply(op: Op, operands: &[Var], place: Place) -> Var {
    let name = op.name();
    let mut values = Vec::with_capacity(operands.len());
    for operand in operands {
        match operand.value(name, place) {
            Some(value) => values.push(value),
            None => return Var::POISONED,
        }
    }
    with(|context| context.apply(op, &values, place)).unwrap_or(Var::POISONED)
}

/// All results of the node whose first result is `first`.
pub(crate) fn results(first: Var, count: usize) -> Vec<Var> {
    let Some(value) = first.value("results", Place::caller()) else { return vec![Var::POISONED; count] };
    let all = (0..count as u32).map(|result| Value { node: value.node, result });
    with(|context| all.map(|value| context.var(value)).collect()).unwrap_or_default()
}

/// Records a fault of the running trace.
pub(crate) fn fault(fault: Fault, place: Place) -> Var {
    with(|context| context.fault(fault, place)).unwrap_or(Var::POISONED)
}

/// The faults of the running trace so far.
pub(crate) fn faults() -> TraceError {
    TraceError { faults: with(|context| context.faults.clone()).unwrap_or_default() }
}

/// Records a closure over values of these types as a graph with inputs of these names.
///
/// # Errors
/// Every fault of the closure, with its place; two inputs or two outputs of one name.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
///
/// let row = TensorType::new(DType::F32, Shape::of(&[2, 4]));
/// let graph = trace(&[("x", row)], |x| vec![("y", (x[0] * 2.0).tanh())])?;
/// assert_eq!(graph.outputs()[0].0, "y");
/// # Ok::<(), evenkeel::trace::TraceError>(())
/// ```
#[track_caller]
pub fn trace<'a>(
    inputs: &[(&str, TensorType)],
    closure: impl FnOnce(&[Var]) -> Vec<(&'a str, Var)>,
) -> Result<Graph, TraceError> {
    let tracing = start(Mode::Eval);
    let place = Place::caller();
    check_names("inputs", inputs.iter().map(|(name, _)| *name), place);
    let vars: Vec<Var> = inputs.iter().map(|(name, ty)| input_at(name, ty.clone(), place)).collect();
    let mut outputs: Vec<(String, Var)> =
        closure(&vars).into_iter().map(|(n, v)| (n.to_string(), v)).collect();
    outputs.extend(tracing.taps().into_iter().map(|(name, var)| (format!("tap.{name}"), var)));
    tracing.finish(outputs)
}
