//! `evenkeel rules`: the rewrite rules, and whether they are what they claim.

use super::Failure;
use super::table::table;
use evenkeel_compiler::rewrite::check::check;
use evenkeel_compiler::rewrite::rule::Rule;
use evenkeel_compiler::rewrite::rules::RULES;
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
    let chosen: Vec<&Rule> = RULES.iter().filter(|rule| rule.name.contains(&args.name)).collect();
    if chosen.is_empty() {
        return Err(Failure::Input(format!("no rule's name contains {}", args.name)));
    }
    if !args.check {
        let mut rows = table(&["rule", "tier", "rewrites", "to", "when", "source"]);
        for rule in chosen {
            rows.add_row([rule.name, rule.tier.name(), rule.lhs, rule.rhs, &guards(rule), rule.source]);
        }
        return Ok(writeln!(out, "{}", rows.trim_fmt())?);
    }
    let mut rows = table(&["rule", "declared", "measured", "largest error", "samples"]);
    let mut failures = Vec::new();
    for rule in chosen {
        match check(rule) {
            Ok(measured) => {
                let error = format!("{:.1e}", measured.error);
                let samples = measured.samples.to_string();
                rows.add_row([rule.name, rule.tier.name(), measured.tier.name(), &error, &samples]);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    writeln!(out, "{}", rows.trim_fmt())?;
    failures.iter().try_for_each(|failure| writeln!(out, "failed: {failure}"))?;
    if failures.is_empty() { Ok(()) } else { Err(Failure::Check) }
}

fn guards(rule: &Rule) -> String {
    rule.guards.iter().map(|guard| guard.to_string()).collect::<Vec<_>>().join(", ")
}
