//! `evenkeel ops`: the op tables.

use super::Failure;
use super::table::table;
use evenkeel_ir::op::{Attr, Class};
use evenkeel_ir::{Binary, Composite, Reduce, Unary};
use std::io::Write;

/// Options of `ops`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show only ops whose name contains this text
    #[arg(default_value = "")]
    name: String,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows = table(&["op", "family", "operands", "meaning"]);
    let mut found = false;
    let mut add = |name: &str, family: &str, operands: &str, doc: &str| {
        if name.contains(&args.name) {
            found = true;
            rows.add_row([name, family, operands, doc]);
        }
    };
    for op in Unary::ALL {
        add(op.name(), "unary", class(op.def().class), op.doc());
    }
    for op in Binary::ALL {
        add(op.name(), "binary", class(op.def().class), op.doc());
    }
    for op in Reduce::ALL {
        add(op.name(), "reduction", "numbers, @axes", op.doc());
    }
    for op in Composite::ALL {
        add(op.name(), "composite", &operands(*op), op.doc());
    }
    if !found {
        return Err(Failure::Input(format!("no op's name contains {}", args.name)));
    }
    Ok(writeln!(out, "{}", rows.trim_fmt())?)
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Float => "floats",
        Class::Number => "numbers",
        Class::Int => "integers",
        Class::Bool => "truth values",
    }
}

fn operands(op: Composite) -> String {
    let attr = |attr: &Attr| match attr {
        Attr::Axes => "@axes",
        Attr::Eps => "eps kind",
        Attr::Correction => "correction",
    };
    let attrs: Vec<&str> = op.def().attrs.iter().map(attr).collect();
    format!("{}; {}", op.def().inputs.join(", "), attrs.join(" "))
}
