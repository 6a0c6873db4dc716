//! What normalization makes of parameters: scale invariance and dead biases.
//!
//! | lint | what | source |
//! |---|---|---|
//! | `decay-of-scale-invariant` | every use of a parameter is normalized: its size has no effect, so weight decay does not regularize the function, it raises the effective learning rate | C23 |
//! | `no-gradient` | a parameter that the outputs do not depend on: unused, or recognized as subtracted again | D6, H8 |
//! | `dead-bias` | a bias that a norm or softmax subtracts again: its gradient is 0 | D6, H8, E1 |
//!
//! Start at [`lint`].

use super::Origin;
use super::context::Context;
use super::rebuild::padded_shape;
use evenkeel_ir::{Attrs, Binary, Composite, Graph, NodeId, Op, Unary, Value};
use rustc_hash::FxHashSet as HashSet;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// The largest eps below which a norm still counts as blind to scale.
const EPS: f64 = 1e-3;

/// Something about a parameter that its user may not expect.
#[derive(Clone, Debug, PartialEq)]
pub struct Lint {
    /// Which.
    pub name: &'static str,
    /// The parameter.
    pub parameter: String,
    /// What it is about, in a sentence.
    pub what: String,
    /// Where the norm was written.
    pub origin: Origin,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lint { name, parameter, what, origin } = self;
        write!(f, "{name}: {parameter}: {what}{origin}")
    }
}

/// Looks at parameters (positions of inputs) as far as the outputs of a forward graph depend on
/// them. `decay`: the optimizer shrinks parameters.
pub fn lint(graph: &Graph, parameters: &[usize], decay: bool) -> Vec<Lint> {
    let mut lints = Vec::new();
    let cx = Context::new(graph, parameters);
    let inputs = graph.input_values();
    for &index in parameters {
        let id = inputs[index].node;
        let walk = Walk { cx: &cx, dependents: RefCell::new(Dependents::of(id)) };
        let parameter = graph.inputs()[index].name.clone();
        if let Some(norm) = walk.dead(id) {
            let what = format!("{} subtracts it again, so its gradient is 0", graph.node(norm).op.name());
            lints.push(Lint { name: "dead-bias", parameter, what, origin: Origin::of(graph, norm) });
        } else if let Some(what) = walk.unread(id) {
            lints.push(Lint { name: "no-gradient", parameter, what, origin: first_use(graph, id) });
        } else if let Some(norm) = walk.scale_invariant(id).filter(|_| decay) {
            let what = format!(
                "{} removes its scale{}, so weight decay only changes the effective learning rate",
                graph.node(norm).op.name(),
                but_for_eps(graph, norm)
            );
            lints.push(Lint {
                name: "decay-of-scale-invariant",
                parameter,
                what,
                origin: Origin::of(graph, norm),
            });
        }
    }
    lints
}

fn but_for_eps(graph: &Graph, norm: NodeId) -> String {
    match graph.node(norm).op {
        Op::Composite(_, attrs) if attrs.eps.get() > 0.0 => format!(" up to eps {:e}", attrs.eps.get()),
        _ => String::new(),
    }
}

/// Where a parameter is used first, whether that matters or not.
fn first_use(graph: &Graph, id: NodeId) -> Origin {
    let reads = |node: &evenkeel_ir::Node| node.inputs.iter().any(|v| v.node == id);
    let user = graph.iter().find(|(_, node)| reads(node));
    user.map_or_else(Origin::default, |(user, _)| Origin::of(graph, user))
}

/// Nodes that depend on one, as far as anyone asked.
struct Dependents {
    known: HashSet<NodeId>,
    /// Dependents whose readers are not known yet.
    pending: BTreeSet<NodeId>,
}

impl Dependents {
    fn of(id: NodeId) -> Dependents {
        Dependents { known: HashSet::from_iter([id]), pending: BTreeSet::from([id]) }
    }

    fn contain(&mut self, cx: &Context<'_>, id: NodeId) -> bool {
        while let Some(first) = self.pending.pop_first() {
            if first >= id {
                self.pending.insert(first);
                break;
            }
            self.pending.extend(cx.readers(first).iter().filter(|reader| self.known.insert(**reader)));
        }
        self.known.contains(&id)
    }
}

/// Follows the uses of one parameter.
struct Walk<'a, 'g> {
    cx: &'a Context<'g>,
    dependents: RefCell<Dependents>,
}

impl Walk<'_, '_> {
    fn depends(&self, value: Value) -> bool {
        self.dependents.borrow_mut().contain(self.cx, value.node)
    }

