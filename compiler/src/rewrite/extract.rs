//! Chooses the cheapest expressions from an e-graph, counting shared parts once.
//!
//! A choice picks one e-node per class. It starts from the e-nodes of the input, so the result is
//! never worse than the input under the model, and from greedy choices; hill climbing then
//! changes one class at a time. Ties keep the earlier choice, so the result is deterministic.
//! Start at [`extract`].

use super::language::{Classes, Term};
use super::model::{Cost, Model, whole};
use egg::{Id, Language, RecExpr};
use rustc_hash::FxHashMap as HashMap;
use smallvec::SmallVec;
use std::cell::RefCell;

/// Chosen expressions.
#[derive(Clone, Debug)]
pub(crate) struct Extracted {
    /// What was chosen, operands first.
    pub(crate) expression: RecExpr<Term>,
    /// Where each root is.
    pub(crate) roots: Vec<Id>,
    /// Cost of the input.
    pub(crate) before: f64,
    /// Cost of what was chosen, at most as much.
    pub(crate) after: f64,
}

/// The cheapest expressions of the roots; `input` holds the roots as written.
pub(crate) fn extract(
    classes: &Classes,
    input: &RecExpr<Term>,
    roots: &[Id],
    model: &dyn Model,
) -> Extracted {
    let search = Search::new(classes, roots, model);
    let written = search.written(classes, input);
    let before = as_written(classes, input, model);
    let weights: &[f64] = if model.sweep() == 0.0 { &[0.0] } else { &[0.0, 0.3, 5.0] };
    let greedy: Vec<Choice> = weights.iter().map(|weight| search.greedy(*weight)).collect();
    let mut starts = vec![search.filled(&written, &greedy[0])];
    starts.extend(greedy);
    let mut best = (written, f64::INFINITY);
    let mut seen: Vec<f64> = Vec::new();
    for start in starts {
        let mut climbed = search.climb(start);
        if !seen.contains(&climbed.1) {
            seen.push(climbed.1);
            search.reroute_all(&mut climbed);
        }
        if climbed.1 < best.1 - 1e-9 {
            best = climbed;
        }
    }
    let (expression, roots) = search.listing(&best.0);
    Extracted { expression, roots, before, after: best.1 }
}

/// Cost of the input, before equal parts meet.
fn as_written(classes: &Classes, input: &RecExpr<Term>, model: &dyn Model) -> f64 {
    let mut known: Vec<(Id, u32)> = Vec::new();
    let mut sum = Cost::default();
    for term in input.as_ref() {
        let sweeps = term.children().iter().map(|id| known[usize::from(*id)].1).max().unwrap_or(0);
        let term = term.clone().map_children(|id| known[usize::from(id)].0);
        let id = classes.lookup(term.clone()).expect("the input is in the e-graph");
        sum.add(model.cost(classes, id, &term));
        known.push((id, sweeps + model.sweeps(&term)));
    }
    whole(sum, model.transfers())
        + model.sweep() * f64::from(known.iter().map(|(_, sweeps)| *sweeps).max().unwrap_or(0))
}

/// Instead of a candidate, for what others need anyway.
const GIVEN: u32 = u32::MAX;

/// How many ways to compute a class are tried at a time.
const WAYS: usize = 3;

/// An e-node with its operands as dense numbers.
struct Candidate {
    term: Term,
    cost: Cost,
    sweeps: u32,
    operands: SmallVec<[u32; 4]>,
}

/// For every class the number of the chosen candidate.
type Choice = Vec<Option<u32>>;

/// The classes of an e-graph as dense numbers.
struct Search {
    candidates: Vec<Vec<Candidate>>,
    roots: Vec<u32>,
    /// Cost of a sweep over the row.
    sweep: f64,
    /// Cost of memory.
    transfers: f64,
    /// Scratch of [`Search::total`].
    states: RefCell<Vec<State>>,
}

