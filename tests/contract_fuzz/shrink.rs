//! Makes a failing case small: fewer outputs, rows and ops, plainer numbers, as long as it fails.
//!
//! Start at [`shrink`].

use super::measure::{Case, Failure};
use evenkeel_ir::eval::eval_nodes_by;
use evenkeel_ir::{DType, Graph, GraphBuilder, Literal, NodeId, Op, Value};

/// How many smaller cases are tried at most.
const ATTEMPTS: usize = 600;

/// The smallest case found that fails, and how.
pub(crate) fn shrink(
    mut case: Case,
    mut failure: Failure,
    fails: impl Fn(&Case) -> Option<Failure>,
) -> (Case, Failure) {
    let mut left = ATTEMPTS;
    loop {
        let smaller = candidates(&case).take(left).find_map(|smaller| {
            left -= 1;
            fails(&smaller).map(|failure| (smaller, failure))
        });
        match smaller {
            Some(found) => (case, failure) = found,
            None => return (case, failure),
        }
    }
}

/// The case as a text graph, with what goes wrong in its first line.
pub(crate) fn text(case: &Case, failure: &Failure, how: &str) -> String {
    let names = case.graph.inputs().iter().map(|input| input.name.clone());
    let cotangents = case.graph.outputs().iter().map(|(name, _)| format!("cotangent.{name}"));
    let tensors = case.inputs.iter().chain(case.cotangents.iter().filter(|_| case.gradients));
    let data = names.chain(cotangents).zip(tensors).map(|(name, x)| {
        let numbers: Vec<String> = x.to_floats().iter().map(|x| format!("{x:e}")).collect();
        format!("{name}={:?}[{}]", x.sizes, numbers.join(" "))
    });
    let what = if case.gradients { "gradient, " } else { "" };
    format!("# {what}{how}, {failure}; {}\n{}", data.collect::<Vec<_>>().join(" "), case.graph)
}

/// What stands in for a node.
#[derive(Clone)]
enum Instead {
    Operand(usize),
    /// An input that holds what the spelling computes there.
    Given(Literal),
    Number(f64),
}

/// Cases that are a little smaller, the much smaller ones first.
fn candidates(case: &Case) -> impl Iterator<Item = Case> + '_ {
    let outputs = (0..case.graph.outputs().len()).filter(|_| case.graph.outputs().len() > 1);
    let one_output = outputs.map(|k| edited(case, &[k], None));
    let forward = case.gradients.then(|| Case { gradients: false, ..case.clone() });
    let rows = (0..case.batch).filter(|_| case.batch > 1).map(|row| of_row(case, row));
    let all: Vec<usize> = (0..case.graph.outputs().len()).collect();
    let ops = edits(case).map(move |edit| edited(case, &all, Some(edit)));
    one_output.chain(forward).chain(rows).chain(ops).chain(plainer(case))
}

fn edits(case: &Case) -> impl Iterator<Item = (NodeId, Instead)> + '_ {
    let values = eval_nodes_by(&case.graph, &case.inputs, case.batch, |_, _, results| {
        let round = |x: Literal| match x.dtype {
            DType::F32 => Literal::floats(
                DType::F32,
                &x.sizes,
                x.to_floats().iter().map(|x| f64::from(*x as f32)).collect(),
            ),
            _ => x,
        };
        results.into_iter().map(round).collect()
    });
    let nodes: Vec<(NodeId, _)> = case.graph.iter().filter(|(_, node)| !is_leaf(&node.op)).collect();
    nodes.into_iter().rev().flat_map(move |(id, node)| {
        let operands = (0..node.inputs.len())
            .filter(|&i| case.graph.ty(node.inputs[i]) == &node.types[0])
            .map(Instead::Operand);
        let float = node.types[0].dtype == DType::F32;
        let given = float.then(|| Instead::Given(values[id.0 as usize][0].clone()));
        let one = (float && node.types[0].rank() > 0).then_some(Instead::Number(1.0));
        operands.chain(one).chain(given).map(move |instead| (id, instead)).collect::<Vec<_>>()
    })
}

fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Const(..) | Op::Size(..) | Op::Iota { .. })
}

