//! A rewrite rule and a composite of your own: checked like the compiler's, used by a compiled
//! closure, and snapshot-tested.
//!
//! What the laws of rings, powers, exponentials and sums imply needs no rule. This one needs it:
//! that of two numbers the larger was selected is a fact about order.

use evenkeel::prelude::*;
use evenkeel::rewrite::{Rule, RuleError, Rules, UserComposite, check_rules, composite, rule, traced};

/// One row per rule; `?x` matches anything, `x` and `g` are the inputs of examples.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule("select-larger", "(select (gt ?x ?y) ?x ?y)", "(max ?x ?y)").finite()
        .example("(select (gt x g) x g)")
        .fails_when("(select (gt x g) g x)")
        .source("where(x > y, x, y)"),
];

/// A function with a name: found in any spelling that the normal form proves equal.
fn gate() -> UserComposite {
    composite("tanh_gate", &[("x", &[4, 8])], traced(|v| vec![v[0] * v[0].tanh()]))
        .example("(mul (tanh x) x)")
        .fails_when("(mul (tanh x) (exp x))")
}

/// Every rule with what was measured about it. A rule that does not parse, changes the type of
/// what it rewrites, is wrong, or is less exact than it says is an error with a counterexample.
fn measured() -> Result<String, RuleError> {
    let measured = check_rules(RULES)?;
    let line = |(rule, measured): (&Rule, &evenkeel::rewrite::Measured)| {
        format!("{}: {} -> {}, {}", rule.name, rule.lhs, rule.rhs, measured.tier.name())
    };
    Ok(RULES.iter().zip(&measured).map(line).collect::<Vec<_>>().join("\n"))
}

/// The gate of the larger of `x` and its mirror image, by someone who does not think of `max`.
fn mirrored(x: Var) -> Var {
    let mirror = 1.0 - x;
    let larger = x.gt(mirror).select(x, mirror);
    larger.tanh() * larger
}

/// What the compiler found, without the places where it was written.
fn recognized(rules: &Rules) -> Result<String, evenkeel::Error> {
    let x = Tensor::from_vec(&[4], [-1f32, 0.25, 2.0, 3.0])?;
    let compiled = jit((), |_: &(), x: Var| mirrored(x)).rules(rules).compile(&x)?;
    let gated = [2f64, 0.75, 2.0, 3.0].map(|y| y * y.tanh());
    assert!(compiled.run(&x)?.to_f64s().iter().zip(gated).all(|(y, want)| (y - want).abs() < 1e-6));
    let report = compiled.explain();
    let lines = report.lines().take_while(|line| !line.starts_with("region"));
    let lines = lines.filter(|line| line.contains("rules: ") || line.contains("of yours"));
    Ok(lines.map(|line| line.trim().split(" at ").next().unwrap_or(line)).collect::<Vec<_>>().join("; "))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", measured()?);
    let rules = Rules::standard().with(RULES)?.with_composites(&[gate()])?;
    println!("recognized: {}", recognized(&rules)?);
    let wrong = rule("select-smaller", "(select (gt ?x ?y) ?x ?y)", "(min ?x ?y)");
    println!("{}", Rules::standard().with(&[wrong]).expect_err("it is wrong"));
    Ok(())
}

/// In your crate these are ordinary tests; `cargo test --example user_rule` runs them here.
#[cfg(test)]
mod tests {
    #[test]
    fn rules_are_what_they_claim() {
        insta::assert_snapshot!(super::measured().unwrap(), @"select-larger: (select (gt ?x ?y) ?x ?y) -> (max ?x ?y), finite");
    }

    #[test]
    fn rules_fire() {
        let rules = super::Rules::standard().with(super::RULES).unwrap();
        let rules = rules.with_composites(&[super::gate()]).unwrap();
        insta::assert_snapshot!(super::recognized(&rules).unwrap(), @"max from sub, gt, select; tanh_gate, a composite of yours, from tanh, mul");
        assert_eq!(super::recognized(&super::Rules::standard()).unwrap(), "");
    }
}
