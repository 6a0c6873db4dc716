//! Training steps, compiled closures and derivatives, on the interpreter and on this computer.

use evenkeel::Error;
use evenkeel::checkpoint::CheckpointError;
use evenkeel::prelude::*;
use std::path::PathBuf;

const DEVICES: [Device; 2] = [Device::Interp, Device::Cpu];

/// `y = x weight^T + bias`, and how often it was used.
#[derive(Clone, Debug, Parameters)]
struct Line {
    weight: Param,
    bias: Param,
    uses: State,
}

impl Line {
    fn new() -> Line {
        let weight = Tensor::from_vec(&[1, 2], [0.5f32, -0.5]).unwrap();
        Line { weight: Param::new(weight), bias: Param::zeros(&[1]), uses: State::zeros(&[1]) }
    }

    fn forward(&self, x: Var) -> Var {
        self.uses.set(&self.uses + 1.0);
        x.linear(self.weight.value()) + &self.bias
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().unwrap()
}

/// Rows of `(a, b)` with `y = 2 a - 3 b + 1`.
fn batch(rows: usize, first: usize) -> (Tensor, Tensor) {
    let point = |i: usize| [((first + i) as f32 * 0.7).sin(), ((first + i) as f32 * 1.3).cos()];
    let x: Vec<f32> = (0..rows).flat_map(point).collect();
    let y: Vec<f32> = x.chunks(2).map(|p| 2.0 * p[0] - 3.0 * p[1] + 1.0).collect();
    (Tensor::from_vec(&[rows, 2], x).unwrap(), Tensor::from_vec(&[rows, 1], y).unwrap())
}

/// The one place where the tests make a step.
fn step(device: Device, optimizer: impl Optimizer, clip: Option<f64>) -> Step<Line> {
    let builder = train_step(Line::new(), optimizer, |m: &Line, (x, y): (Var, Var)| {
        let error = (m.forward(x) - y).tap("error");
        (error.square().mean_all(), metrics! { distance: error.abs().mean_all() })
    });
    let builder = builder.device(device).threads(1).seed(7);
    let builder = match clip {
        Some(limit) => builder.clip_norm(limit),
        None => builder,
    };
    builder.compile(&batch(8, 0)).unwrap()
}

/// Everything that a step may change.
fn everything(step: &Step<Line>, name: &str) -> Vec<u8> {
    let file = file(name);
    step.save(&file).unwrap();
    std::fs::read(file).unwrap()
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("evenkeel-train-{}-{name}.safetensors", std::process::id()))
}

#[test]
fn a_regression_finds_its_coefficients() {
    for device in DEVICES {
        let mut step = step(device, AdamW::new(0.05).weight_decay(0.0), None);
        let losses: Vec<f64> = (0..400).map(|i| step.run(batch(8, 8 * i)).unwrap().loss().unwrap()).collect();
        assert!(losses[0] > 1.0 && losses[399] < 1e-4, "{device:?}: {} to {}", losses[0], losses[399]);
        let model = step.model().get();
        let close = |found: f32, expected: f32| assert!((found - expected).abs() < 0.02, "{model:?}");
        let weight = values(model.weight.tensor());
        close(weight[0], 2.0);
        close(weight[1], -3.0);
        close(values(model.bias.tensor())[0], 1.0);
        assert_eq!(values(model.uses.tensor()), [400.0]);
    }
}

#[test]
fn devices_agree() {
    let run = |device| {
        let mut step = step(device, Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(0.01), Some(0.5));
        (0..5).for_each(|i| drop(step.run(batch(8, 8 * i)).unwrap()));
        let out = step.run(batch(5, 3)).unwrap();
        (out.loss().unwrap(), values(step.model().get().weight.tensor()))
    };
    let (interp, cpu) = (run(Device::Interp), run(Device::Cpu));
    assert!((interp.0 - cpu.0).abs() < 1e-5, "{interp:?} {cpu:?}");
    assert!(interp.1.iter().zip(&cpu.1).all(|(a, b)| (a - b).abs() < 1e-5), "{interp:?} {cpu:?}");
}

