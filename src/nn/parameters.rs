//! Trees of parameters: how a model's leaves are found and named.
//!
//! A leaf's name is its path of fields, such as `blocks.0.attention.query.weight`. Structs and enums
//! derive [`Parameters`]; this file holds the containers, the leaves and the constants.
//!
//! Invariant: `visit` and `visit_mut` see the same leaves under the same paths in the same order, the
//! order of declaration.
//!
//! Not here: what a leaf holds (`param`), the derive (`evenkeel-macros`).

use std::fmt::{self, Display, Write};
use std::marker::PhantomData;

use super::{Param, State};

/// A tree of parameters: visits the leaves by dotted field path.
///
/// Derive it. A field is a [`Param`], a [`State`], another tree, a container of trees, or a plain
/// constant (`bool`, numbers, `char`, strings), which has no leaves. `#[constant]` on a field makes any
/// other Rust value a constant.
///
/// | field | segment of the path |
/// |---|---|
/// | named field | its name, without `r#` |
/// | field of a tuple or tuple struct | its index |
/// | element of a `Vec` or an array | its index |
/// | content of an `Option` or a `Box` | none |
/// | variant of an enum | none; the fields of the active variant are visited |
///
/// # Examples
/// ```
/// use evenkeel::nn::{FieldPath, Param, Parameters};
///
/// #[derive(Parameters)]
/// struct Linear { weight: Param, bias: Option<Param>, scale: f32 }
///
/// #[derive(Parameters)]
/// struct Mlp { layers: Vec<Linear>, #[constant] activation: fn(f32) -> f32 }
///
/// let linear = Linear { weight: Param::zeros(&[2, 3]), bias: Some(Param::zeros(&[2])), scale: 1.0 };
/// let mlp = Mlp { layers: vec![linear], activation: f32::tanh };
/// let mut names = Vec::new();
/// mlp.visit(&mut FieldPath::root(), &mut |path, _| names.push(path.to_string()));
/// assert_eq!(names, ["layers.0.weight", "layers.0.bias"]);
/// ```
///
/// A field of a type that is neither is an error that says so:
/// ```compile_fail,E0277
/// # use evenkeel::nn::Parameters;
/// #[derive(Parameters)]
/// struct Timed { started: std::time::Instant }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tree of parameters",
    label = "this type holds no parameters that evenkeel knows of",
    note = "if `{Self}` is a module, add `#[derive(Parameters)]` to it",
    note = "if it is a plain Rust value, mark the field with `#[constant]`"
)]
pub trait Parameters {
    /// Calls `visitor` with each leaf below, named by `path` and the fields from here to the leaf.
    fn visit<'a>(&'a self, path: &mut FieldPath, visitor: &mut dyn FnMut(&FieldPath, LeafRef<'a>));

    /// As [`visit`](Self::visit), with leaves that can be changed.
    fn visit_mut<'a>(&'a mut self, path: &mut FieldPath, visitor: &mut dyn FnMut(&FieldPath, LeafMut<'a>));
}

/// A leaf of a tree, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LeafRef<'a> {
    /// A trained array.
    Param(&'a Param),
    /// An array the model updates by itself.
    State(&'a State),
}

impl<'a> From<&'a State> for LeafRef<'a> {
    fn from(state: &'a State) -> LeafRef<'a> {
        LeafRef::State(state)
    }
}

/// A leaf of a tree, borrowed for change.
#[derive(Debug, PartialEq)]
pub enum LeafMut<'a> {
    /// A trained array.
    Param(&'a mut Param),
    /// An array the model updates by itself.
    State(&'a mut State),
}

/// Where a visit is in a tree; prints as `blocks.0.weight`, the root as nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldPath {
    text: String,
}

impl FieldPath {
    /// The path of the tree itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Runs `visit` one field further down: `segment` is a field's name or an index.
    pub fn within(&mut self, segment: impl Display, visit: impl FnOnce(&mut Self)) {
        let parent = self.text.len();
        if parent > 0 {
            self.text.push('.');
        }
        write!(self.text, "{segment}").expect("a string takes any text");
        visit(self);
        self.text.truncate(parent);
    }

    /// The dotted form.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The two methods from their bodies: the heads are long, the bodies short.
macro_rules! methods {
    ($self:ident, $path:ident, $visitor:ident, $visit:block, $visit_mut:block) => {
        #[allow(unused_variables, reason = "constants and empty tuples visit nothing")]
        fn visit<'a>(
            &'a $self,
            $path: &mut FieldPath,
            $visitor: &mut dyn FnMut(&FieldPath, LeafRef<'a>),
        ) $visit

        #[allow(unused_variables, reason = "constants and empty tuples visit nothing")]
        fn visit_mut<'a>(
            &'a mut $self,
            $path: &mut FieldPath,
            $visitor: &mut dyn FnMut(&FieldPath, LeafMut<'a>),
        ) $visit_mut
    };
}

impl Parameters for Param {
    methods!(self, path, visitor, { visitor(path, LeafRef::Param(self)) }, {
        visitor(path, LeafMut::Param(self))
    });
}

impl Parameters for State {
    methods!(self, path, visitor, { visitor(path, LeafRef::State(self)) }, {
        visitor(path, LeafMut::State(self))
    });
}

impl<T: Parameters + ?Sized> Parameters for Box<T> {
    methods!(self, path, visitor, { (**self).visit(path, visitor) }, { (**self).visit_mut(path, visitor) });
}

impl<T: Parameters> Parameters for Option<T> {
    methods!(self, path, visitor, { self.iter().for_each(|tree| tree.visit(path, visitor)) }, {
        self.iter_mut().for_each(|tree| tree.visit_mut(path, visitor))
    });
}

/// Implements [`Parameters`] for containers whose elements are named by index.
macro_rules! sequences {
    ($([$($generics:tt)*] $sequence:ty;)*) => {$(
        impl<$($generics)*> Parameters for $sequence {
            methods!(self, path, visitor, {
                for (index, tree) in self.iter().enumerate() {
                    path.within(index, |path| tree.visit(path, visitor));
                }
            }, {
                for (index, tree) in self.iter_mut().enumerate() {
                    path.within(index, |path| tree.visit_mut(path, visitor));
                }
            });
        }
    )*};
}

sequences! {
    [T: Parameters] Vec<T>;
    [T: Parameters, const N: usize] [T; N];
}

/// Implements [`Parameters`] for tuples, whose fields are named by index.
macro_rules! tuples {
    ($(($($index:tt $tree:ident),*))*) => {$(
        impl<$($tree: Parameters),*> Parameters for ($($tree,)*) {
            methods!(self, path, visitor, {
                $(path.within($index, |path| self.$index.visit(path, visitor));)*
            }, {
                $(path.within($index, |path| self.$index.visit_mut(path, visitor));)*
            });
        }
    )*};
}

tuples! {
    ()
    (0 A)
    (0 A, 1 B)
    (0 A, 1 B, 2 C)
    (0 A, 1 B, 2 C, 3 D)
    (0 A, 1 B, 2 C, 3 D, 4 E)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G)
    (0 A, 1 B, 2 C, 3 D, 4 E, 5 F, 6 G, 7 H)
}

/// Implements [`Parameters`] for values without leaves.
macro_rules! constants {
    ($($constant:ty),* $(,)?) => {$(
        impl Parameters for $constant {
            methods!(self, path, visitor, {}, {});
        }
    )*};
}

constants! {
    bool, char, f32, f64, String, &'static str,
    i8, i16, i32, i64, i128, isize,
    u8, u16, u32, u64, u128, usize,
}

impl<T: ?Sized> Parameters for PhantomData<T> {
    methods!(self, path, visitor, {}, {});
}
