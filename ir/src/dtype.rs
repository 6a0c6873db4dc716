//! Element types.

use crate::scalar::ScalarType;
use std::fmt;

/// The type of one element of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// Truth value, stored as one byte, 0 or 1.
    Bool,
    /// IEEE binary16; a storage type, not yet executable.
    F16,
    /// bfloat16; a storage type, not yet executable.
    Bf16,
}

struct Row {
    dtype: DType,
    name: &'static str,
    size: usize,
    scalar: Option<ScalarType>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { dtype: DType::F32,  name: "f32",  size: 4, scalar: Some(ScalarType::F32) },
    Row { dtype: DType::F64,  name: "f64",  size: 8, scalar: Some(ScalarType::F64) },
    Row { dtype: DType::I32,  name: "i32",  size: 4, scalar: Some(ScalarType::I32) },
    Row { dtype: DType::I64,  name: "i64",  size: 8, scalar: Some(ScalarType::I64) },
    Row { dtype: DType::Bool, name: "bool", size: 1, scalar: Some(ScalarType::Mask) },
    Row { dtype: DType::F16,  name: "f16",  size: 2, scalar: None },
    Row { dtype: DType::Bf16, name: "bf16", size: 2, scalar: None },
];

impl DType {
    /// Every element type.
    pub fn all() -> impl Iterator<Item = DType> {
        ROWS.iter().map(|row| row.dtype)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Name in the text form: `f32`, `i64`, `bool` ...
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<DType> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.dtype)
    }

    /// Bytes of one stored element.
    pub fn size(self) -> usize {
        self.row().size
    }

    /// The register type that computes with this element type; `None` for pure storage types.
    pub fn scalar(self) -> Option<ScalarType> {
        self.row().scalar
    }

    /// `f32`, `f64`, `f16` or `bf16`.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::Bf16)
    }

    /// `i32` or `i64`.
    pub fn is_int(self) -> bool {
        matches!(self, DType::I32 | DType::I64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