    /// The last of the results of `visit` over the readers of a node, if there are readers, none
    /// of them gives nothing, and the value does not leave the graph. No gradient passes a stop.
    fn every_reader(&self, id: NodeId, visit: impl Fn(NodeId) -> Option<NodeId>) -> Option<NodeId> {
        if self.cx.is_output(id) {
            return None;
        }
        let stops = |reader: &&NodeId| self.cx.node(**reader).op != Op::StopGradient;
        let found: Option<Vec<NodeId>> =
            self.cx.readers(id).iter().filter(stops).map(|reader| visit(*reader)).collect();
        found?.pop()
    }

    /// Why no output depends on a parameter, if that is so.
    fn unread(&self, id: NodeId) -> Option<String> {
        let unread = self.cx.readers(id).is_empty() && !self.cx.is_output(id);
        unread.then(|| "nothing that counts depends on it: unused, or a norm subtracts it again".into())
    }

    /// The norm that makes a value's scale irrelevant on every way to an output.
    fn scale_invariant(&self, id: NodeId) -> Option<NodeId> {
        self.every_reader(id, |reader| {
            if self.normalizes(reader, id) {
                return Some(reader);
            }
            self.is_proportional(reader).then(|| self.scale_invariant(reader)).flatten()
        })
    }

    /// Does a node normalize another, whatever its scale?
    fn normalizes(&self, norm: NodeId, id: NodeId) -> bool {
        use Composite::{L2Norm, LayerNorm, RmsNorm, RmsUnit, Standardize};
        let node = self.cx.node(norm);
        let Op::Composite(L2Norm | LayerNorm | RmsNorm | RmsUnit | Standardize, attrs) = node.op else {
            return false;
        };
        let only_first = node.inputs[0].node == id && node.inputs[1..].iter().all(|v| !self.depends(*v));
        only_first && attrs.eps.get() <= EPS
    }

    /// Does a node multiply with the parameter: is it linear and without a shift?
    fn is_proportional(&self, id: NodeId) -> bool {
        let node = self.cx.node(id);
        let own = node.inputs.iter().filter(|v| self.depends(**v)).count();
        match node.op {
            Op::Reshape(_) | Op::Broadcast(_) | Op::Transpose(_) | Op::Unary(Unary::Neg) | Op::Flip(_) => {
                true
            }
            Op::Slice { .. } | Op::Composite(Composite::Center | Composite::Mean, _) => true,
            Op::Reduce(evenkeel_ir::Reduce::Sum, _) => true,
            Op::Dot { .. } | Op::Binary(Binary::Mul) => own == 1,
            Op::Gather { .. } | Op::Binary(Binary::Div) => own == 1 && self.depends(node.inputs[0]),
            Op::Binary(Binary::Add | Binary::Sub) => own == 2 || self.shift_is_dead(id),
            _ => false,
        }
    }

    /// Is the other operand of an addition subtracted again by every reader?
    fn shift_is_dead(&self, id: NodeId) -> bool {
        let node = self.cx.node(id);
        let Some(shift) = node.inputs.iter().find(|v| !self.depends(**v)) else { return false };
        self.blind_to(id, *shift).is_some()
    }

    /// The norm that subtracts a parameter again on every way to an output.
    fn dead(&self, id: NodeId) -> Option<NodeId> {
        self.every_reader(id, |reader| match self.cx.node(reader).op {
            Op::Reshape(_) | Op::Broadcast(_) => self.dead(reader),
            Op::Binary(Binary::Add | Binary::Sub) => self.blind_to(reader, Value { node: id, result: 0 }),
            _ => None,
        })
    }

    /// The norm that does not see the shift of a sum, if all its readers are such norms.
    fn blind_to(&self, sum: NodeId, shift: Value) -> Option<NodeId> {
        self.every_reader(sum, |reader| {
            let node = self.cx.node(reader);
            let Op::Composite(op, attrs) = node.op else { return None };
            let of_sum = node.inputs[0].node == sum && node.inputs[1..].iter().all(|v| v.node != sum);
            (of_sum && centers(op) && self.constant_along(sum, shift, attrs)).then_some(reader)
        })
    }

    fn constant_along(&self, sum: NodeId, shift: Value, attrs: Attrs) -> bool {
        let rank = self.cx.node(sum).types[0].rank();
        let shift = self.unstretched(shift);
        let shape = padded_shape(&self.cx.graph.ty(shift).shape, rank);
        attrs.axes.iter().all(|axis| shape[axis].is_one())
    }

    /// The value before it was stretched.
    fn unstretched(&self, value: Value) -> Value {
        match self.cx.graph.op(value) {
            Op::Broadcast(_) => self.unstretched(self.cx.node(value.node).inputs[0]),
            _ => value,
        }
    }
}

fn centers(op: Composite) -> bool {
    use Composite::{LayerNorm, LogSoftmax, Softmax, Standardize};
    matches!(op, LayerNorm | Standardize | Softmax | LogSoftmax)
}
