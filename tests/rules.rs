//! Rules of users: what is wrong with bad ones, and that good ones are used.

use crate::errors::messages;
use crate::oracle::numbers;
use evenkeel::prelude::*;
use evenkeel::rewrite::{
    RULES, Rule, RuleError, Rules, Tier, UserComposite, between, check, check_composite, check_rules,
    composite, nonnegative, rule, traced,
};

/// A rule that is fine.
const LARGER: Rule = rule("select-larger", "(select (gt ?x ?y) ?x ?y)", "(max ?x ?y)")
    .finite()
    .example("(select (gt x g) x g)")
    .fails_when("(select (gt x g) g x)")
    .source("where(x > y, x, y)");

/// A row with the examples of [`LARGER`].
const fn row(name: &'static str, lhs: &'static str, rhs: &'static str) -> Rule {
    Rule { name, lhs, rhs, ..LARGER }
}

/// What is wrong with a rule.
#[track_caller]
fn rejected(rule: Rule) -> RuleError {
    let error = check(&rule).expect_err(rule.name);
    assert_eq!(check_rules(&[LARGER, rule]).expect_err(rule.name), error);
    assert_eq!(Rules::standard().with(&[rule]).expect_err(rule.name), error);
    error
}

/// `x * tanh(g x)`, with its derivative.
fn gate() -> UserComposite {
    let definition = traced(|v| vec![v[0] * (v[1] * v[0]).tanh()]);
    composite("tanh_gate", &[("x", &[4, 8]), ("g", &[8])], definition)
        .vjp(traced(|v| {
            let (x, g, dy) = (v[0], v[1], v[2]);
            let t = (x * g).tanh();
            let slope = dy * x * (1.0 - t * t);
            vec![dy * t + slope * g, (slope * x).sum(0).reshape([-1])]
        }))
        .example("(mul (tanh (mul x g)) x)")
        .fails_when("(mul (tanh (mul x g)) (exp x))")
        .source("a gate")
}

/// `d / (mean |d| + 1e-5) * gain`, with `d = x - mean(x)`.
fn deviation_norm() -> UserComposite {
    let definition = traced(|v| {
        let d = v[0] - v[0].mean(-1);
        vec![d / (d.abs().mean(-1) + 1e-5) * v[1]]
    });
    composite("deviation_norm", &[("x", &[4, 8]), ("gain", &[8])], definition)
        .example(
            "(mul gain (mul (recip (add 1e-5 (mean @1 (abs (sub x (mean @1 x)))))) (sub x (mean @1 x))))",
        )
        .fails_when(
            "(mul gain (mul (recip (add 1e-4 (mean @1 (abs (sub x (mean @1 x)))))) (sub x (mean @1 x))))",
        )
}

/// A function whose derivative is off by less than what random operands show.
fn rounded_double() -> UserComposite {
    composite("double", &[("x", &[4, 8])], traced(|v| vec![v[0] * 2.0]))
        .vjp(traced(|v| vec![v[1] * 2.0000000005]))
        .example("(add x x)")
        .fails_when("(add x 1)")
}

/// What is wrong with a composite.
#[track_caller]
fn refused(composite: UserComposite) -> RuleError {
    let error = check_composite(&composite).expect_err(composite.name);
    assert_eq!(Rules::standard().with_composites(&[composite]).expect_err("it is refused"), error);
    error
}

