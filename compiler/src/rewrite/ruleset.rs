//! A set of rules that is used together: the standard ones and those of a user.

use super::check::check;
use super::composite::{UserComposite, check_composite};
use super::language::{Meaning, Term};
use super::rule::{Rule, RuleError, Tier};
use super::rules::RULES;
use crate::costs::Costs;
use egg::Rewrite;
use evenkeel_ir::DType;
use rustc_hash::FxHashSet as HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Rules that were checked and compiled once; cheap to clone.
///
/// # Examples
/// ```
/// use evenkeel_compiler::rewrite::rule::rule;
/// use evenkeel_compiler::rewrite::Rules;
///
/// let larger = rule("select-larger", "(select (gt ?x ?y) ?x ?y)", "(max ?x ?y)").finite()
///     .example("(select (gt x g) x g)")
///     .fails_when("(select (gt x g) g x)")
///     .source("where(x > y, x, y)");
/// let rules = Rules::standard().with(&[larger])?;
/// assert!(rules.iter().any(|rule| rule.name == "select-larger"));
/// # Ok::<(), evenkeel_compiler::rewrite::rule::RuleError>(())
/// ```
#[derive(Clone)]
pub struct Rules {
    compiled: Vec<Arc<Compiled>>,
    composites: Vec<UserComposite>,
}

/// A rule as egg runs it.
struct Compiled {
    rule: Rule,
    /// Once per order of commuting operands.
    rewrites: Vec<Rewrite<Term, Meaning>>,
    /// The ops that it matches, the outermost first.
    ops: Vec<&'static str>,
}

impl Compiled {
    fn new(rule: &Rule) -> Result<Arc<Compiled>, RuleError> {
        Ok(Arc::new(Compiled { rule: *rule, rewrites: rule.compile()?, ops: rule.ops()? }))
    }
}

static STANDARD: LazyLock<Rules> = LazyLock::new(|| {
    let compiled: Result<_, RuleError> = RULES.iter().map(Compiled::new).collect();
    Rules { compiled: compiled.unwrap_or_else(|error| panic!("{error}")), composites: Vec::new() }
});

impl Rules {
    /// The rules that come with the compiler.
    pub fn standard() -> Rules {
        STANDARD.clone()
    }

    /// These rules and more, each of which is [checked](super::check::check) first.
    ///
    /// # Errors
    /// What [`check`] finds; a name that is taken.
    pub fn with(&self, rules: &[Rule]) -> Result<Rules, RuleError> {
        let mut all = self.clone();
        for rule in rules {
            if all.iter().any(|known| known.name == rule.name) {
                return Err(RuleError::Duplicate { rule: rule.name });
            }
            check(rule)?;
            all.compiled.push(Compiled::new(rule)?);
        }
        Ok(all)
    }

    /// These rules and composites, each of which is [checked](check_composite) first.
    ///
    /// # Errors
    /// What [`check_composite`] finds; a name that is taken.
    pub fn with_composites(&self, composites: &[UserComposite]) -> Result<Rules, RuleError> {
        let mut all = self.clone();
        for composite in composites {
            if all.composites.iter().any(|known| known.name == composite.name) {
                return Err(RuleError::Duplicate { rule: composite.name });
            }
            check_composite(composite)?;
            all = all.holding(composite.clone());
        }
        Ok(all)
    }

    /// With a composite as it is.
    pub(crate) fn holding(mut self, composite: UserComposite) -> Rules {
        self.composites.push(composite);
        self
    }

    /// The rows.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.compiled.iter().map(|compiled| &compiled.rule)
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::standard()
    }
}

/// Sets are equal when their rows are; composites hold closures, so they equal their clones only.
impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        let same = |(a, b): (&UserComposite, &UserComposite)| a.is_clone_of(b);
        self.iter().eq(other.iter())
            && self.composites.len() == other.composites.len()
            && self.composites.iter().zip(&other.composites).all(same)
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|rule| rule.name)).finish()
    }
}

/// What rewriting may do: by which rules, and how far results may differ in floating point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed<'r> {
    /// The rules.
    pub(crate) rules: &'r Rules,
    /// The largest tier.
    pub(crate) float: Tier,
    /// What work costs.
    pub(crate) costs: &'r Costs,
    /// Ask for details of what is done.
    pub(crate) explain: bool,
}

impl<'r> Allowed<'r> {
    /// Composites of the user that may be recognized.
    pub(crate) fn composites(self) -> &'r [UserComposite] {
        if self.names_ops() { &self.rules.composites } else { &[] }
    }

    /// Rules that may run on values of this type.
    fn compiled(self, dtype: DType) -> impl Iterator<Item = &'r Arc<Compiled>> {
        self.rules.compiled.iter().filter(move |compiled| compiled.rule.tier_in(dtype) <= self.float)
    }

    /// The rules as egg runs them.
    pub(crate) fn rewrites(self, dtype: DType) -> impl Iterator<Item = &'r Rewrite<Term, Meaning>> {
        self.compiled(dtype).flat_map(|compiled| &compiled.rewrites)
    }

    /// Names of the rules that may run.
    pub(crate) fn names(self, dtype: DType) -> impl Iterator<Item = &'static str> + use<'r> {
        self.compiled(dtype).map(|compiled| compiled.rule.name)
    }

    /// True when the ops of one of the rules are all there, the outermost at the root.
    pub(crate) fn may_fire(self, root: &str, present: &HashSet<&str>) -> bool {
        let applies = |ops: &[&str]| ops[0] == root && ops.iter().all(|op| present.contains(op));
        self.rules.compiled.iter().any(|compiled| applies(&compiled.ops))
    }

    /// True when a rule of the user may fire at this op.
    pub(crate) fn has_own(self, root: &str) -> bool {
        self.rules.compiled[RULES.len()..].iter().any(|compiled| compiled.ops[0] == root)
    }

    /// True when values may change where something is infinite, NaN or overflows: named ops may
    /// replace what spells them out.
    pub(crate) fn names_ops(self) -> bool {
        self.float >= Tier::Finite
    }

    /// True when arithmetic may be reordered.
    pub(crate) fn reorders(self) -> bool {
        self.float >= Tier::Reassociates
    }
}
