//! Proposes named rows for functions of one element: evaluate, compare, then let the normal
//! form decide.

use super::cone::{Cone, Constants};
use super::normal::Number;
use super::reader::{Forms, Reader};
use evenkeel_ir::op::{Binary, Unary};
use evenkeel_ir::{Graph, NodeId, Op, Value};
use rustc_hash::FxHashMap as HashMap;

/// Where spellings are compared with rows before the exact comparison.
const SAMPLES: [f64; 6] = [-7.3, -2.6, -0.6, 0.45, 1.9, 6.7];

/// How far a spelling with rounded constants may be from the row it means.
const TOLERANCE: f64 = 1e-4;

/// Rows that the root may be, with their operand, the largest function first.
pub(crate) fn proposals(graph: &Graph, constants: &Constants, cone: &Cone) -> Vec<(Unary, Value)> {
    let ty = graph.ty(Value { node: cone.root, result: 0 });
    let mut found = Vec::new();
    for &x in cone.gates.iter().rev().filter(|x| graph.ty(**x) == ty) {
        let Some(values) = samples(graph, constants, cone, x) else { continue };
        let fits = |op: &&Unary| {
            let close = |(&x, &y): (&f64, &f64)| (op.def().eval)(x) - y;
            let near = |(x, y): (&f64, &f64)| close((x, y)).abs() <= TOLERANCE * (1.0 + y.abs());
            op.def().definition.is_some() && SAMPLES.iter().zip(&values).all(near)
        };
        found.extend(Unary::ALL.iter().filter(fits).map(|op| (*op, x)));
    }
    found.retain(|(op, x)| {
        let root = graph.node(cone.root);
        root.op != Op::Unary(*op) || root.inputs[0] != *x
    });
    found
}

/// True when a row equals the root wherever `x` is positive, wherever it is negative, and at 0:
/// the proof of spellings with a case for each sign.
pub(crate) fn equal_by_cases(graph: &Graph, constants: &Constants, cone: &Cone, op: Unary, x: Value) -> bool {
    let at_zero = || {
        let cut = cone.cut(graph, constants, x)?;
        Some((evaluate(graph, &cut.between, x, 0.0)? - (op.def().eval)(0.0)).abs() <= 1e-12)
    };
    let equal = |sign: i128| {
        let mut reader = Reader::new();
        let exponent = reader.symbol(graph.ty(x), false);
        let size = reader.normalizer.exp(exponent);
        let operand = reader.normalizer.scale(size, Number::int(sign));
        let mut known = Forms::from_iter([(x, operand)]);
        let spelled = reader.read(graph, &mut known, Value { node: cone.root, result: 0 });
        let named = reader.unary(op, graph.ty(x).dtype, operand);
        reader.is_reliable() && spelled == named
    };
    at_zero() == Some(true) && equal(1) && equal(-1)
}

/// The root at every sample; none where something between is not pointwise.
fn samples(graph: &Graph, constants: &Constants, cone: &Cone, x: Value) -> Option<Vec<f64>> {
    let cut = cone.cut(graph, constants, x)?;
    if !cut.beside.is_empty() {
        return None;
    }
    SAMPLES.iter().map(|&at| evaluate(graph, &cut.between, x, at)).collect()
}

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
