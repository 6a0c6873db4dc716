//! Rewrite rules as data, and how egg runs them.
//!
//! Ring, power, exponential and linear-reduction identities are never rules: the normal form owns
//! them. A rule is a fact, a case split, a clamp or a cast. Operands of commuting ops match in
//! either order. The rows are in [`super::rules`]; `check` measures what they claim.

use super::language::{Classes, Facts, Head, Meaning, Term};
use egg::{ENodeOrVar, Id, Language, Pattern, PatternAst, RecExpr, Rewrite, Subst, Var};
use evenkeel_ir::DType;
use std::fmt;

/// How far the two sides of a rule may differ in floating point; the largest tier that a
/// compilation allows is its float contract.
///
/// * `Exact`: what runs is what was written, step by step. Nothing is recognized or factored.
/// * `Reassociates`: sums and products may be reordered and factored; hazards stay where they were
///   written (a variance in one pass, an exponential without a shift) and are added nowhere.
/// * `Finite`, the default: spellings become the named ops that they mean, which repairs hazards;
///   none is added.
/// * `Approximate`: rules may approximate, and the cheapest form wins even where it loses digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Bit for bit, NaN and infinities included.
    Exact,
    /// Up to rounding of reordered arithmetic.
    Reassociates,
    /// Equal unless an operand or a step of either side is NaN, infinite or overflows.
    #[default]
    Finite,
    /// Up to a stated approximation.
    Approximate,
}

/// Beyond so many commuting ops a rule has too many orders.
const COMMUTING: usize = 8;

impl Tier {
    /// Its name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Exact => "exact",
            Tier::Reassociates => "reassociates",
            Tier::Finite => "finite",
            Tier::Approximate => "approximate",
        }
    }
}

/// A condition on what a pattern variable was bound to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Guard {
    /// The value is never negative.
    Nonnegative(&'static str),
    /// The value is a constant in this closed interval.
    Between(&'static str, f64, f64),
}

/// The value bound to `variable` is never negative.
pub const fn nonnegative(variable: &'static str) -> Guard {
    Guard::Nonnegative(variable)
}

/// The value bound to `variable` is a constant of at least `low` and at most `high`.
pub const fn between(variable: &'static str, low: f64, high: f64) -> Guard {
    Guard::Between(variable, low, high)
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Nonnegative(variable) => write!(f, "{variable} >= 0"),
            Guard::Between(variable, low, high) => write!(f, "{low} <= {variable} <= {high}"),
        }
    }
}

/// One rewrite rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Its unique name.
    pub name: &'static str,
    /// What it matches.
    pub lhs: &'static str,
    /// What that equals.
    pub rhs: &'static str,
    /// When.
    pub guards: &'static [Guard],
    /// The float contract.
    pub tier: Tier,
    /// How far an approximation is off, relative to the largest value on the way; else 0.
    pub bound: f64,
    /// An expression in which it fires.
    pub example: &'static str,
    /// An expression in which it must not.
    pub fails_when: &'static str,
    /// Who writes this.
    pub source: &'static str,
}

/// Starts a row; it claims to be exact until it says otherwise.
pub const fn rule(name: &'static str, lhs: &'static str, rhs: &'static str) -> Rule {
    let (guards, tier, bound): (&[Guard], _, _) = (&[], Tier::Exact, 0.0);
    Rule { name, lhs, rhs, guards, tier, bound, example: "", fails_when: "", source: "" }
}

impl Rule {
    /// Bit for bit equal.
    pub const fn exact(self) -> Rule {
        Rule { tier: Tier::Exact, ..self }
    }

    /// Equal up to rounding.
    pub const fn reassociates(self) -> Rule {
        Rule { tier: Tier::Reassociates, ..self }
    }

    /// Equal where everything is finite.
    pub const fn finite(self) -> Rule {
        Rule { tier: Tier::Finite, ..self }
    }

    /// Equal up to an error of at most `bound`, relative to the largest value on the way.
    pub const fn approximate(self, bound: f64) -> Rule {
        Rule { tier: Tier::Approximate, bound, ..self }
    }

    /// The tier among values of a type: an approximation below their rounding is none.
    pub fn tier_in(&self, dtype: DType) -> Tier {
        let rounding = match dtype {
            DType::F64 => f64::EPSILON / 2.0,
            _ => f64::from(f32::EPSILON) / 2.0,
        };
        if self.tier == Tier::Approximate && self.bound <= rounding { Tier::Finite } else { self.tier }
    }

    /// Adds the conditions.
    pub const fn when(self, guards: &'static [Guard]) -> Rule {
        Rule { guards, ..self }
    }

