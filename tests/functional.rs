//! Derivatives of closures, composed with each other and with derivatives that users write.
//!
//! Not here: the derivative of every row (`derivatives`), training (`train`).

use evenkeel::Error;
use evenkeel::prelude::*;

const DEVICES: [Device; 2] = [Device::Interp, Device::Cpu];

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_vec(&[values.len()], values).unwrap()
}

/// A function of one value whose first three derivatives are known at `[1, -2]`.
type Case = (&'static str, fn(Var) -> Var, [[f64; 2]; 3]);

/// `x^3` with a derivative of its own, which is differentiable in turn.
fn cube(x: Var) -> Var {
    custom_vjp(&[x], |x| (x[0] * x[0] * x[0], vec![x[0]]), |r, g| vec![g * r[0].square() * 3.0])
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("x^3",                |x| x * x * x,                            [[3.0, 12.0], [6.0, -12.0], [6.0, 6.0]]),
    ("x^3, own backward",  cube,                                     [[3.0, 12.0], [6.0, -12.0], [6.0, 6.0]]),
    ("x |x|",              |x| x * x.abs(),                          [[2.0, 4.0], [2.0, -2.0], [0.0, 0.0]]),
    ("x sg(x)",            |x| x * x.stop_gradient(),                [[1.0, -2.0], [0.0, 0.0], [0.0, 0.0]]),
    ("x^2 where x > 0",    |x| x.gt(0.0).select(x * x, x),           [[2.0, 1.0], [2.0, 0.0], [0.0, 0.0]]),
    ("4 / x",              |x| 4.0 / x,                              [[-4.0, -1.0], [8.0, -1.0], [-24.0, -1.5]]),
];

/// The derivative of the sum of the elements.
fn slope(f: fn(Var) -> Var, x: Var) -> Var {
    grad(move |x: Var| f(x).sum_all()).wrt(0).call(&[x]).unwrap()
}

#[test]
fn reverse_mode_nests_three_times() {
    let x = vector(&[1.0, -2.0]);
    for &(name, f, want) in CASES {
        let first = grad(move |x: Var| f(x).sum_all()).wrt(0);
        let second = grad(move |x: Var| slope(f, x).sum_all()).wrt(0);
        let third = grad(move |x: Var| {
            grad(move |x: Var| slope(f, x).sum_all()).wrt(0).call(&[x]).unwrap().sum_all()
        })
        .wrt(0);
        for device in DEVICES {
            let got = [
                grad(move |x: Var| f(x).sum_all()).wrt(0).device(device).run(&x).unwrap(),
                second.run(&x).unwrap(),
                third.run(&x).unwrap(),
            ];
            for (order, (got, want)) in got.iter().zip(&want).enumerate() {
                let close = got.to_f64s().iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(close, "{name}, order {}, {device:?}: {got}, not {want:?}", order + 1);
            }
        }
        assert_eq!(first.run(&x).unwrap().to_f64s(), want[0], "{name}");
    }
}

#[test]
fn forward_over_reverse_is_reverse_over_reverse() {
    let x = vector(&[1.0, -2.0]);
    for &(name, f, want) in CASES {
        let direction = vector(&[1.0, 1.0]);
        let along = jvp(move |x: Var| slope(f, x));
        let (_, tangents) = along.run((&x, &direction)).unwrap();
        assert_eq!(tangents[0].to_f64s(), want[1], "{name}");
    }
}

#[test]
fn a_straight_through_estimator_has_higher_orders() {
    // rounds, with the derivative of x^2 / 2; the rounding itself has none
    let round = |x: Var| custom_vjp(&[x], |x| (x[0].round(), vec![x[0]]), |r, g| vec![g * r[0]]);
    let x = vector(&[1.25, -2.0]);
    let first = move |x: Var| grad(move |x: Var| round(x).sum_all()).wrt(0).call(&[x]).unwrap();
    let second = grad(move |x: Var| first(x).square().sum_all()).wrt(0);
    assert_eq!(second.run(&x).unwrap().to_f64s(), [2.5, -4.0]);
    let (values, tangents) = jvp(first).run((&x, vector(&[1.0, 3.0]))).unwrap();
    assert_eq!((values[0].to_f64s(), tangents[0].to_f64s()), (vec![1.25, -2.0], vec![1.0, 3.0]));
}

#[test]
fn reverse_over_forward_in_a_trace() {
    // d/dx of the derivative of x^3 along v: 6 x v
    let along = |x: Var, v: Var| {
        let (_, tangents) = jvp(|x: Var| x * x * x).call(&[x, v]).unwrap();
        tangents[0].sum_all()
    };
    let (x, v) = (vector(&[1.0, -2.0]), vector(&[0.5, 2.0]));
    assert_eq!(grad(along).wrt(0).run((&x, &v)).unwrap().to_f64s(), [3.0, -24.0]);
    let (value, gradients) = jit((), |_: &(), (x, g): (Var, Var)| {
        let (values, gradients) = vjp(|x: Var| x.square()).call(&[x, g]).unwrap();
        (values[0], gradients[0])
    })
    .compile(&(x.clone(), v.clone()))
    .unwrap()
    .run((&x, &v))
    .unwrap();
    assert_eq!((value.to_f64s(), gradients.to_f64s()), (vec![1.0, 4.0], vec![1.0, -8.0]));
}

#[test]
fn several_results_and_arguments() {
    let f = |x: Var, i: Var, w: Var| (x.gather(i) * w, [x.sum_all(), w.sum_all()]);
    let (x, w) = (vector(&[1.0, 2.0, 3.0]), vector(&[10.0, 20.0]));
    let i = Tensor::from_vec(&[2], [2i32, 2]).unwrap();
    let cotangents = (vector(&[1.0, 1.0]), Tensor::scalar(0.5f32), Tensor::scalar(0f32));
    for device in DEVICES {
        let (results, gradients) = vjp(f).device(device).run(((&x, &i, &w), &cotangents)).unwrap();
        assert_eq!(
            results.iter().map(Tensor::to_f64s).collect::<Vec<_>>(),
            [vec![30.0, 60.0], vec![6.0], vec![30.0]]
        );
        // no gradient towards the indices
        assert_eq!(
            gradients.iter().map(Tensor::to_f64s).collect::<Vec<_>>(),
            [vec![0.5, 0.5, 30.5], vec![3.0, 3.0]]
        );
        let (_, tangents) = jvp(f).device(device).run(((&x, &i, &w), (&x, &w))).unwrap();
        assert_eq!(
            tangents.iter().map(Tensor::to_f64s).collect::<Vec<_>>(),
            [vec![60.0, 120.0], vec![6.0], vec![30.0]]
        );
    }
    check_gradients(f, (&x, &i, &w)).unwrap();
}

#[test]
fn a_wrong_derivative_of_the_user_is_found() {
    let x = vector(&[1.0, -2.0]);
    let wrong = |x: Var| custom_vjp(&[x], |x| (x[0].square(), vec![x[0]]), |r, g| vec![g * r[0]]);
    let error = check_gradients(wrong, &x).unwrap_err();
    let Error::Gradient(found) = &error else { panic!("{error}") };
    assert_eq!((found.input.as_str(), found.element), ("input.0", 0));
    assert!((found.slope / found.derivative - 2.0).abs() < 1e-6, "{error}");
    check_gradients(cube, &x).unwrap();
}

#[test]
fn other_float_types_differentiate() {
    let x = Tensor::from_vec(&[2], [1f64, -2.0]).unwrap();
    for device in DEVICES {
        let dx = grad(|x: Var| (x * x * x).sum_all()).wrt(0).device(device).run(&x).unwrap();
        assert_eq!((dx.dtype(), dx.to_f64s()), (DType::F64, vec![3.0, 12.0]));
        let mixed = |x: Var, w: Var| (x.cast(DType::F32) * w).sum_all();
        let (dx, dw) = grad(mixed).wrt((0, 1)).device(device).run((&x, vector(&[3.0, 5.0]))).unwrap();
        assert_eq!((dx.dtype(), dx.to_f64s(), dw.to_f64s()), (DType::F64, vec![3.0, 5.0], vec![1.0, -2.0]));
    }
}

/// Parameters of two types, trained together.
#[derive(Clone, Parameters)]
struct Mixed {
    wide: Param,
    narrow: Param,
    table: Embedding,
}

#[test]
fn parameters_of_two_types_train() {
    let table = Embedding { weight: Param::new(Tensor::from_vec(&[3, 2], [0f32; 6]).unwrap()) };
    let model = Mixed { wide: Param::full(&[2], 0f64), narrow: Param::zeros(&[2]), table };
    let f = |m: &Mixed, (i, y): (Var, Var)| {
        let y = y.unsqueeze(1);
        let x = m.table.forward(i) + &m.narrow;
        let wide = (x.cast(DType::F64) + &m.wide).sum(-1);
        (wide - y.cast(DType::F64)).square().mean_all()
    };
    let i = Tensor::from_vec(&[4], [0i64, 1, 1, 2]).unwrap();
    let y = vector(&[1.0, 2.0, 2.0, -3.0]);
    for device in DEVICES {
        let mut run = vec![
            train_step(&model, AdamW::new(0.1).weight_decay(0.0), f)
                .device(device)
                .clip_norm(10.0)
                .compile(&(i.clone(), y.clone()))
                .unwrap(),
            train_step(&model, Sgd::new(0.05).momentum(0.5), f)
                .device(device)
                .compile(&(i.clone(), y.clone()))
                .unwrap(),
        ];
        for step in &mut run {
            let losses: Vec<f64> = (0..150).map(|_| step.run((&i, &y)).unwrap().loss().unwrap()).collect();
            assert!(losses[149] < 1e-3 * losses[0], "{device:?}: {} to {}", losses[0], losses[149]);
            assert_eq!(step.model().get().wide.tensor().dtype(), DType::F64);
        }
    }
}

#[test]
fn a_tap_that_nothing_returns_is_a_fault() {
    let x = Tensor::from_vec(&[2], [1.0f32, 2.0]).unwrap();
    let fault = |f: fn(Var) -> Var| jit((), |_: &(), x: Var| f(x)).compile(&x).err().unwrap().to_string();
    let forward = fault(|x| custom_vjp(&[x], |x| (x[0].tap("inner").exp(), vec![]), |_, g| vec![g]));
    assert!(
        forward
            .starts_with("tap: expected a value outside of custom_vjp, found inner inside of it, at tests/"),
        "{forward}"
    );
    let backward = fault(|x| custom_vjp(&[x], |x| (x[0].exp(), vec![]), |_, g| vec![g.tap("g")]));
    assert!(
        backward.starts_with("tap: expected a value outside of custom_vjp, found g inside"),
        "{backward}"
    );
    let tapped = |_: &(), x: Var| custom_vjp(&[x], |x| (x[0] * 2.0, vec![]), |_, g| vec![g]).tap("y");
    assert_eq!(jit((), tapped).compile(&x).unwrap().run_tapped(&x).unwrap().1["y"].to_f64s(), [2.0, 4.0]);
}

#[test]
fn explain_shows_regions_and_near_misses_and_compiling_looks_for_neither() {
    let f = |_: &(), x: Var| (x * (1.7 * x).sigmoid(), (x - x.mean(-1)) / (x.var(-1) + 1e-5).sqrt());
    let compiled = jit((), f).compile(&Tensor::full(&[2, 8], 1f32)).unwrap();
    let text = compiled.explain();
    assert!(text.contains("almost quick_gelu at tests/functional.rs:"), "{text}");
    assert!(text.contains("(standardize @1 input.0 eps=1e-5)"), "{text}");
    let report = compiled.report().unwrap();
    assert!(report.nearly_recognized.is_empty() && report.kept.is_empty());
    assert!(report.recognized.iter().all(|entry| entry.lines().count() == 1), "{report}");
}
