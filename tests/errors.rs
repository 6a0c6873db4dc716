//! Every message of the public errors, as a user causes it. Messages of text graphs are tested beside
//! the reader, those of the program in `cli`.
//!
//! A test collects the errors of one enum through the door of their source; [`messages`] asks for
//! every variant. Snapshots hold no places: those are tested by line, in `places`.

use evenkeel::Error;
use evenkeel::checkpoint::{self, CheckpointError};
use evenkeel::data::{DataError, read_csv};
use evenkeel::prelude::*;
use evenkeel::session::{jvp_graph, vjp_graph};
use evenkeel::trace::{Fault, TraceError};
use evenkeel::vectors::{Machine, Precision, play};
use evenkeel_compiler::grad::GradError;
use evenkeel_compiler::{Bandwidth, CompileError, Costs, Options, compile};
use evenkeel_ir::op::{RandomKind, infer};
use evenkeel_ir::{Axes, Composite, EvalError, Graph, IrError, Literal, Op, Target, Unary, eval, parse};
use evenkeel_runtime::{Argument, Executable, RuntimeError};
use proc_macro2::{TokenStream, TokenTree};
use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};

/// The messages of errors of one enum, one per line, after checking that every variant is there.
/// `internal` are variants that users cannot cause.
#[track_caller]
pub(crate) fn messages<E: Debug + Display>(
    file: &str,
    name: &str,
    internal: &[&str],
    errors: &[E],
) -> String {
    let variant = |error: &E| {
        let text = format!("{error:?}");
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_string()
    };
    let found: Vec<String> = errors.iter().map(variant).collect();
    for declared in variants(file, name) {
        let wanted = !internal.contains(&declared.as_str());
        assert_eq!(found.contains(&declared), wanted, "{name}::{declared} in {file}");
    }
    let line = |(name, error): (&String, &E)| format!("{name}: {}\n", without_places(&error.to_string()));
    found.iter().zip(errors).map(line).collect()
}

/// Names of the variants of an enum in a source file.
fn variants(file: &str, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let tokens: Vec<TokenTree> = text.parse::<TokenStream>().unwrap().into_iter().collect();
    let is = |tree: &TokenTree, word: &str| tree.to_string() == word;
    let at = tokens.windows(2).position(|pair| is(&pair[0], "enum") && is(&pair[1], name)).unwrap();
    let TokenTree::Group(body) = &tokens[at + 2] else { panic!("{name} has a body") };
    let names = body.stream().into_iter().filter(|tree| matches!(tree, TokenTree::Ident(_)));
    names.map(|tree| tree.to_string()).collect()
}

/// The text with `errors.rs:LINE:COLUMN` as `errors.rs:_:_`.
fn without_places(text: &str) -> String {
    let mut parts = text.split("errors.rs:");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
        format!("{text}errors.rs:_:_{rest}")
    })
}

pub(crate) fn f32s(sizes: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::of(sizes))
}

pub(crate) fn ints(sizes: &[usize]) -> TensorType {
    TensorType::new(DType::I32, Shape::of(sizes))
}

/// The faults of a closure over `x: f32[2,3]`, `y: f32[2]`, `i: i32[2]`.
#[track_caller]
pub(crate) fn faults(closure: impl FnOnce(Var, Var, Var)) -> TraceError {
    let inputs = [("x", f32s(&[2, 3])), ("y", f32s(&[2])), ("i", ints(&[2]))];
    trace(&inputs, |v| {
        closure(v[0], v[1], v[2]);
        vec![("out", v[0])]
    })
    .unwrap_err()
}

