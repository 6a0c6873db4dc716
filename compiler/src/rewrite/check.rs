//! Measures what a rule claims: that it fires where it says, that both sides are equal, and how
//! equal they are.
//!
//! Both sides run in the f64 interpreter on random tensors of several kinds: plain, small
//! integers with zeros, large, tiny, positive, huge, and with infinities and NaN. Operands that a
//! guard asks for are made to satisfy it. Start at [`check_rules`].

use super::cone::{Cone, Constants};
use super::language::{Head, Term};
use super::recipe::Recipe;
use super::region::Region;
use super::rule::{Guard, Rule, RuleError, Tier};
use super::spelling;
use egg::{ENodeOrVar, Id, PatternAst, RecExpr, Var};
use evenkeel_ir::eval::eval_nodes;
use evenkeel_ir::op::{Binary, RandomKind, Unary};
use evenkeel_ir::random::fill;
use evenkeel_ir::{DType, GraphBuilder, Literal, Op, Shape, TensorType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

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
    /// Those among which all was finite.
    pub finite: usize,
}

/// Checks rules, those of the compiler or of a user: what a test of them asserts.
///
/// # Errors
/// The first thing that [`check`] finds, and names that two rules share.
///
/// # Examples
/// ```
/// use evenkeel_compiler::rewrite::check::check_rules;
/// use evenkeel_compiler::rewrite::rule::{Tier, rule};
///
/// let larger = rule("select-larger", "(select (gt ?x ?y) ?x ?y)", "(max ?x ?y)").finite()
///     .example("(select (gt x g) x g)")
///     .fails_when("(select (gt x g) g x)");
/// assert_eq!(check_rules(&[larger])?[0].tier, Tier::Finite);
/// let wrong = check_rules(&[larger.exact()]).unwrap_err();
/// assert_eq!(wrong.to_string(), "rule select-larger: declared exact, measured finite");
/// # Ok::<(), evenkeel_compiler::rewrite::rule::RuleError>(())
/// ```
pub fn check_rules(rules: &[Rule]) -> Result<Vec<Measured>, RuleError> {
    let mut names = BTreeSet::new();
    if let Some(twice) = rules.iter().find(|rule| !names.insert(rule.name)) {
        return Err(RuleError::Duplicate { rule: twice.name });
    }
    rules.iter().map(check).collect()
}

/// Checks one rule.
///
/// # Errors
/// A side that does not parse, an unbound variable, sides of different types, an example that
/// does not fire or a counterexample that does, unequal sides, a tier better than measured.
pub fn check(rule: &Rule) -> Result<Measured, RuleError> {
    rule.compile()?;
    let measured = measure(rule)?;
    examples(rule)?;
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
    let graph = spelling::graph(INPUTS, example).map_err(|reason| rule.unreadable(example, reason))?;
    let mut constants = Constants::default();
    constants.update(&graph);
    let root = graph.outputs()[0].1.node;
    let cone = Cone::across(&graph, &constants, root);
    let region = Region::whole(&graph, &constants, &cone)
        .ok_or_else(|| rule.unreadable(example, "it has no algebra"))?;
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
    let ast: PatternAst<Term> = rule.side(text)?.ast;
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

/// Variables among these operands of ops.
fn variables_at(expression: &RecExpr<Term>, operands: fn(Head) -> Range<usize>) -> Vec<u32> {
    let of = |term: &Term| match term {
        Term::Apply(head, all) => all[operands(*head)].to_vec(),
        _ => Vec::new(),
    };
    let leaf = |id: Id| match expression[id] {
        Term::Leaf(place) => Some(place),
        _ => None,
    };
    expression.as_ref().iter().flat_map(of).filter_map(leaf).collect()
}

/// Operands that are axes.
fn axes_operands(head: Head) -> Range<usize> {
    match head {
        Head::Reduce(_) | Head::Composite(..) => 0..1,
        _ => 0..0,
    }
}

/// Operands that are truth values.
fn truth_operands(head: Head) -> Range<usize> {
    match head {
        Head::Select | Head::Indicator | Head::Unary(Unary::Not) => 0..1,
        Head::Binary(Binary::And | Binary::Or) => 0..2,
        _ => 0..0,
    }
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
const KINDS: [(bool, fn(usize, f64) -> f64); 9] = [
    (true, |_, x| x),
    (true, |_, x| (2.0 * x).round()),
    (true, |_, x| 300.0 * x),
    (true, |_, x| 1e-9 * x),
    (true, |_, x| 0.1 + x.abs()),
    (true, |_, x| x.abs() / (1.0 + x.abs())),
    (false, |_, x| 1e160 * x),
    (false, |i, x| if i % 5 == 0 { f64::INFINITY.copysign(x) } else { x }),
    (false, |i, x| if i % 7 == 0 { f64::NAN } else { x }),
];

fn measure(rule: &Rule) -> Result<Measured, RuleError> {
    let mut variables = Vec::new();
    let sides = [side(rule, rule.lhs, &mut variables)?, side(rule, rule.rhs, &mut variables)?];
    let at = |operands| sides.iter().flat_map(|side| variables_at(side, operands)).collect::<Vec<u32>>();
    let (axes_variables, truths) = (at(axes_operands), at(truth_operands));
    let types: Vec<DType> = (0..variables.len() as u32)
        .map(|place| if truths.contains(&place) { DType::Bool } else { DType::F64 })
        .collect();
    let mut measured = Measured { tier: Tier::Exact, error: 0.0, samples: 0, finite: 0 };
    for trial in 0..TRIALS {
        // not empty, and different for variables of different places
        let mask = |place: &u32| (*place, (1 + (trial as u64 + u64::from(*place) * 3) % 7));
        let axes: BTreeMap<u32, u64> = axes_variables.iter().map(mask).collect();
        let expressions = sides.each_ref().map(|side| over(side, &axes));
        let (lhs, rhs) = (rule.lhs, rule.rhs);
        let compared = Compared::build(&expressions, &types);
        let graph = compared.ok_or(RuleError::Type { rule: rule.name, lhs, rhs })?;
        for (kind, (tame, shape)) in KINDS.iter().enumerate() {
            let operand = |place: usize| {
                operand(rule, &variables, (place, types[place]), trial * 64 + kind as i64, *shape)
            };
            let operands: Vec<Literal> = (0..variables.len()).map(operand).collect();
            let sample =
                Sample { rule, variables: &variables, axes: &axes, operands: &operands, tame: *tame };
            graph.run(&sample, &mut measured)?;
        }
    }
    match measured.finite {
        0 => Err(RuleError::Unmeasured { rule: rule.name, lhs: rule.lhs, rhs: rule.rhs }),
        _ => Ok(measured),
    }
}

/// Operands on which both sides are compared.
struct Sample<'a> {
    rule: &'a Rule,
    variables: &'a [Var],
    axes: &'a BTreeMap<u32, u64>,
    operands: &'a [Literal],
    /// Each element stands for itself: no neighbor is special.
    tame: bool,
}

impl Sample<'_> {
    /// How far two values are apart, if that is allowed.
    fn compare(&self, place: usize, (l, r): (f64, f64), scale: f64, finite: bool) -> Result<Tier, RuleError> {
        let error = (l - r).abs() / scale;
        if l == r || (l.is_nan() && r.is_nan()) {
            Ok(Tier::Exact)
        } else if !finite {
            Ok(Tier::Finite)
        } else if error <= ROUNDING {
            Ok(Tier::Reassociates)
        } else if error <= self.rule.bound {
            Ok(Tier::Approximate)
        } else {
            Err(RuleError::Unsound { rule: self.rule.name, operands: self.at(place), lhs: l, rhs: r })
        }
    }

    /// The operands at an element, in words.
    fn at(&self, place: usize) -> String {
        let one = |(number, variable): (usize, &Var)| match self.axes.get(&(number as u32)) {
            Some(mask) => format!("{variable} = axes {mask:b}"),
            None => format!("{variable} = {:?}", self.operands[number].float_at(place)),
        };
        let values = self.variables.iter().enumerate().map(one).collect::<Vec<_>>().join(", ");
        if self.tame && self.axes.is_empty() { values } else { format!("{values} (among others)") }
    }
}

