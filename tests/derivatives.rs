//! Every row with a derivative against central differences of the f64 interpreter: the first
//! derivative, the derivative of that one, and forward mode.
//!
//! Points are drawn from each row's domain and stay clear of kinks, where differences say nothing.
//! Not here: the compiled code of derivatives (`oracle`, `random_graphs`). Start at [`derivatives_hold`].

use crate::oracle::with_gradients;
use evenkeel_ir::eval::eval;
use evenkeel_ir::op::{Attr, Class, Derivative};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{
    Attrs, Axes, Binary, Composite, DType, EpsKind, Graph, GraphBuilder, Literal, Op, Reduce, Shape,
    TensorType, Unary, Value,
};

/// Half of the distance of a central difference.
const STEP: f64 = 1e-5;
/// Allowed error of a derivative, relative to the larger of 1 and its size.
const TOLERANCE: f64 = 2e-6;

/// Irregular numbers in an interval, sorted by nothing and never twice the same.
fn points(sizes: &[usize], (low, high): (f64, f64), seed: u32) -> Literal {
    let n = sizes.iter().product::<usize>();
    let at = |i: usize| {
        let jitter = f64::from(threefry([seed, 3], [i as u32, 0])[0]) / f64::from(u32::MAX);
        low + (high - low) * ((i * 7 % n) as f64 + 0.2 + 0.5 * jitter) / n as f64
    };
    Literal::floats(DType::F64, sizes, (0..n).map(at).collect())
}

fn ty(sizes: &[usize]) -> TensorType {
    TensorType::new(DType::F64, Shape::of(sizes))
}

/// Checks the first and the second derivative of a graph with one output towards all its inputs.
fn derivatives_hold(what: &str, graph: &Graph, inputs: &[Literal]) {
    let (first, inputs) = gradient_holds(&format!("{what}, first"), graph, inputs);
    gradient_holds(&format!("{what}, second"), &first, &inputs);
}

/// Checks gradients towards all inputs; gives the graph of the gradients and its inputs.
fn gradient_holds(what: &str, graph: &Graph, inputs: &[Literal]) -> (Graph, Vec<Literal>) {
    let wrt = inputs.len();
    let both = with_gradients(graph, wrt);
    let mut all = inputs.to_vec();
    let outputs = graph.outputs().len();
    for (k, input) in both.inputs()[wrt..].iter().enumerate() {
        all.push(points(&input.ty.shape.at(1), (-1.0, 1.5), 40 + k as u32));
    }
    let gradients = &eval(&both, &all).unwrap()[outputs..];
    for (i, gradient) in gradients.iter().enumerate() {
        for (j, got) in gradient.to_floats().iter().enumerate() {
            let want = difference(graph, inputs, &all[wrt..], (i, j));
            let close = (got - want).abs() <= TOLERANCE * want.abs().max(1.0);
            let x = inputs[i].float_at(j);
            assert!(
                close,
                "{what}: input {i} element {j} at {x}: derivative {got}, difference {want}\n{both}"
            );
        }
    }
    forward_agrees(what, graph, &all, gradients);
    let gradients = both.outputs()[outputs..].to_vec();
    (restricted(&both, gradients), all)
}

/// Forward mode along one direction gives the same number as the gradients.
fn forward_agrees(what: &str, graph: &Graph, all: &[Literal], gradients: &[Literal]) {
    let (inputs, cotangents) = all.split_at(graph.inputs().len());
    let tangents: Vec<Literal> =
        inputs.iter().enumerate().map(|(i, x)| points(&x.sizes, (-1.0, 1.5), 60 + i as u32)).collect();
    let given: Vec<Literal> = inputs.iter().chain(&tangents).cloned().collect();
    let results = eval(&with_tangents(graph), &given).unwrap();
    let (got, want) = (total(cotangents, &results), total(gradients, &tangents));
    let scale = results.iter().flat_map(Literal::to_floats).fold(1.0, |a: f64, x| a.max(x.abs()));
    assert!((got - want).abs() <= 1e-9 * scale, "{what}: forward mode {got}, reverse mode {want}");
}

/// The graph of the tangents of all outputs, given inputs and their tangents.
fn with_tangents(graph: &Graph) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<_> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = evenkeel_compiler::grad::inline(&mut b, graph, &inputs);
    let at =
        |i: usize| graph.iter().find(|(_, n)| n.op == Op::Input(i as u32)).map(|(node, _)| node).unwrap();
    let mut seeds = Vec::new();
    for (i, input) in graph.inputs().iter().enumerate() {
        let tangent = b.input(format!("tangent.{}", input.name), input.ty.clone());
        seeds.push((Value { node: at(i), result: 0 }, tangent));
    }
    let wanted: Vec<Value> = graph.outputs().iter().map(|(_, value)| *value).collect();
    let tangents = evenkeel_compiler::grad::forward(&mut b, graph, &map, &seeds, &wanted).unwrap();
    b.finish(tangents.into_iter().enumerate().map(|(i, value)| (format!("t{i}"), value)))
}

/// The sum of the products of corresponding elements.
fn total(xs: &[Literal], ys: &[Literal]) -> f64 {
    let product = |(x, y): (&Literal, &Literal)| -> f64 {
        x.to_floats().iter().zip(y.to_floats()).map(|(x, y)| x * y).sum()
    };
    xs.iter().zip(ys).map(product).sum()
}

