//! What spellings of frameworks become, as text graphs: one line per spelling in the snapshot.
//!
//! The spellings are in `recognition/spellings.txt`: `## family: op` and its inputs, then `# who`
//! and a graph for each. Every one must become that op once, and nothing of the spelling may be
//! left; its mutants must become something else.

use crate::oracle::numbers;
use evenkeel_compiler::rewrite::recognize;
use evenkeel_ir::{DType, Graph, Literal, Op, eval, parse};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One way to write a function.
pub(crate) struct Spelling {
    pub(crate) family: &'static str,
    /// Name of the op that it must become.
    op: &'static str,
    pub(crate) who: &'static str,
    inputs: &'static str,
    pub(crate) body: &'static str,
}

impl Spelling {
    pub(crate) fn text(&self, body: &str) -> String {
        format!("{}\n{body}", self.inputs)
    }
}

pub(crate) fn spellings() -> Vec<Spelling> {
    let mut all = Vec::new();
    for block in include_str!("recognition/spellings.txt").split("## ").skip(1) {
        let mut parts = block.split("\n# ");
        let (title, inputs) = parts.next().and_then(|head| head.split_once('\n')).expect("a head");
        let (family, op) = title.rsplit_once(": ").expect("`family: op`");
        for part in parts {
            let (who, body) = part.split_once('\n').expect("a graph after its title");
            all.push(Spelling { family, op, who, inputs, body });
        }
    }
    all
}

/// The graph after recognition.
#[track_caller]
fn recognized(text: &str) -> Graph {
    let graph = parse(text, "spelling").unwrap_or_else(|error| panic!("{error}\n{text}"));
    recognize(&graph).expect("recognition succeeds").graph
}

/// The ops that are left, without constants and inputs.
fn became(graph: &Graph) -> String {
    let mut names = Vec::new();
    for node in graph.nodes() {
        match &node.op {
            Op::Const(..) | Op::Size(..) | Op::Input(_) => {}
            Op::Composite(op, attrs) => {
                let axes = attrs.axes.iter().map(|a| a.to_string()).collect::<Vec<_>>().join(",");
                let mut name = format!("{} @{axes}", op.name());
                if attrs.eps.get() != 0.0 {
                    let _ = write!(name, " eps {:e} {}", attrs.eps.get(), attrs.eps_kind.name());
                }
                if attrs.correction != 0 {
                    name += " n-1";
                }
                names.push(name);
            }
            op => names.push(op.name().to_string()),
        }
    }
    names.join("; ")
}

#[test]
fn spellings_of_frameworks() {
    let mut families: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for spelling in spellings() {
        let line = format!("  {}: {}", spelling.who, became(&recognized(&spelling.text(spelling.body))));
        families.entry(spelling.family).or_default().push(line);
    }
    let mut table = String::new();
    for (family, lines) in families {
        let _ = writeln!(table, "{family}\n{}", lines.join("\n"));
    }
    insta::assert_snapshot!(table);
}

/// What no recognized function leaves behind.
const PARTS: [&str; 12] =
    ["sum", "mean", "var", "center", "rstd", "sqrt", "rsqrt", "log", "tanh", "erf", "select", "abs"];

#[test]
fn every_spelling_becomes_its_op_once() {
    let all = spellings();
    for spelling in &all {
        let graph = recognized(&spelling.text(spelling.body));
        let count = |name: &str| graph.nodes().iter().filter(|node| node.op.name() == name).count();
        let left: Vec<&str> =
            PARTS.into_iter().filter(|part| *part != spelling.op && count(part) > 0).collect();
        let name = format!("{}, {}", spelling.family, spelling.who);
        assert_eq!(count(spelling.op), 1, "{name}\n{graph}");
        assert!(left.is_empty(), "{name}: {left:?} is left\n{graph}");
    }
    assert!(all.len() >= 200, "{} spellings", all.len());
}

/// Sizes of the first input, small enough that eps matters and large enough for every case.
const SCALES: [f64; 2] = [4e-3, 4.0];

/// Random inputs of a graph.
fn inputs(graph: &Graph, scale: f64) -> Vec<Literal> {
    let input = |(i, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(2);
        let noise = numbers(&sizes, 7 + i as u64).to_f64s();
        let scaled = noise.iter().map(|x| if i == 0 { scale * x } else { x.abs() + 0.1 }).collect();
        Literal::floats(DType::F64, &sizes, scaled)
    };
    graph.inputs().iter().enumerate().map(input).collect()
}

