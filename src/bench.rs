//! Measuring compiled graphs against this machine.
//!
//! Every figure is a ratio within one run: a copy of as many bytes, and the same graph with
//! every op a kernel of its own, are timed in alternation with the fused program. Bytes count
//! each input once and each output once.

use crate::error::Error;
use crate::host::host_target;
use evenkeel_compiler::{Options, Report, compile};
use evenkeel_ir::random::threefry;
use evenkeel_ir::{DType, Graph};
use evenkeel_runtime::{Argument, Executable, Tensor};
use std::time::{Duration, Instant};

/// The figures of one graph.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Name of the graph.
    pub name: String,
    /// Shortest time of a call, in microseconds.
    pub micros: f64,
    /// Bytes of inputs and outputs.
    pub bytes: usize,
    /// Shortest time of a copy that moves as many bytes, in microseconds.
    pub copy_micros: f64,
    /// Shortest time with every op a kernel of its own, in microseconds.
    pub unfused_micros: f64,
    /// What the compiler did, with times per stage.
    pub report: Report,
}

impl Measurement {
    /// Bytes of inputs and outputs per nanosecond.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.micros / 1e3
    }

    /// Speed as a fraction of the copy's.
    pub fn of_copy(&self) -> f64 {
        self.copy_micros / self.micros
    }

    /// How many times slower the unfused program is.
    pub fn over_unfused(&self) -> f64 {
        self.unfused_micros / self.micros
    }
}

/// Compiles and measures a graph at a batch size, for about `budget`.
///
/// # Errors
/// A graph that does not compile.
pub fn measure(
    name: &str,
    graph: &Graph,
    batch: u64,
    threads: usize,
    budget: Duration,
) -> Result<Measurement, Error> {
    let inputs = inputs(graph, batch);
    let program = |fuse| compile(graph, &host_target(threads), &Options { fuse, ..Options::default() });
    let (fused, unfused) = (program(true)?, program(false)?);
    let report = fused.report;
    let mut fused = Runner::new(Executable::load(fused.program, threads)?, &inputs);
    let mut unfused = Runner::new(Executable::load(unfused.program, threads)?, &inputs);
    fused.run()?;
    unfused.run()?;
    let bytes = inputs.iter().chain(&fused.outputs).map(|t| t.bytes().len()).sum();
    let (from, mut to) = (vec![1u8; bytes / 2], vec![0u8; bytes / 2]);
    let (mut own, mut copy, mut slow) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
    let start = Instant::now();
    while start.elapsed() < budget || own == f64::INFINITY {
        own = own.min(micros(|| fused.run())?);
        copy = copy.min(micros(|| {
            to.copy_from_slice(std::hint::black_box(&from));
            Ok(())
        })?);
        slow = slow.min(micros(|| unfused.run())?);
    }
    std::hint::black_box(&to);
    Ok(Measurement { name: name.into(), micros: own, bytes, copy_micros: copy, unfused_micros: slow, report })
}

fn micros(mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

struct Runner<'a> {
    executable: Executable,
    arguments: Vec<Argument<'a>>,
    outputs: Vec<Tensor>,
}

impl<'a> Runner<'a> {
    fn new(executable: Executable, inputs: &'a [Tensor]) -> Runner<'a> {
        Runner { executable, arguments: inputs.iter().map(Argument::In).collect(), outputs: Vec::new() }
    }

    fn run(&mut self) -> Result<(), Error> {
        Ok(self.executable.run(&mut self.arguments, &mut self.outputs)?)
    }
}

/// Numbers in `-2..2` (integers in `0..8`) for every input, the same every time.
pub fn inputs(graph: &Graph, batch: u64) -> Vec<Tensor> {
    let one = |(number, input): (usize, &evenkeel_ir::Input)| {
        let sizes = input.ty.shape.at(batch);
        let count: usize = sizes.iter().product();
        let word = |i: usize| threefry([number as u32, 1], [i as u32, 0])[0];
        let literal = if input.ty.dtype.is_int() {
            let data = (0..count).map(|i| i64::from(word(i) % 8)).collect();
            evenkeel_ir::Literal::ints(input.ty.dtype, &sizes, data)
        } else {
            let bool = input.ty.dtype == DType::Bool;
            let number = |i: usize| f64::from(word(i)) / f64::from(u32::MAX) * 4.0 - 2.0;
            let data = (0..count).map(|i| if bool { f64::from(word(i) % 2) } else { number(i) }).collect();
            evenkeel_ir::Literal::floats(input.ty.dtype, &sizes, data)
        };
        Tensor::from_literal(&literal)
    };
    graph.inputs().iter().enumerate().map(one).collect()
}

/// The built-in graphs: name and graph over `[N, columns]`.
///
/// # Errors
/// None that users cause: the graphs are fixed.
pub fn suite(columns: usize) -> Result<Vec<(&'static str, Graph)>, Error> {
    use crate::prelude::*;
    type Row = (&'static str, fn(&[Var]) -> Var);
    let rows: &[Row] = &[
        ("layer_norm", |v| v[0].layer_norm(-1, 1e-5, v[1], v[2])),
        ("rms_norm", |v| v[0].rms_unit(-1, 1e-6, EpsKind::Inside) * v[1]),
        ("softmax", |v| v[0].softmax(-1)),
        ("gelu", |v| v[0].gelu()),
        ("gelu_tanh", |v| v[0].gelu_tanh()),
        ("silu", |v| v[0].silu()),
        ("layer_norm_gelu", |v| v[0].layer_norm(-1, 1e-5, v[1], v[2]).gelu()),
        ("dyt", |v| v[0].tanh() * v[1] + v[2]),
    ];
    let row =
        TensorType::new(DType::F32, Shape([Extent::BATCH, Extent::from(columns)].into_iter().collect()));
    let column = TensorType::new(DType::F32, Shape::of(&[columns]));
    let declared = [("x", row), ("gain", column.clone()), ("bias", column)];
    let mut graphs = Vec::new();
    for (name, function) in rows {
        let forward = trace(&declared, |v| vec![("y", function(v))])?;
        graphs.push((*name, forward));
    }
    Ok(graphs)
}
