//! Proposes named rows for functions of one element: evaluate, compare, then let the normal
//! form decide.

use super::cone::{Cone, Constants, Cut};
use super::constants::constant;
use super::language::{Head, Term};
use super::normal::Form;
use super::reader::{Forms, Reader};
use super::region::Region;
use egg::Id;
use evenkeel_ir::op::{Binary, Real, Unary};
use evenkeel_ir::{DType, Graph, GraphBuilder, NodeId, Op, TensorType, Value};
use rustc_hash::FxHashMap as HashMap;
use std::fmt;

/// Where spellings are compared with rows before the exact comparison.
const SAMPLES: [f64; 6] = [-7.3, -2.6, -0.6, 0.45, 1.9, 6.7];

/// How far a spelling with rounded constants may be from the row it means.
const TOLERANCE: f64 = 1e-4;

/// How far from the end of an interval a proof by cases begins, relative to the end: within the
/// rounding of the constant that it is.
const HAIR: f64 = 1e-9;

/// The most constants whose values divide the line into cases.
const KNOTS: usize = 8;

/// What a root may be as a function of one of its gates.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Function {
    /// A named row.
    Row(Unary),
    /// A row of the gate times a constant, times a constant: `factor * row(scale * x)`.
    Scaled {
        /// The row.
        row: Unary,
        /// Value of the graph that is `scale * x`.
        at: Value,
        /// What the gate is multiplied with.
        scale: Real,
        /// What the result is multiplied with.
        factor: Real,
    },
    /// `leaky_relu(x, slope)` with a slope between 0 and 1.
    Leaky(Real),
}

/// Functions that the root may be, with their operand, the largest function first.
pub(crate) fn proposals(graph: &Graph, constants: &Constants, cone: &Cone) -> Vec<(Function, Value)> {
    let ty = graph.ty(Value { node: cone.root, result: 0 });
    let mut found = Vec::new();
    for &x in cone.gates.iter().rev().filter(|x| graph.ty(**x) == ty) {
        let Some(cut) = cone.cut(graph, constants, x).filter(|cut| cut.beside.is_empty()) else { continue };
        let sampled = SAMPLES.iter().map(|&at| evaluate(graph, &cut.between, x, at)).collect();
        let Some(values): Option<Vec<f64>> = sampled else { continue };
        let fits = |function: &Function| function.is_near(&values);
        found.extend(rows().map(Function::Row).filter(fits).map(|function| (function, x)));
        if let Some(at_minus_one) = evaluate(graph, &cut.between, x, -1.0).filter(|y| -1.0 < *y && *y < 0.0) {
            let leaky = Function::Leaky(Real::new(-at_minus_one));
            found.extend(Some(leaky).filter(fits).map(|function| (function, x)));
        }
        found.extend(scaled(graph, &cut, x).into_iter().filter(fits).map(|function| (function, x)));
    }
    found.retain(|(function, x)| !function.is_written(graph, cone.root, *x));
    found
}

/// Rows with a meaning that the normal form reads.
fn rows() -> impl Iterator<Item = Unary> {
    let known = |op: &Unary| op.def().definition.is_some() || *op == Unary::Tanh;
    Unary::ALL.iter().copied().filter(known)
}

/// Rows of `scale * x` times a constant, with the constants of the spelling.
fn scaled(graph: &Graph, cut: &Cut, x: Value) -> Vec<Function> {
    let numbers = numbers(graph, &cut.between);
    let factors: Vec<f64> = numbers.iter().flat_map(|c| [*c, 1.0 / c]).filter(|c| c.is_normal()).collect();
    let multiple = |id: &NodeId| {
        let node = graph.node(*id);
        let is_constant = |v: Value| matches!(graph.op(v), Op::Const(..));
        let is_multiple = match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(Binary::Mul), &[a, b]) => (a == x && is_constant(b)) || (b == x && is_constant(a)),
            (Op::Binary(Binary::Div), &[a, b]) => a == x && is_constant(b),
            _ => false,
        };
        if !is_multiple {
            return None;
        }
        Some((Value { node: *id, result: 0 }, Real::new(evaluate(graph, &[*id], x, 1.0)?)))
    };
    let multiples: Vec<(Value, Real)> = cut.between.iter().filter_map(multiple).collect();
    let mut found = Vec::new();
    for (at, scale) in multiples {
        for &factor in &factors {
            let factor = Real::new(factor);
            found.extend(rows().map(|row| Function::Scaled { row, at, scale, factor }));
        }
    }
    found
}