/// The largest difference between two graphs of the same inputs, relative to the largest result;
/// none where the first is not finite.
fn difference(before: &Graph, after: &Graph) -> Option<f64> {
    let at = |scale: f64| {
        let data = inputs(before, scale);
        let value = |graph: &Graph| eval(graph, &data).expect("it is well typed")[0].to_floats();
        let (before, after) = (value(before), value(after));
        let largest = before.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
        let worst = |m: f64, e: f64| if e.is_nan() || m.is_nan() { f64::NAN } else { m.max(e) };
        let error = before.iter().zip(&after).map(|(a, b)| (a - b).abs() / largest).fold(0.0, worst);
        before.iter().all(|x| x.is_finite()).then_some(error)
    };
    let errors: Option<Vec<f64>> = SCALES.into_iter().map(at).collect();
    Some(errors?.into_iter().fold(0.0, |m: f64, e| if e.is_nan() { e } else { m.max(e) }))
}

/// Other words for a word of a spelling: constants off by 1 % and by 1, other axes, other ops.
fn other_words(word: &str) -> Vec<String> {
    if let Ok(number) = word.parse::<f64>() {
        return if number.is_finite() {
            vec![format!("{:e}", number * 1.01), format!("{:e}", number + 1.0)]
        } else {
            vec![]
        };
    }
    let word = match word {
        "@1" | "@-1" => "@0",
        "@0" | "@2" => "@1",
        "@2,3" => "@1,2",
        "@0,2,3" => "@0,1,2",
        "@0,1,2" => "@1,2",
        "@1,2,4" => "@1,2,3",
        "@2,3,4" => "@2,3",
        "add" => "sub",
        "sub" => "add",
        "mul" => "div",
        "div" => "mul",
        "square" => "abs",
        "max" => "min",
        "min" => "max",
        "rsqrt" => "recip",
        "sqrt" => "abs",
        "erf" => "tanh",
        "tanh" => "erf",
        "sigmoid" => "tanh",
        "exp" => "expm1",
        "mean" => "sum",
        "sum" => "mean",
        "gt" | "ge" => "lt",
        "lt" | "le" => "gt",
        _ => return vec![],
    };
    vec![word.to_string()]
}

/// Where the operand that begins here ends.
fn operand_end(text: &str, from: usize) -> usize {
    let mut depth = 0;
    for (place, c) in text[from..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return from + place,
            ')' => depth -= 1,
            ' ' | '\n' if depth == 0 => return from + place,
            _ => {}
        }
    }
    text.len()
}

/// A difference or quotient with its operands swapped, and without the second.
fn other_operands(text: &str, place: usize) -> Vec<String> {
    let first = place + "sub ".len();
    let middle = operand_end(text, first);
    let last = operand_end(text, middle + 1);
    let (a, b) = (&text[first..middle], &text[middle + 1..last]);
    let with = |replaced: &str| format!("{}{replaced}{}", &text[..place], &text[last..]);
    vec![with(&format!("{} {b} {a}", &text[place..first - 1])), with(&format!("add {a} 0.0"))]
}

/// The text with one number, axis, op or pair of operands changed, once for each place.
fn mutants(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut place = 0;
    for token in text.split_inclusive([' ', '(', ')', '\n']) {
        let word = token.trim_end_matches([' ', '(', ')', '\n']);
        let after = &text[place + word.len()..];
        found.extend(other_words(word).into_iter().map(|word| format!("{}{word}{after}", &text[..place])));
        if matches!(word, "sub" | "div") {
            found.extend(other_operands(text, place));
        }
        place += token.len();
    }
    found
}

/// How far a spelling with f32-rounded constants may be from what it becomes.
const ROUNDING: f64 = 3e-7;

/// The graph of a text with f64 inputs, if it is one.
fn double(text: &str) -> Option<Graph> {
    parse(&text.replace("f32", "f64"), "spelling").ok()
}

#[test]
fn spellings_and_their_mutants_keep_their_values() {
    let (mut kept, mut apart) = (0, 0);
    for spelling in spellings() {
        let text = spelling.text(spelling.body);
        let original = double(&text).unwrap_or_else(|| panic!("{text}"));
        let named = recognize(&original).expect("recognition succeeds").graph;
        assert!(difference(&original, &named).is_some_and(|error| error < ROUNDING), "{text}");
        for text in mutants(spelling.body).iter().map(|body| spelling.text(body)) {
            let Some(mutant) = double(&text) else { continue };
            let became = recognize(&mutant).expect("recognition succeeds").graph;
            let Some(error) = difference(&mutant, &became) else { continue };
            assert!(error < ROUNDING, "recognition changed it by {error:e}\n{text}\n{became}");
            kept += 1;
            let same = became.to_string() == named.to_string();
            let distance =
                difference(&mutant, &original).filter(|_| became.output_types().eq(named.output_types()));
            if distance.is_some_and(|distance| distance > 1e-6) {
                assert!(!same, "merged with {}, {}\n{text}", spelling.family, spelling.who);
                apart += 1;
            }
        }
    }
    println!("{kept} mutants kept their values, {apart} stayed apart");
    assert!(kept > 2000 && apart > 2000, "{kept} mutants kept their values, {apart} stayed apart");
}
