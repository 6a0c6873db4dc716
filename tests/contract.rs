//! The library as its users write it: every promised name, in small programs.
//!
//! Not here: numerical accuracy (`oracle`, `torture`), mistakes and their messages (`errors`).

use evenkeel::data::digits;
use evenkeel::prelude::*;

/// The model of the documentation, word for word.
#[derive(Clone, Parameters)]
struct Mlp {
    up: Linear,
    norm: LayerNorm,
    down: Linear,
}

impl Mlp {
    fn new(rng: &mut Rng, n_in: usize, hidden: usize, n_out: usize) -> Self {
        Mlp {
            up: Linear::new(rng, n_in, hidden),
            norm: LayerNorm::new(hidden),
            down: Linear::new(rng, hidden, n_out),
        }
    }

    fn forward(&self, x: Var) -> Var {
        self.down.forward(self.norm.forward(self.up.forward(x)).gelu())
    }
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_vec(&[values.len()], values).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().unwrap()
}

#[test]
fn the_program_of_the_documentation_runs() -> Result<(), Box<dyn std::error::Error>> {
    let (data, _) = digits().split_every_fifth();
    let mut rng = Rng::seed(0);
    let (x, y) = data.tensors();
    let example_batch = (x.rows(0..64)?, y.rows(0..64)?);
    let model = Mlp::new(&mut rng, 64, 32, 10);

    let mut step = train_step(model, AdamW::new(3e-3).weight_decay(0.01), |m: &Mlp, (x, y): (Var, Var)| {
        let logits = m.forward(x);
        let loss = logits.cross_entropy(y);
        (loss, metrics! { accuracy: logits.argmax(-1).equals(y).mean_all() })
    })
    .device(Device::Cpu)
    .compile(&example_batch)?;

    assert!(step.explain().contains("on panels of"), "{}", step.explain());
    let mut losses = Vec::new();
    for batch in data.batches(64, &mut rng).progress() {
        let out = step.run(batch)?;
        assert!((0.0..=1.0).contains(&out.metric("accuracy")?));
        losses.push(out.loss()?);
    }
    assert_eq!(losses.len(), 1437usize.div_ceil(64));
    assert!(losses[22] < 0.7 * losses[0], "{losses:?}");

    let path = std::env::temp_dir().join(format!("evenkeel-contract-{}.safetensors", std::process::id()));
    step.model().save(&path)?;
    let names: Vec<String> = evenkeel::checkpoint::read(&path)?.into_keys().collect();
    assert_eq!(names, ["down.bias", "down.weight", "norm.bias", "norm.gain", "up.bias", "up.weight"]);
    let predict = jit(step.model(), |m: &Mlp, x: Var| m.forward(x)).compile(&x)?;
    let before = predict.run(x.rows(0..3)?)?;
    step.run(example_batch)?;
    assert_ne!(predict.run(x.rows(0..3)?)?, before, "parameters are shared");
    predict.model().load(&path)?;
    assert_eq!(predict.run(x.rows(0..3)?)?, before);
    Ok(())
}

#[test]
fn derivatives_of_the_documentation_run() -> Result<(), Box<dyn std::error::Error>> {
    let norm = |x: Var, w: Var| ((x - x.mean(-1)) / (x.var(-1) + 1e-5).sqrt() * w).square().sum_all();
    let g = grad(norm).wrt(0);
    let (x, w) = (Tensor::from_vec(&[2, 3], [1f32, 2.0, 4.0, -1.0, 0.5, 3.0])?, vector(&[1.0, 2.0, 3.0]));
    let dx = g.run((&x, &w))?;
    let (_, gradients) = vjp(norm).run(((&x, &w), Tensor::scalar(1f32)))?;
    assert_eq!(floats(&gradients[0]), floats(&dx));
    let direction = Tensor::from_vec(&[2, 3], [1f32, 0.0, 0.0, 0.0, 0.0, 0.0])?;
    let (_, slopes) = jvp(norm).run(((&x, &w), (direction, Tensor::zeros(DType::F32, &[3]))))?;
    assert!((slopes[0].item()? - f64::from(floats(&dx)[0])).abs() < 1e-4);
    check_gradients(norm, (&x, &w))?;
    let text = g.explain((&x, &w))?;
    assert!(text.contains("standardize"), "what the user wrote is recognized: {text}");
    Ok(())
}

