//! What each op is to fusion.

use evenkeel_ir::{Graph, Op};

/// What a node is to fusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A graph input.
    Input,
    /// A number known without reading memory: constants, extents and scalar arithmetic on them.
    Uniform,
    /// Computed from the position alone: iota and random numbers.
    Generated,
    /// The same elements at other positions; a view where its base is stored.
    View,
    /// A pointwise op.
    Pointwise,
    /// A reduction.
    Reduction,
    /// An indexed load.
    Gather,
    /// Has a step of its own: products, scatter, padding, concatenation.
    Barrier,
}

impl Class {
    /// Pointwise ops and reductions: what groups are made of.
    pub fn is_compute(self) -> bool {
        matches!(self, Class::Pointwise | Class::Reduction)
    }
}

/// The class of every node of an expanded graph.
pub fn classify(graph: &Graph) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let uniform = || node.inputs.iter().all(|v| classes[v.node.0 as usize] == Class::Uniform);
        classes.push(match &node.op {
            Op::Input(_) => Class::Input,
            Op::Const(..) | Op::Size(..) => Class::Uniform,
            Op::Iota { .. } | Op::Random { .. } => Class::Generated,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) if uniform() => Class::Uniform,
            Op::Reshape(_) if uniform() => Class::Uniform,
            // stretching a number is pointwise: it writes a tensor
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Broadcast(_) => Class::Pointwise,
            Op::Reduce(..) => Class::Reduction,
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Flip(_) => Class::View,
            Op::Gather { .. } => Class::Gather,
            Op::Dot { .. } | Op::ScatterAdd { .. } | Op::Pad { .. } | Op::Concat { .. } => Class::Barrier,
            Op::StopGradient | Op::Composite(..) | Op::Call(_) | Op::CustomVjp(_) => {
                unreachable!("{} is expanded before fusion", node.op.name())
            }
        });
    }
    classes
}