    /// Adds an expression in which it fires.
    pub const fn example(self, example: &'static str) -> Rule {
        Rule { example, ..self }
    }

    /// Adds an expression in which it must not fire.
    pub const fn fails_when(self, fails_when: &'static str) -> Rule {
        Rule { fails_when, ..self }
    }

    /// Adds who writes this.
    pub const fn source(self, source: &'static str) -> Rule {
        Rule { source, ..self }
    }

    /// The rule for egg, once per order of commuting operands.
    ///
    /// # Errors
    /// A side that does not parse, or a variable of `rhs` or of a guard that `lhs` does not bind.
    pub(crate) fn compile(&self) -> Result<Vec<Rewrite<Term, Meaning>>, RuleError> {
        let (lhs, rhs) = (self.side(self.lhs)?, self.side(self.rhs)?);
        let bound = lhs.vars();
        let of_guards: Result<Vec<Var>, RuleError> = self.guards.iter().map(|g| self.guarded(g)).collect();
        let mut needed = rhs.vars().into_iter().chain(of_guards?);
        if let Some(unbound) = needed.find(|v| !bound.contains(v)) {
            return Err(RuleError::Unbound { rule: self.name, variable: unbound.to_string() });
        }
        let rule = *self;
        let holds = move |classes: &mut Classes, _: Id, subst: &Subst| rule.holds(classes, subst);
        // egg wants unique names; what stands before `#` is the rule
        let rewrite = |(number, order): (usize, PatternAst<Term>)| {
            let applier = egg::ConditionalApplier { condition: holds, applier: rhs.clone() };
            Rewrite::new(format!("{}#{number}", self.name), Pattern::new(order), applier)
                .map_err(|reason| self.unreadable(self.lhs, reason))
        };
        self.orders(&lhs.ast)?.into_iter().enumerate().map(rewrite).collect()
    }

    /// The ops of the left side as a graph names them, the outermost first.
    ///
    /// # Errors
    /// A side that does not parse or has no op.
    pub(crate) fn ops(&self) -> Result<Vec<&'static str>, RuleError> {
        let lhs = self.side(self.lhs)?;
        let name = |node: &ENodeOrVar<Term>| match node {
            ENodeOrVar::ENode(Term::Apply(head, _)) => Some(head.op_name()),
            _ => None,
        };
        Ok(lhs.ast.as_ref().iter().rev().filter_map(name).collect())
    }

    /// A side as a pattern.
    pub(crate) fn side(&self, text: &'static str) -> Result<Pattern<Term>, RuleError> {
        if text.matches('(').count() != text.matches(')').count() {
            return Err(self.unreadable(text, "a parenthesis is open"));
        }
        let pattern: Pattern<Term> = text.parse().map_err(|e| self.unreadable(text, format!("{e}")))?;
        let is_op = |node: &ENodeOrVar<Term>| matches!(node, ENodeOrVar::ENode(Term::Apply(..)));
        if text == self.lhs && !pattern.ast.as_ref().last().is_some_and(is_op) {
            return Err(self.unreadable(text, "the left side needs an op"));
        }
        Ok(pattern)
    }

    /// The error of a text that cannot be read.
    pub(crate) fn unreadable(&self, text: &'static str, reason: impl Into<String>) -> RuleError {
        RuleError::Parse { rule: self.name, side: text, reason: reason.into() }
    }

    /// True when what the variables are bound to satisfies every guard.
    pub(crate) fn holds(&self, classes: &Classes, subst: &Subst) -> bool {
        let bound = |guard| subst[variable(guard).expect("guards are read when a rule is compiled")];
        self.guards.iter().all(|guard| satisfied(guard, &classes[bound(guard)].data))
    }

    fn guarded(&self, guard: &Guard) -> Result<Var, RuleError> {
        let (Guard::Nonnegative(name) | Guard::Between(name, ..)) = guard;
        variable(guard).ok_or_else(|| self.unreadable(name, "variables start with `?`"))
    }

    /// A pattern with the operands of its commuting ops in every order.
    fn orders(&self, pattern: &PatternAst<Term>) -> Result<Vec<PatternAst<Term>>, RuleError> {
        let commuting: Vec<usize> = pattern
            .as_ref()
            .iter()
            .enumerate()
            .filter(|(_, node)| matches!(node, ENodeOrVar::ENode(term) if commutes(term)))
            .map(|(place, _)| place)
            .collect();
        if commuting.len() > COMMUTING {
            let reason = format!("more than {COMMUTING} ops commute: split the rule");
            return Err(self.unreadable(self.lhs, reason));
        }
        let mut all: Vec<_> =
            (0..1 << commuting.len()).map(|way| swapped(pattern, &commuting, way)).collect();
        all.dedup();
        Ok(all)
    }
}