#[test]
fn outputs_are_found_by_name() {
    for device in DEVICES {
        let mut step = step(device, Sgd::new(0.1), None);
        let out: StepOutput = step.run(batch(3, 0)).unwrap();
        let errors = values(out.tap("error").unwrap());
        assert_eq!(errors.len(), 3);
        let distance = errors.iter().map(|e| f64::from(e.abs())).sum::<f64>() / 3.0;
        assert!((out.metric("distance").unwrap() - distance).abs() < 1e-6);
        let unknown = out.metric("accuracy").unwrap_err().to_string();
        assert!(unknown.contains("distance"), "{unknown}");
    }
}

#[test]
fn a_resumed_run_continues_bit_for_bit() {
    for device in DEVICES {
        let name = format!("resume-{device:?}");
        let mut whole = step(device, AdamW::new(0.01), Some(1.0));
        (0..3).for_each(|i| drop(whole.run(batch(8, i)).unwrap()));
        whole.save(file(&name)).unwrap();
        let mut resumed = step(device, AdamW::new(0.01), Some(1.0));
        resumed.resume(file(&name)).unwrap();
        assert_eq!(resumed.step(), 3);
        for i in 3..6 {
            let losses = [&mut whole, &mut resumed].map(|s| s.run(batch(8, i)).unwrap().loss().unwrap());
            assert_eq!(losses[0].to_bits(), losses[1].to_bits());
        }
        let (a, b) = (everything(&whole, &format!("{name}-a")), everything(&resumed, &format!("{name}-b")));
        assert_eq!(a, b);
    }
}

#[test]
fn a_nonfinite_step_changes_nothing_and_is_explained() {
    for device in DEVICES {
        let mut step = step(device, AdamW::new(0.01), None);
        step.run(batch(8, 0)).unwrap();
        let before = everything(&step, &format!("before-{device:?}"));
        let (x, _) = batch(8, 0);
        // the square of 1e30 is too large for f32, not for the f64 of the interpreter
        let (y, culprit) = match device {
            Device::Cpu => (1e30f32, "square"),
            Device::Interp => (f32::NAN, "input input.1"),
        };
        let y = Tensor::full(&[8, 1], y);
        let error = step.run((&x, &y)).unwrap_err();
        assert_eq!(before, everything(&step, &format!("after-{device:?}")), "{device:?}");
        let Error::NonFinite { step: 1, what, place, .. } = &error else { panic!("{error}") };
        assert_eq!(what, culprit);
        let located = place.is_some_and(|place| place.file.ends_with("train.rs"));
        assert_eq!(located, device == Device::Cpu, "{error}");
        step.run(batch(8, 1)).unwrap();
        assert_eq!(step.step(), 2);
    }
}

#[test]
fn a_batch_without_variance_leaves_the_running_moments_alone() {
    for (device, clip) in DEVICES.into_iter().zip([None, Some(1.0)]) {
        let loss = |norm: &BatchNorm, x: Var| norm.forward(x).square().mean_all();
        let mut step = train_step(BatchNorm::new(2).cumulative(), Sgd::new(0.1), loss).device(device);
        if let Some(limit) = clip {
            step = step.clip_norm(limit);
        }
        let rows = |n: usize| Tensor::from_vec(&[n, 2], (0..2 * n).map(|i| i as f32).collect::<Vec<_>>());
        let mut step = step.compile(&rows(3).unwrap()).unwrap();
        let error = step.run(rows(1).unwrap()).unwrap_err();
        assert!(matches!(&error, Error::NonFinite { step: 0, .. }), "{error}");
        let moments = |step: &Step<BatchNorm>| {
            let norm = step.model().get();
            (values(norm.running_mean.tensor()), values(norm.running_var.tensor()))
        };
        assert_eq!(moments(&step), (vec![0.0, 0.0], vec![1.0, 1.0]));
        step.run(rows(3).unwrap()).unwrap();
        assert_eq!(moments(&step), (vec![2.0, 3.0], vec![4.0, 4.0]));
        step.run(rows(5).unwrap()).unwrap();
        assert_eq!(moments(&step), (vec![3.0, 4.0], vec![7.0, 7.0]));
    }
}

