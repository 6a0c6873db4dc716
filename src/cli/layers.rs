//! `evenkeel layers`: the list of layers.

use super::Failure;
use super::table::table;
use crate::vectors::LAYERS;
use std::io::Write;

/// Options of `layers`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows = table(&["layer", "attributes", "meaning"]);
    for layer in LAYERS {
        rows.add_row([layer.name, &layer.attributes.join(", "), layer.about]);
    }
    Ok(writeln!(out, "{}", rows.trim_fmt())?)
}
