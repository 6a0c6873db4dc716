//! Every row: its example folds and keeps values and gradients; each refusal is refused, with its reason.

use super::{FOLDS, Fold, Outcome, Refused, fold};
use crate::grad::{backward, inline};
use evenkeel_ir::{DType, Graph, GraphBuilder, Literal, Op, Value, eval, parse};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The one door: a row applied to a text graph whose inputs named `x..` and integers are data.
#[track_caller]
fn folded(row: &Fold, text: &str) -> (Graph, Outcome) {
    let graph = parse(text, "<example>").unwrap_or_else(|error| panic!("{}: {error}\n{text}", row.name));
    let outcome = fold(&graph, &parameters(&graph), &[row]).unwrap();
    outcome.graph.verify().unwrap();
    (graph, outcome)
}

fn parameters(graph: &Graph) -> Vec<usize> {
    let is_parameter = |i: &usize| {
        let input = &graph.inputs()[*i];
        !input.name.starts_with('x') && input.ty.dtype.is_float()
    };
    (0..graph.inputs().len()).filter(is_parameter).collect()
}

/// Inputs in -2..2, the same every time.
fn inputs(graph: &Graph) -> Vec<Literal> {
    let number = |i: usize, seed: usize| {
        let word = evenkeel_ir::random::threefry([seed as u32, 11], [i as u32, 0])[0];
        f64::from(word) / f64::from(u32::MAX) * 4.0 - 2.0
    };
    let input = |(seed, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(5);
        let n = sizes.iter().product::<usize>();
        match input.ty.dtype {
            dtype if dtype.is_int() => {
                Literal::ints(dtype, &sizes, (0..n as i64).map(|i| i * 3 % 7).collect())
            }
            DType::Bool => Literal::floats(DType::Bool, &sizes, (0..n).map(|i| (i % 2) as f64).collect()),
            dtype => Literal::floats(dtype, &sizes, (0..n).map(|i| number(i, seed)).collect()),
        }
    };
    graph.inputs().iter().enumerate().map(input).collect()
}

/// The graph with the gradients of weighted outputs towards all float inputs.
fn with_gradients(graph: &Graph) -> Graph {
    let mut b = GraphBuilder::new();
    let own: Vec<Value> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = inline(&mut b, graph, &own);
    let at = |v: &Value| map[v.node.0 as usize][v.result as usize];
    let mut outputs: Vec<(String, Value)> = graph.outputs().iter().map(|(n, v)| (n.clone(), at(v))).collect();
    let mut seeds = Vec::new();
    for (name, value) in graph.outputs() {
        seeds.push((*value, b.input(format!("cotangent.{name}"), graph.ty(*value).clone())));
    }
    let wrt: Vec<Value> = graph
        .iter()
        .filter(|(_, node)| matches!(node.op, Op::Input(_)) && node.types[0].dtype.is_float())
        .map(|(node, _)| Value { node, result: 0 })
        .collect();
    let gradients = backward(&mut b, graph, &map, &seeds, &wrt).unwrap().gradients;
    outputs.extend(gradients.into_iter().enumerate().map(|(i, g)| (format!("grad.{i}"), g)));
    b.finish(outputs)
}

/// The largest difference of values and gradients, relative to the largest of each.
fn difference(before: &Graph, after: &Graph) -> f64 {
    let [before, after] = [before, after].map(with_gradients);
    let data = inputs(&before);
    let [a, b] = [&before, &after].map(|graph| eval(graph, &data).unwrap());
    assert_eq!(a.len(), b.len());
    let error = |(a, b): (&Literal, &Literal)| {
        let (a, b) = (a.to_floats(), b.to_floats());
        let scale = a.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let error = |(a, b): (&f64, &f64)| (a - b).abs() / scale;
        a.iter().zip(&b).map(error).fold(0.0f64, |m, e| if e.is_nan() { e } else { m.max(e) })
    };
    a.iter().zip(&b).map(error).fold(0.0f64, |m, e| if e.is_nan() { e } else { m.max(e) })
}

