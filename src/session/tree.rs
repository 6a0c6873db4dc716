//! Arguments and results of closures: tuples, vectors and arrays of values.
//!
//! A closure over `(Var, Var)` is called with `(Tensor, Tensor)`: the same tree with other
//! leaves. [`Tree`] relates the two; [`Tensors`] is what a compiled function accepts, where
//! references are fine as well.

use crate::trace::Var;
use evenkeel_runtime::Tensor;

/// A tree of leaves of one type, which can be rebuilt with leaves of another type.
pub trait Tree {
    /// What is at the leaves.
    type Leaf;
    /// The same tree with other leaves.
    type With<T: Leaf>: Tree<Leaf = T>;

    /// Rebuilds the tree, leaf by leaf from left to right.
    fn map<T: Leaf>(&self, f: &mut dyn FnMut(&Self::Leaf) -> T) -> Self::With<T>;
}

/// What may be a leaf.
pub trait Leaf: Tree<Leaf = Self> + Sized {}

macro_rules! leaves {
    ($($leaf:ty),*) => {$(
        impl Leaf for $leaf {}
        impl Tree for $leaf {
            type Leaf = $leaf;
            type With<T: Leaf> = T;
            fn map<T: Leaf>(&self, f: &mut dyn FnMut(&$leaf) -> T) -> T {
                f(self)
            }
        }
    )*};
}

// a usize is the position of a result
leaves!(Var, Tensor, usize);

impl<A: Tree> Tree for Vec<A> {
    type Leaf = A::Leaf;
    type With<T: Leaf> = Vec<A::With<T>>;
    fn map<T: Leaf>(&self, f: &mut dyn FnMut(&A::Leaf) -> T) -> Self::With<T> {
        self.iter().map(|tree| tree.map(f)).collect()
    }
}

impl<A: Tree, const N: usize> Tree for [A; N] {
    type Leaf = A::Leaf;
    type With<T: Leaf> = [A::With<T>; N];
    fn map<T: Leaf>(&self, f: &mut dyn FnMut(&A::Leaf) -> T) -> Self::With<T> {
        std::array::from_fn(|i| self[i].map(f))
    }
}

macro_rules! tuples {
    ($(($first:ident $($rest:ident)*))*) => {$(
        #[allow(non_snake_case, reason = "type parameters name the fields")]
        impl<$first: Tree, $($rest: Tree<Leaf = $first::Leaf>),*> Tree for ($first, $($rest,)*) {
            type Leaf = $first::Leaf;
            type With<T: Leaf> = ($first::With<T>, $($rest::With<T>,)*);
            fn map<T: Leaf>(&self, f: &mut dyn FnMut(&Self::Leaf) -> T) -> Self::With<T> {
                let ($first, $($rest,)*) = self;
                ($first.map(f), $($rest.map(f),)*)
            }
        }

        #[allow(non_snake_case, reason = "type parameters name the fields")]
        impl<$first: Tensors, $($rest: Tensors),*> Tensors for ($first, $($rest,)*) {
            fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor)) {
                let ($first, $($rest,)*) = self;
                $first.visit(visitor);
                $($rest.visit(visitor);)*
            }
        }
    )*};
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

/// Tensors in a tree, owned or borrowed.
pub trait Tensors {
    /// Visits every tensor from left to right.
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor));
}

impl Tensors for Tensor {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor)) {
        visitor(self);
    }
}

impl<T: Tensors + ?Sized> Tensors for &T {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor)) {
        (**self).visit(visitor);
    }
}

impl<T: Tensors> Tensors for [T] {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor)) {
        self.iter().for_each(|tree| tree.visit(visitor));
    }
}

impl<T: Tensors> Tensors for Vec<T> {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor)) {
        self[..].visit(visitor);
    }
}

impl<T: Tensors, const N: usize> Tensors for [T; N] {
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Tensor)) {
        self[..].visit(visitor);
    }
}