#[test]
fn clipping_bounds_the_whole_step() {
    for device in DEVICES {
        let change = |clip: Option<f64>| {
            let mut step = step(device, Sgd::new(1.0), clip);
            let norm = step.run(batch(8, 0)).unwrap().gradient_norm().unwrap();
            let (old, new) = (Line::new(), step.model().get());
            let pairs = [(old.weight, new.weight), (old.bias, new.bias)];
            let squared = |(old, new): &(Param, Param)| -> f64 {
                let pairs = values(old.tensor()).into_iter().zip(values(new.tensor()));
                pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
            };
            (norm, pairs.iter().map(squared).sum::<f64>().sqrt())
        };
        let (norm, free) = change(None);
        assert!((norm - free).abs() < 1e-5 && norm > 0.2);
        assert!((change(Some(0.1)).1 - 0.1).abs() < 1e-5);
        assert!((change(Some(1e3)).1 - free).abs() < 1e-6);
    }
}

#[test]
fn a_compiled_closure_shares_parameters_with_the_step() {
    for device in DEVICES {
        let mut step = step(device, Sgd::new(0.1), None);
        let (x, _) = batch(4, 0);
        let predict =
            jit(step.model(), |m: &Line, x: Var| m.forward(x)).device(device).threads(1).compile(&x).unwrap();
        let before: Tensor = predict.run(&x).unwrap();
        step.run(batch(8, 0)).unwrap();
        let after = predict.run(&x).unwrap();
        assert_ne!(before, after);
        let own =
            jit(step.model().get(), |m: &Line, x: Var| m.forward(x)).device(device).compile(&x).unwrap();
        assert_eq!(own.run(&x).unwrap(), after);
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| predict.run(&x).unwrap())).collect();
            calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap(), after));
        });
        assert_eq!(predict.run(batch(9, 0).0).unwrap().sizes(), [9, 1]);
    }
}

#[test]
fn checkpoints_are_checked_before_anything_changes() {
    let model = Line::new();
    let path = file("checked");
    model.save(&path).unwrap();
    let mut other = Line::new();
    other.bias = Param::new(Tensor::full(&[1], 9f32));
    let bytes = std::fs::read(&path).unwrap();
    for damaged in [&bytes[..bytes.len() - 3], &bytes[..5], b"not a file"] {
        std::fs::write(&path, damaged).unwrap();
        let error = other.load(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error}");
    }
    other.weight = Param::zeros(&[1, 3]);
    std::fs::write(&path, &bytes).unwrap();
    let error = other.load(&path).unwrap_err();
    assert!(matches!(&error, CheckpointError::Type { name, .. } if name == "weight"), "{error}");
    assert_eq!(values(other.bias.tensor()), [9.0]);
    let mut step = step(Device::Interp, Sgd::new(0.1), None);
    let error = step.resume(&path).unwrap_err();
    let CheckpointError::Names { missing, extra, .. } = &error else { panic!("{error}") };
    assert_eq!((missing.join(" "), extra.len()), ("optimizer.step train.step train.seed".into(), 0));
    step.save(&path).unwrap();
    let mut loaded = Line::new();
    loaded.load(&path).unwrap();
    assert!(matches!(loaded.load(file("absent")), Err(CheckpointError::Io { .. })));
}

/// A field named like what training saves.
#[derive(Clone, Parameters)]
struct Named {
    optimizer: Inner,
}

#[derive(Clone, Parameters)]
struct Inner {
    step: Param,
    gain: Param,
}

#[test]
fn a_field_named_like_what_training_saves_is_an_error_of_compiling() {
    let model = Named { optimizer: Inner { step: Param::ones(&[2]), gain: Param::ones(&[2]) } };
    let x = Tensor::full(&[3, 2], 1f32);
    let loss = |m: &Named, x: Var| (x * &m.optimizer.step * &m.optimizer.gain).sum_all();
    let error = train_step(model, Sgd::new(0.1), loss).compile(&x).err().expect("a fault").to_string();
    let expected = "two tensors of a checkpoint are named optimizer.step, at tests/train.rs";
    assert!(error.starts_with(expected) && error.lines().count() == 1, "{error}");
}

