//! Scopes: which nodes are simplified together.
//!
//! A scope is a connected set of nodes with algebra. It ends at products, gathers, selections,
//! scalars and gradients of parameters; at arguments of activations and inputs of norms that are
//! sums, so that the polynomials of two functions never multiply; and where what is pointwise
//! around such an activation meets a norm again (its cotangent). The forward and backward of one
//! norm are one scope: they share statistics. Start at [`scopes`].

use super::super::cone::Constants;
use super::super::model::{TRANSCENDENTAL, is_function};
use super::super::reader::has_algebra;
use evenkeel_ir::op::{Binary, Composite, Unary};
use evenkeel_ir::{Graph, Node, NodeId, Op, Value};
use rustc_hash::FxHashMap as HashMap;

/// The largest scope.
const LARGEST: usize = 100;
/// The smallest.
const SMALLEST: usize = 4;

/// Nodes to simplify together.
pub(super) struct Scope {
    /// In order.
    pub(super) nodes: Vec<NodeId>,
    /// Values that others read.
    pub(super) roots: Vec<Value>,
    /// Values that it reads.
    pub(super) leaves: Vec<Value>,
    /// For each leaf, why the scope ends there.
    pub(super) reasons: Vec<&'static str>,
}

/// The scopes of a graph, by their first node.
pub(super) fn scopes(graph: &Graph, constants: &Constants) -> Vec<Scope> {
    let forming = Forming::new(graph, constants);
    let mut sets = Sets::new(graph.nodes().len());
    forming.join(&mut sets);
    let mut members: HashMap<usize, Vec<NodeId>> = HashMap::default();
    for (id, _) in graph.iter().filter(|(id, _)| forming.member[id.0 as usize]) {
        members.entry(sets.find(id.0 as usize)).or_default().push(id);
    }
    let mut all: Vec<Vec<NodeId>> = members.into_values().collect();
    all.sort();
    all.into_iter().filter_map(|nodes| forming.scope(nodes, &mut sets)).collect()
}

struct Forming<'g> {
    graph: &'g Graph,
    users: Vec<Vec<NodeId>>,
    constants: &'g Constants,
    /// Nodes that may be in a scope.
    member: Vec<bool>,
    /// Members that every reader sees as a leaf.
    cut: Vec<bool>,
    /// Members that are pointwise in the argument of an activation.
    around: Vec<bool>,
    /// Members that something without algebra reads.
    shown: Vec<bool>,
    /// Nodes that are outputs.
    output: Vec<bool>,
}

