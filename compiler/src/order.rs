//! A topological order that is kept while units grow and join.
//!
//! Invariant: a unit has a higher rank than everything it waits for. A search for a circle hence
//! ends at the rank of the unit that it looks for, so its cost is that of the units between, not
//! of the whole graph. Start at [`Order::waits`]; [`Order::waiting`] finds what may then be put
//! before a unit.
//!
//! Source: Pearce & Kelly 2006, "A Dynamic Topological Sort Algorithm for Directed Acyclic
//! Graphs", which permutes ranks where this order has gaps.

use rustc_hash::FxHashSet as HashSet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Distance between the ranks of neighbours that were appended.
const GAP: u64 = 1 << 32;
/// Distance between the ranks of neighbours that were moved; leaves room for as many moves.
const MOVED_GAP: u64 = 1 << 12;

/// Ranks of units, which are numbers of the caller's choice.
#[derive(Debug, Default)]
pub(crate) struct Order {
    ranks: Vec<u64>,
    units: BTreeMap<u64, usize>,
}

impl Order {
    /// Ranks a new unit after all others.
    pub(crate) fn push(&mut self, unit: usize) {
        let last = self.units.last_key_value().map_or(0, |(&rank, _)| rank);
        self.place(unit, last + GAP);
    }

    fn place(&mut self, unit: usize, rank: u64) {
        if self.ranks.len() <= unit {
            self.ranks.resize(unit + 1, 0);
        }
        self.ranks[unit] = rank;
        self.units.insert(rank, unit);
    }

    /// The rank of a unit; 0 for one without.
    pub(crate) fn rank(&self, unit: usize) -> u64 {
        self.ranks.get(unit).copied().unwrap_or(0)
    }

    /// Lets one unit stand for two: its rank is the lower of both.
    pub(crate) fn join(&mut self, into: usize, from: usize) {
        let (own, other) = (self.ranks[into], self.ranks[from]);
        self.units.remove(&own.max(other));
        self.place(into, own.min(other));
    }

    /// Does one of the units `from` wait for a target? The search goes both ways, `operands` from
    /// the ones and `users` from the others, and ends when either has nothing left.
    pub(crate) fn waits(
        &self,
        from: &[usize],
        targets: &[usize],
        operands: impl Fn(usize, &mut Vec<usize>),
        users: impl Fn(usize, &mut Vec<usize>),
    ) -> bool {
        let rank = |&unit: &usize| self.rank(unit);
        let lowest = targets.iter().map(rank).min().unwrap_or(0);
        let highest = from.iter().map(rank).max().unwrap_or(0);
        let inside = |unit: &usize| (lowest..=highest).contains(&self.rank(*unit));
        let (mut back, mut ahead) = (Frontier::default(), Frontier::default());
        // low ranks first on the one side, high ones on the other: there a circle closes
        let (down, up) = (|unit| !self.rank(unit), |unit| self.rank(unit));
        from.iter().filter(|unit| inside(unit)).for_each(|&unit| back.push(unit, down(unit)));
        targets.iter().for_each(|&unit| ahead.push(unit, up(unit)));
        let mut next = Vec::new();
        loop {
            let Some(unit) = back.queue.pop() else { return false };
            operands(unit.1, &mut next);
            if next.iter().any(|unit| ahead.seen.contains(unit)) {
                return true;
            }
            next.drain(..).filter(inside).for_each(|unit| back.push(unit, down(unit)));
            let Some(unit) = ahead.queue.pop() else { return false };
            users(unit.1, &mut next);
            if next.iter().any(|unit| back.seen.contains(unit)) {
                return true;
            }
            next.drain(..).filter(inside).for_each(|unit| ahead.push(unit, up(unit)));
        }
    }

    /// The units `from` and what they wait for, as far as it ranks after `lowest`; `None` if one of
    /// them waits for a target. No target may rank below `lowest`.
    pub(crate) fn waiting(
        &self,
        from: impl IntoIterator<Item = usize>,
        lowest: u64,
        is_target: impl Fn(usize) -> bool,
        waits_for: impl Fn(usize, &mut Vec<usize>),
    ) -> Option<Vec<usize>> {
        let ranked = |unit: usize| Reverse((self.ranks[unit], unit));
        let above = |unit: &usize| self.ranks[*unit] > lowest;
        // low ranks first: a circle closes there
        let mut queue: BinaryHeap<_> = from.into_iter().filter(above).map(ranked).collect();
        let (mut found, mut seen, mut operands) = (Vec::new(), HashSet::default(), Vec::new());
        while let Some(Reverse((_, unit))) = queue.pop() {
            if !seen.insert(unit) {
                continue;
            }
            found.push(unit);
            waits_for(unit, &mut operands);
            if operands.iter().any(|&operand| is_target(operand)) {
                return None;
            }
            queue.extend(operands.drain(..).filter(above).map(ranked));
        }
        Some(found)
    }

