//! `evenkeel rules`: the rewrite rules and the folds, and whether they are what they claim.

use super::Failure;
use super::table::table;
use crate::rewrite::{Measured, RULES, Rule, RuleError, check};
use crate::session::{FOLDS, Fold};
use std::io::Write;

/// Options of `rules`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show only rules whose name contains this text
    #[arg(long, default_value = "")]
    name: String,
    /// Check them: examples fire, both sides are equal, the tier is not better than measured;
    /// exit code 1 if one fails
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.name.contains(&args.name)).collect();
    let folds: Vec<&Fold> = FOLDS.iter().filter(|fold| fold.name.contains(&args.name)).collect();
    if rules.is_empty() && folds.is_empty() {
        return Err(Failure::Input(format!("no rule's name contains {}", args.name)));
    }
    let checked: Vec<Result<Measured, RuleError>> = rules.iter().map(|rule| check(rule)).collect();
    if args.check {
        return report(&rules, &checked, out);
    }
    if !rules.is_empty() {
        list_rules(&rules, &checked, out)?;
    }
    if !folds.is_empty() {
        list_folds(&folds, out)?;
    }
    Ok(())
}

fn list_rules(
    rules: &[&Rule],
    checked: &[Result<Measured, RuleError>],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut rows = table(&["rule", "tier", "error", "rewrites", "to", "when", "source"]);
    for (rule, checked) in rules.iter().zip(checked) {
        let error =
            checked.as_ref().map_or("failed".to_string(), |measured| format!("{:.1e}", measured.error));
        rows.add_row([rule.name, rule.tier.name(), &error, rule.lhs, rule.rhs, &guards(rule), rule.source]);
    }
    Ok(writeln!(out, "{}", rows.trim_fmt())?)
}

/// Folds, with the first reason of each side condition.
fn list_folds(folds: &[&Fold], out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "\nfolds, which move normalizations into parameters where they are asked for:\n")?;
    for fold in folds {
        let tier = if fold.finite { "finite" } else { "reassociates" };
        writeln!(out, "{} ({tier}): {}", fold.name, fold.about)?;
        writeln!(out, "  source: {}", fold.source)?;
        fold.refuses.iter().try_for_each(|(_, reason)| writeln!(out, "  not where: {reason}"))?;
    }
    Ok(())
}

/// What was measured; the exit code says whether all of it was as declared.
fn report(
    rules: &[&Rule],
    checked: &[Result<Measured, RuleError>],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut rows = table(&["rule", "declared", "measured", "largest error", "samples"]);
    for (rule, measured) in rules.iter().zip(checked).filter_map(|(rule, m)| Some((rule, m.as_ref().ok()?))) {
        let (error, samples) = (format!("{:.1e}", measured.error), measured.samples.to_string());
        rows.add_row([rule.name, rule.tier.name(), measured.tier.name(), &error, &samples]);
    }
    if checked.iter().any(Result::is_ok) {
        writeln!(out, "{}", rows.trim_fmt())?;
    }
    let mut failures = checked.iter().filter_map(|checked| checked.as_ref().err());
    failures.clone().try_for_each(|failure| writeln!(out, "failed: {failure}"))?;
    if failures.next().is_none() { Ok(()) } else { Err(Failure::Check) }
}

fn guards(rule: &Rule) -> String {
    rule.guards.iter().map(|guard| guard.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Failure, check, report};
    use crate::rewrite::rule;

    #[test]
    fn an_unsound_rule_fails_the_check() {
        let good = rule("opposites", "(max ?x (neg ?x))", "(abs ?x)")
            .example("(max x (neg x))")
            .fails_when("(max x (neg g))");
        let bad = rule("wrong", "(max ?x ?y)", "(min ?x ?y)").finite();
        let report = |rules: &[&crate::rewrite::Rule]| {
            let mut out = Vec::new();
            let checked: Vec<_> = rules.iter().map(|rule| check(rule)).collect();
            (report(rules, &checked, &mut out), String::from_utf8(out).unwrap())
        };
        assert!(report(&[&good]).0.is_ok());
        let (failed, text) = report(&[&good, &bad]);
        assert!(matches!(failed, Err(Failure::Check)));
        assert!(text.contains("opposites") && text.contains("failed: rule wrong: with ?x = "), "{text}");
        assert!(matches!(report(&[&good.finite(), &bad.exact()]).0, Err(Failure::Check)));
    }
}
