//! Graphs as Graphviz.

use crate::graph::{Graph, Value};
use crate::op::Op;
use std::fmt::Write;

impl Graph {
    /// The graph in the language of Graphviz, for `dot -Tsvg`.
    pub fn to_dot(&self, name: &str) -> String {
        let mut text = format!("digraph {} {{\n  node [shape=box]\n", quoted(name));
        for (id, node) in self.iter() {
            let label = match &node.op {
                Op::Input(index) => self.inputs()[*index as usize].name.clone(),
                Op::Const(number, _) => format!("{:?}", number.get()),
                op => op.name().to_string(),
            };
            let place = self.provenance(id).place.map(|place| format!("\n{place}")).unwrap_or_default();
            let ty = self.ty(Value { node: id, result: 0 });
            let _ = writeln!(text, "  n{} [label={}]", id.0, quoted(&format!("{label}\n{ty}{place}")));
            for input in &node.inputs {
                let _ = writeln!(text, "  n{} -> n{}", input.node.0, id.0);
            }
        }
        for (place, (name, value)) in self.outputs().iter().enumerate() {
            let _ = writeln!(text, "  output{place} [shape=plain, label={}]", quoted(name));
            let _ = writeln!(text, "  n{} -> output{place}", value.node.0);
        }
        text + "}\n"
    }
}

/// A string of Graphviz, in which a line break is written `\n`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
