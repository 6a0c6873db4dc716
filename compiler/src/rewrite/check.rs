//! Measures what a rule claims: that it fires where it says, that both sides are equal, and how
//! equal they are.
//!
//! Both sides run in the f64 interpreter on random tensors of several kinds: plain, small
//! integers with zeros, large, tiny, huge, and with infinities and NaN. Operands that a guard
//! asks for are made to satisfy it. Start at [`check`].

use super::cone::{Cone, Constants};
use super::language::{Head, Term};
use super::recipe::Recipe;
use super::region::Region;
use super::rule::{Guard, Rule, RuleError, Tier};
use super::spelling;
use egg::{ENodeOrVar, Id, Pattern, PatternAst, RecExpr, Var};
use evenkeel_ir::eval::eval_nodes;
use evenkeel_ir::op::RandomKind;
use evenkeel_ir::random::fill;
use evenkeel_ir::{DType, GraphBuilder, Literal, Op, Shape, TensorType, Value};
use std::collections::BTreeMap;

/// How often each kind of operands is tried.
const TRIALS: i64 = 10;

/// The space in which rules are tried.
const SPACE: [usize; 3] = [2, 3, 4];

/// Relative to the largest intermediate, in f64.
const ROUNDING: f64 = 1e-12;

/// What was measured about a sound rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The best tier that it satisfies.
    pub tier: Tier,
    /// The largest error, relative to the largest intermediate.
    pub error: f64,
    /// How many samples were compared.
    pub samples: usize,
}

/// Checks one rule.
///
/// # Errors
/// A side that does not parse, an unbound variable, sides of different types, an example that
/// does not fire or a counterexample that does, unequal sides, a tier better than measured.
pub fn check(rule: &Rule) -> Result<Measured, RuleError> {
    rule.compile()?;
    examples(rule)?;
    let measured = measure(rule)?;
    if rule.tier < measured.tier {
        let (declared, measured) = (rule.tier.name(), measured.tier.name());
        return Err(RuleError::Tier { rule: rule.name, declared, measured });
    }
    Ok(measured)
}

/// Inputs of the examples of rules.
const INPUTS: spelling::Inputs = &[("x", &[4, 8]), ("g", &[8]), ("b", &[8])];

fn examples(rule: &Rule) -> Result<(), RuleError> {
    if !fires(rule, rule.example)? {
        return Err(RuleError::Silent { rule: rule.name, example: rule.example });
    }
    if fires(rule, rule.fails_when)? {
        return Err(RuleError::Fires { rule: rule.name, example: rule.fails_when });
    }
    Ok(())
}

/// True when the rule rewrites the root of an expression.
fn fires(rule: &Rule, example: &'static str) -> Result<bool, RuleError> {
    let unreadable = |reason: String| RuleError::Parse { rule: rule.name, side: example, reason };
    let graph = spelling::graph(INPUTS, example).map_err(unreadable)?;
    let mut constants = Constants::default();
    constants.update(&graph);
    let root = graph.outputs()[0].1.node;
    let cone = Cone::above(&graph, &constants, root);
    let region = Region::whole(&graph, &constants, &cone)
        .ok_or_else(|| unreadable("it has no algebra".to_string()))?;
    let (classes, root) = (&region.classes, classes_root(&region));
    let matches = |rewrite: egg::Rewrite<_, _>| {
        let found = rewrite.searcher.search_eclass(classes, root);
        found.is_some_and(|found| found.substs.iter().any(|subst| rule.holds(classes, subst)))
    };
    Ok(rule.compile()?.into_iter().any(matches))
}

fn classes_root(region: &Region) -> Id {
    region.classes.find(region.root())
}

/// One side of a rule as an expression whose leaves are the variables, by place.
fn side(rule: &Rule, text: &'static str, variables: &mut Vec<Var>) -> Result<RecExpr<Term>, RuleError> {
    let pattern: Result<Pattern<Term>, _> = text.parse();
    let parse = |reason: String| RuleError::Parse { rule: rule.name, side: text, reason };
    let ast: PatternAst<Term> = pattern.map_err(|error| parse(error.to_string()))?.ast;
    let mut place = |variable: &Var| {
        let known = variables.iter().position(|v| v == variable);
        known.unwrap_or_else(|| {
            variables.push(*variable);
            variables.len() - 1
        })
    };
    let leaf = |node: &ENodeOrVar<Term>| match node {
        ENodeOrVar::ENode(term) => term.clone(),
        ENodeOrVar::Var(variable) => Term::Leaf(place(variable) as u32),
    };
    Ok(RecExpr::from(ast.as_ref().iter().map(leaf).collect::<Vec<_>>()))
}

/// Variables that stand for axes.
fn axes_of(expression: &RecExpr<Term>) -> Vec<u32> {
    let operand = |term: &Term| match term {
        Term::Apply(Head::Reduce(_) | Head::Composite(..), operands) => Some(operands[0]),
        _ => None,
    };
    let leaf = |id: Id| match expression[id] {
        Term::Leaf(place) => Some(place),
        _ => None,
    };
    expression.as_ref().iter().filter_map(operand).filter_map(leaf).collect()
}

/// Puts axes in the place of the variables that stand for them.
fn over(expression: &RecExpr<Term>, axes: &BTreeMap<u32, u64>) -> RecExpr<Term> {
    let known = |term: &Term| match term {
        Term::Leaf(place) if axes.contains_key(place) => Term::Axes(axes[place]),
        other => other.clone(),
    };
    RecExpr::from(expression.as_ref().iter().map(known).collect::<Vec<_>>())
}