impl Search {
    fn new(classes: &Classes, roots: &[Id], model: &dyn Model) -> Search {
        let mut ids: Vec<Id> = classes.classes().map(|class| class.id).collect();
        ids.sort();
        let number: HashMap<Id, u32> = ids.iter().enumerate().map(|(i, id)| (*id, i as u32)).collect();
        let candidate = |class: Id, term: &Term| Candidate {
            cost: model.cost(classes, class, term),
            sweeps: model.sweeps(term),
            operands: term.children().iter().map(|id| number[&classes.find(*id)]).collect(),
            term: term.clone().map_children(|id| classes.find(id)),
        };
        let of_class =
            |id: &Id| -> Vec<Candidate> { classes[*id].nodes.iter().map(|n| candidate(*id, n)).collect() };
        let roots = roots.iter().map(|id| number[&classes.find(*id)]).collect();
        Search {
            candidates: ids.iter().map(of_class).collect(),
            roots,
            sweep: model.sweep(),
            transfers: model.transfers(),
            states: RefCell::default(),
        }
    }

    fn len(&self) -> usize {
        self.candidates.len()
    }

    /// The choice that the input makes.
    fn written(&self, classes: &Classes, input: &RecExpr<Term>) -> Choice {
        let mut choice: Choice = vec![None; self.len()];
        let known: HashMap<&Term, (u32, u32)> = self
            .candidates
            .iter()
            .enumerate()
            .flat_map(|(class, all)| {
                all.iter().enumerate().map(move |(i, c)| (&c.term, (class as u32, i as u32)))
            })
            .collect();
        let mut ids: Vec<Id> = Vec::new();
        for term in input.as_ref() {
            let term = term.clone().map_children(|id| ids[usize::from(id)]);
            let id = classes.lookup(term.clone()).expect("the input is in the e-graph");
            ids.push(id);
            let canonical = term.map_children(|id| classes.find(id));
            if let Some(&(class, candidate)) = known.get(&canonical) {
                choice[class as usize].get_or_insert(candidate);
            }
        }
        choice
    }

    /// The first choice where it chooses, else the second.
    fn filled(&self, first: &Choice, second: &Choice) -> Choice {
        first.iter().zip(second).map(|(a, b)| a.or(*b)).collect()
    }