#[test]
fn faults_of_a_trace() {
    let (param, state) = (Param::zeros(&[3]), State::zeros(&[3]));
    let mut foreign = None;
    trace(&[("x", f32s(&[]))], |v| {
        foreign = Some(v[0]);
        vec![("x", v[0])]
    })
    .unwrap();
    let foreign = foreign.unwrap();
    let error = faults(|x, y, i| {
        let _ = x + y;
        let _ = x.sum(2);
        let _ = x.mean([0, -2]);
        let _ = foreign.exp();
        let _ = x * &param;
        state.set(y);
        let _ = i + 0.5;
        let _ = i + 3e9;
        let _ = x * 1e300;
        let _ = x.tap("a").tap("a.1").tap("a");
        let _ = x.dropout(1.5);
        let _ = x.reshape([-1, -1]);
        let _ = x.reshape([-3, 2]);
        let _ = x.slice(0, 2, 1);
        let _ = y.transpose();
        let _ = x.squeeze(0);
        let _ = x.unsqueeze(4);
        let _ = y.matmul(y);
        let _ = x.cross_entropy(y);
        let _ = x.cross_entropy_with(i, 1.5, -1);
        let _ = x.mse(y);
        let _ = Var::concat(&[], 0);
        let _ = x.random_normal();
    });
    let faults: Vec<Fault> = error.faults.into_iter().map(|located| located.fault).collect();
    // transparent: the message is that of the type error
    let shown: Vec<&Fault> = faults.iter().collect();
    insta::assert_snapshot!(messages("src/trace/error.rs", "Fault", &[], &shown));
}

/// An op on operands that do not fit it.
#[track_caller]
fn ill_typed(op: Op, operands: &[TensorType]) -> IrError {
    infer(&op, &operands.iter().collect::<Vec<_>>()).unwrap_err()
}

#[test]
fn ill_typed_ops() {
    let batch = TensorType::new(DType::F32, Shape([Extent::BATCH, 3usize.into()].into_iter().collect()));
    let (x, y, i) = (f32s(&[2, 3]), f32s(&[2]), ints(&[2]));
    let dot = |batch| Op::Dot { batch, lhs: Axes::new([2]), rhs: Axes::new([1]) };
    let callee =
        parse("graph f(a: f32[2]) {\n  return exp a\n}\nx = input f32[2]\nreturn call f x", "t").unwrap();
    let call = callee.nodes().iter().map(|node| &node.op).find(|op| matches!(op, Op::Call(_))).unwrap();
    let composite = |op, axes| Op::Composite(op, evenkeel_ir::Attrs::over(axes));
    let errors = [
        ill_typed(Op::Unary(Unary::Exp), &[x.clone(), x.clone()]),
        ill_typed(Op::Unary(Unary::Exp), std::slice::from_ref(&i)),
        ill_typed(
            Op::Random { kind: RandomKind::Bits, stream: 0, ty: x.clone() },
            &[TensorType::scalar(DType::I64)],
        ),
        ill_typed(Op::Binary(evenkeel_ir::Binary::Add), &[y.clone(), i.clone()]),
        ill_typed(Op::Binary(evenkeel_ir::Binary::Sub), &[f32s(&[2, 1]), y.clone()]),
        ill_typed(Op::Binary(evenkeel_ir::Binary::Sub), &[x.clone(), f32s(&[3, 2])]),
        ill_typed(Op::Flip(Axes::new([2])), std::slice::from_ref(&x)),
        ill_typed(composite(Composite::ArgMax, Axes::new([0, 1])), std::slice::from_ref(&x)),
        ill_typed(Op::Reshape(Shape::of(&[4])), std::slice::from_ref(&x)),
        ill_typed(Op::Transpose([32, 1].into_iter().collect()), std::slice::from_ref(&x)),
        ill_typed(Op::Concat { axis: 0 }, &[batch.clone(), batch.clone()]),
        ill_typed(Op::Slice { axis: 1, start: u64::MAX, length: 1, stride: 1 }, std::slice::from_ref(&x)),
        ill_typed(Op::Concat { axis: 0 }, &[x.clone(), f32s(&[2, 4])]),
        ill_typed(dot(1), &[f32s(&[2, 3, 4]), f32s(&[5, 4, 6])]),
        ill_typed(Op::Pad { axis: 0, low: u64::MAX, high: 1, interior: 1 }, std::slice::from_ref(&x)),
        ill_typed(dot(1), &[f32s(&[2, 3, 4]), f32s(&[2, 5, 6])]),
        ill_typed(Op::ScatterAdd { axis: 0, size: 4usize.into() }, &[x.clone(), ints(&[3])]),
        ill_typed(call.clone(), std::slice::from_ref(&x)),
    ];
    let internal = ["MisplacedInput", "Broken"];
    insta::assert_snapshot!(messages("ir/src/error.rs", "IrError", &internal, &errors));
}