/// Constants that some nodes read.
fn numbers(graph: &Graph, nodes: &[NodeId]) -> Vec<f64> {
    let number = |v: &Value| match graph.op(*v) {
        Op::Const(number, _) => Some(number.get()),
        _ => None,
    };
    let mut all: Vec<f64> = nodes
        .iter()
        .flat_map(|id| &graph.node(*id).inputs)
        .filter_map(number)
        .filter(|x| x.is_finite())
        .collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

/// Values of the last of some nodes at the samples of `x`, with another value of one constant.
pub(crate) fn samples(
    graph: &Graph,
    between: &[NodeId],
    x: Value,
    exchange: Option<(NodeId, f64)>,
) -> Option<Vec<f64>> {
    let at = |at: &f64| {
        let mut known: HashMap<NodeId, f64> = exchange.into_iter().chain([(x.node, *at)]).collect();
        between.iter().map(|id| value_of(graph, &mut known, *id)).last()?
    };
    SAMPLES.iter().map(at).collect()
}

/// Named functions without constants of a spelling.
pub(crate) fn named_rows() -> impl Iterator<Item = Function> {
    rows().map(Function::Row)
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Function::Row(op) | Function::Scaled { row: op, .. } => f.write_str(op.name()),
            Function::Leaky(slope) => write!(f, "leaky_relu of slope {:?}", slope.get()),
        }
    }
}

impl Function {
    fn value(self, x: f64) -> f64 {
        match self {
            Function::Row(op) => (op.def().eval)(x),
            Function::Scaled { row, scale, factor, .. } => factor.get() * (row.def().eval)(scale.get() * x),
            Function::Leaky(slope) => (Binary::LeakyRelu.def().eval)(x, slope.get()),
        }
    }

    /// Its values where spellings are compared.
    pub(crate) fn samples(self) -> Vec<f64> {
        SAMPLES.iter().map(|x| self.value(*x)).collect()
    }

    /// True where one of some nodes is this row.
    pub(crate) fn is_among(self, graph: &Graph, nodes: &[NodeId]) -> bool {
        let is_it = |id: &NodeId| matches!(self, Function::Row(row) if graph.node(*id).op == Op::Unary(row));
        nodes.iter().any(is_it)
    }

    fn is_near(self, values: &[f64]) -> bool {
        let near = |(&x, &y): (&f64, &f64)| (self.value(x) - y).abs() <= TOLERANCE * (1.0 + y.abs());
        SAMPLES.iter().zip(values).all(near)
    }

    /// True where the root says so already.
    fn is_written(self, graph: &Graph, root: NodeId, x: Value) -> bool {
        let node = graph.node(root);
        let op = match self {
            Function::Row(op) => Op::Unary(op),
            Function::Scaled { .. } => Op::Binary(Binary::Mul),
            Function::Leaky(_) => Op::Binary(Binary::LeakyRelu),
        };
        node.op == op && (node.inputs.contains(&x) || matches!(self, Function::Leaky(_)))
    }

    /// Adds it to the region of its operand.
    pub(crate) fn add(self, region: &mut Region, x: Value) -> Option<Id> {
        let operand = region.class(x)?;
        let number = |region: &mut Region, number| region.classes.add(Term::Number(number));
        Some(match self {
            Function::Row(op) => region.add(Head::Unary(op), &[operand]),
            Function::Scaled { row, at, factor, .. } => {
                let at = region.class(at)?;
                let (value, factor) = (region.add(Head::Unary(row), &[at]), number(region, factor));
                region.add(Head::Binary(Binary::Mul), &[value, factor])
            }
            Function::Leaky(slope) => {
                let slope = number(region, slope);
                region.add(Head::Binary(Binary::LeakyRelu), &[operand, slope])
            }
        })
    }

    /// Its normal form.
    fn form(self, reader: &mut Reader, dtype: DType, x: Form) -> Option<Form> {
        let times = |reader: &mut Reader, x: Form, factor: Real| {
            let factor = constant(&mut reader.normalizer, factor.get(), dtype)?;
            Some(reader.normalizer.multiply(x, factor))
        };
        match self {
            Function::Row(op) => Some(reader.unary(op, dtype, x)),
            Function::Scaled { row, scale, factor, .. } => {
                let inside = times(reader, x, scale)?;
                let value = reader.unary(row, dtype, inside);
                times(reader, value, factor)
            }
            Function::Leaky(slope) => {
                let slope = constant(&mut reader.normalizer, slope.get(), dtype)?;
                Some(reader.binary(Binary::LeakyRelu, x, slope))
            }
        }
    }

