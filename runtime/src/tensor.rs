//! Tensors: dense values in host memory, 64-byte aligned.

use crate::blocks::Blocks;
use crate::error::RuntimeError;
use evenkeel_ir::{DType, Data, Half, Literal, Shape, TensorType};
use std::fmt;
use std::ops::Range;

/// A Rust type that is an element type.
pub trait Element: Copy + sealed::Sealed + 'static {
    /// The element type.
    const DTYPE: DType;
    /// The value as an f64.
    fn to_f64(self) -> f64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident, |$x:ident| $to:expr;)*) => {
        $(impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
            fn to_f64(self) -> f64 { let $x = self; $to }
        })*
    };
}

elements! {
    f32 => F32, |x| x.into();
    f64 => F64, |x| x;
    i32 => I32, |x| x.into();
    i64 => I64, |x| x as f64;
    bool => Bool, |x| x.into();
}

/// A dense value in host memory.
///
/// Elements are in row-major order. `clone()` copies them.
pub struct Tensor {
    dtype: DType,
    sizes: Vec<usize>,
    blocks: Blocks,
}

impl Clone for Tensor {
    fn clone(&self) -> Tensor {
        Tensor { dtype: self.dtype, sizes: self.sizes.clone(), blocks: self.blocks.clone() }
    }
}

impl Tensor {
    /// All zeros (false).
    ///
    /// # Panics
    /// When there is no memory for them, as `vec!` does.
    pub fn zeros(dtype: DType, sizes: &[usize]) -> Tensor {
        let bytes = elements(sizes).saturating_mul(dtype.size());
        Tensor { dtype, sizes: sizes.to_vec(), blocks: Blocks::zeros(Blocks::for_bytes(bytes)) }
    }

    /// The given elements in row-major order.
    ///
    /// # Errors
    /// Their number is not the product of the sizes.
    pub fn from_vec<T: Element>(sizes: &[usize], data: impl AsRef<[T]>) -> Result<Tensor, RuntimeError> {
        let data = data.as_ref();
        let expected = elements(sizes);
        if data.len() != expected {
            return Err(RuntimeError::Elements { expected, found: data.len(), sizes: sizes.to_vec() });
        }
        let mut tensor = Tensor::zeros(T::DTYPE, sizes);
        tensor.elements_mut::<T>().copy_from_slice(data);
        Ok(tensor)
    }

