//! Playing cases: trace the layer, differentiate, run, compare.

use super::file::{Case, Step, Tensors, VectorError, read};
use super::layers::{LAYERS, LayerRow, Made, Setting};
use super::{Machine, Precision};
use crate::host::host_target;
use crate::nn::{FieldPath, LeafRef};
use crate::trace::{self, Mode, Var};
use evenkeel_compiler::grad::{backward, inline};
use evenkeel_compiler::rewrite::recognize;
use evenkeel_compiler::{Options, compile};
use evenkeel_ir::eval::eval;
use evenkeel_ir::{DType, Graph, GraphBuilder, Literal, Op, TensorType, Value};
use evenkeel_runtime::{Argument, Executable, Tensor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The outcome of one case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// Layer and case.
    pub name: String,
    /// Largest error in units of the tolerance.
    pub worst: f64,
    /// The number with the largest error.
    pub at: String,
    /// Why the case failed, if it did.
    pub problem: Option<String>,
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            None => write!(
                f,
                "ok    {}: worst error {:.2e} of the tolerance, in {}",
                self.name, self.worst, self.at
            ),
            Some(problem) => write!(f, "FAIL  {}: {problem}", self.name),
        }
    }
}

/// Plays every case of a file.
///
/// Tolerances, relative to the largest number of a tensor: 1e-9 in the interpreter and in
/// compiled f64 (1e-6 where the reference gradient comes from differences), 2e-5 plus 1e-5
/// absolute in compiled f32.
///
/// # Errors
/// A file that cannot be read. Unknown layers and attributes are failed cases.
pub fn play(path: &Path, machine: Machine, precision: Precision) -> Result<Vec<CaseReport>, VectorError> {
    let file = read(path)?;
    let row = LAYERS.iter().find(|row| row.name == file.layer);
    let one = |case: &Case| {
        let name = format!("{}/{}", file.layer, case.name);
        let result = match row {
            None => Err(format!("unknown layer {}", file.layer)),
            Some(row) => play_case(row, case, machine, precision),
        };
        match result {
            Ok(Worst { ratio, at }) => {
                let problem =
                    (ratio > 1.0 || ratio.is_nan()).then(|| format!("{at} is off by {ratio:.2} tolerances"));
                CaseReport { name, worst: ratio, at, problem }
            }
            Err(problem) => CaseReport { name, worst: f64::NAN, at: String::new(), problem: Some(problem) },
        }
    };
    Ok(file.cases.iter().map(one).collect())
}

#[derive(Clone, Debug, Default)]
struct Worst {
    ratio: f64,
    at: String,
}

fn play_case(row: &LayerRow, case: &Case, machine: Machine, precision: Precision) -> Result<Worst, String> {
    if let Some(unknown) = case.attrs.keys().find(|name| !row.attributes.contains(&name.as_str())) {
        return Err(format!(
            "unknown attribute {unknown}; {} accepts {}",
            row.name,
            row.attributes.join(", ")
        ));
    }
    let mut worst = Worst::default();
    let dtype = match (machine, precision) {
        (Machine::Cpu, Precision::F32) => DType::F32,
        _ => DType::F64,
    };
    if case.steps.iter().all(Step::expects_nothing) {
        return Err("the case expects nothing".into());
    }
    for number in 0..case.steps.len() {
        let named = machine != Machine::Written;
        let (played, step) = (Played::new(row, case, number, dtype, named)?, &case.steps[number]);
        let results = played.run(machine)?;
        played.compare(step, &results, dtype, &mut worst)?;
    }
    Ok(worst)
}

/// A traced case with the values of its inputs.
struct Played {
    graph: Graph,
    inputs: Vec<Literal>,
}