/// The case with some outputs and a node replaced.
fn edited(case: &Case, outputs: &[usize], edit: Option<(NodeId, Instead)>) -> Case {
    let mut b = GraphBuilder::new();
    let mut inputs = Vec::new();
    let mut map: Vec<Value> = Vec::new();
    for (id, node) in case.graph.iter() {
        let operands: Vec<Value> = node.inputs.iter().map(|v| map[v.node.0 as usize]).collect();
        let instead = edit.as_ref().filter(|(at, _)| *at == id).map(|(_, instead)| instead);
        map.push(match (instead, &node.op) {
            (Some(Instead::Operand(i)), _) => operands[*i],
            (Some(Instead::Number(number)), _) => {
                let scalar = b.op(Op::Const(evenkeel_ir::op::Real::new(*number), DType::F32), &[]);
                b.broadcast(scalar, &node.types[0].shape)
            }
            (Some(Instead::Given(value)), _) => {
                inputs.push(value.clone());
                let taken = |name: &String| case.graph.inputs().iter().any(|input| input.name == *name);
                let name = (0..).map(|k| format!("v{k}")).find(|name| !taken(name));
                b.input(name.expect("there are many names"), node.types[0].clone())
            }
            (None, Op::Input(index)) => {
                inputs.push(case.inputs[*index as usize].clone());
                let input = &case.graph.inputs()[*index as usize];
                b.input(input.name.clone(), input.ty.clone())
            }
            (None, op) => b.op(op.clone(), &operands),
        });
    }
    let kept = outputs.iter().map(|&k| &case.graph.outputs()[k]);
    let graph = b.finish(kept.map(|(name, v)| (name.clone(), map[v.node.0 as usize])));
    let cotangents = outputs.iter().map(|&k| case.cotangents[k].clone()).collect();
    needed(Case { graph, inputs, cotangents, ..case.clone() })
}

/// The case without nodes and inputs that no output needs.
fn needed(case: Case) -> Case {
    let graph = &case.graph;
    let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
    let mut b = GraphBuilder::new();
    let mut inputs = Vec::new();
    let mut map: Vec<Option<Value>> = Vec::new();
    for (id, node) in graph.iter() {
        map.push(live[id.0 as usize].then(|| match &node.op {
            Op::Input(index) => {
                inputs.push(case.inputs[*index as usize].clone());
                let input = &graph.inputs()[*index as usize];
                b.input(input.name.clone(), input.ty.clone())
            }
            op => {
                let operand = |v: &Value| map[v.node.0 as usize].expect("operands are needed too");
                let operands: Vec<Value> = node.inputs.iter().map(operand).collect();
                b.op(op.clone(), &operands)
            }
        }));
    }
    let value = |v: &Value| map[v.node.0 as usize].expect("outputs are needed");
    let outputs: Vec<_> = graph.outputs().iter().map(|(name, v)| (name.clone(), value(v))).collect();
    Case { graph: b.finish(outputs), inputs, ..case }
}

/// One row of everything that has rows.
fn of_row(case: &Case, row: u64) -> Case {
    let cut = |graph: &Graph, x: &Literal, v: Option<Value>, i: usize| {
        let shape = v.map_or(&graph.inputs()[i].ty.shape, |v| &graph.ty(v).shape);
        if shape.rank() == 0 || shape[0].known().is_some() {
            return x.clone();
        }
        let width = x.len() / case.batch as usize;
        let data = x.to_floats()[row as usize * width..][..width].to_vec();
        let mut sizes = x.sizes.clone();
        sizes[0] = 1;
        Literal::floats(x.dtype, &sizes, data)
    };
    let inputs = case.inputs.iter().enumerate().map(|(i, x)| cut(&case.graph, x, None, i)).collect();
    let outputs = case.graph.outputs().iter().zip(&case.cotangents);
    let cotangents = outputs.map(|((_, v), x)| cut(&case.graph, x, Some(*v), 0)).collect();
    Case { inputs, cotangents, batch: 1, ..case.clone() }
}

/// Plainer numbers in one place: 0, 1, or fewer digits.
fn plainer(case: &Case) -> impl Iterator<Item = Case> + '_ {
    let tensors = case.inputs.len() + case.cotangents.len();
    let tensor = |k: usize| case.inputs.get(k).unwrap_or_else(|| &case.cotangents[k - case.inputs.len()]);
    let places = (0..tensors).flat_map(move |k| (0..tensor(k).len()).map(move |i| (k, i)));
    places.flat_map(move |(k, i)| {
        let x = tensor(k).float_at(i);
        let rounded: f64 = format!("{x:.0e}").parse().unwrap_or(x);
        let rounded = f64::from(rounded as f32);
        let others = [0.0, 1.0, rounded];
        let before = others.iter().position(|y| *y == x).unwrap_or(others.len());
        let plain = others[..before].to_vec();
        plain.into_iter().map(move |y| {
            let mut smaller = case.clone();
            let count = smaller.inputs.len();
            let all = smaller.inputs.iter_mut().chain(&mut smaller.cotangents);
            debug_assert!(k < count + case.cotangents.len());
            for (_, tensor) in all.enumerate().filter(|(at, _)| *at == k) {
                let mut data = tensor.to_floats();
                data[i] = y;
                *tensor = Literal::floats(tensor.dtype, &tensor.sizes, data);
            }
            smaller
        })
    })
}