/// `sum(cotangent * (y(x + h) - y(x - h))) / 2h` for one element of one input.
fn difference(graph: &Graph, inputs: &[Literal], cotangents: &[Literal], (i, j): (usize, usize)) -> f64 {
    let moved = |by: f64| {
        let mut inputs = inputs.to_vec();
        let mut data = inputs[i].to_floats();
        data[j] += by;
        inputs[i] = Literal::floats(DType::F64, &inputs[i].sizes, data);
        eval(graph, &inputs).unwrap()
    };
    let (up, down) = (moved(STEP), moved(-STEP));
    let terms = cotangents.iter().enumerate().flat_map(|(k, cotangent)| {
        let (up, down) = (up[k].to_floats(), down[k].to_floats());
        cotangent.to_floats().into_iter().zip(up).zip(down).map(|((c, u), d)| c * (u - d))
    });
    terms.sum::<f64>() / (2.0 * STEP)
}

/// The same graph with these outputs.
fn restricted(graph: &Graph, outputs: Vec<(String, Value)>) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<_> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = evenkeel_compiler::grad::inline(&mut b, graph, &inputs);
    b.finish(outputs.into_iter().map(|(name, v)| (name, map[v.node.0 as usize][v.result as usize])))
}

/// A graph of one op on inputs of these sizes.
fn graph_of(op: Op, sizes: &[&[usize]]) -> Graph {
    let mut b = GraphBuilder::new();
    let inputs: Vec<_> = sizes.iter().enumerate().map(|(i, s)| b.input(format!("x{i}"), ty(s))).collect();
    let y = b.op(op, &inputs);
    b.finish([("y".to_string(), y)])
}

#[test]
fn unary_rows() {
    for &f in Unary::ALL {
        let def = f.def();
        if def.class == Class::Bool || matches!(def.derivative, Derivative::None) {
            continue;
        }
        let graph = graph_of(Op::Unary(f), &[&[29]]);
        derivatives_hold(f.name(), &graph, &[points(&[29], def.domain, 1)]);
    }
}

#[test]
fn binary_rows() {
    for &f in Binary::ALL {
        let def = f.def();
        if matches!(def.partials, Derivative::None) {
            continue;
        }
        let graph = graph_of(Op::Binary(f), &[&[23], &[23]]);
        let inputs = [points(&[23], def.domain[0], 1), points(&[23], def.domain[1], 2)];
        derivatives_hold(f.name(), &graph, &inputs);
        let stretched = graph_of(Op::Binary(f), &[&[3, 1], &[1, 4]]);
        let inputs = [points(&[3, 1], def.domain[0], 3), points(&[1, 4], def.domain[1], 4)];
        derivatives_hold(f.name(), &stretched, &inputs);
    }
}

#[test]
fn reductions() {
    for &f in Reduce::ALL {
        for axes in [&[0][..], &[1], &[0, 2], &[0, 1, 2]] {
            let graph = graph_of(Op::Reduce(f, Axes::new(axes.iter().copied())), &[&[3, 4, 2]]);
            derivatives_hold(f.name(), &graph, &[points(&[3, 4, 2], (-2.0, 2.0), 5)]);
        }
    }
}

#[test]
fn composites() {
    for &composite in Composite::ALL {
        if composite == Composite::ArgMax || !composite.def().attrs.contains(&Attr::Axes) {
            continue;
        }
        for axes in [&[1][..], &[0], &[0, 1]] {
            for attrs in attributes(composite, Axes::new(axes.iter().copied())) {
                let names = composite.def().inputs;
                let sizes: Vec<&[usize]> =
                    names.iter().map(|&n| if n == "x" { &[4, 5][..] } else { &[5] }).collect();
                let graph = graph_of(Op::Composite(composite, attrs), &sizes);
                let inputs: Vec<Literal> =
                    sizes.iter().enumerate().map(|(i, s)| points(s, (-2.0, 1.7), 6 + i as u32)).collect();
                derivatives_hold(&format!("{} {attrs:?}", composite.name()), &graph, &inputs);
            }
        }
    }
}

#[test]
fn a_norm_with_given_statistics() {
    for attrs in attributes(Composite::FixedNorm, Axes::NONE) {
        let sizes = [&[4, 5][..], &[5], &[5], &[5], &[5]];
        let graph = graph_of(Op::Composite(Composite::FixedNorm, attrs), &sizes);
        let range = |i: usize| if i == 2 { (0.4, 2.0) } else { (-2.0, 1.7) };
        let inputs: Vec<Literal> =
            sizes.iter().enumerate().map(|(i, s)| points(s, range(i), 6 + i as u32)).collect();
        derivatives_hold(&format!("fixed_norm {attrs:?}"), &graph, &inputs);
    }
}

/// Every kind of eps and both divisors, where the composite has them.
fn attributes(composite: Composite, axes: Axes) -> Vec<Attrs> {
    let takes = |attr| composite.def().attrs.contains(&attr);
    let kinds = [EpsKind::Inside, EpsKind::Outside, EpsKind::Clamp];
    let kinds = if takes(Attr::Eps) { &kinds[..] } else { &kinds[..1] };
    let corrections = if takes(Attr::Correction) { &[0, 1][..] } else { &[0] };
    let eps = if takes(Attr::Eps) { 0.1 } else { 0.0 };
    let one = |kind: &EpsKind, correction: &u8| Attrs::over(axes).eps(eps, *kind).correction(*correction);
    kinds.iter().flat_map(|kind| corrections.iter().map(move |c| one(kind, c))).collect()
}