    /// Gives every class the candidate that needs the cheapest set of classes; a sweep costs
    /// `weight` more than under the model.
    fn greedy(&self, weight: f64) -> Choice {
        let mut best: Vec<Option<Bundle>> = (0..self.len()).map(|_| None).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for class in 0..self.len() {
                for (place, candidate) in self.candidates[class].iter().enumerate() {
                    let Some(bundle) = self.bundle(&best, class, place, candidate) else { continue };
                    let cost = |b: &Bundle| b.cost + (weight + self.sweep) * f64::from(b.sweeps);
                    if best[class].as_ref().is_none_or(|known| cost(&bundle) < cost(known) - 1e-9) {
                        best[class] = Some(bundle);
                        changed = true;
                    }
                }
            }
        }
        best.into_iter().map(|bundle| bundle.map(|b| b.candidate)).collect()
    }

    fn bundle(
        &self,
        best: &[Option<Bundle>],
        class: usize,
        place: usize,
        candidate: &Candidate,
    ) -> Option<Bundle> {
        let mut members = vec![0u64; self.len().div_ceil(64)];
        let mut sweeps = 0;
        for &operand in &candidate.operands {
            let known = best[operand as usize].as_ref()?;
            members.iter_mut().zip(&known.members).for_each(|(a, b)| *a |= b);
            sweeps = sweeps.max(known.sweeps);
        }
        if members[class / 64] >> (class % 64) & 1 == 1 {
            return None;
        }
        let cost_of = |member: usize| {
            let own = best[member].as_ref()?;
            Some(self.candidates[member][own.candidate as usize].cost.sum())
        };
        let cost: f64 = ones(&members).filter_map(cost_of).sum::<f64>() + candidate.cost.sum();
        members[class / 64] |= 1 << (class % 64);
        Some(Bundle { cost, sweeps: sweeps + candidate.sweeps, candidate: place as u32, members })
    }

    /// Cost of everything that the roots need, shared parts once; none for a cycle or a gap.
    fn total(&self, choice: &Choice) -> Option<f64> {
        let mut state = self.states.borrow_mut();
        state.clear();
        state.resize(self.len(), State::New);
        let (mut sum, mut sweeps) = (Cost::default(), 0);
        for &root in &self.roots {
            sweeps = sweeps.max(self.visit(choice, root, &mut state, &mut sum)?);
        }
        Some(whole(sum, self.transfers) + self.sweep * f64::from(sweeps))
    }

    /// Adds what a class needs; gives its number of sweeps.
    fn visit(&self, choice: &Choice, class: u32, state: &mut [State], sum: &mut Cost) -> Option<u32> {
        match state[class as usize] {
            State::Done(sweeps) => return Some(sweeps),
            State::Open => return None,
            State::New => {}
        }
        state[class as usize] = State::Open;
        let candidate = &self.candidates[class as usize][choice[class as usize]? as usize];
        let mut sweeps = 0;
        for &operand in &candidate.operands {
            sweeps = sweeps.max(self.visit(choice, operand, state, sum)?);
        }
        sum.add(candidate.cost);
        sweeps += candidate.sweeps;
        state[class as usize] = State::Done(sweeps);
        Some(sweeps)
    }

    /// Classes that the roots need, in order.
    fn live(&self, choice: &Choice) -> Vec<u32> {
        let mut live = vec![false; self.len()];
        let mut pending = self.roots.clone();
        while let Some(class) = pending.pop() {
            if std::mem::replace(&mut live[class as usize], true) {
                continue;
            }
            if let Some(candidate) = choice[class as usize] {
                pending.extend(&self.candidates[class as usize][candidate as usize].operands);
            }
        }
        (0..self.len() as u32).filter(|&class| live[class as usize]).collect()
    }

    /// Changes one class at a time as long as that makes the whole cheaper.
    fn climb(&self, mut choice: Choice) -> (Choice, f64) {
        let mut best = self.total(&choice).unwrap_or(f64::INFINITY);
        loop {
            let before = best;
            for class in self.live(&choice) {
                for candidate in 0..self.candidates[class as usize].len() as u32 {
                    let old = choice[class as usize].replace(candidate);
                    match self.total(&choice) {
                        Some(sum) if sum < best - 1e-9 => best = sum,
                        _ => choice[class as usize] = old,
                    }
                }
            }
            if best == before {
                return (choice, best);
            }
        }
    }

    /// Reroutes one class at a time as long as that makes the whole cheaper.
    fn reroute_all(&self, (choice, best): &mut (Choice, f64)) {
        loop {
            let before = *best;
            for class in self.live(choice) {
                self.reroute(class, choice, best);
            }
            if *best == before {
                return;
            }
        }
    }

    /// Changes how one class and what only it needs are computed, given what others need anyway.
    fn reroute(&self, class: u32, choice: &mut Choice, best: &mut f64) {
        let given = self.live_without(choice, class);
        let cheapest = self.marginal(&given, class);
        let cost = |candidate: &Candidate| -> Option<f64> {
            let operands = candidate.operands.iter().map(|&o| Some(cheapest[o as usize]?.0));
            Some(operands.sum::<Option<f64>>()? + candidate.cost.sum())
        };
        let mut ways: Vec<(f64, usize)> = self.candidates[class as usize]
            .iter()
            .enumerate()
            .filter_map(|(place, candidate)| Some((cost(candidate)?, place)))
            .collect();
        ways.sort_by(|a, b| a.0.total_cmp(&b.0));
        for &(_, place) in ways.iter().take(WAYS) {
            let changed = self.routed(choice, class, place as u32, &cheapest);
            if let Some(sum) = self.total(&changed).filter(|sum| *sum < *best - 1e-9) {
                (*choice, *best) = (changed, sum);
                return;
            }
        }
    }

    /// The choice in which a class is computed this way and what it needs as cheaply as can be.
    fn routed(&self, choice: &Choice, class: u32, place: u32, cheapest: &[Option<(f64, u32)>]) -> Choice {
        let mut routed = choice.clone();
        let mut done = vec![false; self.len()];
        let mut pending = vec![(class, place)];
        while let Some((class, way)) = pending.pop() {
            if way == GIVEN || std::mem::replace(&mut done[class as usize], true) {
                continue;
            }
            routed[class as usize] = Some(way);
            let operands = &self.candidates[class as usize][way as usize].operands;
            pending.extend(operands.iter().filter_map(|&o| Some((o, cheapest[o as usize]?.1))));
        }
        routed
    }

    /// What the roots need when one class needs nothing, apart from what needs that class.
    fn live_without(&self, choice: &Choice, class: u32) -> Vec<bool> {
        let mut cut = choice.clone();
        cut[class as usize] = None;
        let mut needs: Vec<Option<bool>> = vec![None; self.len()];
        needs[class as usize] = Some(true);
        let mut given = vec![false; self.len()];
        for other in self.live(&cut) {
            given[other as usize] = !self.needs(&cut, other, &mut needs);
        }
        given
    }

    /// True when a class needs one that is known to.
    fn needs(&self, choice: &Choice, class: u32, known: &mut [Option<bool>]) -> bool {
        if let Some(known) = known[class as usize] {
            return known;
        }
        known[class as usize] = Some(false);
        let way = choice[class as usize].map(|way| &self.candidates[class as usize][way as usize]);
        let found = way.is_some_and(|way| way.operands.iter().any(|&o| self.needs(choice, o, known)));
        known[class as usize] = Some(found);
        found
    }

    /// Cheapest cost of every class, where what is given is free, and the candidate; none for the
    /// class itself.
    fn marginal(&self, given: &[bool], class: u32) -> Vec<Option<(f64, u32)>> {
        let mut cheapest: Vec<Option<(f64, u32)>> =
            given.iter().map(|given| given.then_some((0.0, GIVEN))).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for (place, candidates) in self.candidates.iter().enumerate() {
                if given[place] || place == class as usize {
                    continue;
                }
                for (way, candidate) in candidates.iter().enumerate() {
                    let operands = candidate.operands.iter().map(|&o| Some(cheapest[o as usize]?.0));
                    let Some(sum) = operands.sum::<Option<f64>>().map(|sum| sum + candidate.cost.sum())
                    else {
                        continue;
                    };
                    if cheapest[place].is_none_or(|(known, _)| sum < known - 1e-12) {
                        cheapest[place] = Some((sum, way as u32));
                        changed = true;
                    }
                }
            }
        }
        cheapest
    }

    /// The chosen terms that the roots need, operands first, and where the roots are.
    fn listing(&self, choice: &Choice) -> (RecExpr<Term>, Vec<Id>) {
        let mut places: HashMap<u32, Id> = HashMap::default();
        let mut expression = RecExpr::default();
        let roots = self.roots.iter().map(|&root| self.place(choice, root, &mut places, &mut expression));
        let roots = roots.collect();
        (expression, roots)
    }

    fn place(
        &self,
        choice: &Choice,
        class: u32,
        places: &mut HashMap<u32, Id>,
        expression: &mut RecExpr<Term>,
    ) -> Id {
        if let Some(&known) = places.get(&class) {
            return known;
        }
        let candidate = choice[class as usize].expect("what is needed is chosen");
        let Candidate { term, operands, .. } = &self.candidates[class as usize][candidate as usize];
        let mut term = term.clone();
        for (child, &operand) in term.children_mut().iter_mut().zip(operands) {
            *child = self.place(choice, operand, places, expression);
        }
        let id = expression.add(term);
        places.insert(class, id);
        id
    }
}

/// What a class costs with everything it needs.
struct Bundle {
    cost: f64,
    sweeps: u32,
    candidate: u32,
    /// The classes it needs, one bit each.
    members: Vec<u64>,
}

/// How far the visit of a class is.
#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    Done(u32),
}

/// Numbers of the bits that are set.
fn ones(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(i, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                i * 64 + bit
            })
        })
    })
}