#[test]
fn composites_are_found_in_other_spellings() {
    let rules = Rules::standard().with_composites(&[gate(), deviation_norm()]).expect("they are sound");
    let (x, g) = (numbers(&[6, 8], 1), numbers(&[8], 2));
    let norm = |x: Var, g: Var| {
        let centred = x - x.sum(-1) / 8.0;
        centred * g / (centred.abs().sum(-1) * 0.125 + 1e-5)
    };
    let both = move |x: Var, g: Var| norm(x, g) * (norm(x, g) * g).tanh();
    for float in [Tier::Finite, Tier::Exact] {
        let f = jit((), |_: &(), (x, g): (Var, Var)| both(x, g)).rules(&rules).float(float);
        let f = f.compile(&(x.clone(), g.clone())).expect("it compiles");
        for name in ["tanh_gate", "deviation_norm"] {
            let named = f.explain().contains(&format!("{name}, a composite of yours,"));
            assert_eq!(named, float == Tier::Finite, "{}", f.explain());
        }
        let plain = jit((), |_: &(), (x, g): (Var, Var)| both(x, g)).compile(&(x.clone(), g.clone()));
        let (own, plain) = (f.run((&x, &g)).expect("it runs"), plain.expect("it compiles").run((&x, &g)));
        close(&own, &plain.expect("it runs"));
    }
    let loss = move |x: Var, g: Var| (both(x, g) * x).sum_all();
    let (own, plain) = (grad(loss).wrt((0, 1)).rules(&rules), grad(loss).wrt((0, 1)));
    let (own, plain) = (own.run((&x, &g)).expect("it runs"), plain.run((&x, &g)).expect("it runs"));
    close(&own.0, &plain.0);
    close(&own.1, &plain.1);
}

#[track_caller]
fn close(a: &Tensor, b: &Tensor) {
    let (a, b) = (a.to_f64s(), b.to_f64s());
    let scale = b.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5 * scale), "{a:?}\n{b:?}");
}

#[test]
fn rules_that_are_not_what_they_claim() {
    let mut errors = vec![
        rejected(row("no-such-op", "(foo ?x)", "?x")),
        rejected(row("open", "(max ?x ?y", "?x")),
        rejected(row("everything", "?x", "(relu ?x)")),
        rejected(row("guard-of-nothing", "(max ?x ?y)", "?x").when(const { &[nonnegative("x")] })),
        rejected(row(
            "commuting",
            "(add (add (add (add (add (add (add (add (add ?a ?b) ?c) ?d) ?e) ?f) ?g) ?h) ?i) ?j)",
            "?a",
        )),
        rejected(row("unbound", "(max ?x ?x)", "?z")),
        rejected(row("unbound-guard", "(max ?x ?x)", "?x").when(const { &[between("?z", 0.0, 1.0)] })),
        rejected(row("truth", "(gt ?x ?y)", "(sub ?x ?y)")),
        rejected(row("wrong-pair", "(max ?x ?y)", "(min ?x ?y)")),
        rejected(row(
            "wrong-sum",
            "(reduce_max ?a (add ?x ?y))",
            "(add (reduce_max ?a ?x) (reduce_max ?a ?y))",
        )),
        rejected(row("wrong-log", "(log (mul ?x ?y))", "(add (log ?x) (log ?x))")),
        rejected(row("too-coarse", "(gelu ?x)", "(gelu_tanh ?x)").approximate(1e-5)),
        rejected(row("nowhere", "(log (neg (exp ?x)))", "?x")),
        rejected(row("better-than-true", LARGER.lhs, LARGER.rhs).exact()),
        rejected(Rule { name: "silent", example: "(max x g)", ..LARGER }),
        rejected(Rule { name: "no-example", example: "", ..LARGER }),
        rejected(Rule { name: "fires", fails_when: "(select (gt b g) b g)", ..LARGER }),
    ];
    errors.extend([
        refused(gate().stable(traced(|v| vec![v[0] * (v[1] * v[0]).sigmoid()]))),
        refused(gate().vjp(traced(|v| vec![v[2] * v[0], v[1] * 1.0]))),
        refused(gate().vjp(traced(|v| vec![v[2] * v[0]]))),
        refused(deviation_norm().vjp(traced(|v| vec![v[0], v[1], v[2]]))),
        refused(rounded_double()),
        refused(gate().stable(traced(|v| vec![v[0].sum(0)]))),
        refused(gate().example("(mul (tanh (mul x g)) (mul 2 x))")),
        refused(gate().fails_when("(mul x (tanh (mul g x)))")),
        Rules::standard().with_composites(&[gate(), gate()]).unwrap_err(),
    ]);
    errors.push(check_rules(&[LARGER, LARGER]).unwrap_err());
    errors.push(Rules::standard().with(&[Rule { name: RULES[0].name, ..LARGER }]).unwrap_err());
    insta::assert_snapshot!(messages("compiler/src/rewrite/rule.rs", "RuleError", &[], &errors));
}

