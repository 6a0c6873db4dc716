//! Composites of users: named functions of tensors that are found in graphs that spell them out.
//!
//! A row says what the function is; the normal form decides where a graph computes it. There it
//! becomes a call of the row's stable form, with the row's derivative if there is one. Start at
//! [`composite`]; [`check_composite`] proves what a row claims.

use super::cone::{Cone, Constants, Entry};
use super::reader::{Forms, Reader};
use super::recognize::recognize_with;
use super::rule::{RuleError, Tier};
use super::ruleset::Rules;
use super::spelling;
use crate::grad::{backward, inline};
use evenkeel_ir::eval::eval;
use evenkeel_ir::op::{CustomVjp, RandomKind, Subgraph};
use evenkeel_ir::random::fill;
use evenkeel_ir::{DType, Graph, GraphBuilder, Input, Literal, NodeId, Op, Shape, TensorType, Value};
use rustc_hash::FxHashMap as HashMap;
use std::fmt;
use std::sync::Arc;

/// The most operands.
const OPERANDS: usize = 4;
/// The most operands that are tried for one node.
const CUTS: usize = 12;
/// How far a stable form or a derivative may be from the definition, relative to its largest
/// element, in f64.
const TOLERANCE: f64 = 1e-9;
/// How many operands are tried.
const TRIALS: i64 = 4;

/// A function as a graph, for operands of these types; what is wrong with it otherwise.
pub type Traced = Arc<dyn Fn(&[TensorType]) -> Result<Graph, String> + Send + Sync>;

/// A named function of tensors.
#[derive(Clone)]
pub struct UserComposite {
    /// Its unique name.
    pub name: &'static str,
    /// Operands with the sizes they have in examples; the first has the largest shape.
    pub inputs: &'static [(&'static str, &'static [usize])],
    /// What it is: operands to one result.
    pub definition: Traced,
    /// How it is computed, if otherwise.
    pub stable: Option<Traced>,
    /// Its derivative: operands and a cotangent to one cotangent per operand.
    pub vjp: Option<Traced>,
    /// An expression that is it.
    pub example: &'static str,
    /// An expression that is not.
    pub fails_when: &'static str,
    /// Who defines this.
    pub source: &'static str,
}

impl fmt::Debug for UserComposite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}({})",
            self.name,
            self.inputs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        )
    }
}

/// Starts a row: a function of named operands, with the sizes that they have in examples.
pub fn composite(
    name: &'static str,
    inputs: &'static [(&'static str, &'static [usize])],
    definition: Traced,
) -> UserComposite {
    UserComposite {
        name,
        inputs,
        definition,
        stable: None,
        vjp: None,
        example: "",
        fails_when: "",
        source: "",
    }
}

impl UserComposite {
    /// How to compute it, if otherwise than by its definition: operands to one result.
    pub fn stable(self, stable: Traced) -> UserComposite {
        UserComposite { stable: Some(stable), ..self }
    }

    /// Its derivative: operands and a cotangent to one cotangent per operand. Forward mode
    /// through it is an error then.
    pub fn vjp(self, vjp: Traced) -> UserComposite {
        UserComposite { vjp: Some(vjp), ..self }
    }

    /// Adds an expression that is it.
    pub fn example(self, example: &'static str) -> UserComposite {
        UserComposite { example, ..self }
    }

    /// Adds an expression that is not.
    pub fn fails_when(self, fails_when: &'static str) -> UserComposite {
        UserComposite { fails_when, ..self }
    }

    /// Adds who defines this.
    pub fn source(self, source: &'static str) -> UserComposite {
        UserComposite { source, ..self }
    }

    /// True for the same closures under the same name.
    pub(crate) fn is_clone_of(&self, other: &UserComposite) -> bool {
        let same = |a: &Option<Traced>, b: &Option<Traced>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.name == other.name
            && Arc::ptr_eq(&self.definition, &other.definition)
            && same(&self.stable, &other.stable)
            && same(&self.vjp, &other.vjp)
    }