/// Kinds of operands: what becomes of a standard normal sample.
const KINDS: [(bool, fn(usize, f64) -> f64); 7] = [
    (true, |_, x| x),
    (true, |_, x| (2.0 * x).round()),
    (true, |_, x| 300.0 * x),
    (true, |_, x| 1e-9 * x),
    (false, |_, x| 1e160 * x),
    (false, |i, x| if i % 5 == 0 { f64::INFINITY.copysign(x) } else { x }),
    (false, |i, x| if i % 7 == 0 { f64::NAN } else { x }),
];

fn measure(rule: &Rule) -> Result<Measured, RuleError> {
    let mut variables = Vec::new();
    let sides = [side(rule, rule.lhs, &mut variables)?, side(rule, rule.rhs, &mut variables)?];
    let axes_variables: Vec<u32> = sides.iter().flat_map(axes_of).collect();
    let mut measured = Measured { tier: Tier::Exact, error: 0.0, samples: 0 };
    for trial in 0..TRIALS {
        // not empty, and different for variables of different places
        let mask = |place: &u32| (*place, (1 + (trial as u64 + u64::from(*place) * 3) % 7));
        let axes: BTreeMap<u32, u64> = axes_variables.iter().map(mask).collect();
        let expressions = sides.each_ref().map(|side| over(side, &axes));
        let compared = Compared::build(&expressions, variables.len()).ok_or(RuleError::Type {
            rule: rule.name,
            lhs: rule.lhs,
            rhs: rule.rhs,
        })?;
        for (kind, (tame, shape)) in KINDS.iter().enumerate() {
            let operand = |place: usize| operand(rule, &variables, place, trial * 64 + kind as i64, *shape);
            let operands: Vec<Literal> = (0..variables.len()).map(operand).collect();
            compared.run(rule, &operands, *tame, &mut measured)?;
        }
    }
    Ok(measured)
}

/// A random operand that satisfies the guards.
fn operand(rule: &Rule, variables: &[Var], place: usize, seed: i64, shape: fn(usize, f64) -> f64) -> Literal {
    let sample = fill(RandomKind::Normal, place as u64, seed, DType::F64, &SPACE).to_floats();
    let mut values: Vec<f64> = sample.iter().enumerate().map(|(i, &x)| shape(i, x)).collect();
    let name = variables[place].to_string();
    for guard in rule.guards {
        match guard {
            Guard::Nonnegative(variable) if *variable == name => {
                values.iter_mut().for_each(|x| *x = x.abs());
            }
            Guard::Between(variable, low, high) if *variable == name => {
                let inside = values[0].clamp(low.max(-10.0), high.min(10.0));
                let number = if inside.is_nan() { high.min(10.0) } else { inside };
                values.iter_mut().for_each(|x| *x = number);
            }
            _ => {}
        }
    }
    Literal::floats(DType::F64, &SPACE, values)
}

/// Both sides as one graph.
struct Compared {
    graph: evenkeel_ir::Graph,
    sides: [Value; 2],
}

impl Compared {
    fn build(sides: &[RecExpr<Term>; 2], variables: usize) -> Option<Compared> {
        let mut b = GraphBuilder::new();
        let ty = TensorType::new(DType::F64, Shape::of(&SPACE));
        let leaves: Vec<Value> = (0..variables).map(|i| b.input(format!("v{i}"), ty.clone())).collect();
        let mut build = |side: &RecExpr<Term>| {
            let recipe = Recipe::free(side, ty.shape.clone(), DType::F64);
            let value = recipe.value(&mut b, &leaves)?;
            if b.ty(value).shape == ty.shape {
                return Some(value);
            }
            b.apply(Op::Broadcast(ty.shape.clone()), &[value]).ok()
        };
        let sides = [build(&sides[0])?, build(&sides[1])?];
        let same = b.ty(sides[0]) == b.ty(sides[1]);
        same.then(|| Compared { graph: b.finish([]), sides })
    }

    fn run(
        &self,
        rule: &Rule,
        operands: &[Literal],
        tame: bool,
        measured: &mut Measured,
    ) -> Result<(), RuleError> {
        let values = eval_nodes(&self.graph, operands, 1);
        let of = |value: Value| values[value.node.0 as usize][value.result as usize].to_floats();
        let [lhs, rhs] = self.sides.map(of);
        let all = || values.iter().flatten().flat_map(Literal::to_floats);
        let finite = all().all(f64::is_finite);
        let scale = all().filter(|x| x.is_finite()).fold(1e-300, |scale, x| x.abs().max(scale));
        for (place, (&l, &r)) in lhs.iter().zip(&rhs).enumerate() {
            measured.samples += 1;
            let same = l == r || (l.is_nan() && r.is_nan());
            let error = (l - r).abs() / scale;
            let tier = match (same, finite) {
                (true, _) => Tier::Exact,
                (false, false) => Tier::Finite,
                (false, true) if error <= ROUNDING => Tier::Reassociates,
                (false, true) => {
                    let operands = format_operands(operands, place, tame);
                    return Err(RuleError::Unsound { rule: rule.name, operands, lhs: l, rhs: r });
                }
            };
            measured.tier = measured.tier.max(tier);
            if finite {
                measured.error = measured.error.max(error);
            }
        }
        Ok(())
    }
}

fn format_operands(operands: &[Literal], place: usize, tame: bool) -> String {
    let one = |operand: &Literal| format!("{}", operand.float_at(place));
    let values = operands.iter().map(one).collect::<Vec<_>>().join(", ");
    if tame { values } else { format!("{values} (among others)") }
}
