//! Machine code of spellings, with and without rewriting, against f64: rewriting repairs hazards
//! and adds none.

use crate::oracle::{numbers, run_compiled};
use crate::recognition::spellings;
use evenkeel::rewrite::{Rules, Tier};
use evenkeel::session::{float_inputs, vjp_graph};
use evenkeel_compiler::Options;
use evenkeel_compiler::rewrite::{recognize, recognize_with};
use evenkeel_ir::eval::eval_nodes;
use evenkeel_ir::{DType, Graph, Literal, eval, parse};
use evenkeel_runtime::Tensor;

/// Added to the first input, whose spread is about 1.
const OFFSETS: [f32; 3] = [0.0, 1000.0, 4096.0];

/// Beyond twice the error of what was written: two units in the last place of the largest result.
const SLACK: f64 = 2.0 * f32::EPSILON as f64;

/// How far f64 of what was written and f64 of what is named may be apart: a variance in one pass
/// loses eight digits at an offset of 4096.
const AGREE: f64 = 1e-6;

/// Rows of every sample.
const ROWS: u64 = 2;

/// Errors are the largest of as many draws, so that none is small by luck.
const DRAWS: u64 = 3;

/// f32 inputs of a graph, the first shifted.
fn inputs(graph: &Graph, offset: f32, draw: u64) -> Vec<Tensor> {
    let input = |(i, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(ROWS);
        let noise = numbers(&sizes, 7 + i as u64 + 100 * draw).to_f64s();
        let change = |x: &f64| if i == 0 { *x as f32 + offset } else { x.abs() as f32 + 0.1 };
        Tensor::from_vec(&sizes, noise.iter().map(change).collect::<Vec<f32>>()).expect("sizes fit")
    };
    graph.inputs().iter().enumerate().map(input).collect()
}

/// The largest difference of any output, relative to its largest element; infinite for NaN.
fn error(found: &[Tensor], truth: &[Literal]) -> f64 {
    let one = |(found, truth): (&Tensor, &Literal)| {
        let (found, truth) = (found.to_f64s(), truth.to_floats());
        let scale = truth.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
        let apart = |(x, y): (&f64, &f64)| if x == y { 0.0 } else { (x - y).abs() / scale };
        let worst = |m: f64, e: f64| if e.is_nan() { f64::INFINITY } else { m.max(e) };
        found.iter().zip(&truth).map(apart).fold(0.0, worst)
    };
    found.iter().zip(truth).map(one).fold(0.0, f64::max)
}

/// What was written says in f64. Where a value of it overflows even there, as in an unshifted softmax
/// of 1000, it says nothing, and what the named op says is taken; elsewhere both must agree.
fn truth(written: &Graph, named: &Graph, data: &[Tensor]) -> Vec<Literal> {
    let data: Vec<Literal> =
        data.iter().map(|x| Literal::floats(DType::F64, x.sizes(), x.to_f64s())).collect();
    let in_f64 = |graph: &Graph| parse(&graph.to_string().replace("f32", "f64"), "f64").expect("it prints");
    let (written, named) = (in_f64(written), eval(&in_f64(named), &data).expect("it runs"));
    let values = eval_nodes(&written, &data, ROWS);
    if !values.iter().flatten().flat_map(Literal::to_floats).all(f64::is_finite) {
        return named;
    }
    let words: Vec<Literal> =
        written.outputs().iter().map(|(_, v)| values[v.node.0 as usize][0].clone()).collect();
    for (word, name) in words.iter().zip(&named) {
        let (word, name) = (word.to_floats(), name.to_floats());
        let scale = word.iter().fold(1e-30f64, |scale, x| scale.max(x.abs()));
        let agree = word.iter().zip(&name).all(|(word, name)| (word - name).abs() <= AGREE * scale);
        assert!(agree, "{word:?} was written, {name:?} is named\n{written}");
    }
    words
}

/// A graph as it is, and as it is after recognition under a float contract.
struct Pair {
    written: Graph,
    named: Graph,
    float: Tier,
}