    /// The op that stands for it on operands of these types.
    fn op(&self, types: &[TensorType]) -> Option<Op> {
        let forward = self.stable.as_ref().unwrap_or(&self.definition)(types).ok()?;
        let Some(vjp) = &self.vjp else { return Some(Op::Call(Subgraph(Arc::new(forward)))) };
        let y = forward.output_types().next()?.clone();
        let all: Vec<TensorType> = types.iter().cloned().chain([y]).collect();
        let custom = CustomVjp {
            forward: Subgraph(Arc::new(with_residuals(&forward))),
            backward: Subgraph(Arc::new(vjp(&all).ok()?)),
            results: 1,
            differentiable: types.len() as u32,
        };
        Some(Op::CustomVjp(Box::new(custom)))
    }

    /// The operands of which the root of a cone is this function, and the op that computes it.
    pub(crate) fn find(&self, graph: &Graph, constants: &Constants, cone: &Cone) -> Option<(Op, Vec<Value>)> {
        let root = Value { node: cone.root, result: 0 };
        candidates(graph, constants, cone).into_iter().find_map(|operands| {
            let types: Vec<TensorType> = operands.iter().map(|v| graph.ty(*v).clone()).collect();
            let fits = operands.len() == self.inputs.len();
            let definition = fits.then(|| (self.definition)(&types).ok()).flatten()?;
            let result = definition.outputs().first()?.1;
            let same =
                definition.ty(result) == graph.ty(root) && equal(graph, &operands, root, &definition, result);
            same.then(|| Some((self.op(&types)?, operands))).flatten()
        })
    }
}

/// Operands of which the root may be a function: a value, and what stands beside it in every order.
fn candidates(graph: &Graph, constants: &Constants, cone: &Cone) -> Vec<Vec<Value>> {
    let read = cone.nodes.iter().flat_map(|id| &graph.node(*id).inputs).copied();
    let mut all: Vec<Value> = read.filter(|v| !constants.contains(v.node)).collect();
    all.sort();
    all.dedup();
    all.retain(|v| {
        graph.ty(*v).dtype.is_float()
            && graph.ty(*v).rank() == graph.ty(Value { node: cone.root, result: 0 }).rank()
    });
    let cuts = all.into_iter().filter_map(|x| Some((x, cone.cut(graph, constants, x)?)));
    let few = cuts.filter(|(_, cut)| cut.beside.len() < OPERANDS).take(CUTS);
    few.flat_map(|(x, cut)| {
        orders(&cut.beside).into_iter().map(move |rest| std::iter::once(x).chain(rest).collect())
    })
    .collect()
}

/// Values in every order.
fn orders(values: &[Value]) -> Vec<Vec<Value>> {
    if values.is_empty() {
        return vec![Vec::new()];
    }
    let first = |place: usize| {
        let mut rest = values.to_vec();
        let value = rest.remove(place);
        orders(&rest).into_iter().map(move |rest| std::iter::once(value).chain(rest).collect::<Vec<_>>())
    };
    (0..values.len()).flat_map(first).collect()
}

/// True when a value of a graph is the result of a definition on these operands.
fn equal(graph: &Graph, operands: &[Value], root: Value, definition: &Graph, result: Value) -> bool {
    let mut reader = Reader::new();
    let forms: Vec<_> = operands.iter().map(|v| reader.symbol(graph.ty(*v), false)).collect();
    let mut spelled: Forms = operands.iter().copied().zip(forms.iter().copied()).collect();
    let spelled = reader.read(graph, &mut spelled, root);
    let mut known: Forms =
        inputs_of(definition).into_iter().filter_map(|(i, v)| Some((v, *forms.get(i)?))).collect();
    let defined = reader.read(definition, &mut known, result);
    reader.is_reliable() && spelled == defined
}

/// The inputs of a graph by position.
fn inputs_of(graph: &Graph) -> Vec<(usize, Value)> {
    let input = |(node, n): (_, &evenkeel_ir::Node)| match n.op {
        Op::Input(i) => Some((i as usize, Value { node, result: 0 })),
        _ => None,
    };
    graph.iter().filter_map(input).collect()
}

/// A copy whose inputs are outputs too, after its own.
fn with_residuals(graph: &Graph) -> Graph {
    let mut b = GraphBuilder::new();
    let input = |b: &mut GraphBuilder, input: &Input| b.input(input.name.clone(), input.ty.clone());
    let inputs: Vec<Value> = graph.inputs().iter().map(|i| input(&mut b, i)).collect();
    let map = inline(&mut b, graph, &inputs);
    let y = graph.outputs()[0].1;
    let own = [("y".to_string(), map[y.node.0 as usize][y.result as usize])];
    let kept = inputs.iter().enumerate().map(|(i, v)| (format!("residual.{i}"), *v));
    b.finish(own.into_iter().chain(kept).collect::<Vec<_>>())
}

