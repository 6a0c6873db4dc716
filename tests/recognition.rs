//! What spellings of frameworks become, as text graphs: one line per spelling in the snapshot.

use crate::oracle::numbers;
use evenkeel_compiler::rewrite::recognize;
use evenkeel_ir::{DType, Graph, Literal, Op, eval, parse};
use std::fmt::Write;

/// A family, and its spellings with who writes them.
type Family = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ROWS: &str = "x = input f32[N,768]\ng = input f32[768]\nb = input f32[768]\n";
const IMAGE: &str = "x = input f32[N,8,14,14]\ng = input f32[8,1,1]\nb = input f32[8,1,1]\nrm = input f32[8,1,1]\nrv = input f32[8,1,1]\n";
const CHANNELS_LAST: &str = "x = input f32[N,14,14,8]\ng = input f32[8]\nb = input f32[8]\n";

#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    ("layer_norm", ROWS, &[
        ("torch decomposition", "m = mean @1 x\nc = sub x m\nv = mean @1 (mul c c)\nreturn add (mul (mul c (rsqrt (add v 1e-5))) g) b"),
        ("jax nn", "m = mean @1 x\nv = mean @1 (square (sub x m))\nreturn add (div (mul g (sub x m)) (sqrt (add v 1e-5))) b"),
        ("flax, fast variance", "m = mean @1 x\nv = max 0 (sub (mean @1 (square x)) (square m))\nk = mul (rsqrt (add v 1e-6)) (reshape [1,768] g)\nreturn add (mul (sub x m) k) b"),
        ("keras", "m = mean @1 x\nv = sub (mean @1 (mul x x)) (mul m m)\ni = mul (rsqrt (add v 1e-3)) (reshape [1,768] g)\nreturn add (mul x i) (sub (reshape [1,768] b) (mul m i))"),
        ("onnx primitives", "m = mean @1 x\nc = sub x m\nv = mean @1 (pow c 2)\nreturn add (mul (div c (sqrt (add v 1e-5))) g) b"),
        ("sum over n", "m = div (sum @1 x) 768\nc = sub x m\nv = div (sum @1 (square c)) 768\nreturn add (mul (div c (sqrt (add v 1e-5))) g) b"),
        ("sum times 1/n", "m = mul (sum @1 x) 0.0013020833333333333\nc = sub x m\nv = mul (sum @1 (square c)) 0.0013020833333333333\nreturn add (mul (mul c (pow (add v 1e-5) -0.5)) g) b"),
        ("tinygrad", "c = sub x (mean @1 x)\nreturn add (mul (mul c (rsqrt (add (mean @1 (mul c c)) 1e-5))) g) b"),
        ("unbiased, outside eps", "m = mean @1 x\nc = sub x m\ns = sqrt (div (sum @1 (square c)) 767)\nreturn add (mul g (div c (add s 1e-6))) b"),
        ("one plus gain", "c = sub x (mean @1 x)\nreturn add (mul (div c (sqrt (add (mean @1 (square c)) 1e-5))) (add g 1)) b"),
    ]),
    ("rms_norm", ROWS, &[
        ("llama", "return mul g (mul x (rsqrt (add (mean @1 (pow x 2)) 1e-6)))"),
        ("gemma", "return mul (mul x (rsqrt (add (mean @1 (square x)) 1e-6))) (add 1 g)"),
        ("t5x", "return mul (div x (sqrt (add (mean @1 (mul x x)) 1e-6))) g"),
        ("sum over n", "return mul (mul x (recip (sqrt (add (div (sum @1 (square x)) 768) 1e-6)))) g"),
        ("norm over sqrt n, eps outside", "return mul (div x (add (mul (sqrt (sum @1 (square x))) 0.03608439182435161) 1e-8)) g"),
        ("folded gain", "return mul x (mul (reshape [1,768] g) (rsqrt (add (mean @1 (square x)) 1e-6)))"),
    ]),
    ("l2_norm", ROWS, &[
        ("torch normalize", "return div x (max (sqrt (sum @1 (square x))) 1e-12)"),
        ("tensorflow l2_normalize", "return mul x (rsqrt (max (sum @1 (square x)) 1e-12))"),
        ("plain", "return div x (sqrt (sum @1 (mul x x)))"),
        ("eps inside", "return mul x (rsqrt (add (sum @1 (square x)) 1e-6))"),
        ("eps outside", "return div x (add (sqrt (sum @1 (square x))) 1e-6)"),
    ]),
    ("scale_norm", "x = input f32[N,768]\ng = input f32[]\n", &[
        ("paper", "return mul g (div x (max (sqrt (sum @1 (square x))) 1e-5))"),
        ("folded", "return mul x (div g (max (sqrt (sum @1 (square x))) 1e-5))"),
    ]),
    ("batch_norm", IMAGE, &[
        ("torch, training", "m = mean @0,2,3 x\nc = sub x m\nv = mean @0,2,3 (square c)\nreturn add (mul (div c (sqrt (add v 1e-5))) (reshape [1,8,1,1] g)) (reshape [1,8,1,1] b)"),
        ("keras, training", "m = mean @0,2,3 x\nv = sub (mean @0,2,3 (square x)) (square m)\nreturn add (mul (mul (sub x m) (rsqrt (add v 1e-3))) (reshape [1,8,1,1] g)) (reshape [1,8,1,1] b)"),
        ("mean of means", "m = mean @0 (mean @2,3 x)\nc = sub x m\nv = mean @0 (mean @2,3 (square c))\nreturn mul c (rsqrt (add v 1e-5))"),
        ("inference", "return add (mul (div (sub x rm) (sqrt (add rv 1e-5))) g) b"),
    ]),
    ("batch_norm, channels last", CHANNELS_LAST, &[
        ("flax", "m = mean @0,1,2 x\nv = max 0 (sub (mean @0,1,2 (square x)) (square m))\nreturn add (mul (sub x m) (mul (rsqrt (add v 1e-5)) (reshape [1,1,1,8] g))) (reshape [1,1,1,8] b)"),
    ]),
    ("instance_norm", IMAGE, &[
        ("torch", "c = sub x (mean @2,3 x)\nreturn div c (sqrt (add (mean @2,3 (square c)) 1e-5))"),
        ("behind a reshape", "y = reshape [N,8,196] x\nc = sub y (mean @2 y)\nz = mul c (rsqrt (add (mean @2 (mul c c)) 1e-5))\nreturn reshape [N,8,14,14] z"),
    ]),
    ("group_norm", IMAGE, &[
        ("behind a reshape", "y = reshape [N,2,784] x\nc = sub y (mean @2 y)\nz = div c (sqrt (add (mean @2 (square c)) 1e-5))\nreturn add (mul (reshape [N,8,14,14] z) g) b"),
        ("five axes", "y = reshape [N,2,4,14,14] x\nm = mean @2,3,4 y\nv = sub (mean @2,3,4 (square y)) (square m)\nreturn reshape [N,8,14,14] (mul (sub y m) (rsqrt (add v 1e-5)))"),
    ]),
    ("softmax", ROWS, &[
        ("stable", "e = exp (sub x (max @1 x))\nreturn div e (sum @1 e)"),
        ("unshifted", "e = exp x\nreturn div e (sum @1 e)"),
        ("stopped shift", "e = exp (sub x (stop_gradient (max @1 x)))\nreturn mul e (recip (sum @1 e))"),
        ("through log", "s = sub x (max @1 x)\nreturn exp (sub s (log (sum @1 (exp s))))"),
        ("with temperature", "e = exp (sub (div x 8.0) (max @1 (div x 8.0)))\nreturn div e (sum @1 e)"),
    ]),
    ("log_softmax", ROWS, &[
        ("torch", "s = sub x (max @1 x)\nreturn sub s (log (sum @1 (exp s)))"),
        ("log of softmax", "e = exp x\nreturn log (div e (sum @1 e))"),
        ("minus logsumexp", "return sub x (log (sum @1 (exp x)))"),
    ]),
    ("logsumexp", ROWS, &[
        ("stable", "m = max @1 x\nreturn add m (log (sum @1 (exp (sub x m))))"),
        ("plain", "return log (sum @1 (exp x))"),
    ]),
    ("gelu", ROWS, &[
        ("torch", "return mul (mul x 0.5) (add 1 (erf (mul x 0.7071067811865476)))"),
        ("f32 constants", "return mul 0.5 (mul x (add 1 (erf (div x 1.4142135381698608))))"),
        ("one half outside", "return mul x (add 0.5 (mul 0.5 (erf (div x 1.4142135623730951))))"),
        ("tanh, torch", "return mul (mul 0.5 x) (add 1 (tanh (mul 0.7978845608028654 (add x (mul 0.044715 (pow x 3))))))"),
        ("tanh, jax", "return mul x (mul 0.5 (add 1 (tanh (mul 0.7978845608028654 (mul x (add 1 (mul 0.044715 (mul x x))))))))"),
        ("tanh by sigmoid", "return mul x (sigmoid (mul 1.5957691216057308 (add x (mul 0.044715 (mul x (mul x x))))))"),
        ("quick", "return mul x (sigmoid (mul x 1.702))"),
    ]),
    ("silu, mish, softplus", ROWS, &[
        ("silu", "return div x (add 1 (exp (neg x)))"),
        ("silu by tanh", "return mul (mul 0.5 x) (add 1 (tanh (mul 0.5 x)))"),
        ("mish, torch", "return mul x (tanh (add (max x 0) (log1p (exp (neg (abs x))))))"),
        ("mish, rational", "e = exp x\nn = mul e (add e 2)\nreturn mul x (div n (add n 2))"),
        ("softplus", "return log (add 1 (exp x))"),
        ("softplus, logaddexp", "return add (relu x) (log1p (exp (neg (abs x))))"),
    ]),
    ("hard and exponential units", ROWS, &[
        ("hardswish", "return mul x (div (min 6 (max 0 (add x 3))) 6)"),
        ("hardswish, relu6", "return div (mul x (relu6 (add x 3))) 6"),
        ("hardsigmoid", "return max 0 (min 1 (add 0.5 (div x 6)))"),
        ("elu, where", "return select (gt x 0) x (expm1 x)"),
        ("elu, sum of clamps", "return add (max x 0) (expm1 (min x 0))"),
        ("selu", "return mul 1.0507009873554805 (select (gt x 0) x (mul 1.6732632423543772 (expm1 x)))"),
        ("relu, where", "return select (gt x 0) x 0.0"),
        ("relu by abs", "return mul 0.5 (add x (abs x))"),
        ("relu6", "return min 6 (relu x)"),
    ]),
];

