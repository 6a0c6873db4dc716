//! Products as matrix products on strided buffers.

use super::view::{View, resolve};
use evenkeel_ir::kernel::Stride;
use evenkeel_ir::{Axes, Extent, Graph, NodeId, Value};

/// One operand of a matrix product: its buffer and strides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operand {
    /// The stored node.
    pub base: NodeId,
    /// Elements before the first.
    pub offset: Extent,
    /// Elements between matrices of a batch.
    pub batch: Extent,
    /// Elements between free positions.
    pub free: Extent,
    /// Elements between contracted positions.
    pub inner: Extent,
}

/// Sizes of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Number of matrices.
    pub batch: Extent,
    /// Free positions.
    pub free: Extent,
    /// Contracted positions.
    pub inner: Extent,
}

/// The operand of a product as a matrix, if its axes merge to one stride each.
pub fn operand(
    graph: &Graph,
    stored: &[bool],
    value: Value,
    batch: usize,
    contracted: Axes,
) -> Option<(Operand, Sizes)> {
    let (base, view) = resolve(graph, stored, value)?;
    matrix(base, &view, batch, contracted)
}

fn matrix(base: NodeId, view: &View, batch: usize, contracted: Axes) -> Option<(Operand, Sizes)> {
    let rank = view.shape.rank();
    let free: Vec<usize> = (batch..rank).filter(|&a| !contracted.contains(a)).collect();
    let inner: Vec<usize> = contracted.iter().collect();
    let leading: Vec<usize> = (0..batch).collect();
    let (batch, batch_stride) = view.merged(&leading)?;
    let (free, free_stride) = view.merged(&free)?;
    let (inner, inner_stride) = view.merged(&inner)?;
    let operand = Operand {
        base,
        offset: extent(view.offset)?,
        batch: extent(batch_stride)?,
        free: extent(free_stride)?,
        inner: extent(inner_stride)?,
    };
    Some((operand, Sizes { batch, free, inner }))
}

fn extent(stride: Stride) -> Option<Extent> {
    Some(Extent { scale: u64::try_from(stride.scale).ok()?, power: stride.power })
}
