//! A region: the part of a graph that is rewritten at a time, as an e-graph and back.
//!
//! Its leaves are values that are not looked into. Invariant: what holds for free leaves holds in
//! the graph. Start at [`Region::new`]; `Recipe` builds what was extracted.

use super::cone::{Cone, Constants, Cut};
use super::language::{Classes, Facts, Head, Meaning, Settings, Term};
use super::normal::Form;
use super::ruleset::Allowed;
use egg::{EGraph, Id, Language, RecExpr, Runner, SimpleScheduler};
use evenkeel_ir::{Axes, DType, Extent, Graph, Node, NodeId, Op, Shape, Value};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

/// The largest e-graph; beyond it the region stays as it is.
const NODE_LIMIT: usize = 2000;

/// A region of a graph as an e-graph.
pub(crate) struct Region {
    /// The e-graph.
    pub(crate) classes: Classes,
    /// The classes of the roots.
    pub(crate) roots: Vec<Id>,
    /// The region as written.
    pub(crate) written: RecExpr<Term>,
    /// Values of the graph that the leaves stand for.
    pub(crate) leaves: Vec<Value>,
    ids: HashMap<Value, Id>,
}

impl Region {
    /// The region between `x` with its neighbors and the root of a cone.
    pub(crate) fn between(
        graph: &Graph,
        constants: &Constants,
        cone: &Cone,
        x: Value,
        cut: &Cut,
    ) -> Option<Region> {
        let leaves = std::iter::once(x).chain(cut.beside.iter().copied()).collect();
        Region::of_cone(graph, constants, cone, leaves)
    }

    /// A whole cone.
    pub(crate) fn whole(graph: &Graph, constants: &Constants, cone: &Cone) -> Option<Region> {
        let inside = |value: &Value| cone.nodes.contains(&value.node) || constants.contains(value.node);
        let mut leaves: Vec<Value> = Vec::new();
        for value in cone.nodes.iter().flat_map(|id| &graph.node(*id).inputs).filter(|v| !inside(v)) {
            if !leaves.contains(value) {
                leaves.push(*value);
            }
        }
        Region::of_cone(graph, constants, cone, leaves)
    }

    fn of_cone(graph: &Graph, constants: &Constants, cone: &Cone, leaves: Vec<Value>) -> Option<Region> {
        let roots = [Value { node: cone.root, result: 0 }];
        Region::new(graph, constants, &cone.nodes, &roots, leaves, 0)
    }

    /// The region of some nodes, which computes the roots from the leaves. Normal forms may
    /// cost `extra_steps` more than those of one spelling.
    pub(crate) fn new(
        graph: &Graph,
        constants: &Constants,
        nodes: &[NodeId],
        roots: &[Value],
        leaves: Vec<Value>,
        extra_steps: usize,
    ) -> Option<Region> {
        let mut meaning = Meaning::new(space(graph, nodes, &leaves)?, dtype(graph, *roots.first()?)?);
        meaning.reader.normalizer.extend(extra_steps);
        for leaf in &leaves {
            let ty = graph.ty(*leaf);
            let form = meaning.reader.symbol(ty, is_nonnegative(graph.op(*leaf)));
            meaning.leaves.push((form, ty.dtype == DType::Bool));
        }
        let mut writer = Writer { graph, constants, written: RecExpr::default(), places: HashMap::default() };
        for (place, leaf) in leaves.iter().enumerate() {
            let id = writer.written.add(Term::Leaf(place as u32));
            writer.places.insert(*leaf, id);
        }
        for root in roots {
            writer.write(&mut meaning, *root)?;
        }
        let Writer { written, places, .. } = writer;
        let mut classes = EGraph::new(meaning);
        let mut added: Vec<Id> = Vec::new();
        for term in written.as_ref() {
            let term = term.clone().map_children(|id| added[usize::from(id)]);
            added.push(classes.add(term));
        }
        classes.rebuild();
        if !classes.analysis.reader.is_reliable() {
            return None;
        }
        let ids: HashMap<Value, Id> =
            places.iter().map(|(v, place)| (*v, added[usize::from(*place)])).collect();
        let last = roots.iter().map(|root| places[root]).max()?;
        let roots = roots.iter().map(|root| ids[root]).collect();
        Some(Region { roots, classes, written: up_to(written, last), leaves, ids })
    }

    /// The class of the only root.
    pub(crate) fn root(&self) -> Id {
        self.roots[0]
    }

    /// The class of a value of the region.
    pub(crate) fn class(&self, value: Value) -> Option<Id> {
        self.ids.get(&value).copied()
    }

    /// Adds a term; the normal form merges it with what it equals.
    pub(crate) fn add(&mut self, head: Head, operands: &[Id]) -> Id {
        self.classes.add(Term::Apply(head, operands.into()))
    }

    /// Adds axes of a value.
    pub(crate) fn axes(&mut self, shape: &Shape, axes: Axes) -> Id {
        let mask = self.classes.analysis.mask(shape, axes);
        self.classes.add(Term::Axes(mask))
    }

    /// True when the root equals this class.
    pub(crate) fn root_is(&self, id: Id) -> bool {
        self.classes.find(self.root()) == self.classes.find(id)
    }

    /// True when an op on these classes, times another class if there is one, has the form of the
    /// root. Adds nothing.
    pub(crate) fn root_equals(&mut self, head: Head, operands: &[Id], factor: Option<Id>) -> bool {
        let root = self.classes[self.root()].data.form;
        let factor = factor.map(|id| self.classes[id].data.form);
        let form = self.form(head, operands).and_then(|form| match factor {
            Some(factor) => Some(self.classes.analysis.reader.normalizer.multiply(form, factor?)),
            None => Some(form),
        });
        root.is_some() && form == root
    }