/// A random operand that satisfies the guards.
fn operand(
    rule: &Rule,
    variables: &[Var],
    (place, dtype): (usize, DType),
    seed: i64,
    shape: fn(usize, f64) -> f64,
) -> Literal {
    let sample = fill(RandomKind::Normal, place as u64, seed, DType::F64, &SPACE).to_floats();
    if dtype == DType::Bool {
        let truths = sample.iter().map(|x| i64::from(*x > 0.0)).collect();
        return Literal::ints(DType::Bool, &SPACE, truths);
    }
    // what is special of one variable meets all of another
    let shift = place * (seed / 64) as usize;
    let mut values: Vec<f64> = sample.iter().enumerate().map(|(i, &x)| shape(i + shift, x)).collect();
    let name = variables[place].to_string();
    for guard in rule.guards {
        match guard {
            Guard::Nonnegative(variable) if *variable == name => {
                values.iter_mut().for_each(|x| *x = x.abs());
            }
            Guard::Between(variable, low, high) if *variable == name => {
                let inside = values[0].clamp(low.max(-1e3), high.min(1e3));
                let number = if inside.is_nan() { high.min(1e3) } else { inside };
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
    fn build(sides: &[RecExpr<Term>; 2], types: &[DType]) -> Option<Compared> {
        let mut b = GraphBuilder::new();
        let shape = Shape::of(&SPACE);
        let leaf = |(i, ty): (usize, &DType)| b.input(format!("v{i}"), TensorType::new(*ty, shape.clone()));
        let leaves: Vec<Value> = types.iter().enumerate().map(leaf).collect();
        let mut build = |side: &RecExpr<Term>| {
            let recipe = Recipe::free(side, shape.clone(), DType::F64);
            let value = recipe.value(&mut b, &leaves)?;
            if b.ty(value).shape == shape {
                return Some(value);
            }
            b.apply(Op::Broadcast(shape.clone()), &[value]).ok()
        };
        let sides = [build(&sides[0])?, build(&sides[1])?];
        let same = b.ty(sides[0]) == b.ty(sides[1]);
        same.then(|| Compared { graph: b.finish([]), sides })
    }

    fn run(&self, sample: &Sample<'_>, measured: &mut Measured) -> Result<(), RuleError> {
        let values = eval_nodes(&self.graph, sample.operands, 1);
        let of = |value: Value| values[value.node.0 as usize][value.result as usize].to_floats();
        let [lhs, rhs] = self.sides.map(of);
        let all = || values.iter().flatten().flat_map(Literal::to_floats);
        let finite = all().all(f64::is_finite);
        let scale = all().filter(|x| x.is_finite()).fold(1e-300, |scale, x| x.abs().max(scale));
        for (place, (&l, &r)) in lhs.iter().zip(&rhs).enumerate() {
            measured.samples += 1;
            measured.tier = measured.tier.max(sample.compare(place, (l, r), scale, finite)?);
            if finite {
                measured.finite += 1;
                measured.error = measured.error.max((l - r).abs() / scale);
            }
        }
        Ok(())
    }
}
