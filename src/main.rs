//! The command line program; everything it does is in `evenkeel::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    evenkeel::cli::main()
}