#[test]
fn an_empty_batch_is_an_error_that_changes_nothing() {
    for device in DEVICES {
        let mut step = step(device, Sgd::new(0.1), None);
        let before = everything(&step, "empty");
        let error = step.run(batch(0, 0)).unwrap_err();
        assert!(matches!(error, Error::NonFinite { step: 0, .. }), "{error}");
        assert_eq!(everything(&step, "empty"), before);
        step.run(batch(8, 0)).unwrap();
    }
}

#[test]
fn derivatives_of_closures_are_callable() {
    let f = |x: Var, w: Var| (x * w).square().sum_all();
    let x = Tensor::from_vec(&[2], [1.0f32, 2.0]).unwrap();
    let w = Tensor::from_vec(&[2], [3.0f32, -1.0]).unwrap();
    for device in DEVICES {
        // d/dw sum (x w)^2 = 2 x^2 w
        let dw: Tensor = grad(f).wrt(1).device(device).run((&x, &w)).unwrap();
        assert_eq!(values(&dw), [6.0, -8.0]);
        let (value, (dx, again)) = value_and_grad(f).wrt((0, 1)).device(device).run((&x, &w)).unwrap();
        assert_eq!((value.item().unwrap(), values(&dx), again), (13.0, vec![18.0, 4.0], dw));
        let (_, gradients) = vjp(f).device(device).run(((&x, &w), Tensor::scalar(2f32))).unwrap();
        assert_eq!(gradients.iter().map(values).collect::<Vec<_>>(), [[36.0, 8.0], [12.0, -16.0]]);
        let (_, tangents) = jvp(f).device(device).run(((&x, &w), (&x, &w))).unwrap();
        assert_eq!(tangents[0].item().unwrap(), 52.0);
    }
    let error = grad(f).wrt(2).run((&x, &w)).unwrap_err();
    assert!(matches!(error, Error::Argument { index: 2, count: 2 }), "{error}");
}

#[test]
fn gradients_are_checked_against_differences() {
    let x = Tensor::from_vec(&[3], [0.3f32, -0.7, 1.1]).unwrap();
    check_gradients(|x: Var| (x.tanh() * x).square(), &x).unwrap();
    // at a kink the derivative is a choice, not the slope on either side's average
    let kink = check_gradients(|x: Var| (x.abs() + x).abs(), Tensor::scalar(0f32)).map_err(|e| e.to_string());
    assert!(kink.is_err_and(|error| error.contains("input.0, element 0")));
}

#[test]
fn a_loss_that_is_not_a_number_is_refused() {
    let builder =
        train_step(Line::new(), Sgd::new(0.1), |m: &Line, (x, y): (Var, Var)| (m.forward(x) - y).square());
    let error = builder.device(Device::Interp).compile(&batch(8, 0)).err().unwrap();
    assert!(matches!(error, Error::Loss { .. }), "{error}");
}

#[test]
fn derivatives_nest_in_traces() {
    // d/dx of (d/dx x^3)^2 = 36 x^3
    let cube = |x: Var| (x * x * x).sum_all();
    let penalty = move |x: Var| {
        let slope: Var = grad(cube).wrt(0).call(&[x]).unwrap();
        slope.square().sum_all()
    };
    let x = Tensor::from_vec(&[2], [1.0f32, 2.0]).unwrap();
    for device in DEVICES {
        assert_eq!(values(&grad(penalty).wrt(0).device(device).run(&x).unwrap()), [36.0, 288.0]);
    }
    check_gradients(penalty, &x).unwrap();
}