#[track_caller]
fn graph(text: &str) -> Graph {
    parse(text, "user.ek").unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong with differentiating a text graph towards its first input.
#[track_caller]
fn not_differentiable(text: &str) -> GradError {
    vjp_graph(&graph(text), &[0]).unwrap_err()
}

#[test]
fn derivatives_that_do_not_exist() {
    let custom = trace(&[("x", f32s(&[2]))], |v| {
        let y = custom_vjp(&[v[0]], |x| (x[0].exp(), vec![]), |_, g| vec![g]);
        vec![("y", y)]
    });
    let errors = [
        not_differentiable("x = input f32[4]\ny = cast f32 (gt x 0.0)\nreturn y"),
        not_differentiable("x = input f32[4]\ny = mul x (cast f32 (cast i32 x))\nreturn y"),
        not_differentiable("i = input i32[4]\ny = cast f32 i\nreturn y"),
        not_differentiable("x = input f32[4]\ny = argmax @0 x\nreturn y"),
        vjp_graph(&graph("i = input i32[4]\ny = cast f32 i\nreturn y"), &[]).unwrap_err(),
        not_differentiable("x = input f32[4]\ncotangent.y = input f32[]\ny = exp x\nreturn y"),
        not_differentiable("x = input f32[4]\nreturn grad.x=x"),
        jvp_graph(&custom.unwrap(), &[0]).unwrap_err(),
    ];
    insta::assert_snapshot!(messages("compiler/src/grad/mod.rs", "GradError", &[], &errors));
}

#[test]
fn graphs_that_do_not_compile() {
    let half = graph("x = input f16[4]\nreturn y=exp x");
    let not_executable = compile(&half, &Target::BASELINE, &Options::default()).unwrap_err();
    let of = |costs: Costs| {
        let options = Options { costs, ..Options::default() };
        compile(&graph("x = input f32[4]\nreturn y=exp x"), &Target::BASELINE, &options).unwrap_err()
    };
    let usual = || Costs::REFERENCE;
    let x = Tensor::full(&[4], 1f32);
    let of_jit = jit((), |_: &(), x: Var| x.exp()).costs(Costs { operations: -2.0, ..usual() });
    let Some(Error::Compile(of_jit)) = of_jit.compile(&x).err() else { panic!("the costs are wrong") };
    let errors: [CompileError; 6] = [
        not_executable,
        of(Costs { operations: 0.0, ..usual() }),
        of(Costs { cached: f64::NAN, ..usual() }),
        of(Costs { step_micros: f64::INFINITY, ..usual() }),
        of(Costs { levels: vec![Bandwidth { holds: 1e9, rate: 0.0 }], ..usual() }),
        of_jit,
    ];
    let internal = ["Pass", "Broken", "Emit"];
    insta::assert_snapshot!(messages("compiler/src/error.rs", "CompileError", &internal, &errors));
}

#[test]
fn arguments_that_do_not_fit() {
    let sum = graph("x = input f32[N,2]\ny = input f32[N]\nreturn y=sum @0 y, x");
    let wide = graph("x = input f32[]\nreturn y=broadcast [1000000,1000000,10000] x");
    let floats = |sizes: &[usize]| Literal::zeros(DType::F32, sizes);
    let errors: [EvalError; 4] = [
        eval(&sum, &[floats(&[3, 2])]).unwrap_err(),
        eval(&sum, &[floats(&[3, 2]), floats(&[4])]).unwrap_err(),
        eval(&sum, &[floats(&[3, 2]), Literal::zeros(DType::I32, &[3])]).unwrap_err(),
        eval(&wide, &[floats(&[])]).unwrap_err(),
    ];
    insta::assert_snapshot!(messages("ir/src/eval/mod.rs", "EvalError", &[], &errors));
}

/// Runs a text graph on f32 zeros of these sizes, its first output written into its first input if `update`.
#[track_caller]
fn run_on(text: &str, sizes: &[usize], update: bool) -> Result<(), RuntimeError> {
    let updates = if update { vec![(0, 0)] } else { vec![] };
    let options = Options { updates, ..Options::default() };
    let program = compile(&graph(text), &evenkeel::host::host_target(1), &options).unwrap().program;
    let x = Tensor::zeros(DType::F32, sizes);
    Executable::load(program, 1)?.run(&mut [Argument::In(&x)], &mut Vec::new())
}

#[test]
fn programs_and_tensors_that_do_not_fit() {
    let wide = "x = input f32[]\nreturn y=broadcast [1000000,1000000,10000] x";
    let program =
        compile(&graph(wide), &evenkeel::host::host_target(1), &Options::default()).unwrap().program;
    let x = Tensor::zeros(DType::F32, &[2, 3]);
    let errors = [
        run_on("x = input f32[2]\nreturn y=exp x", &[3], false).unwrap_err(),
        run_on("x = input f32[2]\nreturn y=exp x", &[2], true).unwrap_err(),
        run_on(wide, &[], false).unwrap_err(),
        Executable::load(program, 0).unwrap_err(),
        Tensor::from_vec(&[2, 2], [1f32, 2.0, 3.0]).unwrap_err(),
        Tensor::from_vec::<f32>(&[1 << 63, 2], []).unwrap_err(),
        x.clone().reshape(&[4]).unwrap_err(),
        Tensor::from_bytes(DType::Bool, &[3], &[0, 1, 7]).unwrap_err(),
        x.to_vec::<i32>().unwrap_err(),
        x.item().unwrap_err(),
        x.rows(1..3).unwrap_err(),
        x.slice(-1, 2..4).unwrap_err(),
        evenkeel::data::batches(&x, &Tensor::zeros(DType::I64, &[3]), 1, 0).unwrap_err(),
    ];
    insta::assert_snapshot!(messages("runtime/src/error.rs", "RuntimeError", &["Code", "Machine"], &errors));
}

/// A folder of a test, deleted in the end; messages are shown relative to it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("evenkeel-errors-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// A file with this content.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn relative(&self, messages: &str) -> String {
        messages.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // a folder that stays is only untidy
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Clone, Debug, PartialEq, Parameters)]
pub(crate) struct Scale {
    pub(crate) gain: Param,
    bias: Param,
}

