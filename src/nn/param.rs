//! The leaves of a parameter tree: host values with a shape, named by where they are.
//!
//! Invariant: `values` holds as many numbers as `shape` says.

/// An array that training changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// The numbers, row-major.
    pub values: Vec<f32>,
    /// Size of each axis.
    pub shape: Vec<usize>,
}

/// An array that the model updates by itself, such as a running mean; saved, never trained.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The numbers, row-major.
    pub values: Vec<f32>,
    /// Size of each axis.
    pub shape: Vec<usize>,
}

impl Param {
    /// An array of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self {
            values: vec![0.0; shape.iter().product()],
            shape: shape.to_vec(),
        }
    }
}

impl State {
    /// An array of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self {
            values: vec![0.0; shape.iter().product()],
            shape: shape.to_vec(),
        }
    }
}
