//! A snapshot of every rule: its row, and what it makes of its example.

use super::RULES;
use crate::rewrite::cone::{Cone, Constants};
use crate::rewrite::language::Term;
use crate::rewrite::region::Region;
use crate::rewrite::rule::Rule;
use crate::rewrite::spelling;
use egg::{AstSize, Extractor, Pattern, Subst, Var};

/// Inputs of the examples of rules; in snapshots, leaves are `x0`, `x1`, ... by first use.
const INPUTS: spelling::Inputs = &[("x", &[4, 8]), ("g", &[8]), ("b", &[8])];

/// The region of an expression.
#[track_caller]
fn region(expression: &str) -> Region {
    let graph = spelling::graph(INPUTS, expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut constants = Constants::default();
    constants.update(&graph);
    let cone = Cone::above(&graph, &constants, graph.outputs()[0].1.node);
    Region::whole(&graph, &constants, &cone).expect("an example has algebra")
}

/// How a rule matches at the root of a region.
fn matched(rule: &Rule, region: &Region) -> Option<Subst> {
    let root = region.classes.find(region.root());
    let rewrites = rule.compile().unwrap_or_else(|error| panic!("{error}"));
    let found = rewrites.iter().filter_map(|rewrite| rewrite.searcher.search_eclass(&region.classes, root));
    let mut matches = found.flat_map(|found| found.substs);
    matches.find(|subst| rule.holds(&region.classes, subst))
}

/// The right side of a rule with what its variables matched.
fn instance(rule: &Rule, region: &Region, subst: &Subst) -> String {
    let rhs = rule.rhs.parse::<Pattern<Term>>().expect("it has been compiled");
    let shortest = Extractor::new(&region.classes, AstSize);
    let mut variables: Vec<Var> = rhs.vars();
    // the longer first: one name may begin another
    variables.sort_by_key(|variable| std::cmp::Reverse(variable.to_string().len()));
    let fill = |text: String, variable: Var| {
        text.replace(&variable.to_string(), &shortest.find_best(subst[variable]).1.to_string())
    };
    variables.into_iter().fold(rule.rhs.to_string(), fill)
}

/// The row in words, and its examples.
fn described(rule: &Rule) -> String {
    let (example, apart) = (region(rule.example), region(rule.fails_when));
    let subst = matched(rule, &example).unwrap_or_else(|| panic!("{} does not fire", rule.name));
    assert!(matched(rule, &apart).is_none(), "{} fires where it must not", rule.name);
    let guards: Vec<String> = rule.guards.iter().map(|guard| guard.to_string()).collect();
    let lines = [
        ("rule", rule.lhs.to_string()),
        ("to", rule.rhs.to_string()),
        ("when", guards.join(", ")),
        ("tier", rule.tier.name().to_string()),
        ("source", rule.source.to_string()),
        ("example", example.written.to_string()),
        ("becomes", instance(rule, &example, &subst)),
        ("but not", apart.written.to_string()),
    ];
    lines.map(|(what, text)| format!("{what:<8} {text}").trim_end().to_string()).join("\n")
}

#[test]
fn every_rule_reads_like_this() {
    for rule in RULES {
        insta::assert_snapshot!(rule.name, described(rule));
    }
}