impl Scale {
    pub(crate) fn new() -> Scale {
        Scale { gain: Param::ones(&[2]), bias: Param::zeros(&[1]) }
    }
}

#[test]
fn checkpoints_that_do_not_fit() {
    let folder = Folder::new("checkpoints");
    let tensors = |names: &[&str], sizes: &[usize]| {
        let path = folder.0.join(names.join("-"));
        let tensor = Tensor::zeros(DType::F32, sizes);
        checkpoint::write(&path, names.iter().map(|name| (name.to_string(), &tensor))).unwrap();
        path
    };
    let loaded = |path: &Path| Scale::new().load(path).unwrap_err();
    let x = Tensor::scalar(1f32);
    let errors = [
        loaded(&folder.0.join("absent")),
        Scale::new().save(folder.0.join("no/such/folder")).unwrap_err(),
        loaded(&folder.file("empty", "")),
        loaded(&folder.file("text", "gain = 1, bias = 0, and nothing else")),
        loaded(&tensors(&["gain", "offset"], &[2])),
        loaded(&tensors(&["bias", "gain"], &[2])),
        checkpoint::write(folder.0.join("twice"), [("a".to_string(), &x), ("a".to_string(), &x)])
            .unwrap_err(),
    ];
    let text = messages("src/checkpoint.rs", "CheckpointError", &[], &errors);
    insta::assert_snapshot!(folder.relative(&text));
}

