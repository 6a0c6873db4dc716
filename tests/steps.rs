//! What compiled functions consist of, and where they run: steps, in-place updates, threads.
//!
//! Not here: the text of kernels (`kernels`), memory while running (`allocation`).

use crate::concurrency::Network;
use crate::oracle::numbers;
use evenkeel::host::host_target;
use evenkeel::prelude::*;
use evenkeel_compiler::{Options, compile};
use std::process::{Command, Output};

/// The line of `explain` that counts the steps.
#[track_caller]
fn steps(explained: &str) -> &str {
    explained.lines().find(|line| line.starts_with("steps: ")).unwrap_or_else(|| panic!("{explained}"))
}

#[test]
fn a_norm_with_its_activation_is_one_kernel_each_way() {
    type Norm = fn(Var, Var, Var) -> Var;
    let norms: [(&str, Norm); 5] = [
        ("layer_norm", |x, gain, bias| x.layer_norm(-1, 1e-5, gain, bias)),
        ("layer_norm, gelu", |x, gain, bias| x.layer_norm(-1, 1e-5, gain, bias).gelu()),
        ("rms_norm, silu", |x, gain, bias| (x.rms_unit(-1, 1e-6, EpsKind::Inside) * gain + bias).silu()),
        ("layer_norm of primitives", |x, gain, bias| {
            (x - x.mean(-1)) / (x.var(-1) + 1e-5).sqrt() * gain + bias
        }),
        ("softmax", |x, gain, bias| (x * gain + bias).softmax(-1)),
    ];
    let (x, gain, bias, weight) =
        (numbers(&[64, 48], 1), numbers(&[48], 2), numbers(&[48], 3), numbers(&[64, 48], 4));
    for (name, norm) in norms {
        let forward = jit((), move |_: &(), (x, gain, bias): (Var, Var, Var)| norm(x, gain, bias));
        let forward = forward.compile(&(x.clone(), gain.clone(), bias.clone())).unwrap().explain();
        assert_eq!(
            steps(&forward),
            "steps: 1 kernels, 0 products, 0 combine steps, 0 copies or fills",
            "{name}"
        );
        let loss = move |x: Var, gain: Var, bias: Var, w: Var| (norm(x, gain, bias) * w).sum_all();
        let gradients = grad(loss).wrt((0, 1, 2));
        let backward = gradients.explain((&x, &gain, &bias, &weight)).unwrap();
        assert_eq!(
            steps(&backward),
            "steps: 1 kernels, 0 products, 1 combine steps, 0 copies or fills",
            "{name}: {backward}"
        );
    }
}

#[test]
fn a_training_step_updates_in_place_on_hot_panels() {
    let loss = |m: &Network, (x, y): (Var, Var)| (m.forward(x) - y).square().mean_all();
    let batch = (numbers(&[300, 96], 1), numbers(&[300, 10], 2));
    for optimizer in [0.0, 0.9] {
        let step =
            train_step(Network::new(), Sgd::new(0.1).momentum(optimizer), loss).compile(&batch).unwrap();
        let text = step.explain();
        assert!(steps(&text).ends_with(" 0 copies or fills"), "{text}");
        assert!(text.matches("on panels of").count() >= 2, "bias and loss follow their products: {text}");
    }
    let step = train_step(Network::new(), AdamW::new(0.1), loss).clip_norm(1.0).compile(&batch).unwrap();
    assert!(steps(&step.explain()).ends_with(" 0 copies or fills"), "{}", step.explain());
}

/// Losses and parameters of a few steps on as many threads as the environment says.
fn trained() -> String {
    let loss = |m: &Network, (x, y): (Var, Var)| (m.forward(x) - y).square().mean_all();
    let batch = |i: u64| (numbers(&[700, 96], i), numbers(&[700, 10], 100 + i));
    let mut step = train_step(Network::new(), AdamW::new(1e-2), loss).compile(&batch(0)).unwrap();
    let losses: Vec<u64> =
        (0..20).map(|i| step.run(batch(i % 3)).unwrap().loss().unwrap().to_bits()).collect();
    format!("{losses:?}")
}

/// Runs in a process of its own; see [`child`].
#[test]
fn trains_on_the_threads_of_the_environment() {
    let threads = evenkeel_runtime::Gang::threads_from_env().unwrap();
    if let Some(asked) = std::env::var_os("EVENKEEL_THREADS") {
        assert_eq!(asked.to_str(), Some(&threads.to_string()[..]));
    }
    println!("trained: {}", trained());
}

fn child(threads: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "steps::trains_on_the_threads_of_the_environment",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("EVENKEEL_THREADS", threads)
        .output()
        .unwrap()
}

#[test]
fn the_environment_chooses_the_threads() {
    let result = |threads: &str| {
        let output = child(threads);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{threads} threads: {text}");
        text.lines().find_map(|line| line.split_once("trained: ").map(|(_, bits)| bits.to_string())).unwrap()
    };
    let want = result("1");
    // sixteen are more than this test expects of any machine's cores; it must stay live and equal
    for threads in ["2", "3", "16"] {
        assert_eq!(result(threads), want, "{threads} threads");
    }
    for wrong in ["0", "-1", "many", "100000"] {
        assert!(!child(wrong).status.success(), "EVENKEEL_THREADS={wrong}");
    }
}

/// `x + down(gelu(up(norm(x))))`
#[derive(Clone, Parameters)]
struct Block {
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(rng: &mut Rng) -> Block {
        Block { norm: LayerNorm::new(8), up: Linear::new(rng, 8, 32), down: Linear::new(rng, 32, 8) }
    }

    fn forward(&self, x: Var) -> Var {
        x + self.down.forward(self.up.forward(self.norm.forward(x)).gelu())
    }
}

/// Launches of kernels, and pieces of code, of the training step of so many blocks.
fn kernels_and_codes(blocks: usize) -> (usize, usize) {
    let rng = &mut Rng::seed(0);
    let model: Vec<Block> = (0..blocks).map(|_| Block::new(rng)).collect();
    let loss = |m: &Vec<Block>, x: Var| m.iter().fold(x, |x, block| block.forward(x)).square().sum_all();
    let step = train_step(model, AdamW::new(1e-3), loss).device(Device::Interp);
    let step = step.compile(&numbers(&[4, 8], 1)).unwrap();
    let compiled = compile(step.graph(), &host_target(1), &Options::default()).unwrap();
    (compiled.report.kernels.len(), compiled.program.codes.len())
}

#[test]
fn equal_blocks_share_their_code() {
    let (one, four, twelve) = (kernels_and_codes(1), kernels_and_codes(4), kernels_and_codes(12));
    let per_block = (twelve.0 - four.0) / 8;
    assert!(per_block >= 10 && twelve.0 - four.0 == 8 * per_block, "{four:?} {twelve:?}");
    assert!(four.1 <= one.1 + 8 && twelve.1 <= four.1 + 1, "{one:?} {four:?} {twelve:?}");
}