impl Played {
    /// `named`: with what it spells recognized.
    fn new(row: &LayerRow, case: &Case, number: usize, dtype: DType, named: bool) -> Result<Played, String> {
        let step = &case.steps[number];
        let [given, params, state] = [&step.inputs, &step.params, &step.state].map(|t| typed(t, dtype));
        let setting = Setting {
            attrs: &case.attrs,
            inputs: &given,
            params: &params,
            state: &state,
            step: number,
            dtype,
        };
        let layer = (row.make)(&setting)?;
        let tracing = trace::start(if case.train { Mode::Train } else { Mode::Eval });
        let mut inputs = Vec::new();
        let mut vars: BTreeMap<String, Var> = BTreeMap::new();
        for (name, value) in &given {
            vars.insert(name.clone(), trace::input(name, value.ty()));
            inputs.push(value.clone());
        }
        let vector_name = |path: &str| {
            row.names.iter().find(|(_, field)| *field == path).map_or(path, |(name, _)| *name).to_string()
        };
        if let Made::Module(module) = &layer {
            module.visit(&mut FieldPath::root(), &mut |path, leaf| {
                let tensor = match leaf {
                    LeafRef::Param(param) => param.tensor(),
                    LeafRef::State(state) => state.tensor(),
                };
                trace::bind(leaf, trace::input(&vector_name(path.as_str()), tensor.ty()));
                inputs.push(tensor.to_literal());
            });
        }
        let missing = || "the case lacks an input that the layer needs".to_string();
        let mut outputs = Vec::new();
        match &layer {
            Made::Module(module) => {
                let y = module.forward(*vars.get("x").ok_or_else(missing)?);
                outputs.push(("y".to_string(), y));
                module.visit(&mut FieldPath::root(), &mut |path, leaf| {
                    if let LeafRef::State(state) = leaf {
                        let new = tracing.new_state(leaf).unwrap_or_else(|| state.value());
                        outputs.push((format!("new.{}", vector_name(path.as_str())), new));
                    }
                });
            }
            Made::Function(function) => {
                let (name, y) = function(&vars).ok_or_else(missing)?;
                outputs.push((name.to_string(), y));
            }
        }
        let graph = tracing.finish(outputs).map_err(|error| error.to_string())?;
        let graph = match named {
            true => recognize(&graph).map_err(|error| error.to_string())?.graph,
            false => graph,
        };
        let (graph, cotangents) = with_gradients(&graph, step, dtype)?;
        inputs.extend(cotangents);
        Ok(Played { graph, inputs })
    }

    fn run(&self, machine: Machine) -> Result<Vec<Literal>, String> {
        if machine != Machine::Cpu {
            return eval(&self.graph, &self.inputs).map_err(|error| error.to_string());
        }
        let compiled =
            compile(&self.graph, &host_target(1), &Options::default()).map_err(|e| e.to_string())?;
        let executable = Executable::load(compiled.program, 1).map_err(|e| e.to_string())?;
        let tensors: Vec<Tensor> = self.inputs.iter().map(Tensor::from_literal).collect();
        let mut arguments: Vec<Argument<'_>> = tensors.iter().map(Argument::In).collect();
        let mut outputs = Vec::new();
        executable.run(&mut arguments, &mut outputs).map_err(|e| e.to_string())?;
        Ok(outputs.iter().map(Tensor::to_literal).collect())
    }

    fn compare(
        &self,
        step: &Step,
        results: &[Literal],
        dtype: DType,
        worst: &mut Worst,
    ) -> Result<(), String> {
        let expected = |name: &str| -> Option<(&Literal, bool)> {
            let (kind, rest) = name.split_once('.').unwrap_or(("", name));
            match kind {
                "grad" => step.grad.get(rest).map(|want| (want, step.by_differences)),
                "new" => step.new_state.get(rest).map(|want| (want, false)),
                _ => step.out.get(name).map(|want| (want, false)),
            }
        };
        let mut seen = 0;
        for ((name, _), got) in self.graph.outputs().iter().zip(results) {
            if let Some((want, differences)) = expected(name) {
                seen += 1;
                measure(name, got, want, tolerance(dtype, differences), worst)?;
            }
        }
        let all = step.out.len() + step.new_state.len() + step.grad.len();
        if seen < all { Err(format!("the layer gives {seen} of the {all} expected tensors")) } else { Ok(()) }
    }
}

