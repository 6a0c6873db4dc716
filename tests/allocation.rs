//! A warm training step or compiled call allocates no memory.
//!
//! The allocator of the test binary counts on threads that ask for it, so tests that run at the
//! same time do not disturb each other. One thread runs every chunk itself; with more, what the
//! workers run is the same code.

use crate::concurrency::Network;
use crate::oracle::numbers;
use evenkeel::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread since it began to count.
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn note(layout: Layout) {
        // a thread that ends has no count any more
        let _ = COUNT.try_with(|count| {
            let Some(n) = count.get() else { return };
            count.set(None);
            if std::env::var_os("EVENKEEL_SHOW_ALLOCATIONS").is_some() {
                eprintln!("{layout:?}\n{}", std::backtrace::Backtrace::force_capture());
            }
            count.set(Some(n + 1));
        });
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::note(layout);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Counting::note(layout);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Counting::note(layout);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often this thread allocates while `body` runs.
fn allocations(body: impl FnOnce()) -> usize {
    COUNT.set(Some(0));
    body();
    COUNT.take().expect("counting")
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))), 1);
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn a_warm_training_step_allocates_nothing() {
    let loss = |m: &Network, (x, y): (Var, Var)| (m.forward(x) - y).square().mean_all();
    for threads in [1, 2] {
        let batch = (numbers(&[300, 96], 1), numbers(&[300, 10], 2));
        let step = train_step(Network::new(), AdamW::new(1e-3), loss).clip_norm(1.0).threads(threads);
        let mut step = step.compile(&batch).unwrap();
        step.run((&batch.0, &batch.1)).unwrap();
        for round in 0..3 {
            let run = || assert!(step.run((&batch.0, &batch.1)).unwrap().loss().unwrap() > 0.0);
            assert_eq!(allocations(run), 0, "{threads} threads, round {round}");
        }
    }
}

/// A layer of every kind that keeps state, draws numbers or reads by index.
#[derive(Clone, Parameters)]
struct Classifier {
    embedding: Embedding,
    norm: BatchNorm,
    dropout: Dropout,
    groups: GroupNorm,
    head: Linear,
}

#[test]
fn a_warm_step_with_state_and_random_numbers_allocates_nothing() {
    let mut rng = Rng::seed(1);
    let model = Classifier {
        embedding: Embedding::new(&mut rng, 11, 12),
        norm: BatchNorm::new(12),
        dropout: Dropout { p: 0.1 },
        groups: GroupNorm::new(3, 12),
        head: Linear::new(&mut rng, 12, 5),
    };
    let loss = |m: &Classifier, (i, y): (Var, Var)| {
        let x = m.dropout.forward(m.norm.forward(m.embedding.forward(i)).gelu());
        let logits = m.head.forward(m.groups.forward(x)).tap("logits");
        let accuracy = logits.argmax(-1).equals(y).mean_all();
        (logits.cross_entropy_with(y, 0.1, -1), metrics! { accuracy: accuracy })
    };
    let column = |n: i32| Tensor::from_vec(&[200], (0..200).map(|i| i % n).collect::<Vec<i32>>()).unwrap();
    let (i, y) = (column(11), column(5));
    let step = train_step(model, Sgd::new(0.1).momentum(0.9), loss).schedule(Schedule::cosine(2, 9));
    let mut step = step.compile(&(i.clone(), y.clone())).unwrap();
    step.run((&i, &y)).unwrap();
    let run = || assert!(step.run((&i, &y)).unwrap().metric("accuracy").unwrap() > 0.0);
    assert_eq!(allocations(run), 0);
}

#[test]
fn a_warm_executable_allocates_nothing() {
    let graph =
        evenkeel_ir::parse("x = input f32[N,64]\ny = softmax @1 x\nz = sum @0 y\nreturn y, z", "t.ek");
    let compiled = evenkeel_compiler::compile(
        &graph.unwrap(),
        &evenkeel::host::host_target(2),
        &evenkeel_compiler::Options::default(),
    );
    let executable = evenkeel_runtime::Executable::load(compiled.unwrap().program, 2).unwrap();
    let x = numbers(&[700, 64], 1);
    let mut arguments = [evenkeel_runtime::Argument::In(&x)];
    let mut outputs = Vec::new();
    executable.run(&mut arguments, &mut outputs).unwrap();
    assert_eq!(allocations(|| executable.run(&mut arguments, &mut outputs).unwrap()), 0);
}
