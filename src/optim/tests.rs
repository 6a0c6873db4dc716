//! Each optimizer against steps computed by hand.

use super::*;
use evenkeel_ir::{DType, Literal, TensorType, eval::eval_at};

/// A parameter and its slots after a step with learning rate 0.1.
fn after(optimizer: &dyn Optimizer, step: f64, parameter: f64, gradient: f64, slots: &[f64]) -> Vec<f64> {
    let mut b = GraphBuilder::new();
    let mut input = |name: &str| b.input(name, TensorType::scalar(DType::F32));
    let [rate, t, p, g] = ["learning_rate", "step", "p", "g"].map(&mut input);
    let old: Vec<Value> = optimizer.slots().iter().map(|name| input(name)).collect();
    let progress = Progress { learning_rate: rate, step: t };
    let updated = optimizer.update(&mut b, progress, Trained { parameter: p, gradient: g, slots: &old });
    let outputs = std::iter::once(updated.parameter).chain(updated.slots);
    let graph = b.finish(outputs.enumerate().map(|(i, v)| (i.to_string(), v)));
    let numbers = [0.1, step, parameter, gradient].into_iter().chain(slots.iter().copied());
    let inputs: Vec<Literal> = numbers.map(|x| Literal::floats(DType::F32, &[], vec![x])).collect();
    eval_at(&graph, &inputs, 1).iter().map(|x| x.float_at(0)).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close, "{found:?} instead of {expected:?}");
}

#[test]
fn sgd_goes_down_the_gradient() {
    assert_close(&after(&Sgd::new(0.1), 1.0, 2.0, 3.0, &[]), &[1.7]);
}

#[test]
fn sgd_weight_decay_adds_to_the_gradient() {
    assert_close(&after(&Sgd::new(0.1).weight_decay(0.5), 1.0, 2.0, 3.0, &[]), &[1.6]);
}

#[test]
fn sgd_momentum_keeps_a_velocity() {
    // v' = 0.9 * 5 + 3 = 7.5
    assert_close(&after(&Sgd::new(0.1).momentum(0.9), 2.0, 2.0, 3.0, &[5.0]), &[1.25, 7.5]);
}

#[test]
fn sgd_nesterov_looks_ahead() {
    // v' = 7.5, direction = 3 + 0.9 * 7.5 = 9.75
    assert_close(&after(&Sgd::new(0.1).momentum(0.9).nesterov(), 2.0, 2.0, 3.0, &[5.0]), &[1.025, 7.5]);
}

#[test]
fn adamw_first_step_has_the_size_of_the_learning_rate() {
    // mhat = g, vhat = g^2: the direction is the sign of g, plus the decay 0.01 * 2.
    let found = after(&AdamW::new(0.1).eps(0.0), 1.0, 2.0, 3.0, &[0.0, 0.0]);
    assert_close(&found, &[2.0 - 0.1 * (1.0 + 0.02), 0.3, 0.009]);
}

#[test]
fn adamw_later_step_corrects_both_averages() {
    let (m, v) = (0.9 * 0.3 + 0.1 * 3.0, 0.999 * 0.009 + 0.001 * 9.0);
    let (m_hat, v_hat): (f64, f64) = (m / (1.0 - 0.9f64.powi(2)), v / (1.0 - 0.999f64.powi(2)));
    let parameter = 2.0 - 0.1 * (m_hat / (v_hat.sqrt() + 1e-8) + 0.01 * 2.0);
    assert_close(&after(&AdamW::new(0.1), 2.0, 2.0, 3.0, &[0.3, 0.009]), &[parameter, m, v]);
}