/// Float tensors in the element type that is checked.
fn typed(tensors: &Tensors, dtype: DType) -> Tensors {
    let one = |(name, value): (&String, &Literal)| {
        let dtype = if value.dtype.is_float() { dtype } else { value.dtype };
        (name.clone(), Literal { dtype, ..value.clone() })
    };
    tensors.iter().map(one).collect()
}

/// Relative and absolute tolerance.
fn tolerance(dtype: DType, differences: bool) -> (f64, f64) {
    match (dtype, differences) {
        (DType::F32, _) => (2e-5, 1e-5),
        (_, true) => (1e-6, 1e-9),
        (_, false) => (1e-9, 1e-12),
    }
}

fn measure(
    name: &str,
    got: &Literal,
    want: &Literal,
    (relative, absolute): (f64, f64),
    worst: &mut Worst,
) -> Result<(), String> {
    if got.sizes != want.sizes {
        return Err(format!("{name}: expected sizes {:?}, found {:?}", want.sizes, got.sizes));
    }
    let want = want.to_floats();
    let scale = want.iter().fold(0.0f64, |a, b| if b.is_finite() { a.max(b.abs()) } else { a });
    for (i, (got, want)) in got.to_floats().iter().zip(&want).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan());
        let ratio = if same { 0.0 } else { (got - want).abs() / (relative * scale + absolute) };
        if ratio > worst.ratio || ratio.is_nan() || worst.at.is_empty() {
            *worst = Worst { ratio, at: format!("{name}[{i}]") };
        }
    }
    Ok(())
}

/// Appends the gradients that a step expects; gives the cotangents to pass.
fn with_gradients(graph: &Graph, step: &Step, dtype: DType) -> Result<(Graph, Vec<Literal>), String> {
    let mut b = GraphBuilder::new();
    let inputs: Vec<Value> = graph.inputs().iter().map(|i| b.input(i.name.clone(), i.ty.clone())).collect();
    let map = inline(&mut b, graph, &inputs);
    let value = |v: Value| map[v.node.0 as usize][v.result as usize];
    let mut outputs: Vec<(String, Value)> =
        graph.outputs().iter().map(|(n, v)| (n.clone(), value(*v))).collect();
    let (mut seeds, mut cotangents) = (Vec::new(), Vec::new());
    for (name, literal) in &typed(&step.cotangent, dtype) {
        let output =
            graph.outputs().iter().find(|(n, _)| n == name).ok_or_else(|| format!("no output {name}"))?;
        let (ty, expected): (TensorType, &TensorType) = (literal.ty(), graph.ty(output.1));
        if ty != *expected {
            return Err(format!("cotangent {name}: expected {expected}, found {ty}"));
        }
        seeds.push((output.1, b.input(format!("cotangent.{name}"), ty)));
        cotangents.push(literal.clone());
    }
    let wrt: Vec<(usize, &String)> = graph
        .inputs()
        .iter()
        .enumerate()
        .filter(|(_, i)| step.grad.contains_key(&i.name))
        .map(|(k, i)| (k, &i.name))
        .collect();
    let at = |k: usize| {
        graph
            .iter()
            .find(|(_, node)| node.op == Op::Input(k as u32))
            .map(|(id, _)| Value { node: id, result: 0 })
    };
    let values: Vec<Value> = wrt.iter().filter_map(|(k, _)| at(*k)).collect();
    let gradients = backward(&mut b, graph, &map, &seeds, &values).map_err(|error| error.to_string())?;
    outputs.extend(wrt.iter().zip(gradients.gradients).map(|((_, name), g)| (format!("grad.{name}"), g)));
    Ok((b.finish(outputs), cotangents))
}
