//! Mistakes: each kind with its place and message. Mutations: none panics.

use super::*;

/// Checks the message for a main graph with the inputs `x: f32[N,4]`, `i: i32[2]`.
#[track_caller]
fn refused(rest: &str, message: &str) -> ParseError {
    let source = format!("x = input f32[N,4]\ni = input i32[2]\n{rest}");
    let error = parse(&source, "t").expect_err("the source should be refused");
    assert_eq!(error.to_string(), message);
    assert!(message.starts_with(&format!("{}: ", error.place())), "{message}");
    error
}

#[test]
fn unknown_names_are_reported_with_the_nearest_known_one() {
    let error = refused(
        "y = sotfmax @-1 x\nreturn y",
        "t:3:5: expected the name of an op, found `sotfmax`; did you mean `softmax`?",
    );
    assert!(matches!(error, ParseError::UnknownOp { .. }));
    refused("y = quux_frobnicate x\nreturn y", "t:3:5: expected the name of an op, found `quux_frobnicate`");
    let error = refused(
        "weight = exp x\nreturn exp wieght",
        "t:4:12: expected a value, found `wieght`, which is not defined above; did you mean `weight`?",
    );
    assert!(matches!(error, ParseError::UndefinedName { .. }));
    refused("return call f x", "t:3:13: expected a graph, found `f`, which is not defined above");
    let error =
        refused("x = exp x\nreturn x", "t:3:1: expected a new name, found `x`, which is defined above");
    assert!(matches!(error, ParseError::DuplicateName { .. }));
}

#[test]
fn attributes_are_checked_against_the_row() {
    let error = refused("return softmax @-1 eps=1e-5 x", "t:3:20: softmax expects only @axes, found `eps`");
    assert!(matches!(error, ParseError::UnknownAttribute { .. }));
    refused(
        "return rms_unit @-1 correction=1 x",
        "t:3:21: rms_unit expects only @axes, eps, kind, found `correction`",
    );
    refused("return exp @1 x", "t:3:12: exp expects no attribute, found axes [1]");
    let error = refused("return sum x", "t:3:8: sum expects the attribute @axes, found none");
    assert!(matches!(error, ParseError::MissingAttribute { .. }));
    refused("return slice axis=1 x", "t:3:8: slice expects the attribute length, found none");
    let error = refused(
        "return rstd @-1 kind=odd x",
        "t:3:17: rstd expects kind to be inside, outside or clamp, found `odd`",
    );
    assert!(matches!(error, ParseError::BadAttribute { .. }));
    refused(
        "return slice axis=1 length=-3 x",
        "t:3:21: slice expects length to be a whole number, found `-3`",
    );
    let error = refused("return sum @2 x", "t:3:12: sum expects distinct axes in -2..2, found [2]");
    assert!(matches!(error, ParseError::AxisOutOfRange { .. }));
    refused("return sum @0,-2 x", "t:3:12: sum expects distinct axes in -2..2, found [0, -2]");
    refused("return pad axis=-3 x", "t:3:12: pad expects distinct axes in -2..2, found [-3]");
}

#[test]
fn operands_and_results_are_counted() {
    let error = refused("return exp x x", "t:3:8: exp expects 1 operands, found 2");
    assert!(matches!(error, ParseError::Arity { .. }));
    refused("return max x", "t:3:8: max expects 2 operands, found 1");
    refused("return concat axis=0", "t:3:8: concat expects 1 operands, found 0");
    let error = refused("a, b = exp x\nreturn a", "t:3:8: exp gives 1 results, found 2 names for them");
    assert!(matches!(error, ParseError::Results { .. }));
}

#[test]
fn types_and_numbers_are_checked() {
    let error = refused(
        "y = input f31[N]\nreturn y",
        "t:3:11: expected an element type (f32, f64, i32, i64, bool, f16, bf16), found `f31`",
    );
    assert!(matches!(error, ParseError::BadType { .. }));
    let error = refused(
        "y = input f32[M]\nreturn y",
        "t:3:15: expected an extent such as 64, N, 2N or 3N^2, found `M`",
    );
    assert!(matches!(error, ParseError::BadExtent { .. }));
    let error = refused("return add x 1.2.3", "t:3:14: expected a number, found `1.2.3`");
    assert!(matches!(error, ParseError::BadNumber { .. }));
    let error = refused(
        "return exp 2",
        "t:3:12: expected an operand of known type, found 2; write e.g. (const f32 2)",
    );
    assert!(matches!(error, ParseError::UntypedNumber { .. }));
    let error = refused(
        "y = add x i\nreturn y",
        "t:3:5: add: element types differ: f32[N,4] and i32[2]; cast one of them",
    );
    assert!(matches!(error, ParseError::IllTyped { source: IrError::DTypes { .. }, .. }));
    refused("return exp (input f32[])", "t:3:13: input: inputs are declared, not applied");
}

#[test]
fn the_grammar_is_checked() {
    let error = refused("y = exp x\n", "t:4:1: expected `return`, found the end of the source");
    assert!(matches!(error, ParseError::MissingReturn { .. }));
    let error = refused("y = exp x ; z", "t:3:11: unexpected character ';'");
    assert!(matches!(error, ParseError::UnexpectedCharacter { .. }));
    let error = refused("y exp x", "t:3:3: expected `=`, found `exp`");
    assert!(matches!(error, ParseError::Expected { .. }));
    refused("return exp (neg x", "t:3:18: expected `)`, found the end of the source");
    refused("return x\nreturn x", "t:4:1: expected the end of the source, found `return`");
    refused("return exp x, neg x", "t:3:8: expected `name=` before an output, found an expression");
    refused("y = input name=\"open f32[]", "t:3:16: expected a closing quote, found the end of the line");
    let missing = parse("graph f(a: f32[]) {\n  b = exp a\n}\nreturn", "t").unwrap_err();
    assert_eq!(missing.to_string(), "t:3:1: expected `return`, found the end of the graph");
}

