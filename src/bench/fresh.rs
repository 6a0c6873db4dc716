//! What is compiled as the first thing of a process: how long users wait who start a program.
//!
//! A sample takes a process of its own, which `evenkeel bench` starts; here is what the process does,
//! and what becomes of its times.

use super::layers::layers;
use super::measure::Loaded;
use super::models::{self, Block, Gpt};
use super::record::{Figures, Row, millis};
use super::timing::{Timing, quantile};
use crate::error::Error;
use crate::nn::{Module, Rng};
use crate::session::engine::{Engine, Setup};
use crate::session::traced::{Tracing, trace_model};
use crate::session::{Model, float_inputs, vjp_graph};
use crate::trace::{Mode, Var};
use evenkeel_compiler::{Costs, Options};
use std::time::{Duration, Instant};

/// Something to compile in a fresh process.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// Its name.
    pub name: &'static str,
    /// What is compiled.
    pub about: &'static str,
    compile: fn(usize) -> Result<Duration, Error>,
}

const FRESH: &[Fresh] = &[
    Fresh {
        name: "fresh_layer_norm",
        about: "LayerNorm over 768 columns, forward and backward",
        compile: |threads| layer("layer_norm", &[2048, 768], threads),
    },
    Fresh {
        name: "fresh_evonorm_s0",
        about: "EvoNorm-S0 over images, forward and backward",
        compile: |threads| layer("evonorm_s0", &[32, 256, 14, 14], threads),
    },
    Fresh {
        name: "fresh_block",
        about: "block of a transformer, width 128, 4 heads, 128 tokens, forward and backward",
        compile: block,
    },
    Fresh {
        name: "fresh_gpt_step",
        about: "training step of a transformer of 4 such blocks, AdamW",
        compile: gpt,
    },
];

/// All of them.
pub fn fresh() -> &'static [Fresh] {
    FRESH
}

impl Fresh {
    /// Compiles it, from closure to loaded code; weights and batch are there before.
    ///
    /// # Errors
    /// None that users cause: what is compiled is fixed.
    pub fn compile(&self, threads: usize) -> Result<Duration, Error> {
        (self.compile)(threads)
    }

    /// The row of the times that so many processes took to [compile](Fresh::compile) it.
    pub fn row(&self, threads: usize, processes: &[Duration]) -> Row {
        let mut times: Vec<f64> = processes.iter().map(|time| millis(*time) * 1e3).collect();
        let timing = Timing { repetitions: times.clone() };
        let compile_ms = quantile(&mut times, 0.5) / 1e3;
        Row::new(self.name, threads, timing, Figures::Fresh { compile_ms })
    }
}

fn layer(name: &str, shape: &[u64], threads: usize) -> Result<Duration, Error> {
    let layer = layers().iter().find(|layer| layer.name == name).expect("it is in the table");
    let clock = Instant::now();
    Loaded::compile(&layer.case(shape, true)?, threads, &Options::default())?;
    Ok(clock.elapsed())
}

fn block(threads: usize) -> Result<Duration, Error> {
    let (model, x) = (Model::new(Block::new(&mut Rng::seed(0))), models::hidden());
    let clock = Instant::now();
    let setup = Setup { threads: Some(threads), ..Setup::default() };
    let forward = |block: &Block, x: Var| vec![("y".to_string(), block.forward(x))];
    let traced = trace_model(&model, &Tracing::new(Mode::Train), &setup, &x, forward)?;
    let graph = vjp_graph(&traced.graph, &float_inputs(&traced.graph))?;
    Engine::compile(&graph, &traced.origin, &[], &setup)?;
    Ok(clock.elapsed())
}

fn gpt(threads: usize) -> Result<Duration, Error> {
    let (model, batch) = (Model::new(Gpt::new(&mut Rng::seed(0), models::LAYERS)), models::sequences());
    let clock = Instant::now();
    models::gpt_step(model, &batch, threads, &Costs::REFERENCE)?;
    Ok(clock.elapsed())
}