/// The result of a closure of one value on both devices.
#[track_caller]
fn both(f: impl Fn(Var) -> Var + Copy, x: &Tensor) -> Tensor {
    let run = |device| jit((), move |_: &(), x: Var| f(x)).device(device).compile(x).unwrap().run(x).unwrap();
    let (want, got) = (run(Device::Interp), run(Device::Cpu));
    assert_eq!(want.ty(), got.ty());
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * a.abs().max(1.0) || a.is_nan() && b.is_nan();
    assert!(want.to_f64s().iter().zip(&got.to_f64s()).all(close), "{want} {got}");
    got
}

/// A closure of one value, and what it gives for `[1, 2, 4]`.
type Case = (&'static str, fn(Var) -> Var, &'static [f64]);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("number on the right",    |x| x + 1.0,                                 &[2.0, 3.0, 5.0]),
    ("number on the left",     |x| 1.0 - x,                                 &[0.0, -1.0, -3.0]),
    ("quotient of a number",   |x| 8.0 / x,                                 &[8.0, 4.0, 2.0]),
    ("whole number, left",     |x| 2 * x,                                   &[2.0, 4.0, 8.0]),
    ("whole number, right",    |x| x / 2,                                   &[0.5, 1.0, 2.0]),
    ("f32, right",             |x| x * 0.5f32,                              &[0.5, 1.0, 2.0]),
    ("usize, right",           |x| x - 1usize,                              &[0.0, 1.0, 3.0]),
    ("negated",                |x| -x,                                      &[-1.0, -2.0, -4.0]),
    ("compound assignment",    |mut x| { x += 1.0; x *= x; x -= 1; x /= 2.0; x }, &[1.5, 4.0, 12.0]),
    ("power",                  |x| x.pow(2.0),                              &[1.0, 4.0, 16.0]),
    ("select of values",       |x| x.gt(1.5).select(x, -x),                 &[-1.0, 2.0, 4.0]),
    ("select of numbers",      |x| x.le(2.0).select(1.0, 0.0),              &[1.0, 1.0, 0.0]),
    ("clamp",                  |x| x.clamp(1.5, 3.0),                       &[1.5, 2.0, 3.0]),
    ("sum keeps axes",         |x| x - x.sum(0),                            &[-6.0, -5.0, -3.0]),
    ("sum of all",             |x| x.sum_all(),                             &[7.0]),
    ("mean of all",            |x| x.mean_all(),                            &[7.0 / 3.0]),
    ("variance by n",          |x| x.var(-1),                               &[14.0 / 9.0]),
    ("variance by n - 1",      |x| x.var_unbiased(-1),                      &[7.0 / 3.0]),
    ("largest",                |x| x.max_over(0) - x.min_over(0),           &[3.0]),
    ("position of the largest",|x| x.argmax(-1).cast(DType::F32),           &[2.0]),
    ("share of hits",          |x| x.equals(2.0).mean_all(),                &[1.0 / 3.0]),
    ("reshaped",               |x| x.reshape([3, -1]).squeeze(1),           &[1.0, 2.0, 4.0]),
    ("slice",                  |x| x.slice(0, 1, 3),                        &[2.0, 4.0]),
    ("padded",                 |x| x.pad(0, 1, 2),                          &[0.0, 1.0, 2.0, 4.0, 0.0, 0.0]),
    ("flipped",                |x| x.flip(0),                               &[4.0, 2.0, 1.0]),
    ("concatenated",           |x| Var::concat(&[x, -x], 0),                &[1.0, 2.0, 4.0, -1.0, -2.0, -4.0]),
    ("matrix product",         |x| x.reshape([1, 3]).matmul(x.reshape([3, 1])), &[21.0]),
    ("gathered",               |x| x.gather((2 - x.iota(0)).cast(DType::I64)), &[4.0, 2.0, 1.0]),
    ("scattered",              |x| x.scatter_add(x.iota(0) - x.iota(0) + 1, 2),    &[0.0, 7.0]),
    ("gathered along an axis", |x| (x.reshape([1, 3])).gather_along(1, x.iota(0)).squeeze(0), &[1.0, 2.0, 4.0]),
    ("mean squared error",     |x| x.mse(x + 2.0),                          &[4.0]),
];

