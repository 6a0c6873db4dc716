//! Picks an element of a row before computing with it, where the computing came first.
//!
//! `sum(select(i == r, v, 0))` over the axis of the positions `i` is the element of `v` at
//! `r`, or 0 where the row has none. If `v` is `x - c` with one `c` for the row, that is the
//! picked `x` minus `c`: the same number, and `x` is picked in an earlier sweep over the row
//! than the one that knows `c`. A cross entropy needs two sweeps instead of three.

use evenkeel_ir::{Axes, Binary, DType, Graph, GraphBuilder, IrError, Op, Reduce, Value};

/// The same outputs, with picked elements picked early.
pub(super) fn pick(graph: Graph) -> Graph {
    let iota = |op: &Op| matches!(op, Op::Iota { .. });
    if !graph.nodes().iter().any(|node| iota(&node.op)) {
        return graph;
    }
    graph.rebuilt(apply).expect("the ops of a typed graph").pruned()
}

fn apply(b: &mut GraphBuilder, op: &Op, operands: &[Value]) -> Result<Value, IrError> {
    if let Op::Reduce(Reduce::Sum, axes) = *op
        && let Some(pick) = Pick::of(b.graph(), operands[0], axes)
        && let Some(value) = pick.before(b, operands[0])
    {
        return Ok(value);
    }
    b.apply(op.clone(), operands)
}

/// One element of every row.
pub(crate) struct Pick {
    /// The axis of the rows, counted from the last one.
    pub(crate) from_last: usize,
    axes: Axes,
    /// True at the element.
    mask: Value,
    /// Where it is.
    pub(crate) place: Value,
    /// From what it is picked.
    pub(crate) value: Value,
    zero: Value,
}

impl Pick {
    /// The element that the sum of a selection over these axes is.
    pub(crate) fn of(graph: &Graph, selected: Value, axes: Axes) -> Option<Pick> {
        let axis = axes.iter().next().filter(|_| axes.len() == 1)?;
        let rank = graph.ty(selected).rank();
        let node = graph.node(selected.node);
        let (Op::Select, [mask, value, zero]) = (&node.op, &node.inputs[..]) else { return None };
        let is_zero = matches!(graph.op(*zero), Op::Const(x, _) if x.get() == 0.0);
        let compared = graph.node(mask.node);
        let (Op::Binary(Binary::Eq), [x, y]) = (&compared.op, &compared.inputs[..]) else { return None };
        let counts = |v: Value| {
            let (of, along) = (rank as u8, axis as u8);
            matches!(graph.op(v), Op::Iota { rank, axis, .. } if *rank == of && *axis == along)
        };
        let place = if counts(*x) { *y } else { *x };
        let pick = Pick { from_last: rank - axis, axes, mask: *mask, place, value: *value, zero: *zero };
        let fits = is_zero && (counts(*x) || counts(*y)) && !pick.varies(graph, place);
        fits.then_some(pick)
    }

    /// Does a value differ from element to element of a row?
    fn varies(&self, graph: &Graph, value: Value) -> bool {
        let shape = &graph.ty(value).shape;
        shape.rank().checked_sub(self.from_last).is_some_and(|axis| !shape[axis].is_one())
    }

    /// The sum as a function of an element that is picked from something earlier.
    fn before(&self, b: &mut GraphBuilder, selected: Value) -> Option<Value> {
        let (chain, first) = self.chain(b);
        if chain.is_empty() || !b.ty(first).dtype.is_float() {
            return None;
        }
        let row = b.ty(selected).shape.reduced(&self.axes);
        let mut picked = first;
        if self.varies(b.graph(), first) {
            let alone = b.select(self.mask, first, self.zero);
            picked = b.sum(alone, self.axes);
        }
        for &step in chain.iter().rev() {
            picked = self.step(b, step, picked);
        }
        let (inside, picked) = (self.inside(b, selected), b.broadcast(picked, &row));
        Some(b.select(inside, picked, self.zero))
    }

    /// The ops with one operand that varies along the row, from the last one back, and what
    /// the first of them reads.
    fn chain(&self, b: &GraphBuilder) -> (Vec<Value>, Value) {
        let (mut chain, mut value) = (Vec::new(), self.value);
        while self.varies(b.graph(), value) {
            let node = b.graph().node(value.node);
            let plain = matches!(node.op, Op::Unary(_) | Op::Binary(_) | Op::Broadcast(_));
            let mut varying: Vec<Value> =
                node.inputs.iter().copied().filter(|&v| self.varies(b.graph(), v)).collect();
            varying.dedup();
            let next = match varying[..] {
                [] => node.inputs.first().copied().filter(|_| matches!(node.op, Op::Broadcast(_))),
                [only] => Some(only),
                _ => None,
            };
            let Some(next) = next.filter(|v| plain && b.ty(*v).dtype.is_float()) else { break };
            chain.push(value);
            value = next;
        }
        (chain, value)
    }

    /// An op of the chain on picked elements.
    fn step(&self, b: &mut GraphBuilder, of: Value, picked: Value) -> Value {
        let node = b.graph().node(of.node).clone();
        if matches!(node.op, Op::Broadcast(_)) {
            return picked;
        }
        let operands: Vec<Value> =
            node.inputs.iter().map(|&v| if self.varies(b.graph(), v) { picked } else { v }).collect();
        b.op(node.op, &operands)
    }

    /// Does the row have the element?
    fn inside(&self, b: &mut GraphBuilder, selected: Value) -> Value {
        let shape = &b.ty(selected).shape;
        let extent = shape[shape.rank() - self.from_last];
        let (first, end) = (b.number(self.place, 0.0), b.size(extent, DType::I32));
        let (after, before) =
            (b.binary(Binary::Ge, self.place, first), b.binary(Binary::Lt, self.place, end));
        b.binary(Binary::And, after, before)
    }
}
