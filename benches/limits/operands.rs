//! What a loop reads and writes.

use evenkeel_ir::DType;
use evenkeel_runtime::{RuntimeError, Tensor};

/// The inputs of a layer.
pub(crate) struct Operands<'a> {
    /// Sizes of the first input.
    pub(crate) sizes: &'a [usize],
    /// Inputs of f32, in order.
    pub(crate) floats: Vec<&'a [f32]>,
    /// Classes of rows, where the layer has them.
    pub(crate) targets: &'a [i64],
}

impl<'a> Operands<'a> {
    /// Sorts the inputs of a layer.
    pub(crate) fn new(inputs: &'a [Tensor]) -> Result<Operands<'a>, RuntimeError> {
        let (floats, targets): (Vec<&Tensor>, Vec<&Tensor>) =
            inputs.iter().partition(|tensor| tensor.dtype() == DType::F32);
        let floats: Result<Vec<&[f32]>, _> = floats.iter().map(|tensor| tensor.as_slice()).collect();
        let targets = targets.first().map_or(Ok(&[][..]), |tensor| tensor.as_slice())?;
        Ok(Operands { sizes: inputs[0].sizes(), floats: floats?, targets })
    }

    /// The float inputs of a layer that has `N`.
    pub(crate) fn take<const N: usize>(&self) -> [&'a [f32]; N] {
        self.floats[..].try_into().expect("the layer has as many inputs as its loop")
    }

    /// Length of a row.
    pub(crate) fn columns(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }
}

/// The outputs of a layer that has `N`.
pub(crate) fn take<'a, 'b, const N: usize>(outputs: &'a mut [&'b mut [f32]]) -> &'a mut [&'b mut [f32]; N] {
    outputs.try_into().expect("the layer has as many outputs as its loop")
}
