//! Test support: graphs from s-expressions such as `(mul x (rsqrt (add (mean @1 (square x)) 1e-6)))`.
//!
//! Names are inputs, `@1,2` are axes and apply to the op around them, numbers are constants.

use evenkeel_ir::op::{Attrs, Binary, Composite, Unary};
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, Op, Reduce, Shape, TensorType, Value};
use std::collections::HashMap;

/// Inputs of a test graph by name and sizes.
pub type Inputs<'a> = &'a [(&'a str, &'a [usize])];

/// A graph whose output `y` is the expression.
pub fn graph(inputs: Inputs, expression: &str) -> Graph {
    let mut b = GraphBuilder::new();
    let named = inputs
        .iter()
        .map(|(name, sizes)| {
            (name.to_string(), b.input(*name, TensorType::new(DType::F32, Shape::of(sizes))))
        })
        .collect();
    let text = expression.replace('(', " ( ").replace(')', " ) ");
    let mut tokens = text.split_whitespace();
    let root = parse(&mut b, &named, &mut tokens).expect("an expression");
    b.finish([("y".to_string(), root)])
}

fn parse<'t>(
    b: &mut GraphBuilder,
    inputs: &HashMap<String, Value>,
    tokens: &mut impl Iterator<Item = &'t str>,
) -> Option<Value> {
    let token = tokens.next()?;
    if token == ")" {
        return None;
    }
    if token != "(" {
        let number =
            |b: &mut GraphBuilder| b.number(inputs[&"x".to_string()], token.parse().expect("a number"));
        return Some(inputs.get(token).copied().unwrap_or_else(|| number(b)));
    }
    let name = tokens.next()?;
    let mut axes = Axes::NONE;
    if ["sum", "rmax", "mean", "var", "softmax", "log_softmax", "logsumexp", "center"].contains(&name) {
        let list = tokens.next()?.trim_start_matches('@');
        axes = Axes::new(list.split(',').map(|axis| axis.parse::<usize>().expect("an axis")));
    }
    let mut operands = Vec::new();
    while let Some(operand) = parse(b, inputs, tokens) {
        operands.push(operand);
    }
    Some(apply(b, name, axes, &operands))
}

fn apply(b: &mut GraphBuilder, name: &str, axes: Axes, operands: &[Value]) -> Value {
    match name {
        "rmax" => b.reduce(Reduce::Max, operands[0], axes),
        "sum" => b.sum(operands[0], axes),
        "stop" => b.stop_gradient(operands[0]),
        "select" => b.op(Op::Select, operands),
        "size" => {
            let extent = b.ty(operands[0]).shape.elements();
            b.size(extent, DType::F32)
        }
        // written out, so that nothing is recognized before the compiler looks
        "mean" => {
            let total = b.sum(operands[0], axes);
            let count = b.ty(operands[0]).shape.extent_of(&axes);
            let n = b.size(count, DType::F32);
            b.div(total, n)
        }
        "var" => {
            let mean = apply(b, "mean", axes, operands);
            let center = b.sub(operands[0], mean);
            let square = b.mul(center, center);
            apply(b, "mean", axes, &[square])
        }
        _ => match (Unary::from_name(name), Binary::from_name(name), Composite::from_name(name)) {
            (Some(op), ..) => b.unary(op, operands[0]),
            (_, Some(op), _) => b.binary(op, operands[0], operands[1]),
            (_, _, Some(op)) => b.composite(op, operands, Attrs::over(axes)),
            _ => panic!("unknown op {name}"),
        },
    }
}
