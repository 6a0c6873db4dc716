//! Sweeps of every recipe against f64.

use super::super::{Scalar, ScalarFn, ScalarType};
use super::*;

type Recipe = fn(&mut ScalarFn, Reg) -> Reg;

fn run(recipe: Recipe, ty: ScalarType, fused: bool, x: f64) -> f64 {
    let mut k = ScalarFn::new();
    let p = k.param(0, ty);
    let y = recipe(&mut k, p);
    k.eval_with(&[Scalar::from_f64(ty, x)], fused)[y.0 as usize].as_f64()
}

struct Compiled(ScalarFn, Reg);

fn compiled(recipe: Recipe, ty: ScalarType) -> Compiled {
    let mut k = ScalarFn::new();
    let p = k.param(0, ty);
    let y = recipe(&mut k, p);
    Compiled(k, y)
}

/// Worst error in units of the last place of an f32 result not below `floor`.
fn worst_ulps(recipe: Recipe, truth: fn(f64) -> f64, domain: (f64, f64), floor: f64, fused: bool) -> f64 {
    let Compiled(k, y) = compiled(recipe, ScalarType::F32);
    let mut worst = (0.0f64, 0.0);
    let n = 40_000;
    for i in 0..=n {
        let x = (domain.0 + (domain.1 - domain.0) * f64::from(i) / f64::from(n)) as f32;
        let got = k.eval_with(&[Scalar::F32(x)], fused)[y.0 as usize].as_f64();
        let want = truth(x.into());
        let unit = (want.abs().max(floor) as f32).max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(unit.to_bits() + 1)) - f64::from(unit);
        let error = (got - want).abs() / ulp;
        if error > worst.0 || error.is_nan() {
            worst = (if error.is_nan() { f64::INFINITY } else { error }, x.into());
        }
    }
    worst.0
}

fn gelu_truth(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

#[test]
fn f32_recipes_keep_their_ulps() {
    let softplus_truth = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    type Row = (&'static str, Recipe, fn(f64) -> f64, &'static [(f64, f64)], f64, f64);
    let rows: &[Row] = &[
        ("exp", exp, f64::exp, &[(-87.0, 88.7), (-1.0, 1.0)], 0.0, 2.0),
        ("expm1", expm1, f64::exp_m1, &[(-20.0, 88.0), (-1.0, 1.0), (-1e-3, 1e-3)], 1e-37, 3.0),
        ("log", log, f64::ln, &[(1e-38, 1e-30), (1e-3, 3.0), (0.9, 1.1), (1.0, 1e30)], 1e-37, 2.0),
        ("log1p", log1p, f64::ln_1p, &[(-0.99, 3.0), (-1e-3, 1e-3), (0.0, 1e6)], 1e-37, 3.0),
        ("tanh", tanh, f64::tanh, &[(-10.0, 10.0), (-0.1, 0.1), (-1e-4, 1e-4)], 1e-37, 3.0),
        ("erf", erf, libm::erf, &[(-6.0, 6.0), (-1.0, 1.0), (-1e-3, 1e-3)], 1e-37, 3.0),
        ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), &[(-85.0, 85.0), (-4.0, 4.0)], 1e-37, 4.0),
        ("silu", silu, |x| x / (1.0 + (-x).exp()), &[(-80.0, 80.0), (-4.0, 4.0)], 1e-37, 4.0),
        ("softplus", softplus, softplus_truth, &[(-80.0, 80.0), (-4.0, 4.0)], 1e-37, 4.0),
        ("gelu", gelu, gelu_truth, &[(-6.0, 20.0), (-1.0, 1.0)], 1e-37, 32.0),
        ("sin", sin, f64::sin, &[(-131072.0, 131072.0), (-4.0, 4.0)], 1e-3, 2.0),
        ("cos", cos, f64::cos, &[(-131072.0, 131072.0), (-4.0, 4.0)], 1e-3, 2.0),
        ("rsqrt", rsqrt, |x| 1.0 / x.sqrt(), &[(1e-30, 1e-20), (0.1, 10.0)], 0.0, 2.0),
    ];
    for (name, recipe, truth, domains, floor, bound) in rows {
        for domain in *domains {
            let fused = worst_ulps(*recipe, *truth, *domain, *floor, true);
            assert!(fused <= *bound, "{name} on {domain:?}: {fused} ulp, allowed {bound}");
            let reduced_far = domain.1 > 1e4 && ["sin", "cos"].contains(name);
            if !reduced_far {
                let plain = worst_ulps(*recipe, *truth, *domain, *floor, false);
                assert!(plain <= 2.0 * bound + 4.0, "{name} on {domain:?} without fma: {plain} ulp");
            }
        }
    }
}