    /// True when the form of the root is made of all that the form of an op is made of.
    pub(crate) fn root_contains(&mut self, head: Head, operands: &[Id]) -> bool {
        let (part, whole) = (self.form(head, operands), self.classes[self.root()].data.form);
        let contains = |part, whole| self.classes.analysis.reader.normalizer.contains(part, whole);
        part.zip(whole).is_some_and(|(part, whole)| contains(part, whole))
    }

    fn form(&mut self, head: Head, operands: &[Id]) -> Option<Form> {
        let facts: Vec<Facts> = operands.iter().map(|id| self.classes[*id].data).collect();
        self.classes.analysis.apply(head, &facts)
    }

    /// Runs the rules, a few times; gives the names of those that fired, in order.
    pub(crate) fn saturate(mut self, allowed: Allowed<'_>) -> (Region, Vec<&'static str>) {
        let dtype = self.classes.analysis.dtype;
        let runner: Runner<Term, Meaning> = Runner::new(Meaning::new(Shape::of(&[]), dtype))
            .with_egraph(self.classes)
            .with_iter_limit(3)
            .with_node_limit(NODE_LIMIT)
            .with_scheduler(SimpleScheduler)
            .run(allowed.rewrites(dtype));
        let applied: HashSet<&str> = runner
            .iterations
            .iter()
            .flat_map(|iteration| &iteration.applied)
            .filter_map(|(rewrite, _)| rewrite.as_str().split('#').next())
            .collect();
        let fired = allowed.names(dtype).filter(|name| applied.contains(name)).collect();
        self.classes = runner.egraph;
        (self, fired)
    }
}

/// The element type of numbers: that of the root, or of what it compares.
fn dtype(graph: &Graph, root: Value) -> Option<DType> {
    let own = graph.ty(root).dtype;
    let operand = || graph.node(root.node).inputs.iter().map(|v| graph.ty(*v).dtype).find(|d| d.is_float());
    if own.is_float() { Some(own) } else { operand() }
}

/// The beginning of an expression, up to one of its terms.
fn up_to(expression: RecExpr<Term>, last: Id) -> RecExpr<Term> {
    RecExpr::from(expression.as_ref()[..=usize::from(last)].to_vec())
}

/// The index space: along each axis from the last, the one extent that is not 1.
fn space(graph: &Graph, nodes: &[NodeId], leaves: &[Value]) -> Option<Shape> {
    let values = nodes.iter().map(|&node| Value { node, result: 0 }).chain(leaves.iter().copied());
    let mut extents: Vec<Extent> = Vec::new();
    for shape in values.map(|v| &graph.ty(v).shape) {
        for place in 0..shape.rank() {
            let extent = shape[shape.rank() - 1 - place];
            if extents.len() == place {
                extents.push(extent);
            } else if extents[place].is_one() {
                extents[place] = extent;
            } else if !extent.is_one() && extent != extents[place] {
                return None;
            }
        }
    }
    extents.reverse();
    Some(Shape(extents.into_iter().collect()))
}

fn is_nonnegative(op: &Op) -> bool {
    match op {
        Op::Unary(op) => op.def().range.0 >= 0.0,
        _ => false,
    }
}

/// Writes a cone as an expression.
struct Writer<'g> {
    graph: &'g Graph,
    constants: &'g Constants,
    written: RecExpr<Term>,
    places: HashMap<Value, Id>,
}

impl Writer<'_> {
    fn write(&mut self, meaning: &mut Meaning, value: Value) -> Option<Id> {
        if let Some(&known) = self.places.get(&value) {
            return Some(known);
        }
        let graph = self.graph;
        let node = graph.node(value.node);
        debug_assert!(self.constants.contains(value.node) || super::reader::has_algebra(graph, node));
        let operands: Option<Vec<Id>> = node.inputs.iter().map(|&v| self.write(meaning, v)).collect();
        let id = self.term(meaning, node, &operands?)?;
        self.places.insert(value, id);
        Some(id)
    }

    fn term(&mut self, meaning: &mut Meaning, node: &Node, operands: &[Id]) -> Option<Id> {
        let head = match &node.op {
            Op::Const(number, _) => return Some(self.written.add(Term::Number(*number))),
            Op::Size(extent, _) => return Some(self.written.add(Term::Size(*extent))),
            Op::Reshape(_) | Op::Broadcast(_) => return Some(operands[0]),
            Op::Cast(_) => Head::Indicator,
            Op::Unary(op) => Head::Unary(*op),
            Op::Binary(op) => Head::Binary(*op),
            Op::Select => Head::Select,
            Op::StopGradient => Head::StopGradient,
            Op::Reduce(op, axes) => {
                return Some(self.over_axes(meaning, node, Head::Reduce(*op), *axes, operands));
            }
            Op::Composite(op, attrs) => {
                let head = Head::Composite(*op, Settings::of(attrs));
                return Some(self.over_axes(meaning, node, head, attrs.axes, operands));
            }
            _ => return None,
        };
        Some(self.written.add(Term::Apply(head, operands.into())))
    }

    fn over_axes(
        &mut self,
        meaning: &mut Meaning,
        node: &Node,
        head: Head,
        axes: Axes,
        operands: &[Id],
    ) -> Id {
        let mask = meaning.mask(&self.graph.ty(node.inputs[0]).shape, axes);
        let axes = self.written.add(Term::Axes(mask));
        let all = std::iter::once(axes).chain(operands.iter().copied()).collect();
        self.written.add(Term::Apply(head, all))
    }
}
