//! How a region was rewritten, in the words of its leaves: for `explain` only.
//!
//! [`Details`] is text; [`Words`] makes it from a region: s-expressions in which shared parts
//! have numbers, rules instantiated where they fired, and normal forms as certificates.

use super::language::{Classes, Head, Meaning, Term};
use super::normal::{AxisMask, Form, FormText};
use super::region::Region;
use super::rule::Rule;
use super::ruleset::Allowed;
use super::tally::Tally;
use egg::{AstSize, ENodeOrVar, Extractor, Id, Language, PatternAst, RecExpr, Rewrite, Subst};
use evenkeel_ir::op::EpsKind;
use evenkeel_ir::{Graph, Op, Value};
use rustc_hash::FxHashMap as HashMap;
use std::fmt;

/// The most places of one rule that are shown.
const PLACES: usize = 3;

/// How a region was rewritten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The user's ops in the region, with their places.
    pub written: Vec<String>,
    /// Values that the region reads and does not look into, and why.
    pub cuts: Vec<String>,
    /// The region before, one line per shared part and per root.
    pub before: Vec<String>,
    /// Rules that fired and what the normal form proved, as `rule: before -> after`; those of
    /// parts first.
    pub steps: Vec<String>,
    /// The region after.
    pub after: Vec<String>,
    /// The normal form of each root, which both sides share.
    pub certificate: Vec<String>,
    /// Cost before and after.
    pub cost: Option<(Tally, Tally)>,
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { written, cuts, before, steps, after, certificate, cost } = self;
        let lists = [
            ("written", written),
            ("ends at", cuts),
            ("before", before),
            ("steps", steps),
            ("after", after),
            ("both sides are", certificate),
        ];
        for (title, lines) in lists {
            list(f, title, lines)?;
        }
        match cost {
            Some((before, after)) => write!(f, "\ncost before: {before}\ncost after: {after}"),
            None => Ok(()),
        }
    }
}

/// A title and its lines: beside it if there is one, else below.
pub(crate) fn list(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    match lines {
        [] => Ok(()),
        [line] => write!(f, "\n{title}: {line}"),
        lines => {
            write!(f, "\n{title}:")?;
            lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
        }
    }
}

/// Where a region ends and why, inputs together.
pub(crate) fn cuts<'a>(
    graph: &Graph,
    names: impl Iterator<Item = &'a str>,
    leaves: &[Value],
    reasons: &[&str],
) -> Vec<String> {
    let is_input = |leaf: Value| matches!(graph.op(leaf), Op::Input(_));
    let (inputs, others): (Vec<_>, Vec<_>) =
        names.zip(leaves).enumerate().partition(|(_, (_, v))| is_input(**v));
    let inputs: Vec<&str> = inputs.into_iter().map(|(_, (name, _))| name).collect();
    let other = |(place, (name, leaf)): (usize, (&str, &Value))| {
        let reason = reasons.get(place).map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{name} = {}{reason}", place_of(graph, *leaf))
    };
    let own = (!inputs.is_empty()).then(|| format!("inputs {}", inputs.join(", ")));
    own.into_iter().chain(others.into_iter().map(other)).collect()
}

/// Names of the values of a region.
pub(crate) struct Words<'r> {
    region: &'r Region,
    allowed: Allowed<'r>,
    names: Vec<(Form, String)>,
    cuts: Vec<String>,
}

