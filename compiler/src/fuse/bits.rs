//! Values whose bits decide, and what their code consists of.
//!
//! Kernels compute a value where they need it, each with what suits it: a product joins a sum that
//! is its only reader, a quotient by a root becomes a product. A rounding more or less is of no
//! account, but where the value is compared, rounded to an integer or looked for ([`Op::jumps`]): a
//! maximum that equals no element of what another kernel recomputes has no gradient. So such a
//! value, where several kernels compute it, has code that depends on nothing but the graph and what
//! is stored, and so has everything that it is computed from. Start at [`bits`].

use super::{Class, Fusion, ReductionKind};
use evenkeel_ir::{Graph, Op, Value};

/// What the readers of a value ask of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bits {
    /// Any rounding will do, or one kernel alone computes it.
    Any,
    /// The same code in every kernel: something that decides is computed from it.
    Same,
    /// The same, and readers take it as it was rounded: it decides.
    Decisive,
}

/// Who computes a value.
#[derive(Clone, Copy, PartialEq)]
enum By {
    None,
    /// A group, or a node with a kernel of its own.
    One(usize),
    Several,
}

impl By {
    fn and(self, other: By) -> By {
        match (self, other) {
            (By::None, by) | (by, By::None) => by,
            (a, b) if a == b => a,
            _ => By::Several,
        }
    }
}

/// What every value's bits are to its readers; stored values are decided already.
pub(super) fn bits(graph: &Graph, fusion: &Fusion) -> Vec<Bits> {
    let count = graph.nodes().len();
    let (mut bits, mut by, mut decides) = (vec![Bits::Any; count], vec![By::None; count], vec![false; count]);
    for (id, node) in graph.iter().rev() {
        let i = id.0 as usize;
        if fusion.stored[i] {
            by[i] = By::One(fusion.group_of[i].unwrap_or(fusion.groups.len() + i));
        }
        if decides[i] && by[i] == By::Several && !matches!(node.op, Op::Const(..)) {
            bits[i] = Bits::Decisive;
        }
        let same_elements = matches!(node.op, Op::Broadcast(_) | Op::Reshape(_) | Op::Cast(_));
        for input in &node.inputs {
            decides[input.node.0 as usize] |= node.op.jumps() || (same_elements && decides[i]);
        }
        for input in recomputed(fusion, i, &node.inputs) {
            by[input] = by[input].and(by[i]);
            // a reduction is computed once, from an operand that decides for itself
            if bits[i] != Bits::Any && fusion.classes[i] != Class::Reduction {
                bits[input] = bits[input].max(Bits::Same);
            }
        }
    }
    bits
}

/// The operands that whoever computes a value computes as well.
fn recomputed<'a>(
    fusion: &'a Fusion,
    node: usize,
    inputs: &'a [Value],
) -> impl Iterator<Item = usize> + use<'a> {
    let computes = !matches!(fusion.classes[node], Class::Input | Class::View | Class::Gather);
    let operands = inputs.iter().map(|input| input.node.0 as usize).filter(move |_| computes);
    operands.filter(move |&input| match fusion.classes[input] {
        Class::Pointwise | Class::Generated | Class::Uniform => !fusion.stored[input],
        Class::Reduction => {
            !fusion.stored[input] && fusion.reductions[input] != Some(ReductionKind::Accumulated)
        }
        Class::Input | Class::View | Class::Gather | Class::Barrier => false,
    })
}
