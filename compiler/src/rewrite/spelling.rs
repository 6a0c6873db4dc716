//! Graphs from s-expressions such as `(mul x (rsqrt (add (mean @1 (square x)) 1e-6)))`: the
//! examples of rules, and spellings in tests.
//!
//! Names are inputs, `@1,2` are axes and apply to the op around them, numbers are constants.
//! Reductions are `reduce_sum`, `reduce_max`, ...

use super::language::Head;
use evenkeel_ir::op::{Attrs, Real};
use evenkeel_ir::{Axes, DType, Graph, GraphBuilder, Op, Shape, TensorType, Value};
use std::collections::HashMap;

/// Inputs of a graph by name and sizes.
pub(crate) type Inputs<'a> = &'a [(&'a str, &'a [usize])];

/// A graph whose output `y` is the expression.
pub(crate) fn graph(inputs: Inputs, expression: &str) -> Result<Graph, String> {
    let mut b = GraphBuilder::new();
    let ty = |sizes: &[usize]| TensorType::new(DType::F32, Shape::of(sizes));
    let named = inputs.iter().map(|(name, sizes)| (*name, b.input(*name, ty(sizes)))).collect();
    let text = expression.replace('(', " ( ").replace(')', " ) ");
    let mut reader = Reader { b, named, tokens: text.split_whitespace() };
    let root = reader.value()?.ok_or("an expression ends too early")?;
    Ok(reader.b.finish([("y".to_string(), root)]))
}

struct Reader<'t> {
    b: GraphBuilder,
    named: HashMap<&'t str, Value>,
    tokens: std::str::SplitWhitespace<'t>,
}

impl Reader<'_> {
    /// The next value; none at a closing parenthesis.
    fn value(&mut self) -> Result<Option<Value>, String> {
        let token = self.tokens.next().ok_or("a parenthesis is open")?;
        if token == ")" {
            return Ok(None);
        }
        if token != "(" {
            return self.leaf(token).map(Some);
        }
        let name = self.tokens.next().ok_or("a parenthesis is open")?;
        let mut rest = self.tokens.clone();
        let mut axes = None;
        if let Some(list) = rest.next().and_then(|token| token.strip_prefix('@')) {
            let numbers: Result<Vec<usize>, _> = list.split(',').map(str::parse).collect();
            axes = Some(Axes::new(numbers.map_err(|_| format!("@{list} are no axes"))?));
            self.tokens = rest;
        }
        let mut operands = Vec::new();
        while let Some(operand) = self.value()? {
            operands.push(operand);
        }
        self.apply(name, axes, &operands).map(Some)
    }

    fn leaf(&mut self, token: &str) -> Result<Value, String> {
        if let Some(value) = self.named.get(token) {
            return Ok(*value);
        }
        let number: f64 = token.parse().map_err(|_| format!("{token} is neither an input nor a number"))?;
        Ok(self.b.op(Op::Const(Real::new(number), DType::F32), &[]))
    }

    fn apply(&mut self, name: &str, axes: Option<Axes>, operands: &[Value]) -> Result<Value, String> {
        let count = operands.len() + usize::from(axes.is_some());
        let head =
            Head::from_name(name, count).ok_or_else(|| format!("{name} is no op of {count} operands"))?;
        let op = match (head, axes) {
            (Head::Unary(op), None) => Op::Unary(op),
            (Head::Binary(op), None) => Op::Binary(op),
            (Head::Select, None) => Op::Select,
            (Head::Indicator, None) => Op::Cast(DType::F32),
            (Head::StopGradient, None) => Op::StopGradient,
            (Head::Reduce(op), Some(axes)) => Op::Reduce(op, axes),
            (Head::Composite(op, _), Some(axes)) => Op::Composite(op, Attrs::over(axes)),
            _ => return Err(format!("{name}: axes are missing, or too many")),
        };
        self.b.apply(op, operands).map_err(|error| error.to_string())
    }
}
