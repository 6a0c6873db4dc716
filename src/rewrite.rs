//! Rewrite rules of your own, with the tests that the compiler's rules have.
//!
//! A rule is a row: what it matches, what that equals, under which conditions and how exactly.
//! [`check_rules`] is the test of a table of rules: sides parse and have one type, every variable
//! is bound, both sides agree on random tensors, the declared [`Tier`] is not better than the
//! measured one, the example fires and the counterexample does not. [`Rules::with`] checks the same
//! before it takes a rule, and `jit(..).rules(&rules)` or `train_step(..).rules(&rules)` use it.
//!
//! Sides are s-expressions over the names that `evenkeel ops` lists; `?x` matches anything, equal
//! names equal values. A statistic takes its axes first: `(mean ?axes ?x)`, `(reduce_max ?axes ?x)`.
//! Operands of commuting ops match in either order. Examples have inputs `x: [4, 8]`, `g: [8]` and
//! `b: [8]`; axes are written `@1`. What follows from the laws of rings, powers, exponentials and sums
//! needs no rule: the compiler knows it.
//!
//! ```
//! use evenkeel::prelude::*;
//! use evenkeel::rewrite::{Rule, Rules, Tier, check_rules, rule};
//!
//! const LARGER: Rule = rule("select-larger", "(select (gt ?x ?y) ?x ?y)", "(max ?x ?y)").finite()
//!     .example("(select (gt x g) x g)")
//!     .fails_when("(select (gt x g) g x)")
//!     .source("where(x > y, x, y)");
//!
//! assert_eq!(check_rules(&[LARGER])?[0].tier, Tier::Finite);
//! let rules = Rules::standard().with(&[LARGER])?;
//! let x = Tensor::from_vec(&[3], [1f32, 2.0, 3.0])?;
//! let larger = |_: &(), x: Var| x.gt(2.0 - x).select(x, 2.0 - x);
//! let f = jit((), larger).rules(&rules).compile(&x)?;
//! assert!(f.explain().contains("rules: select-larger"));
//! assert_eq!(f.run(&x)?.to_f64s(), [1.0, 2.0, 3.0]);
//! # Ok::<(), evenkeel::Error>(())
//! ```
//!
//! A composite is a function with a name: see [`traced`]. Where a graph computes it, in whatever
//! spelling, the normal form finds it; it is called by name, computed by its stable form and
//! differentiated by its own derivative if it has them. What is inside a composite is not looked
//! into again, and where one is part of another the inner one is found.
//!
//! A snapshot of what a rule does is an ordinary test of your crate, with
//! [insta](https://insta.rs): see `examples/user_rule.rs`.

use crate::trace::{Var, trace};
use std::sync::Arc;

/// Names of the results of a part of a composite.
const RESULTS: [&str; 8] = ["y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"];

pub use evenkeel_compiler::rewrite::check::{Measured, check, check_rules};
pub use evenkeel_compiler::rewrite::rule::{Guard, Rule, RuleError, Tier, between, nonnegative, rule};
pub use evenkeel_compiler::rewrite::rules::RULES;
pub use evenkeel_compiler::rewrite::{Rules, Traced, UserComposite, check_composite, composite};

/// A closure over traced values as a part of a composite: operands to results. It is traced for
/// the types that a graph has where the composite is looked for.
///
/// # Examples
/// ```
/// use evenkeel::prelude::*;
/// use evenkeel::rewrite::{Rules, composite, traced};
///
/// let gate = composite("tanh_gate", &[("x", &[4, 8])], traced(|v| vec![v[0] * v[0].tanh()]))
///     .vjp(traced(|v| {
///         let (t, dy) = (v[0].tanh(), v[1]);
///         vec![dy * (t + v[0] * (1.0 - t * t))]
///     }))
///     .example("(mul (tanh x) x)")
///     .fails_when("(mul (tanh x) (exp x))");
/// let rules = Rules::standard().with_composites(&[gate])?;
/// let x = Tensor::full(&[3], 1f32);
/// let f = jit((), |_: &(), x: Var| x.tanh() * x).rules(&rules).compile(&x)?;
/// assert!(f.explain().contains("tanh_gate, a composite of yours"));
/// # Ok::<(), evenkeel::Error>(())
/// ```
pub fn traced(closure: impl Fn(&[Var]) -> Vec<Var> + Send + Sync + 'static) -> Traced {
    Arc::new(move |types| {
        let names: Vec<String> = (0..types.len()).map(|i| format!("v{i}")).collect();
        let inputs: Vec<_> = names.iter().map(String::as_str).zip(types.iter().cloned()).collect();
        trace(&inputs, |vars| RESULTS.into_iter().zip(closure(vars)).collect())
            .map_err(|error| error.to_string())
    })
}
