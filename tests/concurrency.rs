//! Threads change nothing: calls at the same time, gangs of any size and repeated steps give the
//! bits of one call after another.
//!
//! Not here: how a gang shares work, which its own module tests.

use crate::oracle::numbers;
use evenkeel::prelude::*;
use std::thread;

/// Rows of the samples: enough for many chunks.
const ROWS: [usize; 4] = [1, 37, 500, 1203];
const COLUMNS: usize = 96;

/// A small network with a norm, a product and reductions over rows.
#[derive(Clone, Debug, Parameters)]
pub(crate) struct Network {
    first: Linear,
    norm: LayerNorm,
    last: Linear,
}

impl Network {
    pub(crate) fn new() -> Network {
        let mut rng = Rng::seed(3);
        let (first, last) = (Linear::new(&mut rng, COLUMNS, 64), Linear::new(&mut rng, 64, 10));
        Network { first, norm: LayerNorm::new(64), last }
    }

    pub(crate) fn forward(&self, x: Var) -> Var {
        let hidden = self.norm.forward(self.first.forward(x)).gelu();
        self.last.forward(hidden)
    }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_vec::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

type Results = (Tensor, Tensor);

/// The network's results for every number of rows, and sums over the rows.
fn sequential(threads: usize) -> Vec<[Vec<u32>; 2]> {
    let compiled = compiled(threads);
    ROWS.iter().map(|&rows| both(&compiled(&numbers(&[rows, COLUMNS], rows as u64)))).collect()
}

fn both((y, total): &Results) -> [Vec<u32>; 2] {
    [bits(y), bits(total)]
}

/// The network and a sum over its rows, compiled.
fn compiled(threads: usize) -> impl Fn(&Tensor) -> Results + Sync {
    let function = |m: &Network, x: Var| {
        let y = m.forward(x);
        (y, y.square().sum(0))
    };
    let example = numbers(&[4, COLUMNS], 1);
    let compiled = jit(Network::new(), function).threads(threads).compile(&example).unwrap();
    move |x| compiled.run(x).unwrap()
}

#[test]
fn calls_at_the_same_time_give_the_bits_of_calls_in_turn() {
    for threads in [1, 2, 3] {
        let want = sequential(threads);
        let compiled = compiled(threads);
        thread::scope(|scope| {
            for caller in 0..8 {
                let (want, compiled) = (&want, &compiled);
                scope.spawn(move || {
                    for i in 0..12 {
                        let k = (caller + i) % ROWS.len();
                        let got = compiled(&numbers(&[ROWS[k], COLUMNS], ROWS[k] as u64));
                        assert!(both(&got) == want[k], "caller {caller}, call {i}, {} rows", ROWS[k]);
                    }
                });
            }
        });
    }
}

#[test]
fn gangs_of_different_sizes_work_at_the_same_time() {
    let want = sequential(1);
    let gangs = [compiled(2), compiled(3)];
    thread::scope(|scope| {
        for caller in 0..8 {
            let (want, compiled) = (&want, &gangs[caller % 2]);
            scope.spawn(move || {
                for (k, &rows) in ROWS.iter().enumerate().cycle().take(12) {
                    let got = compiled(&numbers(&[rows, COLUMNS], rows as u64));
                    assert!(both(&got) == want[k], "caller {caller}, {rows} rows");
                }
            });
        }
    });
}

#[test]
fn more_threads_than_cores_stay_correct() {
    let want = sequential(1);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for threads in [cores + 1, 4 * cores + 3] {
        assert!(sequential(threads) == want, "{threads} threads on {cores} cores");
    }
}

/// The parameters and losses after some steps.
fn trained(threads: usize) -> (Vec<u64>, Vec<Vec<u32>>) {
    let loss = |m: &Network, (x, y): (Var, Var)| (m.forward(x) - y).square().mean_all();
    let batch = |i: u64| (numbers(&[300, COLUMNS], i), numbers(&[300, 10], 100 + i));
    let mut step =
        train_step(Network::new(), AdamW::new(1e-2), loss).threads(threads).compile(&batch(0)).unwrap();
    let losses = (0..6).map(|i| step.run(batch(i)).unwrap().loss().unwrap().to_bits()).collect();
    let model = step.model().get();
    let gain = model.norm.gain.as_ref().expect("a norm with gain");
    let parameters = [&model.first.weight, gain, &model.last.weight];
    (losses, parameters.map(|p| bits(p.tensor())).to_vec())
}

#[test]
fn a_run_repeated_gives_the_same_bits() {
    for threads in [1, 2, 5] {
        assert!(trained(threads) == trained(threads), "{threads} threads");
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_run() {
    assert!(trained(1) == trained(2), "2 threads");
    assert!(trained(1) == trained(7), "7 threads");
}