impl<'r> Words<'r> {
    /// Names leaves after inputs, or else after their ops.
    pub(crate) fn new(
        graph: &Graph,
        region: &'r Region,
        reasons: &[&str],
        allowed: Allowed<'r>,
    ) -> Words<'r> {
        let mut words = Words { region, allowed, names: Vec::new(), cuts: Vec::new() };
        for leaf in &region.leaves {
            let form = region.classes.analysis.leaves[words.names.len()].0;
            let name = words.unused(graph, *leaf);
            words.names.push((form, name));
        }
        words.cuts = cuts(graph, words.names.iter().map(|(_, name)| name.as_str()), &region.leaves, reasons);
        words
    }

    fn unused(&self, graph: &Graph, leaf: Value) -> String {
        let mut name = leaf_name(graph, leaf);
        while self.names.iter().any(|(_, other)| *other == name) {
            name.push('\'');
        }
        name
    }

    /// Everything but the user's ops.
    pub(crate) fn details(
        &self,
        after_terms: &RecExpr<Term>,
        roots: &[Id],
        rules: &[&'static str],
    ) -> Details {
        let region = self.region;
        let before = self.expressions(&region.written, &self.written_roots());
        let after = self.expressions(after_terms, roots);
        let mut steps: Vec<String> = rules.iter().flat_map(|rule| self.steps(rule)).collect();
        if let ([before], [after]) = (before.as_slice(), after.as_slice()) {
            let name = if rules.contains(&"cases") { "cases" } else { "normal form" };
            let step = format!("{before} -> {after}");
            if before != after && !steps.iter().any(|known| known.ends_with(&step)) {
                steps.push(format!("{name}: {step}"));
            }
        }
        let forms = region.roots.iter().filter_map(|root| region.classes[*root].data.form);
        let cost = (Tally::of(region, &region.written), Tally::of(region, after_terms));
        Details {
            written: Vec::new(),
            cuts: self.cuts.clone(),
            before,
            steps,
            after,
            certificate: forms.flat_map(|form| self.form(form)).collect(),
            cost: Some(cost),
        }
    }

    fn written_roots(&self) -> Vec<Id> {
        let classes = &self.region.classes;
        let own = written_classes(self.region);
        let place = |root: &Id| own.iter().position(|id| classes.find(*id) == classes.find(*root));
        self.region.roots.iter().filter_map(place).map(Id::from).collect()
    }

    fn form(&self, form: Form) -> Vec<String> {
        let meaning = &self.region.classes.analysis;
        let axes = |mask: AxisMask| meaning.axes(mask).to_string();
        FormText::new(&meaning.reader.normalizer, &self.names, &axes).lines(form)
    }

    /// Roots as s-expressions, parts that are used several times first.
    pub(crate) fn expressions(&self, expression: &RecExpr<Term>, roots: &[Id]) -> Vec<String> {
        let terms = expression.as_ref();
        let mut needed = vec![false; terms.len()];
        let mut uses = vec![0; terms.len()];
        roots.iter().for_each(|root| needed[usize::from(*root)] = true);
        for place in (0..terms.len()).rev() {
            if needed[place] {
                for operand in terms[place].children() {
                    needed[usize::from(*operand)] = true;
                    uses[usize::from(*operand)] += 1;
                }
            }
        }
        let mut lines = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        let mut numbers = 0;
        for (place, term) in terms.iter().enumerate() {
            let text = self.term(term, &texts);
            let shared = uses[place] > 1 && matches!(term, Term::Apply(..)) && needed[place];
            if shared {
                numbers += 1;
                lines.push(format!("%{numbers} = {text}"));
            }
            texts.push(if shared { format!("%{numbers}") } else { text });
        }
        lines.extend(roots.iter().map(|root| texts[usize::from(*root)].clone()));
        lines
    }

    fn term(&self, term: &Term, operands: &[String]) -> String {
        match term {
            Term::Leaf(place) => self.names[*place as usize].1.clone(),
            Term::Number(number) => format!("{:?}", number.get()),
            Term::Size(extent) => extent.to_string(),
            Term::Axes(mask) => self.region.classes.analysis.axes(*mask).to_string(),
            Term::Apply(head, ids) => {
                let name = match head {
                    Head::Reduce(op) => op.name().to_string(),
                    head => head.to_string(),
                };
                let operands: Vec<&str> = ids.iter().map(|id| operands[usize::from(*id)].as_str()).collect();
                format!("({name} {}{})", operands.join(" "), attributes(*head))
            }
        }
    }

    /// Where a rule fired, as `rule: before -> after`.
    fn steps(&self, name: &'static str) -> Vec<String> {
        let allowed = self.allowed;
        let Some(rule) = allowed.rules.iter().find(|rule| rule.name == name) else { return Vec::new() };
        let classes = &self.region.classes;
        let mut lines: Vec<String> = Vec::new();
        let named = |r: &&Rewrite<Term, Meaning>| r.name.as_str().split('#').next() == Some(name);
        for rewrite in allowed.rewrites(classes.analysis.dtype).filter(named) {
            for found in rewrite.search(classes) {
                let Some(pattern) = rewrite.searcher.get_pattern_ast() else { continue };
                let holds = found.substs.iter().filter(|subst| rule.holds(classes, subst));
                lines.extend(holds.filter_map(|subst| self.step(rule, pattern, subst)));
            }
        }
        lines.sort_by_key(|line| (line.len(), line.clone()));
        lines.dedup();
        lines.truncate(PLACES);
        lines
    }

    fn step(&self, rule: &Rule, pattern: &PatternAst<Term>, subst: &Subst) -> Option<String> {
        let rhs: egg::Pattern<Term> = rule.rhs.parse().ok()?;
        let (before, after) = (self.instance(pattern, subst), self.instance(&rhs.ast, subst));
        (before != after).then(|| format!("{}: {before} -> {after}", rule.name))
    }

    /// A pattern with what its variables are bound to.
    fn instance(&self, pattern: &PatternAst<Term>, subst: &Subst) -> String {
        let mut texts: Vec<String> = Vec::new();
        for node in pattern.as_ref() {
            let text = match node {
                ENodeOrVar::ENode(term) => self.term(term, &texts),
                ENodeOrVar::Var(variable) => self.class(subst[*variable]),
            };
            texts.push(text);
        }
        texts.pop().unwrap_or_default()
    }

    /// The smallest expression of a class, on one line.
    fn class(&self, id: Id) -> String {
        let (_, expression) = Extractor::new(&self.region.classes, AstSize).find_best(id);
        let mut texts: Vec<String> = Vec::new();
        expression.as_ref().iter().for_each(|term| texts.push(self.term(term, &texts)));
        texts.pop().unwrap_or_default()
    }
}