#[test]
fn sizes_beyond_the_limits_are_refused() {
    let deep = format!("return {}x{}", "exp (".repeat(70), ")".repeat(70));
    let error = refused(&deep, "t:3:333: the depth of parentheses is larger than the limit of 64");
    assert!(matches!(error, ParseError::TooLarge { .. }));
    let huge = u64::MAX;
    refused(
        &format!("return iota rank=1 axis=0 extent={huge}"),
        "t:3:8: the number of elements is larger than the limit of 72057594037927936",
    );
    refused(
        &format!("return slice axis=1 length=2 stride={huge} x"),
        "t:3:8: slice: 2 elements from 0 by 18446744073709551615 do not fit axis 1 of f32[N,4]",
    );
    refused(
        &format!("return pad axis=1 low={huge} x"),
        "t:3:8: the number of elements is larger than the limit of 72057594037927936",
    );
    refused(
        &format!("return pad axis=1 interior={huge} x"),
        "t:3:8: the interior padding is larger than the limit of 72057594037927936",
    );
    refused(
        "return reshape [N^60,N^60] x",
        "t:3:16: the power of N in a number of elements is larger than the limit of 64",
    );
    let many = vec!["1"; 33].join(",");
    refused(
        &format!("return broadcast [{many}] x"),
        "t:3:18: the number of axes is larger than the limit of 32",
    );
    refused(
        "return iota rank=200 axis=100 extent=4",
        "t:3:13: iota expects rank to be a smaller number, found `200`",
    );
}

#[test]
fn nests_of_graphs_beyond_the_limits_are_refused() {
    let nest = |calls: &dyn Fn(usize) -> String, count: usize| {
        let mut source = "graph f0(x: f32[]) {\n return exp x\n}\n".to_string();
        (1..count)
            .for_each(|i| source += &format!("graph f{i}(x: f32[]) {{\n return {}\n}}\n", calls(i - 1)));
        parse(&(source + "return"), "t")
    };
    let deep = nest(&|i| format!("call f{i} x"), 70).unwrap_err().to_string();
    assert!(deep.ends_with("the nest of graphs is larger than the limit of 64"), "{deep}");
    let wide =
        nest(&|i| format!("call f{i} (call f{i} (call f{i} (call f{i} x)))"), 20).unwrap_err().to_string();
    assert!(
        wide.ends_with("nodes with those of called graphs is larger than the limit of 1048576"),
        "{wide}"
    );
}

/// Pseudo-random numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

/// Pieces that mutations put in.
const PIECES: &[&str] = &[
    "@-1",
    "@0,1",
    "@",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    ":",
    "\"",
    "\\",
    "\n",
    "#",
    " ",
    "-",
    "%",
    "^",
    "N",
    "0N",
    "N^255",
    "N^300",
    "18446744073709551615",
    "-9223372036854775808",
    "@-9223372036854775808",
    "@31",
    "@64",
    "1e999",
    "nan",
    "inf",
    "0xffffffffffffffff",
    "return",
    "graph",
    "call",
    "custom_vjp",
    "input",
    "sum",
    "max",
    "dot",
    "concat",
    "axis=40",
    "axis=255",
    "batch=3",
    "rank=255",
    "f32",
    "bool",
    "f32[]",
    "%1",
    "x",
    "x0",
    "g0",
    "\u{b2}",
    "\u{e9}",
    "\0",
];

fn mutated(source: &str, random: &mut Random) -> String {
    let mut words: Vec<&str> = source.split_inclusive([' ', '\n', ',', '=', '[', ']', '(', ')']).collect();
    for _ in 0..1 + random.below(3) {
        let at = random.below(words.len());
        let other = words.get(random.below(words.len())).copied().unwrap_or("");
        match random.below(5) {
            _ if words.is_empty() => words.push(PIECES[random.below(PIECES.len())]),
            0 => drop(words.remove(at)),
            1 => words.insert(at, other),
            2 => words[at] = other,
            3 => words.insert(at, PIECES[random.below(PIECES.len())]),
            _ => words[at] = PIECES[random.below(PIECES.len())],
        }
    }
    let mut text: Vec<char> = words.concat().chars().collect();
    if random.below(3) == 0 && !text.is_empty() {
        let at = random.below(text.len());
        text.truncate(at);
    }
    text.into_iter().collect()
}

#[test]
fn no_mutation_of_a_source_panics_and_what_is_read_survives() {
    let mut sources: Vec<String> =
        cases().iter().map(|(op, types)| single(op.clone(), types).to_string()).collect();
    let x = fixed(DType::F32, &[3, 4]);
    for &op in Composite::ALL {
        let attrs = Attrs::over(Axes::new([1]));
        sources.push(single(Op::Composite(op, attrs), &vec![x.clone(); op.def().inputs.len()]).to_string());
    }
    sources.push("x = input f32[N,64]\ne = exp (sub x (max @-1 x))\nreturn div e (sum @-1 e)\n".into());
    sources.push(single(Op::Call(square_graph()), &[fixed(DType::F32, &[3])]).to_string());
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut read = 0;
    for round in 0..20_000 {
        let text = mutated(&sources[round % sources.len()], &mut random);
        if let Ok(graph) = parse(&text, "mutated") {
            survives(&graph);
            read += 1;
        }
    }
    assert!(read > 500, "only {read} mutations were graphs");
}