#[test]
fn a_damaged_checkpoint_changes_nothing_and_a_failed_write_keeps_the_old_file() {
    let folder = Folder::new("damaged");
    let path = folder.0.join("model");
    Scale::new().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        let mut model = Scale::new();
        let error = model.load(folder.file("cut", &bytes[..length])).unwrap_err();
        assert!(matches!(error, CheckpointError::Corrupt { .. }), "{length}: {error}");
        assert_eq!(model, Scale::new());
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        let mut model = Scale::new();
        let loaded = model.load(folder.file("flipped", damaged));
        assert!(loaded.is_ok() || model == Scale::new(), "byte {at}");
    }
    // a folder cannot be replaced by a file: the new one is written, the rename fails
    let taken = folder.0.join("taken");
    std::fs::create_dir_all(taken.join("old")).unwrap();
    Scale::new().save(&taken).unwrap_err();
    assert!(taken.join("old").exists());
    let left = std::fs::read_dir(&folder.0)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert!(left.filter(|name| name.ends_with(".tmp")).count() == 0, "temporary files are gone");
}

#[test]
fn data_that_is_not_a_data_set() {
    let folder = Folder::new("data");
    let read = |content: &[u8]| read_csv(folder.file("data.csv", content)).unwrap_err();
    let errors: Vec<DataError> = vec![
        read_csv(folder.0.join("absent.csv")).unwrap_err(),
        read(b"1,2,0\n1,\xff,0\n"),
        read(b""),
        read(b"a,b,label\n"),
        read(b"label,a,Label\n0,1,0\n"),
        read(b"1\n2\n"),
        read(b"1,2,0\n1,0\n"),
        read(b"1,2,0\n\n1,x,0\n"),
        read(b"1,1e39,0\n"),
        read(b"1,2,0\n1,2,-1\n"),
    ];
    let text = messages("src/data/error.rs", "DataError", &["Malformed"], &errors);
    insta::assert_snapshot!(folder.relative(&text));
}