#[test]
fn gelu_is_absolutely_small_far_on_the_left() {
    for x in [-6.0f64, -7.0, -9.0, -20.0, -1e10, f64::NEG_INFINITY] {
        let y = run(gelu, ScalarType::F32, true, x);
        assert!(y.abs() <= 1e-7, "gelu({x}) = {y}");
    }
}

#[test]
fn f64_recipes_agree_with_libm() {
    type Row = (Recipe, fn(f64) -> f64, (f64, f64));
    let rows: &[Row] = &[
        (exp, f64::exp, (-700.0, 700.0)),
        (expm1, f64::exp_m1, (-5.0, 5.0)),
        (log, f64::ln, (1e-5, 50.0)),
        (log1p, f64::ln_1p, (-0.9, 5.0)),
        (tanh, f64::tanh, (-20.0, 20.0)),
        (erf, libm::erf, (-6.0, 6.0)),
        (gelu, gelu_truth, (-6.0, 6.0)),
        (sin, f64::sin, (-1000.0, 1000.0)),
        (cos, f64::cos, (-1000.0, 1000.0)),
    ];
    for (i, (recipe, truth, domain)) in rows.iter().enumerate() {
        let Compiled(k, y) = compiled(*recipe, ScalarType::F64);
        for step in 0..5000 {
            let x = domain.0 + (domain.1 - domain.0) * f64::from(step) / 4999.7;
            let got = k.eval(&[Scalar::F64(x)])[y.0 as usize].as_f64();
            let want = truth(x);
            assert!(
                (got - want).abs() <= 1e-13 * want.abs().max(1e-3),
                "row {i}: f({x}) = {got}, want {want}"
            );
        }
    }
}

#[test]
fn special_values() {
    let f = |recipe: Recipe, x: f64| run(recipe, ScalarType::F32, true, x);
    let inf = f64::INFINITY;
    for recipe in [
        exp as Recipe,
        expm1,
        log,
        log1p,
        tanh,
        erf,
        sigmoid,
        silu,
        softplus,
        gelu,
        gelu_tanh,
        sin,
        cos,
        rsqrt,
    ] {
        assert!(f(recipe, f64::NAN).is_nan());
    }
    assert_eq!((f(exp, -inf), f(exp, inf), f(exp, 200.0), f(exp, -200.0)), (0.0, inf, inf, 0.0));
    assert_eq!((f(log, 0.0), f(log, inf)), (-inf, inf));
    assert!(f(log, -1.0).is_nan());
    assert_eq!((f(tanh, inf), f(tanh, -inf), f(tanh, 0.0)), (1.0, -1.0, 0.0));
    assert_eq!((f(sigmoid, inf), f(sigmoid, -inf)), (1.0, 0.0));
    assert_eq!((f(erf, inf), f(erf, -inf)), (1.0, -1.0));
    assert_eq!((f(expm1, -inf), f(expm1, inf), f(log1p, inf), f(log1p, -1.0)), (-1.0, inf, inf, -inf));
    assert_eq!((f(softplus, inf), f(softplus, -inf)), (inf, 0.0));
}

#[test]
fn powers() {
    let f = |x: f64, n: f64| {
        let mut k = ScalarFn::new();
        let (a, b) = (k.param(0, ScalarType::F64), k.param(1, ScalarType::F64));
        let y = pow(&mut k, a, b);
        k.eval(&[Scalar::F64(x), Scalar::F64(n)])[y.0 as usize].as_f64()
    };
    for (x, n) in
        [(2.0, 3.0), (-2.0, 3.0), (-2.0, 2.0), (0.0, 2.0), (5.0, 0.0), (1.0, 7.5), (2.5, -1.5), (0.0, -1.0)]
    {
        let (got, want) = (f(x, n), x.powf(n));
        assert!((got - want).abs() <= 1e-13 * want.abs() || got == want, "{x}^{n} = {got}, want {want}");
    }
    assert!(f(-2.0, 0.5).is_nan());
}