/// The classes of the terms of a region as written.
pub(crate) fn written_classes(region: &Region) -> Vec<Id> {
    classes_of(&region.classes, &region.written)
}

/// The classes of the terms of an expression of a region.
pub(crate) fn classes_of(classes: &Classes, expression: &RecExpr<Term>) -> Vec<Id> {
    let mut ids: Vec<Id> = Vec::new();
    for term in expression.as_ref() {
        let own = term.clone().map_children(|id| ids[usize::from(id)]);
        ids.push(classes.lookup(own).expect("the expression is in the e-graph"));
    }
    ids
}

/// The attributes of a composite that are not what they usually are.
fn attributes(head: Head) -> String {
    let Head::Composite(_, settings) = head else { return String::new() };
    let mut text = String::new();
    if settings.eps.get() != 0.0 {
        text += &format!(" eps={:e}", settings.eps.get());
    }
    text += match settings.eps_kind {
        EpsKind::Inside => "",
        EpsKind::Outside => " kind=outside",
        EpsKind::Clamp => " kind=clamp",
    };
    if settings.correction != 0 {
        text += " correction=1";
    }
    text
}

/// The name of an input, or `mul_3_8` for the product at line 3, column 8.
pub(crate) fn leaf_name(graph: &Graph, leaf: Value) -> String {
    if let Op::Input(index) = graph.op(leaf) {
        return graph.inputs()[*index as usize].name.clone();
    }
    let place = graph.provenance(leaf.node).place;
    let place = place.map(|place| format!("_{}_{}", place.line, place.column)).unwrap_or_default();
    format!("{}{place}", graph.op(leaf).name())
}

/// `dot at src/model.rs:3:8`
pub(crate) fn place_of(graph: &Graph, value: Value) -> String {
    if let Op::Input(index) = graph.op(value) {
        return format!("input {}", graph.inputs()[*index as usize].name);
    }
    let place = graph.provenance(value.node).place;
    format!("{}{}", graph.op(value).name(), place.map(|place| format!(" at {place}")).unwrap_or_default())
}

/// Lines, each once, in order.
pub(crate) fn distinct(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen: HashMap<String, ()> = HashMap::default();
    lines.into_iter().filter(|line| seen.insert(line.clone(), ()).is_none()).collect()
}