#[test]
fn methods_and_operators() {
    for &(name, f, want) in CASES {
        let fixed = |_: &(), x: Var| f(x);
        for device in [Device::Interp, Device::Cpu] {
            let x = vector(&[1.0, 2.0, 4.0]);
            let f = jit((), fixed).device(device).fixed_batch().compile(&x);
            let got = f.unwrap_or_else(|error| panic!("{name}: {error}")).run(&x).unwrap().to_f64s();
            let close = got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close, "{name} on {device:?}: {got:?}, not {want:?}");
        }
    }
}

#[test]
fn truth_values_combine() {
    let x = vector(&[-1.0, 0.5, 2.0]);
    let f = |x: Var| x.gt(0.0).and(x.lt(1.0)).or(x.eq(-1.0)).not();
    assert_eq!(both(f, &x).to_vec::<bool>().unwrap(), [false, false, true]);
    assert_eq!(both(|x| x.gt(0.0).sum_all(), &x).item().unwrap(), 2.0);
}

#[test]
fn tensors_go_in_and_out_of_host_data() {
    let x = Tensor::from_vec(&[2, 3], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(x.to_vec::<i64>().unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(x.to_string(), "i64[2,3] [[1, 2, 3], [4, 5, 6]]");
    assert_eq!(x.rows(1..2).unwrap().to_string(), "i64[1,3] [[4, 5, 6]]");
    assert_eq!(x.slice(1, 1..2).unwrap().to_string(), "i64[2,1] [[2], [5]]");
    assert_eq!(x.slice(-2, 0..0).unwrap().sizes(), [0, 3]);
    assert_eq!(x.slice(0, 0..1).unwrap().slice(-1, 2..3).unwrap().item().unwrap(), 3.0);
    let wrong = [x.slice(2, 0..1), x.slice(-3, 0..1), x.slice(0, 1..3)];
    assert!(wrong.iter().all(Result::is_err));
    assert_eq!(wrong[2].as_ref().unwrap_err().to_string(), "slice 1..3 of axis 0 of i64[2,3]");
    assert!(x.item().is_err() && x.to_vec::<f32>().is_err());
    assert_eq!(Tensor::scalar(true).to_string(), "bool[] true");
}

#[test]
fn sixteen_bit_floats_are_held_printed_and_interpreted() {
    for (dtype, bytes) in [(DType::F16, [0x00u8, 0x3e, 0x00, 0xc0]), (DType::Bf16, [0xc0, 0x3f, 0x00, 0xc0])]
    {
        let x = Tensor::from_bytes(dtype, &[2], &bytes).unwrap();
        assert_eq!(x.to_f64s(), [1.5, -2.0]);
        assert_eq!(x.to_string(), format!("{dtype}[2] [1.500000, -2.000000]"));
        let builder = |device| jit((), |_: &(), x: Var| x * 2.0).device(device).compile(&x);
        let doubled = builder(Device::Interp).unwrap().run(&x).unwrap();
        assert_eq!((doubled.dtype(), doubled.to_f64s()), (dtype, vec![3.0, -4.0]));
        let error = builder(Device::Cpu).err().unwrap().to_string();
        assert!(error.contains(&dtype.to_string()), "{error}");
    }
}

#[test]
fn taps_come_back_from_every_run() {
    let model = Mlp::new(&mut Rng::seed(1), 4, 8, 2);
    let x = Tensor::from_vec(&[3, 4], (0..12).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    let f = |m: &Mlp, x: Var| {
        let h = m.norm.forward(m.up.forward(x)).tap("after_norm");
        m.down.forward(h.gelu().tap("after_norm")).sum_all()
    };
    for device in [Device::Interp, Device::Cpu] {
        let compiled = jit(&model, f).device(device).compile(&x).unwrap();
        let (sum, taps) = compiled.run_tapped(&x).unwrap();
        assert_eq!(taps.keys().collect::<Vec<_>>(), ["after_norm", "after_norm.1"]);
        assert_eq!(taps["after_norm"].sizes(), [3, 8]);
        let mean = taps["after_norm"].to_f64s()[..8].iter().sum::<f64>() / 8.0;
        assert!(mean.abs() < 1e-6, "{mean}");
        assert_eq!(compiled.run(&x).unwrap(), sum);
        let mut step = train_step(&model, Sgd::new(0.1), f).device(device).compile(&x).unwrap();
        let out = step.run(&x).unwrap();
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-5;
        assert!(
            out.tap("after_norm.1").unwrap().to_f64s().iter().zip(&taps["after_norm.1"].to_f64s()).all(close)
        );
    }
}

#[test]
fn explain_names_what_a_tap_keeps_out_of_registers() {
    let x = Tensor::full(&[3, 4], 1f32);
    let explain = |tap: bool| {
        let f = move |_: &(), x: Var| {
            let e = x.exp();
            (if tap { e.tap("e") } else { e } + 1.0).tanh()
        };
        jit((), f).compile(&x).unwrap().explain()
    };
    let text = explain(true);
    let line = text.lines().find(|line| line.contains("tap.e")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("contract.rs") && line.contains("writes this f32[N,4]"), "{line}");
    assert!(!explain(false).contains("not fused"), "{}", explain(false));
}

#[test]
fn debug_of_a_value_says_what_it_is_and_where() {
    let model = Mlp::new(&mut Rng::seed(1), 4, 8, 2);
    let x = Tensor::full(&[3, 4], 1f32);
    let seen = std::cell::RefCell::new(Vec::new());
    let f = |m: &Mlp, x: Var| {
        let h = m.norm.forward(x.linear(m.up.weight.value()));
        seen.borrow_mut().extend([format!("{h:?}"), format!("{:?}", x * 2.0), format!("{x:?}")]);
        m.down.forward(h)
    };
    jit(&model, f).compile(&x).unwrap();
    let seen = seen.into_inner();
    assert!(seen[0].starts_with("f32[N,8] = layer_norm in norm at tests/contract.rs:"), "{seen:?}");
    assert!(seen[1].starts_with("f32[N,4] = mul at tests/contract.rs:"), "{seen:?}");
    assert_eq!(seen[2], "f32[N,4] = input");
}

#[test]
fn a_poisoned_value_accepts_every_method_and_all_faults_are_reported() {
    let x = Tensor::full(&[3, 4], 1f32);
    let f = |_: &(), x: Var| {
        let bad = x + x.reshape([4, 3]);
        let more = bad.softmax(5).mean(7).layer_norm(-1, 1e-5, bad, x).slice(9, 0, 1).squeeze([3, 4]);
        let more = more.gather(bad).select(bad, 1.0).matmul(x).transpose().permute([1, 0]).unsqueeze(9);
        let more = more.dropout(0.5).equals(bad).argmax(3).cross_entropy(bad).reshape([-1, 7]).tap("bad");
        let also = x.mean(2);
        Var::concat(&[more, 2.0 / -more, also.cast(DType::F64)], 1).flip(3).pad(4, 1, 1)
    };
    let error = jit((), f).compile(&x).err().unwrap().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(
        lines[0].starts_with("reshape: ") && lines[1].starts_with("mean: axes [2] do not fit f32[N,4]"),
        "{error}"
    );
    assert!(lines.iter().all(|line| line.contains("tests/contract.rs:")), "{error}");
}

/// Leaves below every kind of field.
#[derive(Clone, Parameters)]
struct Tree<T> {
    blocks: Vec<(Linear, Option<LayerNorm>)>,
    inner: T,
    pair: [Param; 2],
    scale: f64,
    seen: State,
}

#[test]
fn modules_nest_in_every_container() {
    let mut rng = Rng::seed(2);
    let blocks =
        vec![(Linear::new(&mut rng, 3, 3), Some(LayerNorm::new(3))), (Linear::new(&mut rng, 3, 3), None)];
    let tree = Tree {
        blocks,
        inner: Box::new(RmsNorm::new(3)),
        pair: [Param::ones(&[3]), Param::zeros(&[3])],
        scale: 0.5,
        seen: State::zeros(&[]),
    };
    let x = Tensor::from_vec(&[2, 3], [1f32, 2.0, 3.0, -1.0, 0.0, 1.0]).unwrap();
    let f = |m: &Tree<Box<RmsNorm>>, x: Var| {
        let h = m.blocks.iter().fold(x, |x, (linear, norm)| norm.forward(linear.forward(x)));
        m.seen.set(&m.seen + 1.0);
        let y = m.inner.forward(h) * &m.pair[0] + &m.pair[1];
        (y * m.scale).square().mean_all()
    };
    let mut step = train_step(tree, Sgd::new(0.1).momentum(0.9), f).compile(&x).unwrap();
    let losses: Vec<f64> = (0..20).map(|_| step.run(&x).unwrap().loss().unwrap()).collect();
    assert!(losses[19] < losses[0], "{losses:?}");
    assert_eq!(step.model().get().seen.tensor().item().unwrap(), 20.0);
}

fn send_and_sync<T: Send + Sync>(_: &T) {}

#[test]
fn what_is_compiled_crosses_threads() {
    let x = Tensor::full(&[3, 4], 1f32);
    let predict =
        jit(Mlp::new(&mut Rng::seed(1), 4, 8, 2), |m: &Mlp, x: Var| m.forward(x)).compile(&x).unwrap();
    send_and_sync(&predict);
    send_and_sync(&predict.model());
    let step = train_step(predict.model(), Sgd::new(0.1), |m: &Mlp, x: Var| m.forward(x).sum_all());
    send_and_sync(&step.compile(&x).unwrap());
    send_and_sync(&grad(|x: Var| x.sum_all()).wrt(0));
}

#[test]
fn a_step_takes_every_batch_size() {
    let loss = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).cross_entropy(y);
    let batch = |rows: usize| {
        let x: Vec<f32> = (0..rows * 4).map(|i| (i as f32 * 0.37).sin()).collect();
        let y: Vec<i32> = (0..rows as i32).map(|i| i % 2).collect();
        (Tensor::from_vec(&[rows, 4], x).unwrap(), Tensor::from_vec(&[rows], y).unwrap())
    };
    let run = |device| {
        let step = train_step(Mlp::new(&mut Rng::seed(1), 4, 8, 2), AdamW::new(0.01), loss).device(device);
        let mut step = step.compile(&batch(16)).unwrap();
        [16, 5, 1, 200, 16].map(|rows| step.run(batch(rows)).unwrap().loss().unwrap())
    };
    let (want, got) = (run(Device::Interp), run(Device::Cpu));
    assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-4), "{want:?} {got:?}");
}