#[test]
fn an_approximation_is_held_to_its_bound() {
    let once = row("one-tanh", "(tanh (tanh ?x))", "(tanh ?x)");
    let once = Rule { example: "(tanh (tanh x))", fails_when: "(tanh (exp x))", ..once }.approximate(0.3);
    let measured = check(&once).expect("it is within its bound");
    assert_eq!(measured.tier, Tier::Approximate);
    assert!(measured.error > 0.01, "{measured:?}");
    let rules = Rules::standard().with(&[once]).expect("it is sound");
    let x = Tensor::from_vec(&[3], [-1f32, 0.5, 2.0]).expect("sizes fit");
    let twice = |float| {
        let f = jit((), |_: &(), x: Var| x.tanh().tanh()).rules(&rules).float(float);
        f.compile(&x).expect("it compiles").run(&x).expect("it runs").to_f64s()
    };
    assert_ne!(twice(Tier::Approximate), twice(Tier::Finite));
    assert_eq!(twice(Tier::Finite), twice(Tier::Exact));
}

#[test]
fn a_rule_is_used_where_it_was_asked_for() {
    let rules = Rules::standard().with(&[LARGER]).expect("it is sound");
    let x = Tensor::from_vec(&[4], [-1f32, 0.25, 2.0, 3.0]).expect("sizes fit");
    let larger = |x: Var| x.gt(1.0 - x).select(x, 1.0 - x).sum_all();
    let closure = |_: &(), x: Var| larger(x);
    let with = jit((), closure).rules(&rules).compile(&x).expect("it compiles");
    let without = jit((), closure).compile(&x).expect("it compiles");
    let strict = jit((), closure).rules(&rules).float(Tier::Exact).compile(&x).expect("it compiles");
    assert!(with.explain().contains("rules: select-larger"), "{}", with.explain());
    for other in [&without, &strict] {
        assert!(!other.explain().contains("select-larger"), "{}", other.explain());
        assert_eq!(other.run(&x).expect("it runs").to_f64s(), with.run(&x).expect("it runs").to_f64s());
    }
    let of_two = jit((), |_: &(), (x, y): (Var, Var)| x.gt(y).select(x, y)).rules(&rules);
    assert!(
        of_two.compile(&(x.clone(), x.clone())).expect("it compiles").explain().contains("select-larger")
    );
    let gradient = grad(larger).wrt(0).rules(&rules);
    assert!(gradient.explain(&x).expect("it compiles").contains("select-larger"));
    assert_eq!(gradient.run(&x).expect("it runs").to_f64s(), [-1.0, -1.0, 1.0, 1.0]);
}

#[test]
fn a_training_step_uses_rules() {
    let rules = Rules::standard().with(&[LARGER]).expect("it is sound");
    let x = Tensor::from_vec(&[2, 3], [-1f32, 0.5, 2.0, 3.0, 1.0, -2.0]).expect("sizes fit");
    let loss = |w: &Param, x: Var| {
        let y = x * w;
        y.gt(x).select(y, x).square().mean_all()
    };
    let step =
        |float| train_step(Param::zeros(&[3]), Sgd::new(0.1), loss).rules(&rules).float(float).compile(&x);
    assert!(step(Tier::Finite).expect("it compiles").explain().contains("select-larger"));
    assert!(!step(Tier::Reassociates).expect("it compiles").explain().contains("select-larger"));
}

#[test]
fn all_rules_are_checked_in_less_than_a_second() {
    let start = std::time::Instant::now();
    assert_eq!(check_rules(RULES).expect("they are sound").len(), RULES.len());
    let took = start.elapsed();
    assert!(cfg!(debug_assertions) || took.as_secs_f64() < 1.0, "{took:?}");
}
