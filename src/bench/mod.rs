//! Measuring compiled graphs against this machine: `evenkeel bench` as a library.
//!
//! A layer of the table [`layers`] or a graph of yours is a [`Case`]; [`measure`] times it. What a
//! machine can do at best are its [`Ceilings`]; figures beside them are a [`Record`], which is kept
//! as JSON and compared with a later one ([`compare`]). A compiled closure is timed by [`bench()`],
//! anything else by [`time`]. Bytes count each input once and each output once.
//!
//! Not here: printing and drawing (`cli`).

mod ceilings;
mod compare;
mod crowd;
mod fresh;
mod layers;
mod machine;
mod measure;
pub mod models;
mod profile;
mod record;
pub mod rewrite;
mod steps;
mod timing;

pub use self::ceilings::{Ceilings, Level, ThreadCeilings};
pub use self::compare::{Change, Comparison, compare};
pub use self::crowd::{CROWD, calls, crowd};
pub use self::fresh::{Fresh, fresh};
pub use self::layers::{Kind, Layer, layers, shapes_of};
pub use self::machine::{Cache, Machine};
pub use self::measure::{Case, Measurement, Setting, call_overhead, inputs, measure};
pub use self::profile::Profile;
pub use self::record::{Figures, LayerFigures, Record, RecordError, Row};
pub use self::steps::{StepTime, steps};
pub use self::timing::{REPETITIONS, Timing, bench, time};
pub use evenkeel_compiler::{Bandwidth, Costs};
