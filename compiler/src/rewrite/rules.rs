//! The rules: what the normal form cannot say.

use super::rule::{Rule, between, nonnegative, rule};

/// Every rule.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule("abs-of-nonnegative", "(abs ?x)", "?x").exact()
        .when(&[nonnegative("?x")])
        .example("(abs (exp x))")
        .fails_when("(abs x)")
        .source("variance written as abs(E[x^2] - E[x]^2)"),
    rule("clamp-below-nonnegative", "(max ?x ?low)", "?x").finite()
        .when(&[nonnegative("?x"), between("?low", f64::NEG_INFINITY, 0.0)])
        .example("(max (var @1 x) 0)")
        .fails_when("(max (mean @1 x) 0)")
        .source("flax and ONNX spellings of LayerNorm: max(variance, 0)"),
    rule("relu-of-nonnegative", "(relu ?x)", "?x").finite()
        .when(&[nonnegative("?x")])
        .example("(relu (softmax @1 x))")
        .fails_when("(relu x)")
        .source("variance clamped with relu; relu after relu"),
    rule("stable-softplus", "(add (max ?x 0) (log1p (exp (neg (abs ?x)))))", "(softplus ?x)").finite()
        .example("(add (max x 0) (log1p (exp (neg (abs x)))))")
        .fails_when("(add (max x 1) (log1p (exp (neg (abs x)))))")
        .source("PyTorch decomposition of softplus and Mish"),
    rule("stable-softplus-relu", "(add (relu ?x) (log1p (exp (neg (abs ?x)))))", "(softplus ?x)").finite()
        .example("(add (relu x) (log1p (exp (neg (abs x)))))")
        .fails_when("(add (relu x) (log1p (exp (abs x))))")
        .source("JAX logaddexp(x, 0)"),
    rule("softplus-above-threshold", "(select (gt ?x ?high) ?x (softplus ?x))", "(softplus ?x)").approximate(1e-9)
        .when(&[between("?high", 20.0, f64::INFINITY)])
        .example("(select (gt x 20) x (softplus x))")
        .fails_when("(select (gt x 10) x (softplus x))")
        .source("PyTorch: softplus with a threshold, off by exp(-20) relative to 20"),
    rule(
        "scaled-softplus-above-threshold",
        "(select (gt (mul ?x ?beta) ?high) ?x (div (softplus (mul ?x ?beta)) ?beta))",
        "(div (softplus (mul ?x ?beta)) ?beta)",
    ).approximate(1e-9)
        .when(&[between("?high", 20.0, f64::INFINITY), between("?beta", 1e-3, 1e3)])
        .example("(select (gt (mul x 2) 20) x (div (softplus (mul x 2)) 2))")
        .fails_when("(select (gt (mul x 2) 20) x (div (softplus (mul x 2)) 3))")
        .source("PyTorch: softplus with beta and a threshold"),
    rule("gate-by-step", "(mul ?x (step ?x))", "(relu ?x)").finite()
        .example("(mul x (step x))")
        .fails_when("(mul x (step g))")
        .source("relu as x * (x > 0)"),
    rule("gate-by-indicator", "(mul ?x (indicator (gt ?x 0)))", "(relu ?x)").finite()
        .example("(mul x (indicator (gt x 0)))")
        .fails_when("(mul x (indicator (gt x 1)))")
        .source("Keras: x * cast(x > 0)"),
    rule("select-positive", "(select (gt ?x 0) ?x 0)", "(relu ?x)").finite()
        .example("(select (gt x 0) x 0)")
        .fails_when("(select (gt x 0) 0 x)")
        .source("where(x > 0, x, 0)"),
    rule("max-of-opposites", "(max ?x (neg ?x))", "(abs ?x)").exact()
        .example("(max x (neg x))")
        .fails_when("(max x (neg g))")
        .source("|x| as max(x, -x)"),
    rule("select-magnitude", "(select (gt ?x 0) ?x (neg ?x))", "(abs ?x)").exact()
        .example("(select (gt x 0) x (neg x))")
        .fails_when("(select (gt x 1) x (neg x))")
        .source("|x| as where(x > 0, x, -x)"),
];
