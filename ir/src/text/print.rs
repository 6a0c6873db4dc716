//! Writes the text form.
//!
//! A constant stands as a bare number in its users when reading puts it at the same place of the
//! node order: directly before its first user, and where every user tells its element type.

use super::{is_name, number_dtype};
use crate::dtype::DType;
use crate::graph::{Graph, Input, Node, NodeId, Value};
use crate::op::{Attr, Attrs, Composite, EpsKind, Op, Real};
use std::collections::{HashMap, HashSet};
use std::fmt;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known = Interned::default();
        known.add_called(self);
        for (index, graph) in known.order.iter().enumerate() {
            let printer = Printer::new(graph, &known);
            let leading = printer.leading_inputs();
            let inputs =
                graph.inputs()[..leading].iter().map(|input| format!("{}: {}", input.name, input.ty));
            writeln!(f, "graph g{index}({}) {{", inputs.collect::<Vec<_>>().join(", "))?;
            printer.body(f, "  ", leading)?;
            writeln!(f, "}}")?;
        }
        Printer::new(self, &known).body(f, "", 0)
    }
}

/// The graphs that a graph calls, callees first, each once.
#[derive(Default)]
struct Interned<'g> {
    order: Vec<&'g Graph>,
    names: HashMap<&'g Graph, usize>,
}

impl<'g> Interned<'g> {
    fn add_called(&mut self, graph: &'g Graph) {
        for node in graph.nodes() {
            match &node.op {
                Op::Call(callee) => self.add(&callee.0),
                Op::CustomVjp(custom) => {
                    self.add(&custom.forward.0);
                    self.add(&custom.backward.0);
                }
                _ => {}
            }
        }
    }

    fn add(&mut self, graph: &'g Graph) {
        if self.names.contains_key(graph) {
            return;
        }
        self.add_called(graph);
        self.names.insert(graph, self.order.len());
        self.order.push(graph);
    }

    fn name(&self, graph: &Graph) -> String {
        self.names.get(graph).map_or_else(String::new, |index| format!("g{index}"))
    }
}

struct Printer<'g> {
    graph: &'g Graph,
    known: &'g Interned<'g>,
    /// Constants that stand as numbers.
    bare: HashSet<NodeId>,
}

impl<'g> Printer<'g> {
    fn new(graph: &'g Graph, known: &'g Interned<'g>) -> Printer<'g> {
        Printer { graph, known, bare: bare_constants(graph) }
    }

    /// How many inputs stand first and have names that can be written as they are.
    fn leading_inputs(&self) -> usize {
        let inputs = self.graph.nodes().iter().zip(self.graph.inputs());
        inputs.take_while(|(node, input)| matches!(node.op, Op::Input(_)) && is_name(&input.name)).count()
    }

    /// One line per node but the first `skip`, then `return`.
    fn body(&self, f: &mut fmt::Formatter<'_>, indent: &str, skip: usize) -> fmt::Result {
        for (id, node) in self.graph.iter().skip(skip) {
            if self.bare.contains(&id) {
                continue;
            }
            let results = (0..node.types.len() as u32).map(|result| self.name(Value { node: id, result }));
            let results = results.collect::<Vec<_>>().join(", ");
            let equals = if results.is_empty() { "" } else { " = " };
            write!(f, "{indent}{results}{equals}{}", node.op.name())?;
            self.attributes(f, node)?;
            node.inputs.iter().try_for_each(|&input| write!(f, " {}", self.operand(input)))?;
            writeln!(f)?;
        }
        let outputs = self.graph.outputs().iter().map(|(name, value)| self.output(name, *value));
        let outputs = outputs.collect::<Vec<_>>().join(", ");
        writeln!(f, "{indent}return{}{outputs}", if outputs.is_empty() { "" } else { " " })
    }

    fn input(&self, value: Value) -> Option<&'g Input> {
        match self.graph.op(value) {
            Op::Input(index) => self.graph.inputs().get(*index as usize),
            _ => None,
        }
    }

    fn name(&self, value: Value) -> String {
        let number = value.node.0;
        match self.input(value) {
            Some(input) if is_name(&input.name) => input.name.clone(),
            _ if self.graph.node(value.node).types.len() == 1 => format!("%{number}"),
            _ => format!("%{number}.{}", value.result),
        }
    }

    fn operand(&self, value: Value) -> String {
        match self.graph.op(value) {
            Op::Const(number, dtype) if self.bare.contains(&value.node) => literal(*number, *dtype),
            _ => self.name(value),
        }
    }

    fn output(&self, name: &str, value: Value) -> String {
        let variable = self.name(value);
        match name {
            name if name == variable => variable,
            name if is_name(name) => format!("{name}={variable}"),
            name => format!("{}={variable}", quoted(name)),
        }
    }

