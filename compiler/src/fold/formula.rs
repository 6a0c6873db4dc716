//! Values as formulas of the inputs that they depend on.

use evenkeel_ir::{Attrs, Binary, Graph, Op, Unary, Value};

/// A value in infix form: `up.bias - norm.running_mean * (norm.running_var + 1e-5)^-0.5`.
///
/// Movement of axes is left out; other ops read like calls.
pub fn formula(graph: &Graph, value: Value) -> String {
    let live = graph.reachable([value]);
    if live.iter().filter(|live| **live).count() <= LONGEST {
        return write(graph, value).0;
    }
    let inputs = graph.iter().filter(|(id, node)| live[id.0 as usize] && matches!(node.op, Op::Input(_)));
    let names: Vec<String> = inputs.map(|(node, _)| write(graph, Value { node, result: 0 }).0).collect();
    format!("f({})", names.join(", "))
}

/// Values of more nodes are written as `f(inputs)`.
const LONGEST: usize = 48;

/// How strongly the outermost op of a text binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Sum,
    Product,
    Atom,
}

fn write(graph: &Graph, value: Value) -> (String, Binding) {
    let node = graph.node(value.node);
    let operand = |place: usize| write(graph, node.inputs[place]);
    let infix = |sign: &str, own: Binding, right: Binding| {
        let (x, y) = (within(operand(0), own), within(operand(1), right));
        (format!("{x} {sign} {y}"), own)
    };
    match &node.op {
        Op::Input(index) => (graph.inputs()[*index as usize].name.clone(), Binding::Atom),
        Op::Const(number, _) => (written(number.get()), Binding::Atom),
        Op::Reshape(_) | Op::Broadcast(_) | Op::StopGradient => operand(0),
        Op::Binary(Binary::Add) => infix("+", Binding::Sum, Binding::Sum),
        Op::Binary(Binary::Sub) => infix("-", Binding::Sum, Binding::Product),
        Op::Binary(Binary::Mul) => infix("*", Binding::Product, Binding::Product),
        Op::Binary(Binary::Div) => infix("/", Binding::Product, Binding::Atom),
        Op::Unary(Unary::Neg) => (format!("-{}", within(operand(0), Binding::Atom)), Binding::Sum),
        Op::Composite(_, Attrs { axes, .. }) => call(graph, value, &format!(" {axes}")),
        _ => call(graph, value, ""),
    }
}

/// `0.5`, `1e-5`
fn written(number: f64) -> String {
    let plain = number == 0.0 || (1e-3..1e6).contains(&number.abs());
    if plain { format!("{number}") } else { format!("{number:e}") }
}

fn call(graph: &Graph, value: Value, attributes: &str) -> (String, Binding) {
    let node = graph.node(value.node);
    let operands: Vec<String> = node.inputs.iter().map(|v| write(graph, *v).0).collect();
    (format!("{}{attributes}({})", node.op.name(), operands.join(", ")), Binding::Atom)
}

fn within((text, binding): (String, Binding), least: Binding) -> String {
    if binding < least { format!("({text})") } else { text }
}