/// Name, op and operands of a composite that was found.
pub(crate) type Match = (&'static str, Op, Vec<Value>);

/// The composites of a compilation, and where they were found.
#[derive(Default)]
pub(crate) struct Finder<'r> {
    composites: &'r [UserComposite],
    /// By the structure of a cone: the name, its op, the local numbers of its operands.
    memo: HashMap<Vec<Entry>, Option<(&'static str, Op, Vec<u32>)>>,
}

impl<'r> Finder<'r> {
    /// A finder of these.
    pub(crate) fn new(composites: &'r [UserComposite]) -> Finder<'r> {
        Finder { composites, memo: HashMap::default() }
    }

    /// The composite that a node is, as an op on operands.
    pub(crate) fn find(&mut self, graph: &Graph, constants: &Constants, node: NodeId) -> Option<Match> {
        if self.composites.is_empty() {
            return None;
        }
        let cone = Cone::across(graph, constants, node);
        let (structure, values) = cone.structure(graph, constants);
        let composites = self.composites;
        let number = |v: &Value| values.iter().position(|known| known == v).map(|place| place as u32);
        let solve = || {
            composites.iter().find_map(|composite| {
                let (op, operands) = composite.find(graph, constants, &cone)?;
                let numbers: Option<Vec<u32>> = operands.iter().map(number).collect();
                Some((composite.name, op, numbers?))
            })
        };
        let (name, op, operands) = self.memo.entry(structure).or_insert_with(solve).clone()?;
        Some((name, op, operands.iter().map(|&number| values[number as usize]).collect()))
    }
}

/// Checks a composite: every part traces, the stable form and the derivative are those of the
/// definition, the example is found and the counterexample is not.
///
/// # Errors
/// What is wrong, with operands for which it shows. A derivative that agrees on every operand
/// that was tried but is not proved by the normal form is an error too.
pub fn check_composite(composite: &UserComposite) -> Result<(), RuleError> {
    let types = |dtype: DType| -> Vec<TensorType> {
        composite.inputs.iter().map(|(_, sizes)| TensorType::new(dtype, Shape::of(sizes))).collect()
    };
    let double = types(DType::F64);
    let definition = composite.traced("definition", &composite.definition, &double, 1)?;
    if let Some(stable) = &composite.stable {
        let stable = composite.traced("stable form", stable, &double, 1)?;
        composite.compare("stable form", &definition, &stable)?;
    }
    if let Some(vjp) = &composite.vjp {
        let y = definition.output_types().cloned();
        let operands: Vec<TensorType> = double.iter().cloned().chain(y).collect();
        let vjp = composite.traced("derivative", vjp, &operands, double.len())?;
        let derived = composite.derived(&definition)?;
        composite.compare("derivative", &derived, &vjp)?;
        if !proved(&derived, &vjp) {
            return Err(RuleError::Unproved { rule: composite.name });
        }
    }
    composite.examples()
}

impl UserComposite {
    /// A part as a graph with so many results.
    fn traced(
        &self,
        part: &'static str,
        traced: &Traced,
        types: &[TensorType],
        results: usize,
    ) -> Result<Graph, RuleError> {
        let wrong = |reason: String| RuleError::Part { rule: self.name, part, reason };
        let graph = traced(types).map_err(wrong)?;
        match graph.outputs().len() {
            found if found == results => Ok(graph),
            found => Err(wrong(format!("expected {results} results, found {found}"))),
        }
    }

    /// Operands and a cotangent to cotangents, from the definition.
    fn derived(&self, definition: &Graph) -> Result<Graph, RuleError> {
        let mut b = GraphBuilder::new();
        let inputs: Vec<Value> =
            definition.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
        let y = definition.outputs()[0].1;
        let cotangent = b.input("cotangent", definition.ty(y).clone());
        let map = inline(&mut b, definition, &inputs);
        let wrt: Vec<Value> = inputs_of(definition).into_iter().map(|(_, v)| v).collect();
        let found = backward(&mut b, definition, &map, &[(y, cotangent)], &wrt).map_err(|error| {
            RuleError::Part { rule: self.name, part: "derivative", reason: error.to_string() }
        })?;
        let named = |(i, v): (usize, &Value)| (i.to_string(), *v);
        Ok(b.finish(found.gradients.iter().enumerate().map(named).collect::<Vec<_>>()))
    }

    /// Compares what two graphs compute of random operands.
    fn compare(&self, part: &'static str, wanted: &Graph, found: &Graph) -> Result<(), RuleError> {
        if !wanted.output_types().eq(found.output_types()) {
            let list =
                |graph: &Graph| graph.output_types().map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ");
            let reason = format!("expected {}, found {}", list(wanted), list(found));
            return Err(RuleError::Part { rule: self.name, part, reason });
        }
        for seed in 0..TRIALS {
            let sample = |(i, input): (usize, &Input)| {
                fill(RandomKind::Normal, i as u64, seed, DType::F64, &input.ty.shape.at(1))
            };
            let data: Vec<Literal> = wanted.inputs().iter().enumerate().map(sample).collect();
            let values = |graph: &Graph| {
                eval(graph, &data).map_err(|error| RuleError::Part {
                    rule: self.name,
                    part,
                    reason: error.to_string(),
                })
            };
            let (wanted, found) = (values(wanted)?, values(found)?);
            if let Some((lhs, rhs, place)) = wanted.iter().zip(&found).find_map(|(a, b)| apart(a, b)) {
                let first = |literal: &Literal| literal.float_at(place.min(literal.len() - 1));
                let operands =
                    self.inputs.iter().zip(&data).map(|((name, _), x)| format!("{name} = {:?}", first(x)));
                let operands = operands.collect::<Vec<_>>().join(", ") + " (among others)";
                return Err(RuleError::Differs { rule: self.name, part, operands, lhs, rhs });
            }
        }
        Ok(())
    }

    fn examples(&self) -> Result<(), RuleError> {
        if !self.is_found_in(self.example)? {
            return Err(RuleError::Silent { rule: self.name, example: self.example });
        }
        if self.is_found_in(self.fails_when)? {
            return Err(RuleError::Fires { rule: self.name, example: self.fails_when });
        }
        Ok(())
    }

    fn is_found_in(&self, example: &'static str) -> Result<bool, RuleError> {
        let unreadable = |reason| RuleError::Parse { rule: self.name, side: example, reason };
        let graph = spelling::graph(self.inputs, example).map_err(unreadable)?;
        let alone = Rules::standard().holding(self.clone());
        let found =
            recognize_with(&graph, &alone, Tier::default()).map_err(|error| unreadable(error.to_string()))?;
        let root = found.graph.op(found.graph.outputs()[0].1);
        Ok(matches!(root, Op::Call(_) | Op::CustomVjp(_)))
    }
}

/// The first elements that differ, and where.
fn apart(wanted: &Literal, found: &Literal) -> Option<(f64, f64, usize)> {
    let (wanted, found) = (wanted.to_floats(), found.to_floats());
    let scale = wanted.iter().fold(1e-300f64, |scale, x| scale.max(x.abs()));
    let differs = |(_, (a, b)): &(usize, (&f64, &f64))| {
        let close = (*a - *b).abs() <= TOLERANCE * scale || (a.is_nan() && b.is_nan());
        !close
    };
    let (place, (a, b)) = wanted.iter().zip(&found).enumerate().find(differs)?;
    Some((*a, *b, place))
}

/// True when the normal form proves that two graphs compute the same of their inputs.
fn proved(a: &Graph, b: &Graph) -> bool {
    let mut reader = Reader::new();
    let forms: Vec<_> = a.inputs().iter().map(|input| reader.symbol(&input.ty, false)).collect();
    let known = |graph: &Graph| -> Forms {
        inputs_of(graph).into_iter().filter_map(|(i, v)| Some((v, *forms.get(i)?))).collect()
    };
    let (mut left, mut right) = (known(a), known(b));
    let mut same = |(x, y): (&(String, Value), &(String, Value))| {
        reader.read(a, &mut left, x.1) == reader.read(b, &mut right, y.1) && reader.is_reliable()
    };
    a.outputs().iter().zip(b.outputs()).all(&mut same)
}
