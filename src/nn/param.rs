//! The leaves of a model: parameters and state.

use crate::trace::{Var, leaf_value, set_state};
use evenkeel_ir::Place;
use evenkeel_runtime::{Element, Tensor};

use super::LeafRef;

/// A tensor that training changes. `clone()` copies it.
///
/// In a trace, `&param` stands for its value on either side of an operator, and
/// [`Param::value`] gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    tensor: Tensor,
}

/// A tensor that the model updates by itself, such as a running mean; saved, never trained.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    tensor: Tensor,
}

macro_rules! leaf {
    ($Leaf:ident) => {
        impl $Leaf {
            /// Holds a tensor.
            pub fn new(tensor: Tensor) -> $Leaf {
                $Leaf { tensor }
            }

            /// f32 zeros.
            pub fn zeros(sizes: &[usize]) -> $Leaf {
                $Leaf::full(sizes, 0f32)
            }

            /// f32 ones.
            pub fn ones(sizes: &[usize]) -> $Leaf {
                $Leaf::full(sizes, 1f32)
            }

            /// One value everywhere.
            pub fn full<T: Element>(sizes: &[usize], value: T) -> $Leaf {
                $Leaf { tensor: Tensor::full(sizes, value) }
            }

            /// The values.
            pub fn tensor(&self) -> &Tensor {
                &self.tensor
            }

            /// The values, writable.
            pub fn tensor_mut(&mut self) -> &mut Tensor {
                &mut self.tensor
            }

            /// The value in the running trace.
            #[track_caller]
            pub fn value(&self) -> Var {
                leaf_value(LeafRef::$Leaf(self), Place::caller())
            }
        }
    };
}
leaf!(Param);
leaf!(State);

impl State {
    /// Gives the state a new value, which takes effect when the step has run. The type must
    /// stay; later reads in the same trace see the new value.
    #[track_caller]
    pub fn set(&self, new: Var) {
        set_state(LeafRef::State(self), new, Place::caller());
    }
}