/// A pattern with the operands of those commuting ops swapped whose bit is set.
fn swapped(pattern: &PatternAst<Term>, commuting: &[usize], way: usize) -> PatternAst<Term> {
    let nodes = pattern.as_ref().iter().enumerate().map(|(place, node)| {
        let mut node = node.clone();
        let swap = commuting.iter().position(|&p| p == place).is_some_and(|bit| way >> bit & 1 == 1);
        if let (ENodeOrVar::ENode(term), true) = (&mut node, swap) {
            term.children_mut().reverse();
        }
        node
    });
    RecExpr::from(nodes.collect::<Vec<_>>())
}

fn variable(guard: &Guard) -> Option<Var> {
    let (Guard::Nonnegative(name) | Guard::Between(name, ..)) = guard;
    name.parse().ok()
}

fn satisfied(guard: &Guard, facts: &Facts) -> bool {
    match guard {
        Guard::Nonnegative(_) => facts.nonnegative,
        Guard::Between(_, low, high) => facts.number.is_some_and(|n| (*low..=*high).contains(&n.get())),
    }
}

fn commutes(term: &Term) -> bool {
    matches!(term, Term::Apply(Head::Binary(op), _) if op.def().commutes)
}

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// A side that is not an expression over known ops.
    #[error("rule {rule}: cannot read `{side}`: {reason}")]
    Parse {
        /// Its name.
        rule: &'static str,
        /// The side.
        side: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable that nothing binds.
    #[error("rule {rule}: {variable} is not bound by the left side")]
    Unbound {
        /// Its name.
        rule: &'static str,
        /// The variable.
        variable: String,
    },
    /// An example in which the rule does not fire.
    #[error("rule {rule}: it does not fire in its example `{example}`")]
    Silent {
        /// Its name.
        rule: &'static str,
        /// The expression.
        example: &'static str,
    },
    /// An example against the rule, in which it fires.
    #[error("rule {rule}: it fires in `{example}`, where it must not")]
    Fires {
        /// Its name.
        rule: &'static str,
        /// The expression.
        example: &'static str,
    },
    /// Sides of different types, or that are ill-typed.
    #[error("rule {rule}: `{lhs}` and `{rhs}` have different types, or none")]
    Type {
        /// Its name.
        rule: &'static str,
        /// The left side.
        lhs: &'static str,
        /// The right side.
        rhs: &'static str,
    },
    /// Two sides that differ.
    #[error("rule {rule}: with {operands}, the left side is {lhs:?} and the right side is {rhs:?}")]
    Unsound {
        /// Its name.
        rule: &'static str,
        /// What the variables were.
        operands: String,
        /// Value of the left side.
        lhs: f64,
        /// Value of the right side.
        rhs: f64,
    },
    /// Sides that are nowhere both finite, so that nothing could be compared.
    #[error("rule {rule}: `{lhs}` or `{rhs}` is finite for none of the operands that were tried")]
    Unmeasured {
        /// Its name.
        rule: &'static str,
        /// The left side.
        lhs: &'static str,
        /// The right side.
        rhs: &'static str,
    },
    /// A part of a composite that cannot be traced, or has the wrong results.
    #[error("composite {rule}: its {part} does not work out: {reason}")]
    Part {
        /// Its name.
        rule: &'static str,
        /// The part.
        part: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A part of a composite that is not what its definition says.
    #[error("composite {rule}: with {operands}, its definition gives {lhs:?} and its {part} gives {rhs:?}")]
    Differs {
        /// Its name.
        rule: &'static str,
        /// The part.
        part: &'static str,
        /// What the operands were.
        operands: String,
        /// What the definition gives.
        lhs: f64,
        /// What the part gives.
        rhs: f64,
    },
    /// A derivative that seems right and is not proved.
    #[error("composite {rule}: its derivative agrees with its definition, but no normal form proves it")]
    Unproved {
        /// Its name.
        rule: &'static str,
    },
    /// Two rules or composites of one name.
    #[error("rule {rule}: the name is taken")]
    Duplicate {
        /// The name.
        rule: &'static str,
    },
    /// A claim that is better than the truth.
    #[error("rule {rule}: declared {declared}, measured {measured}")]
    Tier {
        /// Its name.
        rule: &'static str,
        /// What it claims.
        declared: &'static str,
        /// What was measured.
        measured: &'static str,
    },
}