#[test]
fn custom_derivatives_replace_the_derived_one() {
    // a step whose derivative is that of the identity: straight-through
    let step =
        |x: Var, w: Var| custom_vjp(&[x, w], |x| (x[0].step() * x[1], vec![x[1]]), |r, g| vec![g * r[0]]);
    let f = move |x: Var, w: Var| (step(x, w) * 3.0).sum_all();
    let x = Tensor::from_vec(&[2], [1.0f32, -2.0]).unwrap();
    let w = Tensor::from_vec(&[2], [5.0f32, 7.0]).unwrap();
    for device in DEVICES {
        let (value, (dx, dw)) = value_and_grad(f).wrt((0, 1)).device(device).run((&x, &w)).unwrap();
        assert_eq!(
            (value.item().unwrap(), values(&dx), values(&dw)),
            (15.0, vec![15.0, 21.0], vec![0.0, 0.0])
        );
    }
    let wrong = |x: Var| custom_vjp(&[x], |x| (x[0].square(), vec![]), |_, g| vec![g.sum_all()]);
    let error = grad(move |x: Var| wrong(x).sum_all()).wrt(0).run(&x).unwrap_err().to_string();
    assert!(error.contains("custom_vjp: expected cotangents f32[2], found f32[]"), "{error}");
}

/// The model of the README, with everything that a step treats specially.
#[derive(Clone, Debug, Parameters)]
struct Mlp {
    up: Linear,
    norm: LayerNorm,
    center: BatchNorm,
    dropout: Dropout,
    down: Linear,
}

impl Mlp {
    fn new(rng: &mut Rng) -> Mlp {
        Mlp {
            up: Linear::new(rng, 2, 16),
            norm: LayerNorm::new(16),
            center: BatchNorm::new(16),
            dropout: Dropout { p: 0.1 },
            down: Linear::new(rng, 16, 3),
        }
    }

    fn forward(&self, x: Var) -> Var {
        let hidden = self.center.forward(self.norm.forward(self.up.forward(x)).gelu());
        self.down.forward(self.dropout.forward(hidden))
    }
}

/// Points and which of three sectors they are in.
fn sectors(rows: usize, first: usize) -> (Tensor, Tensor) {
    let (x, _) = batch(rows, first);
    let sector = |p: &[f32]| (((p[1].atan2(p[0]) / std::f32::consts::TAU + 0.5) * 3.0) as i64).min(2);
    let y: Vec<i64> = values(&x).chunks(2).map(sector).collect();
    (x, Tensor::from_vec(&[rows], y).unwrap())
}

fn classifier(device: Device) -> Step<Mlp> {
    train_step(
        Mlp::new(&mut Rng::seed(3)),
        AdamW::new(0.02).weight_decay(0.01),
        |m: &Mlp, (x, y): (Var, Var)| {
            let logits = m.forward(x);
            (logits.cross_entropy(y), metrics! { accuracy: logits.argmax(-1).equals(y).mean_all() })
        },
    )
    .device(device)
    .schedule(Schedule::cosine(10, 200))
    .clip_norm(5.0)
    .seed(11)
    .compile(&sectors(32, 0))
    .unwrap()
}

#[test]
fn a_classifier_learns_and_predicts() {
    for device in DEVICES {
        let steps = if device == Device::Cpu { 200 } else { 60 };
        let mut step = classifier(device);
        (0..steps).for_each(|i| drop(step.run(sectors(32, 32 * i)).unwrap()));
        step.run(sectors(7, 0)).unwrap();
        let (x, y) = sectors(200, 100_000);
        let count = |m: &Mlp, (x, y): (Var, Var)| m.forward(x).argmax(-1).equals(y).mean_all();
        let accuracy = jit(step.model(), count).device(device).compile(&(x.clone(), y.clone())).unwrap();
        let accuracy = accuracy.run((&x, &y)).unwrap().item().unwrap();
        assert!(accuracy > 0.85, "{device:?}: {accuracy}");
    }
}

#[test]
fn dropout_and_statistics_resume_bit_for_bit() {
    let mut whole = classifier(Device::Cpu);
    (0..3).for_each(|i| drop(whole.run(sectors(32, i)).unwrap()));
    whole.save(file("mlp")).unwrap();
    let mut resumed = classifier(Device::Cpu);
    resumed.resume(file("mlp")).unwrap();
    let losses = [&mut whole, &mut resumed].map(|s| s.run(sectors(32, 9)).unwrap().loss().unwrap());
    assert_eq!(losses[0].to_bits(), losses[1].to_bits());
}