impl Pair {
    /// None where the spelling as written has no derivative, as of a comparison.
    fn new(text: &str, float: Tier, gradients: bool) -> Option<Pair> {
        let written = parse(text, "spelling").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let named = recognize_with(&written, &Rules::standard(), float).expect("it is sound").graph;
        let whole = |graph: Graph| match gradients {
            true => vjp_graph(&graph, &float_inputs(&graph)).ok(),
            false => Some(graph),
        };
        Some(Pair { written: whole(written)?, named: whole(named)?, float })
    }

    /// Errors of both against f64, where what is named does not overflow.
    fn errors(&self, offset: f32) -> (f64, f64) {
        let worse = |a: (f64, f64), b: (f64, f64)| (a.0.max(b.0), a.1.max(b.1));
        (0..DRAWS).map(|draw| self.errors_of(&inputs(&self.written, offset, draw))).fold((0.0, 0.0), worse)
    }

    fn errors_of(&self, data: &[Tensor]) -> (f64, f64) {
        let truth = truth(&self.written, &self.named, data);
        let plain = Options { rewrite: false, ..Options::default() };
        let rewritten = Options { float: self.float, ..Options::default() };
        (
            error(&run_compiled(&self.written, data, &plain), &truth),
            error(&run_compiled(&self.named, data, &rewritten), &truth),
        )
    }
}

#[test]
fn rewriting_loses_no_more_than_what_was_written() {
    let (mut pairs, mut repaired, mut worse) = (0, 0, Vec::new());
    for spelling in spellings() {
        let text = spelling.text(spelling.body);
        for gradients in [false, true] {
            let Some(pair) = Pair::new(&text, Tier::Finite, gradients) else { continue };
            pairs += 1;
            for offset in OFFSETS {
                let (before, after) = pair.errors(offset);
                if after > 2.0 * before + SLACK {
                    let (family, who) = (spelling.family, spelling.who);
                    worse.push(format!("{family}, {who}, offset {offset}: {before:e} to {after:e}"));
                }
                repaired += usize::from(before > 1e3 * after.max(1e-7));
            }
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
    assert!(pairs > 400 && repaired > 20, "{pairs} pairs, {repaired} hazards were repaired");
}

/// Spellings that lose all digits at an offset, and what their errors are when strict.
const HAZARDS: [(&str, &str, f32); 2] = [
    (
        "variance in one pass",
        "x = input f32[4,64]\nm = mean @1 x\nv = sub (mean @1 (square x)) (square m)\n\
         return y=mul (sub x m) (rsqrt (add v 1e-5))",
        4096.0,
    ),
    ("softmax without a shift", "x = input f32[4,64]\ne = exp x\nreturn y=div e (sum @1 e)", 100.0),
];

#[test]
fn hazards_are_repaired_unless_the_contract_is_strict() {
    for (name, text, offset) in HAZARDS {
        let pair = |float, gradients| Pair::new(text, float, gradients).expect("it has a derivative");
        let (before, after) = pair(Tier::default(), false).errors(offset);
        assert!(before > 1e-3 && after < 1e-5, "{name}: {before:e} to {after:e}");
        for strict in [Tier::Exact, Tier::Reassociates] {
            let pair = pair(strict, false);
            assert_eq!(pair.named.to_string(), pair.written.to_string(), "{name}");
            let (before, after) = pair.errors(offset);
            assert!(after > 1e-3, "{name}, {}: {before:e} to {after:e}", strict.name());
        }
        let exact = pair(Tier::Exact, true);
        let (before, after) = exact.errors(offset);
        assert!(before == after, "{name}: {before:e} is not {after:e}");
    }
}

#[test]
fn an_approximation_below_rounding_needs_no_permission() {
    let text = "x = input f32[8]\nreturn select (gt x 20) x (log1p (exp x))";
    let ops = |text: &str, float: Tier| {
        let graph = parse(text, "threshold").expect("it parses");
        let named = recognize_with(&graph, &Rules::standard(), float).expect("it is sound").graph;
        named.nodes().last().expect("a node").op.name()
    };
    assert_eq!(ops(text, Tier::Finite), "softplus");
    let double = text.replace("f32", "f64");
    assert_eq!(ops(&double, Tier::Finite), "select");
    assert_eq!(ops(&double, Tier::Approximate), "softplus");
    assert_eq!(recognize(&parse(text, "t").expect("it parses")).expect("it is sound").found.len(), 1);
}
