//! Sweeps of every recipe against f64.

use super::super::{Scalar, ScalarFn, ScalarType, ulps};
use super::*;
use crate::op::{Class, Unary, UnaryDef};

type Recipe = fn(&mut ScalarFn, Reg) -> Reg;

fn run(recipe: Recipe, ty: ScalarType, fused: bool, x: f64) -> f64 {
    let mut k = ScalarFn::new();
    let p = k.param(0, ty);
    let y = recipe(&mut k, p);
    k.eval_with(&[Scalar::from_f64(ty, x)], fused)[y.0 as usize].as_f64()
}

/// Numbers of every exponent and both signs, with mantissas spread unevenly; all special values.
fn samples() -> impl Iterator<Item = f32> {
    let special = [0x7fc0_0000, 0x7fc0_0001, 0x7f80_0001, 0xffff_ffff, 0, 1 << 31, 1, (1 << 31) + 1];
    let everywhere = (0..=0x7f80_0000u32).step_by(64_901).flat_map(|bits| [bits, bits | 1 << 31]);
    special.into_iter().chain(everywhere).chain([0x7f80_0000, 0xff80_0000]).map(f32::from_bits)
}

/// The worst error of a row's f32 code over the samples in a range, and where it is.
fn worst(def: &UnaryDef, range: (f64, f64), fused: bool) -> (f64, f32) {
    let (mut k, mut worst) = (ScalarFn::new(), (0.0, 0.0));
    let p = k.param(0, ScalarType::F32);
    let y = (def.emit)(&mut k, p);
    for x in samples().filter(|&x| x.is_nan() || (range.0..=range.1).contains(&x.into())) {
        let Scalar::F32(got) = k.eval_with(&[Scalar::F32(x)], fused)[y.0 as usize] else { panic!("not f32") };
        let error = ulps(got, (def.eval)(x.into()));
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

#[test]
fn f32_code_keeps_what_its_row_promises() {
    for f in Unary::ALL.iter().filter(|f| !matches!(f.def().class, Class::Bool)) {
        let (def, name) = (f.def(), f.name());
        let (fused, x) = worst(def, def.promised, true);
        assert!(fused <= def.ulps.max(0.5), "{name}({x:e}): {fused} ulp, promised are {}", def.ulps);
        // products of pi are not exact without a fused multiply-add
        let few_turns = (-4.0, 4.0);
        let range = if [Unary::Sin, Unary::Cos].contains(f) { few_turns } else { def.promised };
        let (plain, x) = worst(def, range, false);
        assert!(plain <= 2.0 * def.ulps + 0.5, "{name}({x:e}) without fma: {plain} ulp");
    }
}

fn gelu_truth(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

#[test]
fn gelus_are_absolutely_small_far_on_the_left() {
    for x in [-6.0f64, -7.0, -9.0, -11.0, -14.0, -20.0, -1e10, f64::NEG_INFINITY] {
        for (recipe, truth) in [(gelu as Recipe, gelu_truth as fn(f64) -> f64), (gelu_tanh, |_| 0.0)] {
            let y = run(recipe, ScalarType::F32, true, x);
            let want = if x.is_finite() { truth(x) } else { 0.0 };
            assert!((y - want).abs() <= 1e-9, "{x} gives {y}");
        }
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
        let mut k = ScalarFn::new();
        let p = k.param(0, ScalarType::F64);
        let y = recipe(&mut k, p);
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
    for gated in [silu as Recipe, quick_gelu, gelu, gelu_tanh, mish] {
        assert_eq!((f(gated, inf), f(gated, -inf)), (inf, 0.0));
    }
    for odd in [tanh as Recipe, erf, log1p, silu, quick_gelu, gelu, gelu_tanh, mish] {
        assert!(f(odd, -0.0) == 0.0 && f(odd, -0.0).is_sign_negative());
    }
    assert_eq!((f(exp, 0.0), f(exp_nonpositive, 0.0), f(cos, 0.0)), (1.0, 1.0, 1.0));
    assert_eq!((f(exp, -100.0), f(exp_nonpositive, -inf)), (f64::from((-100f64).exp() as f32), 0.0));
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