    /// Moves units down to just before a unit that none of them waits for. What they wait for must
    /// rank before that unit, or be moved with them.
    pub(crate) fn move_before(&mut self, mut moved: Vec<usize>, unit: usize) {
        moved.sort_unstable_by_key(|&unit| self.ranks[unit]);
        for moved in &moved {
            self.units.remove(&self.ranks[*moved]);
        }
        let step = match self.step(unit, moved.len()) {
            0 => {
                self.spread();
                self.step(unit, moved.len())
            }
            step => step,
        };
        let before = self.before(unit);
        for (i, moved) in moved.into_iter().enumerate() {
            self.place(moved, before + step * (i as u64 + 1));
        }
    }

    /// The rank before that of a unit.
    fn before(&self, unit: usize) -> u64 {
        self.units.range(..self.ranks[unit]).next_back().map_or(0, |(&rank, _)| rank)
    }

    /// Distance at which so many units fit before a unit; 0 if they do not.
    fn step(&self, unit: usize, count: usize) -> u64 {
        ((self.ranks[unit] - self.before(unit)) / (count as u64 + 1)).min(MOVED_GAP)
    }

    /// Makes room between all neighbours.
    fn spread(&mut self) {
        for (i, (_, unit)) in std::mem::take(&mut self.units).into_iter().enumerate() {
            self.place(unit, (i as u64 + 1) * GAP);
        }
    }
}

/// One side of a search: units by priority, each once.
#[derive(Default)]
struct Frontier {
    queue: BinaryHeap<(u64, usize)>,
    seen: HashSet<usize>,
}

impl Frontier {
    fn push(&mut self, unit: usize, priority: u64) {
        if self.seen.insert(unit) {
            self.queue.push((priority, unit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit `i` waits for the units in row `i`.
    fn waits(rows: &'static [&'static [usize]]) -> impl Fn(usize, &mut Vec<usize>) {
        |unit, operands| operands.extend(rows[unit])
    }

    fn order(count: usize) -> Order {
        let mut order = Order::default();
        (0..count).for_each(|unit| order.push(unit));
        order
    }

    #[test]
    fn a_circle_is_found_through_what_lies_between() {
        let rows = waits(&[&[], &[0], &[1], &[], &[3]]);
        let order = order(5);
        assert_eq!(order.waiting([2], order.rank(0), |unit| unit == 0, &rows), None);
        assert_eq!(order.waiting([4], order.rank(0), |unit| unit == 0, &rows), Some(vec![4, 3]));
        let users = waits(&[&[1], &[2], &[], &[4], &[]]);
        let waits = |unit, target| order.waits(&[unit], &[target], &rows, &users);
        assert_eq!([waits(2, 0), waits(4, 0), waits(4, 3), waits(0, 2)], [true, false, true, false]);
    }

    #[test]
    fn a_search_ends_with_its_shorter_side() {
        // every unit waits for the one before it; nothing waits for unit 0
        let order = order(1000);
        let row = |unit: usize, found: &mut Vec<usize>| found.extend(unit.checked_sub(1).filter(|&u| u > 0));
        assert!(!order.waits(&[999], &[0], row, |_, _| {}));
        let back = |unit: usize, _: &mut Vec<usize>| assert_eq!(unit, 999, "one step is enough");
        assert!(!order.waits(&[999], &[0], back, |_, _| {}));
    }

    #[test]
    fn what_ranks_lower_is_not_searched() {
        let order = order(5);
        let asked = |unit: usize, _: &mut Vec<usize>| assert!(unit > 2, "unit {unit} ranks too low");
        assert_eq!(order.waiting([0, 1, 4], order.rank(2), |unit| unit == 2, asked), Some(vec![4]));
    }

    #[test]
    fn moved_units_keep_their_order_however_often_units_move() {
        let mut order = order(6);
        for _ in 0..100_000 {
            order.move_before(vec![5, 4], 1);
            order.move_before(vec![3], 4);
            order.move_before(vec![4, 3, 5], 2);
        }
        let mut units: Vec<usize> = (0..6).collect();
        units.sort_by_key(|&unit| order.rank(unit));
        assert_eq!(units, [0, 1, 3, 4, 5, 2]);
    }

    #[test]
    fn a_joint_unit_has_the_lower_rank() {
        let mut order = order(3);
        let lowest = order.rank(0);
        order.join(2, 0);
        order.push(3);
        assert_eq!((order.rank(2), order.units.len()), (lowest, 3));
    }
}
