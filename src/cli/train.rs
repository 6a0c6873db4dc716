//! `evenkeel train`: trains a classifier and reports its accuracy on held-out samples.

use super::Failure;
use crate::checkpoint;
use crate::data::{Dataset, batches, digits, read_csv};
use crate::error::Error;
use crate::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Options of `train`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to train on: `digits`, the bundled 8x8 handwritten digits
    #[arg(default_value = "digits", value_parser = ["digits"])]
    task: String,
    /// Train on a CSV file instead: one sample per line, an optional header; the label is the column
    /// named `label`, else the last one (0, 1, 2, ...); features are divided by the largest
    /// magnitude in the file. Every fifth sample is held out for the test.
    #[arg(long, value_name = "FILE.csv")]
    data: Option<PathBuf>,
    /// Passes over the training samples
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    epochs: u64,
    /// Samples per step
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Width of the two hidden layers
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=16384))]
    hidden: u64,
    /// Highest learning rate of the cosine schedule
    #[arg(long, default_value_t = 3e-3, allow_negative_numbers = true)]
    lr: f64,
    /// Seed of weights, order and dropout
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; EVENKEEL_THREADS or all cores by default
    #[arg(long)]
    threads: Option<usize>,
    /// Write the training state here at the end (and on Ctrl-C)
    #[arg(long, value_name = "FILE.safetensors")]
    save: Option<PathBuf>,
    /// Continue from a saved training state
    #[arg(long, value_name = "FILE.safetensors")]
    resume: Option<PathBuf>,
    /// Print every kernel
    #[arg(long)]
    explain: bool,
}

/// Two hidden layers with normalization and GELU.
#[derive(Debug, Clone, Parameters)]
struct Classifier {
    first: Linear,
    first_norm: LayerNorm,
    second: Linear,
    second_norm: LayerNorm,
    head: Linear,
}

impl Classifier {
    fn new(rng: &mut Rng, inputs: usize, hidden: usize, classes: usize) -> Classifier {
        Classifier {
            first: Linear::new(rng, inputs, hidden),
            first_norm: LayerNorm::new(hidden),
            second: Linear::new(rng, hidden, hidden),
            second_norm: LayerNorm::new(hidden),
            head: Linear::new(rng, hidden, classes),
        }
    }
}

impl Module for Classifier {
    fn forward(&self, x: Var) -> Var {
        let h = with_module("first", || {
            self.first_norm.forward(self.first.forward(x)).gelu().dropout_in_training(0.2)
        });
        let h = with_module("second", || {
            self.second_norm.forward(self.second.forward(h)).gelu().dropout_in_training(0.2)
        });
        with_module("head", || self.head.forward(h))
    }
}

trait DropoutInTraining {
    fn dropout_in_training(self, p: f64) -> Var;
}