    /// One element everywhere.
    ///
    /// # Panics
    /// When there is no memory for them, as `vec!` does.
    pub fn full<T: Element>(sizes: &[usize], value: T) -> Tensor {
        let mut tensor = Tensor::zeros(T::DTYPE, sizes);
        tensor.elements_mut::<T>().fill(value);
        tensor
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T) -> Tensor {
        Tensor::full(&[], value)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Size of every axis.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        elements(&self.sizes)
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type and sizes.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, Shape::of(&self.sizes))
    }

    /// The bytes of the elements, little endian, row-major.
    pub fn bytes(&self) -> &[u8] {
        let n = self.len() * self.dtype.size();
        // SAFETY: blocks are plain bytes without padding and hold at least `n` of them.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), n) }
    }

    /// The bytes, writable. Bool elements must stay 0 or 1.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let n = self.len() * self.dtype.size();
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), n) }
    }

    /// A tensor from little-endian bytes in row-major order.
    ///
    /// # Errors
    /// Their number does not fit type and sizes, or a bool is neither 0 nor 1.
    pub fn from_bytes(dtype: DType, sizes: &[usize], bytes: &[u8]) -> Result<Tensor, RuntimeError> {
        let (expected, found) = (elements(sizes), bytes.len() / dtype.size());
        if bytes.len() != expected.saturating_mul(dtype.size()) {
            return Err(RuntimeError::Elements { expected, found, sizes: sizes.to_vec() });
        }
        let odd = bytes.iter().position(|&byte| dtype == DType::Bool && byte > 1);
        if let Some(at) = odd {
            return Err(RuntimeError::Bool { at, found: bytes[at] });
        }
        let mut tensor = Tensor::zeros(dtype, sizes);
        tensor.bytes_mut().copy_from_slice(bytes);
        Ok(tensor)
    }

    fn check<T: Element>(&self) -> Result<(), RuntimeError> {
        if self.dtype == T::DTYPE {
            return Ok(());
        }
        Err(RuntimeError::DType { expected: T::DTYPE, found: self.ty() })
    }

    /// The elements.
    ///
    /// # Errors
    /// Another element type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], RuntimeError> {
        self.check::<T>()?;
        // SAFETY: the element type matches, blocks are aligned for every element type, and
        // all bit patterns in them are values of it (bools are kept 0 or 1).
        Ok(unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.len()) })
    }

    /// The elements, writable.
    ///
    /// # Errors
    /// Another element type.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], RuntimeError> {
        self.check::<T>()?;
        Ok(self.elements_mut())
    }

    fn elements_mut<T: Element>(&mut self) -> &mut [T] {
        debug_assert_eq!(self.dtype, T::DTYPE);
        // SAFETY: as in `as_slice`, and the borrow is exclusive; callers checked the type.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.len()) }
    }

    /// A copy of the elements.
    ///
    /// # Errors
    /// Another element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, RuntimeError> {
        Ok(self.as_slice::<T>()?.to_vec())
    }

    /// The elements as f64, whatever their type.
    pub fn to_f64s(&self) -> Vec<f64> {
        let mut values = Vec::with_capacity(self.len());
        self.each_f64(|x| values.push(x));
        values
    }

    /// Calls `visit` with every element as f64; allocates nothing.
    fn each_f64(&self, mut visit: impl FnMut(f64)) {
        fn all<T: Element>(tensor: &Tensor, visit: impl FnMut(f64)) {
            let elements = tensor.as_slice::<T>().expect("the element type matches");
            elements.iter().map(|x| x.to_f64()).for_each(visit);
        }
        match self.dtype {
            DType::F32 => all::<f32>(self, visit),
            DType::F64 => all::<f64>(self, visit),
            DType::I32 => all::<i32>(self, visit),
            DType::I64 => all::<i64>(self, visit),
            DType::Bool => all::<bool>(self, visit),
            DType::F16 | DType::Bf16 => {
                let half = Half::of(self.dtype).expect("a 16-bit format");
                let words = self.bytes().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
                words.for_each(|bits| visit(half.decode(bits)));
            }
        }
    }

    /// The only element, as f64.
    ///
    /// # Errors
    /// More or fewer elements than one.
    pub fn item(&self) -> Result<f64, RuntimeError> {
        let mut only = None;
        if self.len() == 1 {
            self.each_f64(|x| only = Some(x));
        }
        only.ok_or_else(|| RuntimeError::NotScalar { found: self.ty() })
    }

    /// A copy of some positions along axis 0.
    ///
    /// # Errors
    /// A range outside the tensor, or a scalar.
    pub fn rows(&self, range: Range<usize>) -> Result<Tensor, RuntimeError> {
        let Some(&rows) = self.sizes.first() else { return Err(self.bad_rows(&range)) };
        if range.start > range.end || range.end > rows {
            return Err(self.bad_rows(&range));
        }
        let row = self.bytes().len().checked_div(rows).unwrap_or(0);
        let mut sizes = self.sizes.clone();
        sizes[0] = range.len();
        Tensor::from_bytes(self.dtype, &sizes, &self.bytes()[range.start * row..range.end * row])
    }

    /// A copy of the rows at these positions along axis 0, in this order.
    ///
    /// # Errors
    /// A position outside the tensor, or a scalar.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Tensor, RuntimeError> {
        let count = self.sizes.first().copied().unwrap_or(0);
        if let Some(&bad) = rows.iter().find(|&&row| row >= count) {
            return Err(self.bad_rows(&(bad..bad + 1)));
        }
        let step = self.bytes().len().checked_div(count).unwrap_or(0);
        let mut sizes = self.sizes.clone();
        let Some(first) = sizes.first_mut() else { return Err(self.bad_rows(&(0..0))) };
        *first = rows.len();
        let mut result = Tensor::zeros(self.dtype, &sizes);
        for (to, &row) in rows.iter().enumerate() {
            result.bytes_mut()[to * step..(to + 1) * step]
                .copy_from_slice(&self.bytes()[row * step..(row + 1) * step]);
        }
        Ok(result)
    }

    /// A copy of some positions along an axis; a negative axis counts from the last.
    ///
    /// # Errors
    /// An axis that the tensor does not have, or a range outside it.
    ///
    /// # Examples
    /// ```
    /// use evenkeel_runtime::Tensor;
    ///
    /// let x = Tensor::from_vec(&[2, 3], [1i32, 2, 3, 4, 5, 6])?;
    /// assert_eq!(x.slice(-1, 1..3)?.to_vec::<i32>()?, [2, 3, 5, 6]);
    /// # Ok::<(), evenkeel_runtime::RuntimeError>(())
    /// ```
    pub fn slice(&self, axis: i64, range: Range<usize>) -> Result<Tensor, RuntimeError> {
        let outside = || RuntimeError::Slice { axis, start: range.start, end: range.end, of: self.ty() };
        let at = if axis < 0 { axis + self.sizes.len() as i64 } else { axis };
        let at = usize::try_from(at).ok().filter(|&at| at < self.sizes.len()).ok_or_else(outside)?;
        if range.start > range.end || range.end > self.sizes[at] {
            return Err(outside());
        }
        let inner = elements(&self.sizes[at + 1..]).saturating_mul(self.dtype.size());
        let mut sizes = self.sizes.clone();
        sizes[at] = range.len();
        let mut result = Tensor::zeros(self.dtype, &sizes);
        let (from, to) = (self.sizes[at].saturating_mul(inner), range.len().saturating_mul(inner));
        if to > 0 {
            let outer = result.bytes_mut().chunks_exact_mut(to).enumerate();
            outer.for_each(|(i, part)| {
                part.copy_from_slice(&self.bytes()[i * from + range.start * inner..][..to]);
            });
        }
        Ok(result)
    }

    fn bad_rows(&self, range: &Range<usize>) -> RuntimeError {
        RuntimeError::Rows { start: range.start, end: range.end, of: self.ty() }
    }

    /// The same elements under other sizes.
    ///
    /// # Errors
    /// Another number of elements.
    pub fn reshape(mut self, sizes: &[usize]) -> Result<Tensor, RuntimeError> {
        let expected = elements(sizes);
        if self.len() != expected {
            return Err(RuntimeError::Elements { expected, found: self.len(), sizes: sizes.to_vec() });
        }
        self.sizes = sizes.to_vec();
        Ok(self)
    }

    /// As a value of the interpreter.
    pub fn to_literal(&self) -> Literal {
        let data = match self.dtype {
            DType::I64 => Data::Int(self.to_vec::<i64>().expect("i64")),
            DType::I32 => Data::Int(self.to_vec::<i32>().expect("i32").into_iter().map(i64::from).collect()),
            _ => Data::Float(self.to_f64s()),
        };
        Literal { dtype: self.dtype, sizes: self.sizes.clone(), data }
    }

    /// From a value of the interpreter, rounded to its element type.
    pub fn from_literal(literal: &Literal) -> Tensor {
        let mut tensor = Tensor::zeros(literal.dtype, &literal.sizes);
        match literal.dtype {
            DType::F32 => fill(tensor.elements_mut::<f32>(), literal.to_floats().iter().map(|&x| x as f32)),
            DType::F64 => fill(tensor.elements_mut::<f64>(), literal.to_floats().into_iter()),
            DType::I32 => fill(tensor.elements_mut::<i32>(), literal.to_ints().iter().map(|&x| x as i32)),
            DType::I64 => fill(tensor.elements_mut::<i64>(), literal.to_ints().into_iter()),
            DType::Bool => fill(tensor.elements_mut::<bool>(), literal.to_floats().iter().map(|&x| x != 0.0)),
            DType::F16 | DType::Bf16 => {
                let half = Half::of(literal.dtype).expect("a 16-bit format");
                let words = literal.to_floats().into_iter().flat_map(|x| half.encode(x).to_le_bytes());
                fill(tensor.bytes_mut(), words);
            }
        }
        tensor
    }

    /// Address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.blocks.as_ptr() as u64
    }

    /// Address of the first element, for writing.
    pub(crate) fn address_mut(&mut self) -> u64 {
        self.blocks.as_mut_ptr() as u64
    }

    /// Gives the tensor this type, keeping its memory where it is large enough.
    pub(crate) fn become_type(&mut self, dtype: DType, sizes: impl ExactSizeIterator<Item = usize>) {
        self.dtype = dtype;
        self.sizes.clear();
        self.sizes.extend(sizes);
        self.blocks.resize(Blocks::for_bytes(self.len() * dtype.size()), dtype == DType::Bool);
    }
}