#[test]
fn rate_and_seed_are_inputs_of_a_step() {
    let model = (Param::ones(&[64]), Dropout { p: 0.5 });
    let f = |m: &(Param, Dropout), x: Var| (m.1.forward(x * &m.0)).sum_all();
    let x = Tensor::full(&[1, 64], 1f32);
    let mut step = train_step(model, Sgd::new(0.0), f).compile(&x).unwrap();
    let first = step.run(&x).unwrap().loss().unwrap();
    let losses: Vec<f64> = (0..5).map(|_| step.run(&x).unwrap().loss().unwrap()).collect();
    assert!(losses.iter().any(|loss| *loss != first), "every step drops other elements: {losses:?}");
    assert_eq!(step.model().get().0, Param::ones(&[64]));
    step.set_seed(5);
    step.set_learning_rate(1.0);
    step.run(&x).unwrap();
    assert_ne!(step.model().get().0, Param::ones(&[64]));
}

#[test]
fn graphs_of_closures_survive_as_text() {
    let model = Mlp::new(&mut Rng::seed(1), 4, 8, 2);
    let x = Tensor::full(&[3, 4], 1f32);
    let f = |m: &Mlp, x: Var| {
        let y = custom_vjp(&[x], |x| (x[0].tanh(), vec![x[0]]), |r, g| vec![g * r[0]]);
        m.forward(y).sum_all()
    };
    let predict = jit(&model, f).compile(&x).unwrap();
    let step = train_step(&model, AdamW::new(0.01), f).clip_norm(1.0).compile(&x).unwrap();
    for graph in [predict.graph(), step.graph()] {
        let text = graph.to_string();
        let read = evenkeel_ir::parse(&text, "closure.ek").unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(read == *graph, "{text}");
    }
}

