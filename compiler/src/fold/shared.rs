//! One unit norm where a value is normalized several times with different gains.
//!
//! Kernels of equal statistics are one anyway; what this saves is the backward: cotangents are
//! summed at the unit norm, and its own cotangent is computed once.

use super::Findings;
use super::context::Context;
use evenkeel_ir::{Attrs, Composite, NodeId, Op, Value};
use std::collections::BTreeMap;

/// The unit norm of a node.
fn unit(op: &Op) -> Option<(Composite, Attrs)> {
    match op {
        Op::Composite(Composite::LayerNorm | Composite::Standardize, attrs) => {
            Some((Composite::Standardize, *attrs))
        }
        Op::Composite(Composite::RmsNorm | Composite::RmsUnit, attrs) => Some((Composite::RmsUnit, *attrs)),
        _ => None,
    }
}

/// Finds norms of one value.
pub(super) fn find(cx: &Context<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut by_input: BTreeMap<(Value, Composite), Vec<(Attrs, NodeId)>> = BTreeMap::new();
    for (id, node) in cx.graph.iter() {
        if let Some((op, attrs)) = unit(&node.op) {
            by_input.entry((node.inputs[0], op)).or_default().push((attrs, id));
        }
    }
    for ((x, op), norms) in by_input {
        let first = norms[0].0;
        if let Some((_, other)) = norms.iter().find(|(attrs, _)| *attrs != first) {
            let difference = if norms.iter().all(|(attrs, _)| attrs.axes == first.axes) {
                "eps or divisor"
            } else {
                "axes"
            };
            let reason =
                format!("{} normalizes the same value with another {difference}", cx.describe(norms[0].1));
            findings.refuse(cx.graph, *other, reason);
        }
        share(cx, x, op, &norms, &mut findings);
    }
    findings
}

/// Writes norms with equal attributes as gains and biases of one unit.
fn share(cx: &Context<'_>, x: Value, op: Composite, norms: &[(Attrs, NodeId)], findings: &mut Findings) {
    for (attrs, id) in norms {
        let equal = norms.iter().filter(|(other, _)| other == attrs).count();
        if equal < 2 || cx.node(*id).inputs.len() < 2 {
            continue;
        }
        let (attrs, affine) = (*attrs, cx.node(*id).inputs[1..].to_vec());
        findings.done(cx.graph, *id, format!("{equal} norms of one value share {}", op.name()));
        findings.replace(
            *id,
            Box::new(move |r| {
                let x = r.at(x);
                let unit = r.b.composite(op, &[x], attrs);
                let gain = r.at(affine[0]);
                let scaled = r.b.mul(unit, gain);
                affine.get(1).map_or(scaled, |bias| {
                    let bias = r.at(*bias);
                    r.b.add(scaled, bias)
                })
            }),
        );
    }
}
