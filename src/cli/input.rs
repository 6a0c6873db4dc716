//! Reading graphs and tensors that users pass.

use super::Failure;
use crate::checkpoint::{self, CheckpointError};
use crate::session::{float_inputs, vjp_graph};
use evenkeel_ir::{Graph, TensorType, bind_batch, parse};
use evenkeel_runtime::Tensor;
use std::path::Path;

/// A graph from a text file.
pub(super) fn graph(path: &Path) -> Result<Graph, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::Input(format!("{name}: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Input(format!("{name}: the file is not UTF-8 text")))?;
    Ok(parse(&text, &name)?)
}

/// The graph, with the gradients of all float inputs if wanted.
pub(super) fn with_gradients(graph: Graph, wanted: bool) -> Result<Graph, Failure> {
    if !wanted {
        return Ok(graph);
    }
    let wrt = float_inputs(&graph);
    Ok(vjp_graph(&graph, &wrt)?)
}

/// The graph's inputs from a safetensors file, by name; it must have these and no others.
pub(super) fn tensors(graph: &Graph, path: Option<&Path>) -> Result<Vec<Tensor>, Failure> {
    let mut found = match path {
        Some(path) => checkpoint::read(path)?,
        None => Default::default(),
    };
    let mut tensors = Vec::new();
    let mut missing = Vec::new();
    for input in graph.inputs() {
        match found.remove(&input.name) {
            Some(tensor) => tensors.push(tensor),
            None => missing.push(format!("{} ({})", input.name, input.ty)),
        }
    }
    let extra: Vec<String> = found.into_keys().collect();
    match path {
        Some(path) if missing.is_empty() && extra.is_empty() => {
            let types: Vec<TensorType> = tensors.iter().map(Tensor::ty).collect();
            let declared = graph.inputs().iter().map(|input| (input.name.as_str(), &input.ty));
            let fits = bind_batch(declared, &types);
            fits.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
            Ok(tensors)
        }
        None if missing.is_empty() => Ok(tensors),
        Some(path) => Err(CheckpointError::Names { path: path.into(), missing, extra }.into()),
        None => {
            let list = missing.join(", ");
            Err(Failure::Input(format!("missing inputs: {list}; pass them with --in FILE.safetensors")))
        }
    }
}
