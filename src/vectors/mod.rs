//! Reference vectors: files of the schema `evenkeel.vectors.v1`, played through the layers.
//!
//! Every case holds inputs, parameters, state, expected outputs, a cotangent and expected
//! gradients in f64. Start at [`play`]; the layers are the rows of [`LAYERS`].

mod activations;
mod file;
mod layers;
mod player;

pub use file::VectorError;
pub use layers::{LAYERS, LayerRow};
pub use player::{CaseReport, play};

/// Where vectors run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Machine {
    /// The f64 interpreter, on the graph with its named ops recognized, as it is compiled
    Interp,
    /// The f64 interpreter, on the graph as written: nothing is recognized or rewritten, and gradients
    /// are derived op by op
    Written,
    /// Compiled code on this computer
    Cpu,
}

/// Element type of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
}
