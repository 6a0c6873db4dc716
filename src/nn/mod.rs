//! Neural network modules and the trees of parameters they form.
//!
//! Start at [`Parameters`]: a module is any struct that derives it.
//!
//! Not here: tracing (`trace`), optimizers (`optim`).

mod param;
mod parameters;

pub use self::param::{Param, State};
pub use self::parameters::{FieldPath, LeafMut, LeafRef, Parameters};
pub use evenkeel_macros::Parameters;
