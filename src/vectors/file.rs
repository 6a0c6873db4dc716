//! The file format.

use evenkeel_ir::{DType, Literal};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Why a vector file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A field that is missing or of another kind.
    #[error("{path}: {at}: expected {expected}")]
    Field {
        /// The file.
        path: String,
        /// Where in the file.
        at: String,
        /// What belongs there.
        expected: &'static str,
    },
}

pub(super) type Tensors = BTreeMap<String, Literal>;

/// One step of a case.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) inputs: Tensors,
    pub(super) params: Tensors,
    pub(super) state: Tensors,
    pub(super) out: Tensors,
    pub(super) new_state: Tensors,
    pub(super) cotangent: Tensors,
    pub(super) grad: Tensors,
    pub(super) by_differences: bool,
}

impl Step {
    pub(super) fn expects_nothing(&self) -> bool {
        self.out.is_empty() && self.new_state.is_empty() && self.grad.is_empty()
    }
}

/// One case.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) train: bool,
    pub(super) attrs: Map<String, Value>,
    pub(super) steps: Vec<Step>,
}

/// A whole file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) layer: String,
    pub(super) cases: Vec<Case>,
}

struct Reader {
    path: String,
}

pub(super) fn read(path: &Path) -> Result<File, VectorError> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| VectorError::Read { path: name.clone(), source })?;
    let json: Value =
        serde_json::from_str(&text).map_err(|source| VectorError::Json { path: name.clone(), source })?;
    Reader { path: name }.file(&json)
}

impl Reader {
    fn bad(&self, at: &str, expected: &'static str) -> VectorError {
        VectorError::Field { path: self.path.clone(), at: at.into(), expected }
    }

    fn file(&self, json: &Value) -> Result<File, VectorError> {
        if json["schema"] != "evenkeel.vectors.v1" {
            return Err(self.bad("schema", "evenkeel.vectors.v1"));
        }
        let layer = json["layer"].as_str().ok_or_else(|| self.bad("layer", "a name"))?.to_string();
        let cases = json["cases"].as_array().ok_or_else(|| self.bad("cases", "a list"))?;
        let cases = cases.iter().enumerate().map(|(i, case)| self.case(case, &format!("cases[{i}]")));
        Ok(File { layer, cases: cases.collect::<Result<_, _>>()? })
    }

    fn case(&self, json: &Value, at: &str) -> Result<Case, VectorError> {
        let name =
            json["name"].as_str().ok_or_else(|| self.bad(&format!("{at}.name"), "a name"))?.to_string();
        let steps = json["steps"].as_array().ok_or_else(|| self.bad(&format!("{at}.steps"), "a list"))?;
        let steps = steps.iter().enumerate().map(|(i, step)| self.step(step, &format!("{at}.steps[{i}]")));
        let attrs = json["attrs"].as_object().cloned().unwrap_or_default();
        Ok(Case { name, train: json["mode"] != "eval", attrs, steps: steps.collect::<Result<_, _>>()? })
    }

    fn step(&self, json: &Value, at: &str) -> Result<Step, VectorError> {
        let tensors = |field: &str| self.tensors(&json[field], &format!("{at}.{field}"));
        let method = json["grad_method"].as_str().unwrap_or_default();
        Ok(Step {
            inputs: tensors("in")?,
            params: tensors("params")?,
            state: tensors("state")?,
            out: tensors("out")?,
            new_state: tensors("new_state")?,
            cotangent: tensors("cotangent")?,
            grad: tensors("grad")?,
            by_differences: method.starts_with("fd") || method.contains("difference"),
        })
    }

    fn tensors(&self, json: &Value, at: &str) -> Result<Tensors, VectorError> {
        let Some(object) = json.as_object() else { return Ok(Tensors::new()) };
        let one = |(name, value): (&String, &Value)| {
            Ok((name.clone(), self.tensor(value, &format!("{at}.{name}"))?))
        };
        object.iter().map(one).collect()
    }

    fn tensor(&self, json: &Value, at: &str) -> Result<Literal, VectorError> {
        let sizes = json["shape"].as_array().ok_or_else(|| self.bad(at, "a shape"))?;
        let sizes: Option<Vec<usize>> = sizes.iter().map(|s| s.as_u64().map(|s| s as usize)).collect();
        let data = json["data"].as_array().ok_or_else(|| self.bad(at, "data"))?;
        let numbers: Option<Vec<f64>> = data.iter().map(number).collect();
        let (Some(sizes), Some(numbers)) = (sizes, numbers) else { return Err(self.bad(at, "numbers")) };
        if numbers.len() != sizes.iter().product::<usize>() {
            return Err(self.bad(at, "as many numbers as the shape says"));
        }
        let dtype = json["dtype"].as_str().map_or(Some(DType::F64), DType::from_name);
        let dtype = dtype.ok_or_else(|| self.bad(at, "an element type"))?;
        Ok(if dtype.is_int() {
            Literal::ints(dtype, &sizes, numbers.iter().map(|&x| x as i64).collect())
        } else {
            Literal::floats(dtype, &sizes, numbers)
        })
    }
}

/// A number, or one of the words for what JSON cannot hold.
fn number(json: &Value) -> Option<f64> {
    match json {
        Value::String(word) => word.parse().ok(),
        Value::Bool(truth) => Some(f64::from(*truth)),
        other => other.as_f64(),
    }
}