#[test]
fn every_example_folds_and_keeps_values_and_gradients() {
    for row in FOLDS {
        let (graph, outcome) = folded(row, row.example);
        assert!(!outcome.folded.is_empty(), "{}: nothing folded; {:?}", row.name, outcome.refused);
        assert_ne!(graph, outcome.graph, "{}", row.name);
        let error = difference(&graph, &outcome.graph);
        assert!(error < 1e-12, "{}: {error:e}\n{}", row.name, outcome.graph);
    }
}

#[test]
fn every_side_condition_refuses_and_says_why() {
    let mut wrong = Vec::new();
    for row in FOLDS {
        assert!(!row.refuses.is_empty(), "{}", row.name);
        for (text, reason) in row.refuses {
            let (graph, outcome) = folded(row, text);
            let said: Vec<String> = outcome.refused.iter().map(Refused::to_string).collect();
            let kept = outcome.folded.is_empty() && graph == outcome.graph;
            if !kept || !said.iter().any(|line| line.contains(reason)) {
                wrong.push(format!("{}: {:?} {said:?}, not {reason}\n{text}\n", row.name, outcome.folded));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Further layers: the row that folds them, what they are, their text.
#[rustfmt::skip]
const LAYERS: &[(&str, &str, &str)] = &[
    ("into-preceding-linear", "Unified Norm in use",
     "x = input f64[N,6]\nw = input f64[4,6]\nq = input f64[4]\ng = input f64[4]\nb = input f64[4]\n\
      return y=add (mul (div (dot @1 @1 x w) (sqrt (add (square q) 1e-5))) g) b"),
    ("into-preceding-linear", "SkipInit: a scalar before the residual",
     "x = input f64[N,6]\nw = input f64[6,6]\ns = input f64[]\nreturn y=add x (mul (dot @1 @1 x w) s)"),
    ("into-preceding-linear", "reversed and negated",
     "x = input f64[N,6]\nw = input f64[6,4]\nb = input f64[4]\nreturn y=tanh (neg (sub b (dot @1 @0 x w)))"),
    ("into-preceding-linear", "the weight on the left",
     "x = input f64[N,6]\nw = input f64[4,6]\ng = input f64[4]\nreturn y=mul (dot @1 @1 w x) (reshape [4,1] g)"),
    ("into-following-linears", "standardized data",
     "x = input f64[N,6]\nw = input f64[4,6]\nreturn y=dot @1 @1 (div (sub x 0.13) 0.31) w"),
    ("into-following-linears", "BatchNorm in use before a linear, positions added",
     "x = input f64[N,3,6]\nw = input f64[4,6]\nm = input f64[6]\ns = input f64[6]\np = input f64[3,6]\n\
      return y=dot @2 @1 (add (mul (sub x m) s) p) w"),
    ("into-following-linears", "two axes contracted",
     "x = input f64[N,3,6]\nw = input f64[3,4,6]\ng = input f64[3,6]\nb = input f64[6]\n\
      return y=dot @1,2 @0,2 (layer_norm @1,2 eps=1e-5 x g b) w"),
    ("pre-rms", "rank three, positions, a row factor",
     "i = input i32[N,3]\nt = input f64[9,6]\np = input f64[3,6]\nw = input f64[6,6]\nx1 = input f64[N,3,1]\n\
      x0 = add (gather axis=0 t i) p\nx2 = sub x0 (mul (dot @2 @1 (standardize @2 eps=1e-5 x0) w) x1)\n\
      return y=tanh (standardize @2 eps=1e-5 x2)"),
    ("redundant-norm", "a scaled norm",
     "x = input f64[N,6]\ng = input f64[6]\nreturn y=rms_norm @1 eps=1e-3 (mul x 3.0) g"),
    ("redundant-norm", "eps outside the root",
     "x = input f64[N,6]\nreturn y=rms_unit @1 eps=1e-3 kind=outside (div x 3.0)"),
    ("redundant-norm", "twice",
     "x = input f64[N,6]\nreturn y=rms_unit @1 (standardize @1 x)"),
    ("redundant-norm", "a shifted softmax",
     "x = input f64[N,6]\nreturn y=softmax @1 (sub x (max @1 x))"),
    ("row-scale-behind-product", "a dynamic scale",
     "x = input f64[N,6]\nw = input f64[4,6]\nreturn y=gelu (dot @1 @1 (div x (add (sum @1 (abs x)) 1.0)) w)"),
];

#[test]
fn layers_fold_and_keep_values_and_gradients() {
    for (name, layer, text) in LAYERS {
        let (graph, outcome) = folded(Fold::named(name).unwrap(), text);
        assert!(!outcome.folded.is_empty(), "{layer}: {:?}", outcome.refused);
        let error = difference(&graph, &outcome.graph);
        assert!(error < 1e-11, "{layer}: {error:e}\n{}", outcome.graph);
    }
}

#[test]
fn names_are_unique() {
    for (place, row) in FOLDS.iter().enumerate() {
        assert!(FOLDS[..place].iter().all(|other| other.name != row.name), "{}", row.name);
        assert!(Fold::named(row.name).is_some_and(|found| found.about == row.about));
    }
}

/// A random network over `[N,6]` as text: a word decides each op and its operands.
fn network(seed: u32) -> String {
    let mut text = String::from("x = input f64[N,6]\nx1 = input f64[1,6]\n");
    ["w0", "w1", "w2"].iter().for_each(|w| writeln!(text, "{w} = input f64[6,6]").unwrap());
    ["g0", "g1", "g2"].iter().for_each(|g| writeln!(text, "{g} = input f64[6]").unwrap());
    let mut values = vec!["x".to_string()];
    let mut dice = 0;
    let mut pick = |n: usize| {
        dice += 1;
        evenkeel_ir::random::threefry([seed, 3], [dice, 0])[0] as usize % n
    };
    for step in 0..4 + pick(12) {
        let near = values.len().min(3);
        let v = values[values.len() - 1 - pick(near)].clone();
        let u = values[pick(values.len())].clone();
        let (w, g, h) = (pick(3), pick(3), pick(3));
        let axis = usize::from(pick(5) > 0);
        let op = match pick(20) {
            0..5 => format!("dot @1 @{} {v} w{w}", pick(2)),
            5 | 6 => format!("add {v} g{g}"),
            7 | 8 => format!("{} {v} g{g}", ["mul", "sub"][pick(2)]),
            9 => format!("mul {v} {}", [0.5, -2.0, 3.0][pick(3)]),
            10 => format!("{} {v}", ["neg", "tanh"][pick(2)]),
            11 => format!("layer_norm @{axis} eps=1e-2 {v} g{g} g{h}"),
            12 => format!("rms_norm @{axis} eps=1e-2 {v} g{g}"),
            13 | 14 => format!("{} @{axis} eps=1e-2 {v}", ["standardize", "rms_unit"][pick(2)]),
            15 => format!("center @{axis} {v}"),
            16 => format!("mul {v} (tanh (sum @{axis} {v}))"),
            17 => format!("mul {v} x1"),
            18 => format!("softmax @{axis} {v}"),
            _ => format!("add {v} {u}"),
        };
        writeln!(text, "v{step} = {op}").unwrap();
        values.push(format!("v{step}"));
    }
    let last = values[values.len() - 1].clone();
    let other = if pick(4) == 0 { values[values.len() / 2].clone() } else { last.clone() };
    write!(text, "return y={last}, z=tanh {other}").unwrap();
    text
}

#[test]
fn random_networks_keep_values_and_gradients() {
    let rows: Vec<&Fold> = FOLDS.iter().collect();
    let mut fired: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..1500 {
        let text = network(seed);
        let graph = parse(&text, "network").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let outcome = fold(&graph, &parameters(&graph), &rows).unwrap();
        outcome.graph.verify().unwrap();
        outcome.folded.iter().for_each(|folded| *fired.entry(folded.rule).or_default() += 1);
        if outcome.folded.is_empty() {
            continue;
        }
        let error = difference(&graph, &outcome.graph);
        assert!(error < 1e-9, "seed {seed}: {error:e}\n{graph}\n{:#?}\n{}", outcome.folded, outcome.graph);
    }
    for row in FOLDS {
        assert!(fired.get(row.name).is_some_and(|count| *count >= 10), "{fired:?}");
    }
}