#[test]
fn vector_files_that_are_none() {
    let folder = Folder::new("vectors");
    let read =
        |content: &str| play(&folder.file("v.json", content), Machine::Interp, Precision::F64).unwrap_err();
    let case = |x: &str| {
        read(&format!(
            r#"{{"schema": "evenkeel.vectors.v1", "layer": "l", "cases": [{{"name": "a", "steps": [{{"in": {{"x": {x}}}}}]}}]}}"#
        ))
    };
    let errors = [
        play(&folder.0.join("absent.json"), Machine::Interp, Precision::F64).unwrap_err(),
        read(""),
        read("{}"),
        case("3"),
        case(r#"{"shape": [2], "data": [1, "x"]}"#),
        case(r#"{"shape": [4294967296, 4294967296], "data": []}"#),
    ];
    let text = messages("src/vectors/file.rs", "VectorError", &[], &errors);
    insta::assert_snapshot!(folder.relative(&text));
}

/// A step whose loss is `mean((gain x + bias)^2)`.
fn step(optimizer: impl Optimizer, clip: Option<f64>) -> Result<Step<Scale>, Error> {
    let loss =
        |m: &Scale, x: Var| ((&m.gain * x + &m.bias).square().mean_all(), metrics! { first: x.sum_all() });
    let builder = train_step(Scale::new(), optimizer, loss).threads(1);
    let builder = if let Some(limit) = clip { builder.clip_norm(limit) } else { builder };
    builder.compile(&Tensor::full(&[3, 2], 1f32))
}

#[test]
fn errors_of_the_library() {
    let folder = Folder::new("library");
    let x = Tensor::full(&[3, 2], 1f32);
    let mut trained = step(Sgd::new(0.1), None).unwrap();
    let out = trained.run(&x).unwrap();
    trained.save(folder.0.join("scale.safetensors")).unwrap();
    let wide = |x: Var| x.square();
    let errors: Vec<Error> = vec![
        grad(|x: Var| x.sum(3).sum_all()).wrt(0).run(&x).unwrap_err(),
        grad(|x: Var| x.step().cast(DType::I32).cast(DType::F32).sum_all()).wrt(0).run(&x).unwrap_err(),
        jit((), |_: &(), x: Var| x.cast(DType::F16)).compile(&x).err().unwrap(),
        jit((), |_: &(), x: Var| x.exp()).threads(0).compile(&x).err().unwrap(),
        jit((), |_: &(), x: Var| x.exp())
            .device(Device::Interp)
            .compile(&x)
            .unwrap()
            .run((&x, &x))
            .unwrap_err(),
        trained.run((&x, &x)).unwrap_err(),
        Error::from(trained.resume(folder.0.join("absent")).unwrap_err()),
        Error::from(
            evenkeel::rewrite::check(&evenkeel::rewrite::rule("half", "(foo ?x)", "?x")).unwrap_err(),
        ),
        check_gradients(|x: Var| custom_vjp(&[x], |x| (x[0] * 2.0, vec![]), |_, g| vec![g]), &x).unwrap_err(),
        grad(|x: Var| wide(x)).wrt(0).run(&x).unwrap_err(),
        trained.run(Tensor::full(&[3, 2], f32::INFINITY)).unwrap_err(),
        step(Sgd::new(f64::NAN), None).err().unwrap(),
        step(Sgd::new(0.1), Some(0.0)).err().unwrap(),
        out.metric("accuracy").unwrap_err(),
        grad(|x: Var| x.sum_all()).wrt(1).run(&x).unwrap_err(),
    ];
    let text = messages_of_library(&errors);
    insta::assert_snapshot!(folder.relative(&text));
}

/// As [`messages`], by the variants of [`Error`].
#[track_caller]
fn messages_of_library(errors: &[Error]) -> String {
    messages("src/error.rs", "Error", &[], errors)
}

#[test]
fn a_learning_rate_that_is_set_later_is_checked_too() {
    let x = Tensor::full(&[3, 2], 1f32);
    let mut trained = step(Sgd::new(0.1), None).unwrap();
    for rate in [f64::NAN, f64::INFINITY, 1e300, -0.1] {
        trained.set_learning_rate(rate);
        let before = trained.model().get();
        assert!(matches!(trained.run(&x), Err(Error::Setting { .. })), "{rate}");
        assert_eq!((trained.model().get(), trained.step()), (before, 0));
    }
    trained.set_learning_rate(0.1);
    trained.run(&x).unwrap();
}

#[test]
fn a_step_that_is_not_finite_names_the_last_checkpoint() {
    let folder = Folder::new("last");
    let bad = Tensor::full(&[3, 2], f32::NAN);
    let mut trained = step(AdamW::new(0.1), None).unwrap();
    assert!(!trained.run(&bad).unwrap_err().to_string().contains("checkpoint"));
    trained.run(Tensor::full(&[3, 2], 1f32)).unwrap();
    trained.save(folder.0.join("good")).unwrap();
    trained.run(Tensor::full(&[1, 2], 1f32)).unwrap();
    let before = trained.model().get();
    let message = trained.run(&bad).unwrap_err().to_string();
    assert_eq!(trained.model().get(), before);
    let expected =
        "step 2: input input.0 is not finite; parameters are unchanged; last checkpoint: good, after 1 steps";
    assert_eq!(folder.relative(&message), expected);
}