/// The ops that are left, without constants and inputs.
fn became(text: &str) -> String {
    let graph = parse(text, "spelling").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let graph = recognize(&graph).expect("recognition succeeds").graph;
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
    let mut table = String::new();
    for (family, inputs, spellings) in FAMILIES {
        let _ = writeln!(table, "{family}");
        for (who, text) in *spellings {
            let _ = writeln!(table, "  {who}: {}", became(&format!("{inputs}{text}")));
        }
    }
    insta::assert_snapshot!(table);
}

/// Random inputs of a graph, small enough that eps matters.
fn inputs(graph: &Graph) -> Vec<Literal> {
    let input = |(i, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(2);
        let noise = numbers(&sizes, 7 + i as u64).to_f64s();
        let scaled = noise.iter().map(|x| if i == 0 { 4e-3 * x } else { x.abs() + 0.1 }).collect();
        Literal::floats(DType::F64, &sizes, scaled)
    };
    graph.inputs().iter().enumerate().map(input).collect()
}

/// The largest difference between a graph and what recognition makes of it, relative to the
/// largest result; none where the result is not finite.
fn difference(text: &str) -> Option<f64> {
    let graph = parse(&text.replace("f32[", "f64["), "spelling").ok()?;
    let recognized = recognize(&graph).expect("recognition succeeds").graph;
    let data = inputs(&graph);
    let value = |graph: &Graph| eval(graph, &data).expect("it is well typed")[0].to_floats();
    let (before, after) = (value(&graph), value(&recognized));
    let scale = before.iter().fold(1e-300f64, |scale, x| scale.max(x.abs()));
    before.iter().all(|x| x.is_finite()).then(|| {
        before
            .iter()
            .zip(&after)
            .map(|(a, b)| (a - b).abs() / scale)
            .fold(0.0, |m: f64, e| if e.is_nan() { e } else { m.max(e) })
    })
}

