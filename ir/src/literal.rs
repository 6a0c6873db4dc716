//! Host values of the interpreter: floats are held in f64, integers in i64.

use crate::dtype::DType;
use crate::shape::{Shape, TensorType};

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Floats, and truth values as 0 and 1.
    Float(Vec<f64>),
    /// Integers.
    Int(Vec<i64>),
}

/// A dense value.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// Element type that the value stands for.
    pub dtype: DType,
    /// Size of every axis.
    pub sizes: Vec<usize>,
    /// The elements.
    pub data: Data,
}

impl Literal {
    /// A float value.
    ///
    /// # Panics
    /// When the number of elements is not the product of the sizes.
    pub fn floats(dtype: DType, sizes: &[usize], data: Vec<f64>) -> Literal {
        assert_eq!(data.len(), sizes.iter().product::<usize>(), "elements of {sizes:?}");
        Literal { dtype, sizes: sizes.to_vec(), data: Data::Float(data) }
    }

    /// An integer value.
    ///
    /// # Panics
    /// When the number of elements is not the product of the sizes.
    pub fn ints(dtype: DType, sizes: &[usize], data: Vec<i64>) -> Literal {
        assert_eq!(data.len(), sizes.iter().product::<usize>(), "elements of {sizes:?}");
        Literal { dtype, sizes: sizes.to_vec(), data: Data::Int(data) }
    }

    /// Zeros of a type whose sizes are known.
    pub fn zeros(dtype: DType, sizes: &[usize]) -> Literal {
        let n = sizes.iter().product();
        if dtype.is_int() {
            Literal::ints(dtype, sizes, vec![0; n])
        } else {
            Literal::floats(dtype, sizes, vec![0.0; n])
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type, with every size fixed.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, Shape::of(&self.sizes))
    }

    /// The elements as floats (integers converted).
    pub fn to_floats(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(data) => data.clone(),
            Data::Int(data) => data.iter().map(|&x| x as f64).collect(),
        }
    }

    /// The elements as integers (floats truncated towards zero).
    pub fn to_ints(&self) -> Vec<i64> {
        match &self.data {
            Data::Float(data) => data.iter().map(|&x| x as i64).collect(),
            Data::Int(data) => data.clone(),
        }
    }

    /// One float element.
    pub fn float_at(&self, index: usize) -> f64 {
        match &self.data {
            Data::Float(data) => data[index],
            Data::Int(data) => data[index] as f64,
        }
    }
}
