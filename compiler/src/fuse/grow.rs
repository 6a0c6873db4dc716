//! Growing groups, op by op in topological order.

use super::{Bits, Class, Fusion, Group, ReductionKind};
use crate::order::Order;
use evenkeel_ir::{Axes, Graph, NodeId, Op, Shape};
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// Groups larger than this stop growing: register pressure and compile time.
const MAX_NODES: usize = 160;
/// Up to this many elements a tensor is reduced to one number as a single row.
const SINGLE_ROW: u64 = 16_384;
/// A sum over chunks has at most so many places in each,
const MAX_PLACES: u64 = 4096;
/// and so many elements are summed for each place.
const WORTH_A_PLACE: u64 = 256;

struct Grower<'a> {
    graph: &'a Graph,
    users: Vec<Vec<NodeId>>,
    fusion: Fusion,
    /// Merged groups point to the group that took them over.
    merged: Vec<usize>,
    /// Units are nodes outside groups, by their number, and after those the groups.
    order: Order,
}

pub(super) fn grow(graph: &Graph, classes: Vec<Class>, enabled: bool) -> Fusion {
    let n = graph.nodes().len();
    let fusion = Fusion {
        classes,
        groups: Vec::new(),
        group_of: vec![None; n],
        reductions: vec![None; n],
        stored: vec![false; n],
        bits: vec![Bits::Any; n],
        refusals: Vec::new(),
    };
    let (users, order) = (graph.users(), Order::default());
    let mut grower = Grower { graph, users, fusion, merged: Vec::new(), order };
    for (id, _) in graph.iter() {
        if grower.fusion.classes[id.0 as usize].is_compute() {
            grower.place(id, enabled);
        } else {
            grower.order.push(id.0 as usize);
        }
    }
    if enabled {
        grower.place_lone_sums();
    }
    grower.finish()
}

/// What a node asks of the group that it joins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fit {
    /// A value on the whole space, or on the rows of a group with these reduced axes.
    Element,
    /// A reduction over these axes whose result the group uses.
    Row(Axes),
    /// A reduction over these axes that leaves the group.
    Accumulated(Axes),
}

