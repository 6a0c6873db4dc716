//! `evenkeel check`: plays vector files.

use super::Failure;
use crate::vectors::{Machine, Precision, play};
use std::io::Write;
use std::path::PathBuf;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files of the schema evenkeel.vectors.v1
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Where to run
    #[arg(long, value_enum, default_value_t = Machine::Cpu)]
    target: Machine,
    /// Element type of compiled code
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut passed, mut failed) = (0, 0);
    for file in &args.files {
        let report = play(file, args.target, args.dtype)?;
        for case in report {
            match &case.problem {
                None => passed += 1,
                Some(_) => failed += 1,
            }
            writeln!(out, "{case}")?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    if failed > 0 { Err(Failure::Check) } else { Ok(()) }
}