/// Number of elements; the largest integer when there are more, which no memory holds.
fn elements(sizes: &[usize]) -> usize {
    if sizes.contains(&0) { 0 } else { sizes.iter().copied().fold(1, usize::saturating_mul) }
}

fn fill<T>(to: &mut [T], from: impl Iterator<Item = T>) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
}

impl PartialEq for Tensor {
    /// Same type and same bits.
    fn eq(&self, other: &Tensor) -> bool {
        self.dtype == other.dtype && self.sizes == other.sizes && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Axes longer than this are shortened in print.
const SHOWN: usize = 6;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.ty())?;
        show(f, self.dtype, &self.to_f64s(), &self.sizes)
    }
}

fn show(f: &mut fmt::Formatter<'_>, dtype: DType, data: &[f64], sizes: &[usize]) -> fmt::Result {
    let Some((&rows, inner)) = sizes.split_first() else {
        return match dtype {
            DType::Bool => write!(f, "{}", data[0] != 0.0),
            _ if dtype.is_int() => write!(f, "{}", data[0] as i64),
            _ => write!(f, "{:.6}", data[0]),
        };
    };
    let step: usize = inner.iter().product();
    write!(f, "[")?;
    for row in 0..rows {
        let hidden = rows > 2 * SHOWN && row >= SHOWN && row < rows - SHOWN;
        if hidden {
            if row == SHOWN {
                write!(f, ", ...")?;
            }
            continue;
        }
        write!(f, "{}", if row > 0 { ", " } else { "" })?;
        show(f, dtype, &data[row * step..(row + 1) * step], inner)?;
    }
    write!(f, "]")
}