impl<'g> Forming<'g> {
    fn new(graph: &'g Graph, constants: &'g Constants) -> Forming<'g> {
        let member: Vec<bool> =
            graph.iter().map(|(id, node)| !constants.contains(id) && is_member(graph, node)).collect();
        let none = vec![false; member.len()];
        let mut output = none.clone();
        graph.outputs().iter().for_each(|(_, v)| output[v.node.0 as usize] = true);
        let (users, cut, around) = (graph.users(), none.clone(), none.clone());
        let mut forming = Forming { graph, users, constants, member, cut, around, shown: none, output };
        forming.find_cuts();
        forming.find_surroundings();
        forming
    }

    fn users(&self, id: NodeId) -> impl Iterator<Item = &'g Node> {
        self.users[id.0 as usize].iter().map(|user| self.graph.node(*user))
    }

    fn find_cuts(&mut self) {
        let mut fresh = vec![false; self.member.len()];
        for (id, node) in self.graph.iter() {
            let place = id.0 as usize;
            let of = |v: &Value| !self.member[v.node.0 as usize] || fresh[v.node.0 as usize];
            let is_sum = matches!(node.op, Op::Binary(Binary::Add | Binary::Sub));
            fresh[place] = self.member[place] && is_sum && node.inputs.iter().all(of);
            if !self.member[place] {
                continue;
            }
            let scalar = self.graph.ty(Value { node: id, result: 0 }).shape.elements().known() == Some(1);
            let activated = is_several_terms(node) && self.users(id).any(is_activation);
            let summed = fresh[place] && self.users(id).any(|user| !is_sum_of_values(user));
            let blind = |user: &Node| {
                !is_member(self.graph, user) && !user.op.is_pointwise() && !matches!(user.op, Op::Reshape(_))
            };
            let shown = self.users(id).any(blind);
            self.cut[place] = scalar || activated || summed;
            self.shown[place] = shown;
        }
    }

    /// Marks what is pointwise in cut values.
    fn find_surroundings(&mut self) {
        for (id, node) in self.graph.iter() {
            let known = |v: &Value| {
                let place = v.node.0 as usize;
                !self.member[place] || self.cut[place] || self.around[place]
            };
            let touches = |v: &Value| {
                let place = v.node.0 as usize;
                self.member[place] && (self.cut[place] || self.around[place])
            };
            let pointwise = self.member[id.0 as usize] && node.op.is_pointwise();
            self.around[id.0 as usize] =
                pointwise && node.inputs.iter().all(known) && node.inputs.iter().any(touches);
        }
    }

    /// True where a reader sees an operand as a leaf.
    fn is_cut(&self, operand: NodeId, reader: NodeId) -> bool {
        let (from, to) = (operand.0 as usize, reader.0 as usize);
        let residual = self.shown[from] && is_sum_of_values(self.graph.node(reader));
        !self.member[from] || self.cut[from] || (self.around[from] && !self.around[to]) || residual
    }

    /// Why a scope ends at an operand of one of its nodes.
    fn reason(&self, operand: NodeId, reader: NodeId) -> &'static str {
        let (from, to) = (operand.0 as usize, reader.0 as usize);
        match self.graph.node(operand).op {
            Op::Input(_) => "an input",
            _ if !self.member[from] => "its op has no algebra",
            _ if self.cut[from] => "a scalar, or a sum that an activation or a norm reads",
            _ if self.around[from] && !self.around[to] => "it belongs to the activation before it",
            _ if self.is_cut(operand, reader) => "a residual branch, which a product reads too",
            _ => "it is part of another scope",
        }
    }

    fn join(&self, sets: &mut Sets) {
        let mut statistics: HashMap<(Value, u32), usize> = HashMap::default();
        for (id, node) in self.graph.iter().filter(|(id, _)| self.member[id.0 as usize]) {
            let place = id.0 as usize;
            for operand in &node.inputs {
                if !self.is_cut(operand.node, id) {
                    sets.union(place, operand.node.0 as usize);
                }
            }
            let axes = match &node.op {
                Op::Reduce(_, axes) => axes.mask(),
                Op::Composite(_, attrs) => attrs.axes.mask(),
                _ => continue,
            };
            let known = *statistics.entry((node.inputs[0], axes)).or_insert(place);
            sets.union(known, place);
        }
    }

    /// The scope of these nodes, if it is worth the while.
    fn scope(&self, nodes: Vec<NodeId>, sets: &mut Sets) -> Option<Scope> {
        let worth = |id: &NodeId| is_worth_while(&self.graph.node(*id).op);
        if !(SMALLEST..=LARGEST).contains(&nodes.len()) || !nodes.iter().any(worth) {
            return None;
        }
        let own = sets.find(nodes[0].0 as usize);
        let (mut leaves, mut reasons): (Vec<Value>, Vec<&str>) = (Vec::new(), Vec::new());
        for &id in &nodes {
            for operand in &self.graph.node(id).inputs {
                let inside =
                    self.member[operand.node.0 as usize] && sets.find(operand.node.0 as usize) == own;
                if inside && self.is_cut(operand.node, id) {
                    return None; // it would read a leaf that it computes
                }
                if !inside && !self.constants.contains(operand.node) && !leaves.contains(operand) {
                    leaves.push(*operand);
                    reasons.push(self.reason(operand.node, id));
                }
            }
        }
        let outside = |id: &NodeId| {
            let place = id.0 as usize;
            let reads = |user: &NodeId| !self.member[user.0 as usize] || sets.peek(user.0 as usize) != own;
            self.users[place].iter().any(reads) || self.output[place]
        };
        let roots = nodes.iter().filter(|id| outside(id)).map(|&node| Value { node, result: 0 }).collect();
        Some(Scope { roots, nodes, leaves, reasons })
    }
}

fn is_member(graph: &Graph, node: &Node) -> bool {
    let float = node.types[0].dtype.is_float() && node.inputs.iter().all(|v| graph.ty(*v).dtype.is_float());
    let drops_axes = || graph.ty(node.inputs[0]).rank() > node.types[0].rank();
    let fits = match node.op {
        Op::Const(..) | Op::Size(..) | Op::Select | Op::Cast(_) | Op::StopGradient => false,
        Op::Reshape(_) => !drops_axes(),
        _ => true,
    };
    fits && float && node.types[0].shape.elements().known() != Some(0) && has_algebra(graph, node)
}

/// True for ops whose results are sums.
fn is_several_terms(node: &Node) -> bool {
    match node.op {
        Op::Binary(op) => matches!(op, Binary::Add | Binary::Sub),
        Op::Composite(op, _) => op == Composite::LayerNorm || op == Composite::Standardize,
        _ => false,
    }
}

fn is_sum_of_values(node: &Node) -> bool {
    matches!(node.op, Op::Binary(Binary::Add | Binary::Sub))
}

/// Functions through which polynomials do not pass; a shift leaves an exponential.
fn is_activation(node: &Node) -> bool {
    match node.op {
        Op::Unary(op) => {
            is_function(op)
                || matches!(op, Unary::Tanh | Unary::Erf | Unary::Sin | Unary::Cos | Unary::Step | Unary::Abs)
        }
        _ => false,
    }
}

/// True for ops around which there is something to find.
fn is_worth_while(op: &Op) -> bool {
    match op {
        Op::Reduce(..) | Op::Composite(..) => true,
        Op::Unary(op) => is_function(*op) || TRANSCENDENTAL.contains(op),
        _ => false,
    }
}

/// Disjoint sets of numbers.
struct Sets(Vec<usize>);

impl Sets {
    fn new(count: usize) -> Sets {
        Sets((0..count).collect())
    }

    fn peek(&self, mut x: usize) -> usize {
        while self.0[x] != x {
            x = self.0[x];
        }
        x
    }

    fn find(&mut self, mut x: usize) -> usize {
        let root = self.peek(x);
        while self.0[x] != root {
            x = std::mem::replace(&mut self.0[x], root);
        }
        root
    }

    fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}