/// The text with one number, axis or op changed, once for each place.
fn mutants(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let tokens: Vec<&str> = text.split_inclusive([' ', '(', ')', '\n']).collect();
    for (place, token) in tokens.iter().enumerate() {
        let (word, end) = token.split_at(token.trim_end_matches([' ', '(', ')', '\n']).len());
        let changed = match (word, word.parse::<f64>()) {
            (_, Ok(number)) => vec![format!("{:e}", number * 1.01), format!("{:e}", number + 1.0)],
            ("@1", _) => vec!["@0".into()],
            ("@2,3", _) => vec!["@1,2".into()],
            ("add", _) => vec!["sub".into()],
            ("sub", _) => vec!["add".into()],
            ("mul", _) => vec!["div".into()],
            ("div", _) => vec!["mul".into()],
            ("square", _) => vec!["abs".into()],
            ("max", _) => vec!["min".into()],
            ("rsqrt", _) => vec!["recip".into()],
            ("erf", _) => vec!["tanh".into()],
            _ => continue,
        };
        for word in changed {
            let mut mutant = tokens.clone();
            let replaced = format!("{word}{end}");
            mutant[place] = &replaced;
            found.push(mutant.concat());
        }
    }
    found
}

#[test]
fn spellings_and_their_mutants_keep_their_values() {
    let mut compared = 0;
    for (family, inputs, spellings) in FAMILIES {
        for (who, body) in *spellings {
            for text in std::iter::once((*body).to_string()).chain(mutants(body)) {
                let Some(error) = difference(&format!("{inputs}{text}")) else { continue };
                assert!(error < 3e-7, "{family}, {who}: recognition changed it by {error:e}\n{text}");
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}
