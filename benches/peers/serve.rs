//! Our side of the comparison with other frameworks: runs what it is told to, so that both sides
//! can be timed in alternation. `peers.py` beside it starts it.
//!
//! Reads one command per line and answers each with one line, `ok ..` or `error ..`:
//!
//! * `list`: names and shapes of all layers, as `NAME:2048x768,1x768`
//! * `layer NAME SHAPE forward|both THREADS`: prepares a layer, with gradients or without; bytes of
//!   inputs and outputs
//! * `step NAME THREADS`: prepares a training step
//! * `save FILE`: runs it, and writes what went in and what came out as safetensors
//! * `time N`: runs it N times; microseconds of the shortest run

#[path = "../common/prepared.rs"]
mod prepared;
mod steps;

use evenkeel::bench::{layers, shapes_of};
use evenkeel::checkpoint;
use prepared::Prepared;
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;

type Answer = Result<String, Box<dyn Error>>;

/// What can be timed.
trait Contender {
    fn run(&mut self) -> Result<(), Box<dyn Error>>;
    /// Runs it, and writes what went in and what came out.
    fn save(&mut self, path: &str) -> Result<(), Box<dyn Error>>;
}

impl Contender for Prepared {
    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(Prepared::run(self)?)
    }

    /// Inputs as `input.NAME`, outputs as `output.NAME`.
    fn save(&mut self, path: &str) -> Result<(), Box<dyn Error>> {
        Prepared::run(self)?;
        let program = self.executable.program();
        let names = program.inputs.iter().map(|input| format!("input.{}", input.name));
        let inputs = names.zip(&self.inputs);
        let names = program.outputs.iter().map(|output| format!("output.{}", output.name));
        Ok(checkpoint::write(path, inputs.chain(names.zip(&self.outputs)))?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut contender = None;
    for line in stdin().lock().lines() {
        match answer(&line?, &mut contender) {
            Ok(text) => println!("ok {text}"),
            Err(error) => println!("error {}", error.to_string().replace('\n', " ")),
        }
        stdout().flush()?;
    }
    Ok(())
}

fn answer(line: &str, contender: &mut Option<Box<dyn Contender>>) -> Answer {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["list"] => return Ok(list()),
        ["layer", name, shape, direction, threads] => {
            let prepared = layer(name, shape, direction == "both", threads.parse()?)?;
            let bytes = prepared.bytes();
            *contender = Some(Box::new(prepared));
            return Ok(bytes.to_string());
        }
        ["step", name, threads] => *contender = Some(steps::step(name, threads.parse()?)?),
        ["save", path] => prepared(contender)?.save(path)?,
        ["time", count] => return time(prepared(contender)?, count.parse()?),
        _ => return Err(format!("what is {line:?}?").into()),
    }
    Ok(String::new())
}

fn prepared(contender: &mut Option<Box<dyn Contender>>) -> Result<&mut dyn Contender, Box<dyn Error>> {
    contender.as_deref_mut().map(|contender| contender as _).ok_or("nothing is prepared".into())
}

fn list() -> String {
    let layer = |layer: &evenkeel::bench::Layer| {
        let shapes = shapes_of(layer.kind).iter().map(|shape| {
            let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
            sizes.join("x")
        });
        format!("{}:{}", layer.name, shapes.collect::<Vec<_>>().join(","))
    };
    layers().iter().map(layer).collect::<Vec<_>>().join(" ")
}

fn layer(name: &str, shape: &str, gradients: bool, threads: usize) -> Result<Prepared, Box<dyn Error>> {
    let layer =
        layers().iter().find(|layer| layer.name == name).ok_or(format!("no layer is named {name}"))?;
    let shape: Result<Vec<u64>, _> = shape.split('x').map(str::parse).collect();
    Ok(Prepared::new(&layer.case(&shape?, gradients)?, threads)?)
}

fn time(contender: &mut dyn Contender, count: usize) -> Answer {
    let mut best = f64::INFINITY;
    for _ in 0..count {
        let start = Instant::now();
        contender.run()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(best.to_string())
}
