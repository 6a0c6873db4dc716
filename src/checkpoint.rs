//! Tensors in files: safetensors, named by field path.
//!
//! A file is written next to its destination and renamed, so a crash leaves either the old file
//! or the new one. Reading checks everything before anything is changed.
//!
//! | name | content |
//! |---|---|
//! | `up.weight` | a parameter or a state of the model, by field path |
//! | `optimizer.SLOT.PATH` | an array of the optimizer |
//! | `optimizer.step`, `train.step` | steps taken, as the graph and as the host count them |
//! | `train.seed` | the seed of the run |
//!
//! Start at [`Checkpoint`]; the training state is saved by [`Step::save`](crate::train::Step::save).

use crate::nn::{FieldPath, Parameters};
use crate::session::model::{leaf_tensor, leaf_tensor_mut};
use evenkeel_ir::{DType, TensorType};
use evenkeel_runtime::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a file of tensors could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a complete safetensors file.
    #[error("{}: not a valid safetensors file: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Tensors that the model has and the file has not, or the reverse.
    #[error("{}: {}", path.display(), names_differ(missing, extra))]
    Names {
        /// The file.
        path: PathBuf,
        /// Names that the file lacks.
        missing: Vec<String>,
        /// Names that only the file has.
        extra: Vec<String>,
    },
    /// A tensor of another type than the model's.
    #[error("{}: {name}: expected {expected}, found {found}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        name: String,
        /// The model's type.
        expected: TensorType,
        /// The file's type.
        found: TensorType,
    },
    /// Two tensors of one name.
    #[error("two tensors are named {name}")]
    Duplicate {
        /// The name.
        name: String,
    },
}

fn names_differ(missing: &[String], extra: &[String]) -> String {
    let list = |what: &str, names: &[String]| {
        if names.is_empty() { String::new() } else { format!("{what} {}", names.join(", ")) }
    };
    let parts = [list("missing", missing), list("unexpected", extra)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

#[rustfmt::skip]
const DTYPES: &[(DType, Dtype)] = &[
    (DType::F32,  Dtype::F32),
    (DType::F64,  Dtype::F64),
    (DType::I32,  Dtype::I32),
    (DType::I64,  Dtype::I64),
    (DType::Bool, Dtype::BOOL),
    (DType::F16,  Dtype::F16),
    (DType::Bf16, Dtype::BF16),
];

/// Writes named tensors; the same tensors give the same bytes.
///
/// # Errors
/// Two equal names, or a file that cannot be written; the old file then stays as it was.
pub fn write<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<(), CheckpointError> {
    let mut views = BTreeMap::new();
    for (name, tensor) in tensors {
        if views.insert(name.clone(), view(tensor)).is_some() {
            return Err(CheckpointError::Duplicate { name });
        }
    }
    let path = path.as_ref();
    let corrupt = |error: safetensors::SafeTensorError| corrupt(path, error);
    let bytes = safetensors::serialize(views, None).map_err(corrupt)?;
    replace(path, &bytes)
}

fn view(tensor: &Tensor) -> TensorView<'_> {
    let dtype = DTYPES.iter().find(|(ours, _)| *ours == tensor.dtype()).expect("every type has a row").1;
    TensorView::new(dtype, tensor.sizes().to_vec(), tensor.bytes()).expect("a tensor fills its shape")
}

pub(crate) fn corrupt(path: &Path, what: impl ToString) -> CheckpointError {
    CheckpointError::Corrupt { path: path.into(), what: what.to_string() }
}

/// A new file beside a destination.
fn temporary(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{write}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Finds out whether a file could be written, without touching it: before work that would be lost.
///
/// # Errors
/// It could not.
pub fn check_writable(path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let io = |source| CheckpointError::Io { action: "write", path: path.into(), source };
    if path.is_dir() {
        return Err(io(io::ErrorKind::IsADirectory.into()));
    }
    let temporary = temporary(path);
    File::create(&temporary).and_then(|_| fs::remove_file(&temporary)).map_err(io)
}

/// Puts a whole new file in place of the old one, or leaves the old one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let temporary = temporary(path);
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // the error that counts is the first one; a leftover file is only untidy
        let _ = fs::remove_file(&temporary);
        CheckpointError::Io { action: "write", path: path.into(), source }
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads all tensors of a file.
///
/// # Errors
/// A file that cannot be read, is cut short or damaged, or holds a type that we do not have.
pub fn read(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let path = path.as_ref();
    let io = |source| CheckpointError::Io { action: "read", path: path.into(), source };
    let bytes = fs::read(path).map_err(io)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| corrupt(path, error))?;
    file.iter().map(|(name, view)| Ok((name.to_string(), tensor(path, name, &view)?))).collect()
}

fn tensor(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Tensor, CheckpointError> {
    let unknown = || corrupt(path, format!("{name} has the unsupported type {:?}", view.dtype()));
    let dtype = DTYPES.iter().find(|(_, theirs)| *theirs == view.dtype()).ok_or_else(unknown)?.0;
    Tensor::from_bytes(dtype, view.shape(), view.data())
        .map_err(|error| corrupt(path, format!("{name}: {error}")))
}

/// Replaces tensors by those of the same names; nothing is changed unless everything fits.
///
/// Names in the file that start with a prefix in `ignored` may be left over.
pub(crate) fn fill(
    path: &Path,
    mut found: BTreeMap<String, Tensor>,
    targets: Vec<(String, &mut Tensor)>,
    ignored: &[&str],
) -> Result<(), CheckpointError> {
    let mut new = Vec::with_capacity(targets.len());
    let mut missing = Vec::new();
    for (name, target) in targets {
        match found.remove(&name) {
            Some(tensor) if tensor.ty() == target.ty() => new.push((target, tensor)),
            Some(tensor) => {
                let (expected, found) = (target.ty(), tensor.ty());
                return Err(CheckpointError::Type { path: path.into(), name, expected, found });
            }
            None => missing.push(name),
        }
    }
    let known = |name: &String| ignored.iter().any(|prefix| name.starts_with(prefix));
    let extra: Vec<String> = found.into_keys().filter(|name| !known(name)).collect();
    if !missing.is_empty() || !extra.is_empty() {
        return Err(CheckpointError::Names { path: path.into(), missing, extra });
    }
    new.into_iter().for_each(|(target, tensor)| *target = tensor);
    Ok(())
}

/// What a training state holds beside the model.
pub(crate) const TRAINING: &[&str] = &["optimizer.", "train."];

/// Saving and loading of every tree of parameters.
pub trait Checkpoint: Parameters {
    /// Writes parameters and states as safetensors, named by field path.
    ///
    /// # Errors
    /// A file that cannot be written; an old file stays as it was.
    fn save(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let mut tensors = Vec::new();
        let visitor = &mut |path: &FieldPath, leaf| tensors.push((path.to_string(), leaf_tensor(leaf)));
        self.visit(&mut FieldPath::root(), visitor);
        write(path, tensors)
    }

    /// Replaces parameters and states by those of a file, which may be a training state.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged; tensors that are missing, unexpected or of
    /// another type. Then nothing changes.
    fn load(&mut self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let found = read(&path)?;
        let mut targets = Vec::new();
        let visitor = &mut |path: &FieldPath, leaf| targets.push((path.to_string(), leaf_tensor_mut(leaf)));
        self.visit_mut(&mut FieldPath::root(), visitor);
        fill(path.as_ref(), found, targets, TRAINING)
    }
}

impl<M: Parameters + ?Sized> Checkpoint for M {}