    /// Constants of its definition.
    pub(crate) fn numbers(self, dtype: DType) -> Vec<f64> {
        let (Function::Row(op) | Function::Scaled { row: op, .. }) = self else { return Vec::new() };
        let Some(definition) = op.def().definition else { return Vec::new() };
        let mut b = GraphBuilder::new();
        let x = b.input("x", TensorType::scalar(dtype));
        definition(&mut b, x);
        let graph = b.finish([]);
        let all: Vec<NodeId> = graph.iter().map(|(id, _)| id).collect();
        numbers(&graph, &all)
    }
}

/// True when a function equals the root between any two constants of either, and at them: the
/// proof of spellings by cases.
pub(crate) fn equal_by_cases(
    graph: &Graph,
    constants: &Constants,
    cone: &Cone,
    function: Function,
    x: Value,
) -> bool {
    let Some(cut) = cone.cut(graph, constants, x) else { return false };
    let knots = knots(graph, &cut, function, graph.ty(x).dtype);
    let same = |at: &f64| {
        let spelled = evaluate(graph, &cut.between, x, *at);
        spelled.is_some_and(|y| (y - function.value(*at)).abs() <= 1e-6 * (1.0 + y.abs()))
    };
    let ends = || std::iter::once(f64::NEG_INFINITY).chain(knots.iter().copied());
    let highs = knots.iter().copied().chain([f64::INFINITY]);
    let root = Value { node: cone.root, result: 0 };
    let equal = |(low, high): (f64, f64)| {
        let mut reader = Reader::new();
        // infinite ends have no hair
        let hair = |end: f64| if end.is_finite() { HAIR * (1.0 + end.abs()) } else { 0.0 };
        let operand = reader.between(graph.ty(x), low + hair(low), high - hair(high));
        let mut known = Forms::from_iter([(x, operand)]);
        let spelled = reader.read(graph, &mut known, root);
        let named = function.form(&mut reader, graph.ty(x).dtype, operand);
        reader.is_reliable() && Some(spelled) == named
    };
    knots.iter().all(same) && ends().zip(highs).all(equal)
}

/// Where the cases of a spelling or of a function may begin: 0, and their constants.
fn knots(graph: &Graph, cut: &Cut, function: Function, dtype: DType) -> Vec<f64> {
    let all = numbers(graph, &cut.between).into_iter().chain(function.numbers(dtype));
    let mut knots: Vec<f64> = all.flat_map(|c| [c, -c]).collect();
    knots.push(0.0);
    knots.sort_by(|a, b| a.abs().total_cmp(&b.abs()).then(a.total_cmp(b)));
    knots.iter_mut().for_each(|knot| *knot += 0.0);
    knots.dedup();
    knots.truncate(2 * KNOTS + 1);
    knots.sort_by(f64::total_cmp);
    knots
}

/// The last of some nodes as a function of `x`; none where something between is not pointwise.
fn evaluate(graph: &Graph, between: &[NodeId], x: Value, at: f64) -> Option<f64> {
    let mut known = HashMap::from_iter([(x.node, at)]);
    let mut result = None;
    for &id in between {
        result = Some(value_of(graph, &mut known, id)?);
    }
    result
}

fn value_of(graph: &Graph, known: &mut HashMap<NodeId, f64>, id: NodeId) -> Option<f64> {
    if let Some(&value) = known.get(&id) {
        return Some(value);
    }
    let node = graph.node(id);
    let operands: Option<Vec<f64>> = node.inputs.iter().map(|v| value_of(graph, known, v.node)).collect();
    let operands = operands?;
    let value = match &node.op {
        Op::Const(number, _) => number.get(),
        Op::Size(extent, _) => extent.known()? as f64,
        Op::Unary(op) => (op.def().eval)(operands[0]),
        Op::Binary(Binary::Pow) => operands[0].powf(operands[1]),
        Op::Binary(op) => (op.def().eval)(operands[0], operands[1]),
        Op::Select => operands[if operands[0] != 0.0 { 1 } else { 2 }],
        Op::Cast(_) | Op::Broadcast(_) => operands[0],
        _ => return None,
    };
    known.insert(id, value);
    Some(value)
}