impl DropoutInTraining for Var {
    #[track_caller]
    fn dropout_in_training(self, p: f64) -> Var {
        Dropout { p }.forward(self)
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let start = Instant::now();
    args.save.as_ref().map_or(Ok(()), checkpoint::check_writable)?;
    let data = load(args)?;
    let (train, test) = data.split_every_fifth();
    if train.is_empty() || test.is_empty() {
        return Err(Failure::Input(format!("{} samples are too few: one in five is held out", data.len())));
    }
    writeln!(
        out,
        "{} training and {} test samples, {} features, {} classes",
        train.len(),
        test.len(),
        data.n_features,
        data.n_classes
    )?;
    let mut run = Run::new(args, &train, out)?;
    if run.epochs(&train, start, out)? {
        let accuracy = run.accuracy(&test)?;
        writeln!(out, "test accuracy: {accuracy:.4}")?;
    }
    Ok(())
}

fn load(args: &Args) -> Result<Dataset, Failure> {
    match &args.data {
        Some(path) => Ok(read_csv(path)?),
        None => Ok(digits()),
    }
}

struct Run<'a> {
    args: &'a Args,
    step: Step<Classifier>,
    x: Tensor,
    y: Tensor,
    stop: Arc<AtomicBool>,
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, train: &Dataset, out: &mut dyn Write) -> Result<Run<'a>, Failure> {
        let model = Classifier::new(
            &mut Rng::seed(args.seed),
            train.n_features,
            args.hidden as usize,
            train.n_classes,
        );
        let (x, y) = train.tensors();
        let example = (
            x.rows(0..train.len().min(args.batch as usize))?,
            y.rows(0..train.len().min(args.batch as usize))?,
        );
        let per_epoch = (train.len() as u64).div_ceil(args.batch);
        let clock = Instant::now();
        let mut step = train_step(
            model,
            AdamW::new(args.lr).weight_decay(0.05),
            |m: &Classifier, (x, y): (Var, Var)| {
                let logits = m.forward(x);
                (logits.cross_entropy(y), metrics! { accuracy: logits.argmax(-1).equals(y).mean_all() })
            },
        );
        if let Some(threads) = args.threads {
            step = step.threads(threads);
        }
        let schedule = Schedule::cosine(per_epoch, per_epoch * args.epochs);
        let mut step = step.schedule(schedule).clip_norm(1.0).seed(args.seed as i64).compile(&example)?;
        let compiled = clock.elapsed();
        let stages = match step.report() {
            Some(report) if !args.explain => {
                write!(out, "{}", report.brief())?;
                report.timings()
            }
            report => {
                write!(out, "{}", step.explain())?;
                report.map(|report| report.timings()).unwrap_or_default()
            }
        };
        writeln!(out, "compiled the training step in {:.1} ms: {stages}", compiled.as_secs_f64() * 1e3)?;
        if let Some(path) = &args.resume {
            step.resume(path)?;
            writeln!(out, "resumed at step {} from {}", step.step(), path.display())?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        // a second command in one process keeps the first handler, which is as good
        let _ = ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst));
        Ok(Run { args, step, x, y, stop })
    }

    /// Trains what is left; says whether it came to the end.
    fn epochs(&mut self, train: &Dataset, start: Instant, out: &mut dyn Write) -> Result<bool, Failure> {
        let per_epoch = (train.len() as u64).div_ceil(self.args.batch);
        let total = per_epoch * self.args.epochs;
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {msg}  {elapsed}")
            .unwrap_or(ProgressStyle::default_bar());
        bar.set_style(style);
        writeln!(out, "first step {:.1} ms after the start", start.elapsed().as_secs_f64() * 1e3)?;
        let clock = Instant::now();
        let mut steps = 0u32;
        for epoch in self.step.step() / per_epoch..self.args.epochs {
            let done = self.step.step() - epoch * per_epoch;
            let (mut loss, mut hits) = (0.0, 0.0);
            let all = batches(&self.x, &self.y, self.args.batch as usize, self.args.seed)?.epoch(epoch);
            for batch in all.skip(done as usize) {
                if self.stop.load(Ordering::SeqCst) {
                    bar.abandon();
                    self.interrupted(out)?;
                    return Ok(false);
                }
                let rows = batch.1.len() as f64;
                let result = self.step.run(batch).map_err(|error| self.failed(&error))?;
                loss += result.loss()? * rows;
                hits += result.metric("accuracy")? * rows;
                steps += 1;
                bar.inc(1);
            }
            let n = train.len() as f64;
            bar.set_message(format!("epoch {}: loss {:.4}, accuracy {:.4}", epoch + 1, loss / n, hits / n));
        }
        bar.finish();
        let took = clock.elapsed();
        // before anything is written: nobody may be there to read it
        if let Some(path) = &self.args.save {
            self.step.save(path)?;
        }
        writeln!(
            out,
            "trained {steps} steps in {:.2} s ({:.0} us per step)",
            took.as_secs_f64(),
            micros_per(took, steps)
        )?;
        if let Some(path) = &self.args.save {
            writeln!(out, "saved the training state to {}", path.display())?;
        }
        Ok(true)
    }

    /// Where an unfinished run is saved.
    fn unfinished(&self) -> PathBuf {
        self.args.save.clone().unwrap_or_else(|| PathBuf::from("interrupted.safetensors"))
    }

    /// A step that failed, which changed nothing: what was reached is saved, unless an older
    /// checkpoint is there, which may be the better one.
    fn failed(&self, error: &Error) -> Failure {
        let path = self.unfinished();
        if self.step.step() == 0 || self.step.last_checkpoint().is_some() || path.exists() {
            return Failure::Input(error.to_string());
        }
        let (steps, shown) = (self.step.step(), path.display());
        Failure::Input(match self.step.save(&path) {
            Ok(()) => format!("{error}\nsaved the state after {steps} steps to {shown}"),
            Err(other) => format!("{error}\n{other}"),
        })
    }

    /// Saves what has been reached and says where.
    fn interrupted(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let path = self.unfinished();
        self.step.save(&path)?;
        writeln!(
            out,
            "interrupted after {} steps; continue with --resume {}",
            self.step.step(),
            path.display()
        )?;
        Ok(())
    }

    /// The fraction of samples whose class is the most likely one.
    fn accuracy(&self, test: &Dataset) -> Result<f64, Failure> {
        let (x, y) = test.tensors();
        let predict = jit(self.step.model(), |m: &Classifier, x: Var| m.forward(x).argmax(-1)).compile(&x)?;
        let classes = predict.run(&x)?;
        let hits =
            classes.to_f64s().iter().zip(y.to_f64s()).filter(|(class, label)| **class == *label).count();
        Ok(hits as f64 / test.len() as f64)
    }
}

fn micros_per(total: Duration, steps: u32) -> f64 {
    total.as_secs_f64() * 1e6 / f64::from(steps.max(1))
}
