//! What expressions cost in numbers that a reader can check: bytes, flops, functions, sweeps,
//! launches. The extractor's model is in `simplify::cost`; this is what `explain` prints.

use super::details::classes_of;
use super::language::{Head, Term};
use super::model::{TRANSCENDENTAL, is_function};
use super::region::Region;
use crate::report::Amount;
use egg::{Id, Language, RecExpr};
use evenkeel_ir::op::{Composite, Unary};
use evenkeel_ir::{Extent, Graph, Node, Op, Value};
use rustc_hash::FxHashSet as HashSet;
use std::fmt;

/// The cost of an expression or a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Bytes read and written.
    pub bytes: Amount,
    /// Arithmetic, one per element and op.
    pub flops: Amount,
    /// Exponentials, logarithms and the like, one per element and op.
    pub transcendentals: Amount,
    /// Sweeps over the data, one after another.
    pub phases: u32,
    /// Kernels, products and other steps.
    pub launches: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { bytes, flops, transcendentals, phases, launches } = self;
        write!(f, "bytes {bytes}, flops {flops}, transcendentals {transcendentals}, phases {phases}")?;
        if *launches > 0 { write!(f, ", launches {launches}") } else { Ok(()) }
    }
}

impl Tally {
    /// The cost of an expression of a region as one kernel: leaves are read once, roots are
    /// written once.
    pub(crate) fn of(region: &Region, expression: &RecExpr<Term>) -> Tally {
        let classes = &region.classes;
        let normalizer = &classes.analysis.reader.normalizer;
        let ids = classes_of(classes, expression);
        let elements = |id: &Id| {
            let axes = classes[*id].data.form.map_or(0, |form| normalizer.axes_of(form));
            normalizer.extent(axes)
        };
        let size = Extent::fixed(classes.analysis.dtype.size() as u64);
        let mut tally = Tally::default();
        let mut sweeps: Vec<u32> = Vec::new();
        let mut counted: HashSet<Id> = HashSet::default();
        for (term, id) in expression.as_ref().iter().zip(&ids) {
            let before = term.children().iter().map(|id| sweeps[usize::from(*id)]).max().unwrap_or(0);
            sweeps.push(before + sweeps_of(term));
            match term {
                Term::Leaf(_) => tally.bytes.add(elements(id).times(size)),
                Term::Apply(head, operands) if counted.insert(classes.find(*id)) => {
                    let operands = operands.iter().map(|operand| &ids[usize::from(*operand)]);
                    let volume = operands.chain([id]).map(elements).max_by_key(volume_order);
                    tally.count(*head, volume.unwrap_or(Extent::ONE));
                }
                _ => {}
            }
        }
        tally.phases = 1 + sweeps.into_iter().max().unwrap_or(0);
        region.roots.iter().for_each(|root| tally.bytes.add(elements(root).times(size)));
        tally
    }

    fn count(&mut self, head: Head, volume: Extent) {
        let (flops, functions) = work(head);
        self.flops.add(volume.times(Extent::fixed(flops)));
        self.transcendentals.add(volume.times(Extent::fixed(functions)));
    }

    /// The cost of a graph op by op: every op a launch that reads its operands and writes its
    /// results.
    pub(crate) fn op_by_op(graph: &Graph) -> Tally {
        let mut tally = Tally::arithmetic(graph);
        let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
        for (id, node) in graph.iter().filter(|(id, _)| live[id.0 as usize]) {
            if matches!(node.op, Op::Input(_) | Op::Const(..) | Op::Size(..)) {
                continue;
            }
            let is_small = |v: &&Value| matches!(graph.op(**v), Op::Const(..) | Op::Size(..));
            node.inputs.iter().filter(|v| !is_small(v)).for_each(|v| tally.bytes.add(graph.ty(*v).bytes()));
            (0..node.types.len()).for_each(|result| {
                tally.bytes.add(graph.ty(Value { node: id, result: result as u32 }).bytes());
            });
            tally.phases += 1;
            tally.launches += 1;
        }
        tally
    }

    /// Flops and functions of a graph.
    pub(crate) fn arithmetic(graph: &Graph) -> Tally {
        let mut tally = Tally::default();
        let live = graph.reachable(graph.outputs().iter().map(|(_, v)| *v));
        for (_, node) in graph.iter().filter(|(id, _)| live[id.0 as usize]) {
            let volumes = node.inputs.iter().map(|v| graph.ty(*v).shape.elements());
            let volume = volumes.chain([node.types[0].shape.elements()]).max_by_key(volume_order);
            tally.count_node(graph, node, volume.unwrap_or(Extent::ONE));
        }
        tally
    }

    fn count_node(&mut self, graph: &Graph, node: &Node, volume: Extent) {
        match &node.op {
            Op::Unary(op) => self.count(Head::Unary(*op), volume),
            Op::Binary(op) => self.count(Head::Binary(*op), volume),
            Op::Select => self.count(Head::Select, volume),
            Op::Reduce(op, _) => self.count(Head::Reduce(*op), volume),
            Op::Composite(op, attrs) => {
                self.count(Head::Composite(*op, super::language::Settings::of(attrs)), volume);
            }
            Op::Dot { lhs, .. } => {
                let inner = graph.ty(node.inputs[0]).shape.extent_of(lhs);
                self.flops.add(node.types[0].shape.elements().times(inner).times(Extent::fixed(2)));
            }
            _ => {}
        }
    }
}

fn volume_order(extent: &Extent) -> (u8, u64) {
    (extent.power, extent.scale)
}

/// Flops and transcendental functions of one element.
fn work(head: Head) -> (u64, u64) {
    match head {
        Head::Indicator | Head::StopGradient => (0, 0),
        Head::Select | Head::Reduce(_) | Head::Binary(_) => (1, 0),
        Head::Unary(op) if TRANSCENDENTAL.contains(&op) => (0, 1),
        Head::Unary(op) if is_function(op) && op != Unary::Relu => (2, 1),
        Head::Unary(_) => (1, 0),
        Head::Composite(op, _) => match op {
            Composite::Mean | Composite::ArgMax => (1, 0),
            Composite::Center | Composite::Rrms | Composite::Rnorm => (2, 0),
            Composite::RmsUnit | Composite::L2Norm | Composite::Var | Composite::Rstd => (4, 0),
            Composite::RmsNorm | Composite::FixedNorm => (5, 0),
            Composite::Standardize => (6, 0),
            Composite::LayerNorm => (8, 0),
            Composite::Softmax | Composite::LogSoftmax | Composite::LogSumExp => (4, 1),
        },
    }
}

/// Sweeps over the row that a term needs beyond those of its operands.
pub(crate) fn sweeps_of(term: &Term) -> u32 {
    let Term::Apply(head, _) = term else { return 0 };
    match head {
        Head::Reduce(_) => 1,
        Head::Composite(op, _) => match op {
            Composite::Mean | Composite::Rrms | Composite::Rnorm | Composite::Center => 1,
            Composite::RmsUnit | Composite::RmsNorm | Composite::L2Norm | Composite::ArgMax => 1,
            Composite::Var | Composite::Rstd | Composite::Standardize | Composite::LayerNorm => 2,
            Composite::Softmax | Composite::LogSoftmax | Composite::LogSumExp => 2,
            Composite::FixedNorm => 0,
        },
        _ => 0,
    }
}
