//! What a machine can do, kept as JSON for later runs and for the compiler.
//!
//! Invariant: a profile that was read has figures that some machine may have.

use super::ceilings::{Ceilings, Level};
use super::machine::Machine;
use super::record::{RecordError, read, write};
use evenkeel_compiler::{Bandwidth, Costs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Schema of a [`Profile`].
const PROFILE: &str = "evenkeel.profile.v1";

/// What a machine's work costs, for those who estimate before they measure. Each field says its
/// unit; `about` says who reads the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    schema: String,
    about: String,
    /// What the fields mean.
    fields: BTreeMap<String, String>,
    /// Where it was measured.
    pub machine: Machine,
    /// Peak operations, bandwidth per level, fork and join.
    pub ceilings: Ceilings,
    /// Time of a call of a program with one kernel over 8 numbers, in microseconds.
    pub call_overhead_micros: f64,
}

/// What the fields of a profile mean.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("machine.caches",                    "data caches as one core sees them: level, bytes, cores that share it"),
    ("ceilings.vector_bits",              "width of the vectors that reached these figures"),
    ("ceilings.threads.gigaflops",        "f32 multiplications and additions per nanosecond, all threads together"),
    ("ceilings.threads.fork_join_micros", "microseconds that a job of one short chunk per thread takes longer than a chunk"),
    ("ceilings.threads.levels",           "bytes per nanosecond, read plus written, all threads together, within a cache level or memory"),
    ("ceilings.threads.levels.holds_bytes", "bytes that the level holds for these threads; null for memory"),
    ("call_overhead_micros",              "microseconds of a call of a program with one kernel over 8 numbers, on one thread"),
];

const ABOUT: &str = "costs of a machine as `evenkeel bench --calibrate` measured them; with `--profile` `evenkeel \
                     bench` reads the ceilings from here instead of measuring them again, and the compiler what work costs";

impl Profile {
    /// A profile of a machine.
    pub fn new(machine: Machine, ceilings: Ceilings, call_overhead_micros: f64) -> Profile {
        let fields = FIELDS.iter().map(|(name, meaning)| (name.to_string(), meaning.to_string())).collect();
        Profile {
            schema: PROFILE.into(),
            about: ABOUT.into(),
            fields,
            machine,
            ceilings,
            call_overhead_micros,
        }
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RecordError> {
        write(path, self)
    }

    /// Reads what [`save`](Profile::save) wrote.
    ///
    /// # Errors
    /// A file that cannot be read, that is no profile of this version, or with figures that no machine
    /// has.
    pub fn load(path: &Path) -> Result<Profile, RecordError> {
        let profile: Profile = read(path, PROFILE)?;
        let wrong = |reason| RecordError::Content { path: path.into(), expected: PROFILE, reason };
        profile.check().map_err(wrong)?;
        Ok(profile)
    }

    /// What work costs on so many threads of this machine, for the compiler: operations are half of
    /// `gigaflops`, because kernels rarely have a multiply-add to do; rows are in the first cache; a step
    /// costs a fork, a join and a call.
    ///
    /// # Examples
    /// ```no_run
    /// use evenkeel::bench::Profile;
    /// use evenkeel::prelude::*;
    ///
    /// let profile = Profile::load("machine.json".as_ref())?; // from `evenkeel bench --calibrate machine.json`
    /// let x = Tensor::full(&[4, 8], 1f32);
    /// let f = jit((), |_: &(), x: Var| x.softmax(-1)).costs(profile.costs(2)).compile(&x)?;
    /// # drop(f);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn costs(&self, threads: usize) -> Costs {
        let of = self.ceilings.of(threads).or(self.ceilings.threads.first());
        let of = of.and_then(|of| Some((of, of.levels.first()?)));
        let bandwidth = |level: &Level| Bandwidth {
            holds: level.holds_bytes.map_or(f64::INFINITY, |bytes| bytes as f64),
            rate: level.best_copy(),
        };
        of.map_or(Costs::REFERENCE, |(of, first)| Costs {
            operations: of.gigaflops / 2.0,
            cached: first.read,
            levels: of.levels.iter().map(bandwidth).collect(),
            step_micros: of.fork_join_micros + self.call_overhead_micros,
        })
    }

    /// What is wrong with the figures.
    fn check(&self) -> Result<(), String> {
        if self.ceilings.threads.is_empty() {
            return Err("it has no figures for any number of threads".into());
        }
        time("call_overhead_micros", self.call_overhead_micros)?;
        for of in &self.ceilings.threads {
            speed("gigaflops", of.gigaflops)?;
            time("fork_join_micros", of.fork_join_micros)?;
            if of.levels.is_empty() {
                return Err(format!("it has no levels for {} threads", of.threads));
            }
            for level in &of.levels {
                speed("read", level.read)?;
                speed("copy", level.copy)?;
                speed("copy_streaming", level.copy_streaming)?;
            }
        }
        Ok(())
    }
}

fn speed(what: &str, found: f64) -> Result<(), String> {
    let fits = found.is_finite() && found > 0.0;
    if fits { Ok(()) } else { Err(format!("{what} is {found}: expected a finite number above 0")) }
}

fn time(what: &str, found: f64) -> Result<(), String> {
    let fits = found.is_finite() && found >= 0.0;
    if fits { Ok(()) } else { Err(format!("{what} is {found}: expected a finite number, not negative")) }
}
