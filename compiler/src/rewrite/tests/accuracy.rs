//! The float contract of rewriting, measured: what is extracted loses no more than what was
//! written, in f32 and where the mean is far larger than the spread.

use super::derived::{LAYERS, difference, naive, operands};
use crate::expand::expand;
use crate::rewrite::{recognize, simplify_with};
use crate::{Bandwidth, Costs, Options};
use evenkeel_ir::eval::{eval, eval_nodes};
use evenkeel_ir::{Graph, GraphBuilder, Literal, Node, Op, Value};

/// Added to the first operand, whose spread is 1.
const OFFSETS: [f64; 3] = [0.0, 1000.0, 4096.0];

/// Beyond twice the error of what was written: one unit in the last place of the largest result.
const SLACK: f64 = f32::EPSILON as f64;

fn to_f32(x: &Literal) -> Literal {
    match x.dtype.is_float() {
        true => {
            Literal::floats(x.dtype, &x.sizes, x.to_floats().iter().map(|x| f64::from(*x as f32)).collect())
        }
        false => x.clone(),
    }
}

/// One node on operands, rounded.
fn step(graph: &Graph, node: &Node, operands: &[Literal]) -> Literal {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> =
        node.inputs.iter().enumerate().map(|(i, v)| b.input(i.to_string(), graph.ty(*v).clone())).collect();
    let value = b.op(node.op.clone(), &inputs);
    let values = eval_nodes(&b.finish([]), operands, 1);
    to_f32(&values[value.node.0 as usize][0])
}

/// The outputs of a graph in primitives whose every node is rounded to f32.
fn in_f32(graph: &Graph, inputs: &[Literal]) -> Vec<Literal> {
    let mut values: Vec<Literal> = Vec::new();
    for node in graph.nodes() {
        let operands: Vec<Literal> = node.inputs.iter().map(|v| values[v.node.0 as usize].clone()).collect();
        values.push(match node.op {
            Op::Input(i) => inputs[i as usize].clone(),
            _ => step(graph, node, &operands),
        });
    }
    graph.outputs().iter().map(|(_, v)| values[v.node.0 as usize].clone()).collect()
}

/// Errors of a graph as written and as extracted, against f64.
fn errors(written: &Graph, extracted: &Graph, offset: f64) -> (f64, f64) {
    let data = operands(written, offset);
    let truth = eval(written, &data).expect("it runs");
    let error = |graph: &Graph| difference(&truth, &in_f32(&expand(graph), &data));
    (error(written), error(extracted))
}

/// The reference, and machines on which steps, sweeps or memory are dear or free.
fn machines() -> Vec<Costs> {
    let own = |cached: f64, step_micros: f64, rate: Option<f64>| Costs {
        cached,
        step_micros,
        levels: rate.map(|rate| Bandwidth { holds: f64::INFINITY, rate }).into_iter().collect(),
        ..Costs::REFERENCE
    };
    vec![
        Costs::REFERENCE,
        own(1.0, 0.5, None),
        own(20.0, 50.0, None),
        own(1e6, 0.0, None),
        own(20.0, 0.5, Some(5.0)),
        own(200.0, 5.0, Some(200.0)),
    ]
}

#[test]
fn what_is_extracted_loses_no_more_than_what_was_written() {
    for &(name, inputs, text) in LAYERS {
        let written = naive(inputs, text);
        let simplified = |costs: Costs| {
            let options = Options { costs: costs.clone(), ..Options::default() };
            let simple = simplify_with(&written, &options).expect("it simplifies").graph;
            (format!("simplified by {costs:?}"), simple)
        };
        let named = ("recognized".to_string(), recognize(&written).expect("it is recognized").graph);
        let mut graphs: Vec<_> = machines().into_iter().map(simplified).chain([named]).collect();
        graphs.dedup_by(|a, b| a.1 == b.1);
        for offset in OFFSETS {
            for (how, graph) in &graphs {
                let (before, after) = errors(&written, graph, offset);
                assert!(
                    after <= 2.0 * before + SLACK,
                    "{name} {how}, offset {offset}: {before:e} to {after:e}\n{graph}"
                );
            }
        }
    }
}
