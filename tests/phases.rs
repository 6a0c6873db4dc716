//! Phases of a row: what one leaves in scratch memory for later ones, and loops with one purpose.
//!
//! A value is kept by the first loop that computes it, and every loop that something waits for runs,
//! whatever that is. Start at [`check`].

use crate::oracle::{self, numbers, with_gradients};
use evenkeel_ir::{Input, Literal, parse};
use evenkeel_runtime::Tensor;

/// Values and gradients against the interpreter, for rows of zeros among ordinary ones.
#[track_caller]
fn check(text: &str, batch: u64) {
    let forward = parse(text, "phases").unwrap_or_else(|error| panic!("{text}\n{error}"));
    let graph = with_gradients(&forward, forward.inputs().len());
    let at = |(place, input): (usize, &Input)| {
        let sizes = input.ty.shape.at(batch);
        let row = sizes.iter().skip(1).product::<usize>();
        let numbers = numbers(&sizes, place as u64).to_f64s();
        let zeroed = numbers.iter().enumerate().map(|(i, &x)| if i / row % 3 == 1 { 0.0 } else { x });
        Tensor::from_literal(&Literal::floats(input.ty.dtype, &sizes, zeroed.collect()))
    };
    let inputs: Vec<Tensor> = graph.inputs().iter().enumerate().map(at).collect();
    oracle::check(&graph, &inputs, 2e-5);
}

#[test]
fn what_is_kept_is_written_where_the_first_loop_computes_it() {
    // of the mean's phase, where all reductions are idle in most rows
    check(
        "
        x = input f32[10,3]
        b = add (abs (tanh (mean @1 x))) 0.5
        return pow b (mul x (rrms @0,1 eps=0.1 x))
        ",
        1,
    );
}

#[test]
fn a_loop_runs_for_nothing_but_sums_over_rows() {
    check(
        "
        x = input f32[N,4,64]
        r = max @1,2 x
        return s=(sum @0,2 (exp (sub x r))), r=r
        ",
        70,
    );
}