    /// Everything between the name of the op and its operands, each after a blank.
    fn attributes(&self, f: &mut fmt::Formatter<'_>, node: &Node) -> fmt::Result {
        match &node.op {
            Op::Input(index) => write_input(f, self.graph.inputs().get(*index as usize)),
            Op::Const(number, dtype) => write!(f, " {dtype} {}", literal(*number, *dtype)),
            Op::Size(extent, dtype) => write!(f, " {extent} {dtype}"),
            Op::Iota { rank, axis, extent } => write!(f, " rank={rank} axis={axis} extent={extent}"),
            Op::Random { stream, ty, .. } => write!(f, " stream={stream} {ty}"),
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::StopGradient => Ok(()),
            Op::Cast(dtype) => write!(f, " {dtype}"),
            Op::Reduce(_, axes) | Op::Flip(axes) => write!(f, " {axes}"),
            Op::Reshape(shape) | Op::Broadcast(shape) => write!(f, " {shape}"),
            Op::Transpose(order) => {
                let order: Vec<String> = order.iter().map(u8::to_string).collect();
                write!(f, " @{}", order.join(","))
            }
            Op::Slice { axis, start, length, stride } => {
                write!(f, " axis={axis} start={start} length={length} stride={stride}")
            }
            Op::Pad { axis, low, high, interior } => {
                write!(f, " axis={axis} low={low} high={high} interior={interior}")
            }
            Op::Concat { axis } | Op::Gather { axis } => write!(f, " axis={axis}"),
            Op::Dot { batch: 0, lhs, rhs } => write!(f, " {lhs} {rhs}"),
            Op::Dot { batch, lhs, rhs } => write!(f, " {lhs} {rhs} batch={batch}"),
            Op::ScatterAdd { axis, size } => write!(f, " axis={axis} size={size}"),
            Op::Composite(composite, attrs) => write_attrs(f, *composite, attrs),
            Op::Call(callee) => write!(f, " {}", self.known.name(&callee.0)),
            Op::CustomVjp(custom) => {
                let (forward, backward) = (&custom.forward.0, &custom.backward.0);
                write!(f, " forward={} backward={}", self.known.name(forward), self.known.name(backward))?;
                write!(f, " results={} differentiable={}", custom.results, custom.differentiable)
            }
        }
    }
}

fn write_input(f: &mut fmt::Formatter<'_>, input: Option<&Input>) -> fmt::Result {
    match input {
        Some(input) if is_name(&input.name) => write!(f, " {}", input.ty),
        Some(input) => write!(f, " name={} {}", quoted(&input.name), input.ty),
        None => Ok(()),
    }
}

/// Attributes that the row reads, those at their defaults left out.
fn write_attrs(f: &mut fmt::Formatter<'_>, composite: Composite, attrs: &Attrs) -> fmt::Result {
    let reads = composite.def().attrs;
    if reads.contains(&Attr::Axes) {
        write!(f, " {}", attrs.axes)?;
    }
    if reads.contains(&Attr::Eps) && attrs.eps != Real::new(0.0) {
        write!(f, " eps={}", literal(attrs.eps, DType::F64))?;
    }
    if reads.contains(&Attr::Eps) && attrs.eps_kind != EpsKind::Inside {
        write!(f, " kind={}", attrs.eps_kind.name())?;
    }
    if reads.contains(&Attr::Correction) && attrs.correction != 0 {
        write!(f, " correction={}", attrs.correction)?;
    }
    Ok(())
}

/// The shortest number that reads back as the same bits; a NaN other than the usual one as its bits.
fn literal(number: Real, dtype: DType) -> String {
    let number = number.get();
    match number {
        _ if number.is_nan() && number.to_bits() == f64::NAN.to_bits() => "nan".into(),
        _ if number.is_nan() => format!("{:#018x}", number.to_bits()),
        _ if number.is_infinite() || number.abs() < 1e15 && number.fract() == 0.0 && !dtype.is_float() => {
            format!("{number}")
        }
        _ => format!("{number:?}"),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Constants that may stand as numbers in all their users.
fn bare_constants(graph: &Graph) -> HashSet<NodeId> {
    let constant = |value: &Value| matches!(graph.op(*value), Op::Const(..));
    let mut first_user: HashMap<NodeId, NodeId> = HashMap::new();
    let mut named: HashSet<NodeId> = graph.outputs().iter().map(|(_, value)| value.node).collect();
    for (id, node) in graph.iter() {
        let dtype = |value: &Value| (!constant(value)).then(|| graph.ty(*value).dtype);
        let known: Vec<Option<DType>> = node.inputs.iter().map(dtype).collect();
        for (position, value) in node.inputs.iter().enumerate().filter(|(_, value)| constant(value)) {
            first_user.entry(value.node).or_insert(id);
            if number_dtype(&node.op, &known, position) != Some(graph.ty(*value).dtype) {
                named.insert(value.node);
            }
        }
    }
    let mut bare = HashSet::new();
    for (id, node) in graph.iter() {
        let mut fresh: Vec<NodeId> = Vec::new();
        for value in node.inputs.iter().filter(|value| constant(value)) {
            let first = first_user.get(&value.node) == Some(&id);
            if first && !named.contains(&value.node) && !fresh.contains(&value.node) {
                fresh.push(value.node);
            }
        }
        // Reading makes the new numbers of a node, in order, directly before it.
        let mut next = id.0;
        for constant in fresh.into_iter().rev().take_while(|constant| {
            next -= 1;
            constant.0 == next
        }) {
            bare.insert(constant);
        }
    }
    bare
}