impl Grower<'_> {
    fn resolve(&self, mut group: usize) -> usize {
        while self.merged[group] != group {
            group = self.merged[group];
        }
        group
    }

    fn group_of(&self, id: NodeId) -> Option<usize> {
        self.fusion.group_of[id.0 as usize].map(|g| self.resolve(g))
    }

    fn place(&mut self, id: NodeId, enabled: bool) {
        let (space, mut fit) = self.wish(id);
        let candidates = if enabled { self.candidates(id) } else { BTreeSet::new() };
        let (mut home, refusal) = self.home(&candidates, id, &space, fit);
        if let (None, Fit::Row(axes)) = (home, fit) {
            // rather a sum that leaves a kernel than one more sweep
            home = self.home(&candidates, id, &space, Fit::Accumulated(axes)).0;
            fit = if home.is_some() { Fit::Accumulated(axes) } else { fit };
        }
        let group = home.unwrap_or_else(|| self.open(&space));
        if let (None, Some(reason)) = (home, refusal) {
            self.fusion.refusals.push((id, reason));
        }
        self.join(group, id, fit);
    }

    /// The group that takes a node, joined from all that can; else why one did not.
    fn home(
        &mut self,
        candidates: &BTreeSet<usize>,
        id: NodeId,
        space: &Shape,
        fit: Fit,
    ) -> (Option<usize>, Option<&'static str>) {
        let (mut home, mut refusal) = (None, None);
        for &candidate in candidates {
            match self.obstacle(candidate, id, space, fit, home) {
                Some(reason) => refusal = reason.or(refusal),
                None => home = Some(self.admit(candidate, id, home)),
            }
        }
        (home, refusal)
    }

    /// A reduction that came before the other readers of its operand, and is alone in its
    /// group: it leaves a group of theirs as a sum over chunks where one takes it so.
    fn place_lone_sums(&mut self) {
        for id in (0..self.users.len() as u32).map(NodeId) {
            let Some(own) = self.group_of(id) else { continue };
            let (space, Fit::Row(axes)) = self.wish(id) else { continue };
            if self.fusion.groups[own].nodes[..] != [id] {
                continue;
            }
            let kind = self.fusion.reductions[id.0 as usize].replace(ReductionKind::Accumulated);
            self.fusion.groups[own].reduced = None;
            let taker = self.candidates(id).into_iter().find(|&other| {
                other != own
                    && self.fusion.groups[other].reduced.is_some()
                    && self.obstacle(other, id, &space, Fit::Accumulated(axes), Some(own)).is_none()
            });
            match taker {
                Some(other) => _ = self.admit(other, id, Some(own)),
                None => {
                    self.fusion.groups[own].reduced = Some(axes);
                    self.fusion.reductions[id.0 as usize] = kind;
                }
            }
        }
    }

    fn open(&mut self, space: &Shape) -> usize {
        self.fusion.groups.push(Group { space: space.clone(), reduced: None, nodes: Vec::new() });
        let group = self.merged.len();
        self.merged.push(group);
        self.order.push(self.group_unit(group));
        group
    }

    fn join(&mut self, group: usize, id: NodeId, fit: Fit) {
        let rank = self.fusion.groups[group].space.rank();
        let g = &mut self.fusion.groups[group];
        match fit {
            Fit::Row(axes) => g.reduced = Some(axes),
            Fit::Accumulated(axes) => g.reduced = g.reduced.or(Some(others(axes, rank))),
            Fit::Element => {}
        }
        g.nodes.push(id);
        self.fusion.group_of[id.0 as usize] = Some(group);
        self.fusion.reductions[id.0 as usize] = match fit {
            Fit::Row(_) => Some(ReductionKind::Row),
            Fit::Accumulated(_) => Some(ReductionKind::Accumulated),
            Fit::Element => None,
        };
    }

    /// The index space that a node needs and its role there.
    fn wish(&self, id: NodeId) -> (Shape, Fit) {
        let node = self.graph.node(id);
        let Op::Reduce(_, axes) = node.op else {
            return (node.types[0].shape.clone(), Fit::Element);
        };
        let space = self.graph.ty(node.inputs[0]).shape.clone();
        let whole = axes == Axes::all(space.rank());
        let small = space.elements().known().is_some_and(|n| n <= SINGLE_ROW);
        let one_row = whole && (space.rank() == 1 || (small && self.rejoins(id, &space)));
        // neighbours in memory are summed as rows; sums over outer axes alone as columns
        let inner = space.rank().checked_sub(1).is_some_and(|last| axes.contains(last));
        let row = if whole { one_row } else { inner || self.rejoins(id, &space) };
        (space, if row { Fit::Row(axes) } else { Fit::Accumulated(axes) })
    }

    /// Does a pointwise op bring the result of this reduction back to the whole space?
    fn rejoins(&self, id: NodeId, space: &Shape) -> bool {
        let own = &self.graph.node(id).types[0].shape;
        let mut queue = vec![id];
        let mut seen = BTreeSet::new();
        while let Some(next) = queue.pop() {
            for &user in &self.users[next.0 as usize] {
                let (class, shape) =
                    (self.fusion.classes[user.0 as usize], &self.graph.node(user).types[0].shape);
                if class == Class::Pointwise && shape == space {
                    return true;
                }
                if class == Class::Pointwise && shape == own && seen.insert(user) {
                    queue.push(user);
                }
            }
        }
        false
    }

    /// Groups that compute an operand, and groups that read the same large operand.
    fn candidates(&self, id: NodeId) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for input in &self.graph.node(id).inputs {
            found.extend(self.group_of(input.node));
            let shared = self.graph.ty(*input).shape.rank() > 0;
            let uniform =
                matches!(self.fusion.classes[input.node.0 as usize], Class::Uniform | Class::Generated);
            if shared && !uniform {
                found
                    .extend(self.users[input.node.0 as usize].iter().filter_map(|&user| self.group_of(user)));
            }
        }
        found
    }

    /// Why a node cannot join a group: `None` if it can; the reason is only given where a
    /// reader would have expected the fusion.
    #[allow(clippy::option_option)]
    fn obstacle(
        &self,
        group: usize,
        id: NodeId,
        space: &Shape,
        fit: Fit,
        home: Option<usize>,
    ) -> Option<Option<&'static str>> {
        let g = &self.fusion.groups[group];
        if !fits(g, space, fit) {
            let same_space = g.space == *space;
            return Some(same_space.then_some("it reduces over other axes"));
        }
        if let Some(home) = home {
            let h = &self.fusion.groups[home];
            if h.space != g.space || !compatible(h.reduced, g.reduced) {
                return Some(None);
            }
        }
        if g.nodes.len() + home.map_or(0, |h| self.fusion.groups[h].nodes.len()) >= MAX_NODES {
            return Some(Some("the kernel has reached its largest size"));
        }
        if self.reads_accumulated(group, id, home) {
            return Some(Some("it needs a sum over rows that is complete only when the kernel ends"));
        }
        if self.would_cycle(group, id, home) {
            return Some(Some("a step between them needs the kernel's result"));
        }
        None
    }

    /// Would the joined group read an accumulated sum of its own?
    fn reads_accumulated(&self, group: usize, id: NodeId, home: Option<usize>) -> bool {
        let inside = |g: usize| g == group || Some(g) == home;
        let groups = [Some(group), home].into_iter().flatten();
        let members = groups.flat_map(|g| self.fusion.groups[g].nodes.iter().copied()).chain([id]);
        members.into_iter().any(|member| {
            self.graph.node(member).inputs.iter().any(|input| {
                let accumulated =
                    self.fusion.reductions[input.node.0 as usize] == Some(ReductionKind::Accumulated);
                accumulated && self.group_of(input.node).is_some_and(inside)
            })
        })
    }

    /// Would joining make the group wait for itself through something outside?
    fn would_cycle(&self, group: usize, id: NodeId, home: Option<usize>) -> bool {
        let (inside, from) = self.joined(group, id, home);
        let operands = |unit: usize, found: &mut Vec<usize>| self.operands_of(unit, found);
        self.order.waits(&from, &inside, operands, |unit, found| self.users_of(unit, found))
    }

    /// The units that would be joined, and what the joint one would wait for.
    fn joined(&self, group: usize, id: NodeId, home: Option<usize>) -> ([usize; 2], Vec<usize>) {
        let inside = [group, home.unwrap_or(group)].map(|group| self.group_unit(group));
        let mut from = Vec::new();
        inside.iter().for_each(|&unit| self.operands_of(unit, &mut from));
        from.extend(self.graph.node(id).inputs.iter().map(|v| self.unit(v.node)));
        from.retain(|unit| !inside.contains(unit));
        (inside, from)
    }

    fn group_unit(&self, group: usize) -> usize {
        self.graph.nodes().len() + group
    }

    fn unit(&self, id: NodeId) -> usize {
        self.group_of(id).map_or(id.0 as usize, |group| self.group_unit(group))
    }

    /// The nodes of a unit.
    fn nodes_of(&self, unit: usize) -> SmallVec<[NodeId; 1]> {
        match unit.checked_sub(self.graph.nodes().len()) {
            Some(group) => SmallVec::from_slice(&self.fusion.groups[group].nodes),
            None => SmallVec::from_elem(NodeId(unit as u32), 1),
        }
    }

    /// The units that a unit reads, itself left out.
    fn operands_of(&self, unit: usize, found: &mut Vec<usize>) {
        for id in self.nodes_of(unit) {
            let inputs = self.graph.node(id).inputs.iter();
            found.extend(inputs.map(|v| self.unit(v.node)).filter(|&operand| operand != unit));
        }
    }

    /// The units that read a unit, itself left out.
    fn users_of(&self, unit: usize, found: &mut Vec<usize>) {
        for id in self.nodes_of(unit) {
            let users = self.users[id.0 as usize].iter();
            found.extend(users.map(|&user| self.unit(user)).filter(|&user| user != unit));
        }
    }

    /// Makes a group the home of a node that no obstacle keeps from it; what the node needs comes
    /// before the group from now on.
    fn admit(&mut self, group: usize, id: NodeId, home: Option<usize>) -> usize {
        let (inside, from) = self.joined(group, id, home);
        let lowest = self.order.rank(inside[0]).min(self.order.rank(inside[1]));
        let operands = |unit: usize, found: &mut Vec<usize>| self.operands_of(unit, found);
        let waiting = self.order.waiting(from, lowest, |unit| inside.contains(&unit), operands);
        let waiting = waiting.expect("a circle is an obstacle");
        let home = home.map_or(group, |home| self.merge(home, group));
        self.order.move_before(waiting, self.group_unit(home));
        home
    }

    /// Moves the members of `from` to `into`.
    fn merge(&mut self, into: usize, from: usize) -> usize {
        let taken = std::mem::take(&mut self.fusion.groups[from].nodes);
        let reduced = self.fusion.groups[from].reduced;
        let g = &mut self.fusion.groups[into];
        g.nodes.extend(taken);
        g.nodes.sort_unstable();
        g.reduced = g.reduced.or(reduced);
        self.merged[from] = into;
        self.order.join(self.group_unit(into), self.group_unit(from));
        into
    }

    fn finish(mut self) -> Fusion {
        let mut number = vec![None; self.fusion.groups.len()];
        let mut kept = Vec::new();
        for (i, group) in self.fusion.groups.iter().enumerate() {
            if !group.nodes.is_empty() {
                number[i] = Some(kept.len());
                kept.push(group.clone());
            }
        }
        for id in 0..self.fusion.group_of.len() {
            self.fusion.group_of[id] = self.group_of(NodeId(id as u32)).and_then(|g| number[g]);
        }
        self.fusion.groups = kept;
        self.fusion
    }
}