/// Passes on cotangents in excess of their running mean; counts its backward passes.
#[derive(Clone, Parameters)]
struct Centered {
    mean: State,
    count: State,
}

impl Centered {
    fn new() -> Centered {
        Centered { mean: State::zeros(&[]), count: State::zeros(&[]) }
    }

    fn forward(&self, x: Var) -> Var {
        custom_vjp_with_state(
            &[x],
            &[&self.mean, &self.count],
            |x, _| (x[0] * 1.0, vec![x[0]]),
            |_, g, state| {
                let (mean, count) = (state[0], state[1]);
                (vec![g - mean], vec![mean * 0.5 + g.mean_all() * 0.5, count + 1.0])
            },
        )
    }
}

#[test]
fn backward_passes_keep_state() {
    let f = |(gain, first, second): &(Param, Centered, Centered), x: Var| {
        // the first one depends on no parameter, yet sees its cotangent
        let x = first.forward(x.max(-100.0));
        (second.forward(x * gain) * 3.0).sum_all()
    };
    let x = vector(&[1.0, 2.0]);
    for device in [Device::Interp, Device::Cpu] {
        let model = (Param::ones(&[2]), Centered::new(), Centered::new());
        let step = train_step(model, Sgd::new(1.0), f).device(device).fixed_batch();
        let mut step = step.compile(&x).unwrap();
        let state = |step: &Step<(Param, Centered, Centered)>| {
            let (gain, first, second) = step.model().get();
            let of = |c: Centered| [c.mean, c.count].map(|state| state.tensor().item().unwrap());
            (gain.tensor().to_f64s(), of(first), of(second))
        };
        step.run(&x).unwrap();
        // cotangent 3 arrives, minus the mean 0 goes on; gain 1 - 3 x
        assert_eq!(state(&step), (vec![-2.0, -5.0], [1.5, 1.0], [1.5, 1.0]), "{device:?}");
        step.run(&x).unwrap();
        // 3 - 1.5 goes on, times the gains: -3 and -7.5, on average -5.25
        assert_eq!(
            state(&step),
            (vec![-3.5, -8.0], [1.5 / 2.0 - 5.25 / 2.0, 2.0], [2.25, 2.0]),
            "{device:?}"
        );
        assert!(step.run(vector(&[f32::NAN, 1.0])).is_err());
        assert_eq!(state(&step).2, [2.25, 2.0], "a failed step keeps the state");
        jit(step.model(), f).device(device).fixed_batch().compile(&x).unwrap().run(&x).unwrap();
        assert_eq!(state(&step).2, [2.25, 2.0], "without a derivative the state stays");
    }
}

