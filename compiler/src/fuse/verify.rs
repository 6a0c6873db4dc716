//! What must hold of every [`Fusion`], checked after fusion where debug assertions are on.
//!
//! The checks know the rules of groups and stored values, not how [`grow`](super::grow) and
//! [`store`](super::store) arrive at them.

use super::{Class, Fusion, Group, ReductionKind};
use crate::lower::view::dense_base;
use evenkeel_ir::{Axes, Graph, NodeId, Op, Value};

impl Fusion {
    /// Checks the invariants of this module; the text says what is broken.
    ///
    /// # Errors
    /// The first violation.
    pub fn verify(&self, graph: &Graph) -> Result<(), String> {
        self.members_are_known(graph)?;
        for (number, group) in self.groups.iter().enumerate() {
            for &id in &group.nodes {
                let fault = self.misfit(graph, group, id).or_else(|| self.early_sum(graph, number, id));
                fault.map_or(Ok(()), |fault| Err(format!("group {number}, {}: {fault}", name(graph, id))))?;
            }
        }
        self.no_cycle(graph)?;
        self.stores_suffice(graph)
    }

    /// Compute nodes are in one group each, in topological order; other nodes are in none.
    fn members_are_known(&self, graph: &Graph) -> Result<(), String> {
        let mut home = vec![None; graph.nodes().len()];
        for (number, group) in self.groups.iter().enumerate() {
            if !group.nodes.is_sorted() {
                return Err(format!("group {number} is not in topological order"));
            }
            for &id in &group.nodes {
                if let Some(other) = home[id.0 as usize].replace(number) {
                    return Err(format!("{} is in groups {other} and {number}", name(graph, id)));
                }
            }
        }
        for (id, _) in graph.iter() {
            let (found, class) = (home[id.0 as usize], self.classes[id.0 as usize]);
            if found != self.group_of[id.0 as usize] || found.is_some() != class.is_compute() {
                let told = self.group_of[id.0 as usize];
                return Err(format!("{} ({class:?}) is in {found:?}, noted as {told:?}", name(graph, id)));
            }
        }
        Ok(())
    }

    /// Why a node has no place in the index space of its group.
    fn misfit(&self, graph: &Graph, group: &Group, id: NodeId) -> Option<String> {
        let node = graph.node(id);
        let rows = group.reduced.map(|axes| group.space.reduced(&axes));
        let Op::Reduce(_, axes) = node.op else {
            let shape = &node.types[0].shape;
            let fits = *shape == group.space || rows.as_ref() == Some(shape);
            return (!fits).then(|| format!("shape {shape} in the space {}", group.space));
        };
        let shape = &graph.ty(node.inputs[0]).shape;
        if *shape != group.space {
            return Some(format!("reduces {shape} in the space {}", group.space));
        }
        match self.reductions[id.0 as usize] {
            Some(ReductionKind::Row) if group.reduced != Some(axes) => {
                Some(format!("reduces {axes} as rows of a group that reduces {:?}", group.reduced))
            }
            Some(ReductionKind::Accumulated) if axes == Axes::NONE => Some("sums over no axes".into()),
            Some(_) => None,
            None => Some("a reduction of no kind".into()),
        }
    }

    /// A sum over rows is complete only when its kernel ends: no member of its group reads it.
    fn early_sum(&self, graph: &Graph, number: usize, id: NodeId) -> Option<String> {
        let early = |value: &&Value| {
            let i = value.node.0 as usize;
            self.reductions[i] == Some(ReductionKind::Accumulated) && self.group_of[i] == Some(number)
        };
        let input = graph.node(id).inputs.iter().find(early)?;
        Some(format!("reads {}, a sum over rows of its own group", name(graph, input.node)))
    }

    /// Groups and the nodes outside them can be put in an order in which nothing is read before
    /// it is computed.
    fn no_cycle(&self, graph: &Graph) -> Result<(), String> {
        let nodes = graph.nodes().len();
        let unit = |id: NodeId| self.group_of[id.0 as usize].map_or(id.0 as usize, |group| nodes + group);
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes + self.groups.len()];
        let mut waits_for = vec![0usize; readers.len()];
        for (id, node) in graph.iter() {
            for input in node.inputs.iter().filter(|input| unit(input.node) != unit(id)) {
                readers[unit(input.node)].push(unit(id));
                waits_for[unit(id)] += 1;
            }
        }
        let mut ready: Vec<usize> = (0..readers.len()).filter(|&unit| waits_for[unit] == 0).collect();
        let mut ordered = 0;
        while let Some(next) = ready.pop() {
            ordered += 1;
            for &reader in &readers[next] {
                waits_for[reader] -= 1;
                if waits_for[reader] == 0 {
                    ready.push(reader);
                }
            }
        }
        match (nodes..readers.len()).find(|&unit| waits_for[unit] > 0) {
            Some(unit) => Err(format!("group {} waits for itself", unit - nodes)),
            None if ordered < readers.len() => Err("nodes outside groups wait for themselves".into()),
            None => Ok(()),
        }
    }

    /// Outputs and what kernels cannot compute again are stored, and every kernel can compute the
    /// rest from what is stored.
    fn stores_suffice(&self, graph: &Graph) -> Result<(), String> {
        for (label, value) in graph.outputs() {
            let base = dense_base(graph, *value);
            if !self.stored[base.0 as usize] {
                return Err(format!("output {label}: {} is not stored", name(graph, base)));
            }
        }
        for (id, node) in graph.iter() {
            let i = id.0 as usize;
            let own_step = matches!(self.classes[i], Class::Input | Class::Barrier);
            if (own_step || self.reductions[i] == Some(ReductionKind::Accumulated)) && !self.stored[i] {
                return Err(format!("{} is not stored", name(graph, id)));
            }
            let foreign = |value: &&Value| self.group_of[value.node.0 as usize] != self.group_of[i];
            if let Some(input) = node.inputs.iter().filter(foreign).find(|v| !self.can_be_read(graph, v.node))
            {
                return Err(format!(
                    "{} cannot compute {} again, which is not stored",
                    name(graph, id),
                    name(graph, input.node)
                ));
            }
        }
        Ok(())
    }

    /// Is a value stored, or computed in any kernel from values that are?
    fn can_be_read(&self, graph: &Graph, id: NodeId) -> bool {
        let (mut queue, mut seen) = (vec![id], std::collections::HashSet::new());
        while let Some(next) = queue.pop() {
            let class = self.classes[next.0 as usize];
            if self.stored[next.0 as usize] || class == Class::Uniform || !seen.insert(next) {
                continue;
            }
            if matches!(class, Class::Reduction | Class::Barrier | Class::Input) {
                return false;
            }
            queue.extend(graph.node(next).inputs.iter().map(|input| input.node));
        }
        true
    }
}

fn name(graph: &Graph, id: NodeId) -> String {
    format!("v{} = {}", id.0, graph.node(id).op.name())
}