fn others(axes: Axes, rank: usize) -> Axes {
    Axes::new((0..rank).filter(|&axis| !axes.contains(axis)))
}

fn compatible(a: Option<Axes>, b: Option<Axes>) -> bool {
    a.is_none() || b.is_none() || a == b
}

/// Can a node with this wish be a member, dependences aside?
fn fits(group: &Group, space: &Shape, fit: Fit) -> bool {
    let row_shape = |axes: Axes| group.space.reduced(&axes);
    match fit {
        Fit::Element => *space == group.space || group.reduced.is_some_and(|axes| *space == row_shape(axes)),
        Fit::Row(axes) => *space == group.space && compatible(group.reduced, Some(axes)),
        Fit::Accumulated(axes) => {
            let reduced = group.reduced.unwrap_or(others(axes, space.rank()));
            let covers = others(reduced, space.rank()).iter().all(|axis| axes.contains(axis));
            let rest = reduced.iter().filter(|&axis| axes.contains(axis)).count();
            let whole = covers && (rest == 0 || rest == reduced.len());
            *space == group.space && (whole || gathers_few(space, reduced, axes))
        }
    }
}

/// Is a sum over some of a group's parallel and reduced axes small enough that every chunk of
/// rows holds one? Its rows must be neighbours in memory, which vectors run along.
fn gathers_few(space: &Shape, reduced: Axes, axes: Axes) -> bool {
    let crosses = axes.iter().any(|axis| !reduced.contains(axis) && !space[axis].is_one());
    let inner = space.rank().checked_sub(1).is_some_and(|last| reduced.contains(last));
    let few = |n: u64| {
        let enough = space.elements().known().is_none_or(|all| all / WORTH_A_PLACE >= n);
        n <= MAX_PLACES && enough
    };
    crosses && inner && space.reduced(&axes).elements().known().is_some_and(few)
}