#[test]
fn a_state_has_one_update_per_step() {
    let x = vector(&[1.0, 2.0]);
    let fault = |f: fn(&Centered, Var) -> Var| jit(Centered::new(), f).compile(&x).err().unwrap().to_string();
    let twice = fault(|m, x| m.forward(m.forward(x)));
    assert!(twice.starts_with("custom_vjp: expected one update per state, found another one, at"), "{twice}");
    let set = fault(|m, x| {
        let y = m.forward(x);
        m.count.set(&m.count + 1.0);
        y
    });
    assert!(set.starts_with("set: expected a state that no custom_vjp updates"), "{set}");
    let wrong = fault(|m, x| {
        custom_vjp_with_state(&[x], &[&m.mean], |x, _| (x[0], vec![]), |_, g, _| (vec![g], vec![g]))
    });
    assert!(wrong.contains("expected states f32[], found f32[N]"), "{wrong}");
}

#[test]
fn no_derivative_is_cut_silently() {
    let x = vector(&[0.5, -1.5]);
    let cuts: [(&str, fn(Var) -> Var); 5] = [
        ("cast of bool[2]", |x| x.gt(0.0).cast(DType::F32).sum_all()),
        ("cast of i32[2]", |x| (x.cast(DType::I32) * 3 + 1).cast(DType::F32).sum_all()),
        ("cast of i64[]", |x| x.argmax(0).cast(DType::F32)),
        ("floor of f32[2]", |x| x.floor().sum_all()),
        ("cast of bool[2]", |x| x.equals(0.5).and(x.gt(0.0)).sum_all()),
    ];
    for (what, f) in cuts {
        let message = format!("{what} has no derivative, at tests/contract.rs");
        let reverse = grad(f).wrt(0).run(&x).unwrap_err().to_string();
        let forward = jvp(f).run((&x, &x)).unwrap_err().to_string();
        assert!(reverse.starts_with(&message), "{reverse}");
        assert!(forward.starts_with(&message), "{forward}");
    }
    // a choice by a truth value, and stopped gradients, are no cuts
    let chosen = |x: Var| (x.gt(0.0).select(x, -x) * x.gt(0.0).stop_gradient().cast(DType::F32)).sum_all();
    assert_eq!(floats(&grad(chosen).wrt(0).run(&x).unwrap()), [1.0, 0.0]);
    assert_eq!(jvp(chosen).run((&x, &x)).unwrap().1[0].item().unwrap(), 0.5);
    let picked = |x: Var| (x.gather(x.floor().abs().cast(DType::I32)) + x.floor().stop_gradient()).sum_all();
    assert_eq!(floats(&grad(picked).wrt(0).run(&x).unwrap()), [1.0, 0.0]);
    assert!(jvp(picked).run((&x, &x)).unwrap().0[0].item().unwrap().is_nan());
    let half = |x: Var| custom_vjp(&[x], |x| (x[0] * 1.0, vec![]), |_, g| vec![g * 0.5]).sum_all();
    let error = jvp(half).run((&x, &x)).unwrap_err().to_string();
    assert!(error.starts_with("custom_vjp has no forward-mode derivative, at tests/contract.rs"), "{error}");
}

#[test]
fn errors_name_the_module() {
    let x = Tensor::full(&[3, 5], 1f32);
    let model = vec![Mlp::new(&mut Rng::seed(1), 4, 8, 2)];
    let error = jit(&model, |m: &Vec<Mlp>, x: Var| m[0].forward(x)).compile(&x).err().unwrap().to_string();
    assert!(error.contains("at tests/contract.rs:") && error.ends_with("(in 0.up)"), "{error}");
    let mut model = Mlp::new(&mut Rng::seed(1), 4, 8, 2);
    model.norm.gain = Some(Param::full(&[8], 3e38f32));
    let x = Tensor::full(&[3, 4], 1f32);
    let f = |m: &Mlp, x: Var| m.norm.forward(m.up.forward(x)).sum_all();
    let mut step = train_step(model, Sgd::new(0.1), f).compile(&x).unwrap();
    let error = step.run(&x).unwrap_err().to_string();
    assert!(error.contains("(in norm)") && error.contains("tests/contract.rs:"), "{error}");
}
