//! A model whose parameters are shared between those who train it and those who run it.
//!
//! Invariant: `leaves` holds one tensor per leaf of the tree, in the order of
//! [`Parameters::visit`], with the type that it had when the handle was made.

use crate::checkpoint::{self, CheckpointError};
use crate::nn::{FieldPath, LeafMut, LeafRef, Parameters};
use evenkeel_runtime::Tensor;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A handle to a model in training: cloning it shares the parameters.
#[derive(Debug)]
pub struct Model<M> {
    structure: Arc<M>,
    leaves: Arc<RwLock<Vec<Tensor>>>,
}

impl<M> Clone for Model<M> {
    fn clone(&self) -> Model<M> {
        Model { structure: self.structure.clone(), leaves: self.leaves.clone() }
    }
}

impl<M: Parameters> Model<M> {
    /// A handle that owns the model's values from now on.
    pub fn new(model: M) -> Model<M> {
        let mut leaves = Vec::new();
        model.visit(&mut FieldPath::root(), &mut |_, leaf| leaves.push(leaf_tensor(leaf).clone()));
        Model { structure: Arc::new(model), leaves: Arc::new(RwLock::new(leaves)) }
    }

    /// The model as it was when the handle was made; its values are not kept up to date.
    pub(crate) fn structure(&self) -> &M {
        &self.structure
    }

    /// Field paths of the leaves, in order, with whether each is trained.
    pub(crate) fn leaves(&self) -> Vec<(String, bool)> {
        let mut names = Vec::new();
        let visitor = &mut |path: &FieldPath, leaf: LeafRef<'_>| {
            names.push((path.to_string(), matches!(leaf, LeafRef::Param(_))));
        };
        self.structure.visit(&mut FieldPath::root(), visitor);
        names
    }

    /// The current values, for reading.
    ///
    /// A panic of another thread while it held the values cannot leave one half written, so it
    /// does not make them unusable.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Vec<Tensor>> {
        self.leaves.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current values, for writing.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Vec<Tensor>> {
        self.leaves.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the model with the current values.
    pub fn get(&self) -> M
    where
        M: Clone,
    {
        let mut model = (*self.structure).clone();
        let mut values = self.read().clone().into_iter();
        model.visit_mut(&mut FieldPath::root(), &mut |_, leaf| {
            *leaf_tensor_mut(leaf) = values.next().expect("one value per leaf");
        });
        model
    }

    /// Writes parameters and states as safetensors, named by field path.
    ///
    /// # Errors
    /// A file that cannot be written; an old file stays as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let names = self.leaves().into_iter().map(|(name, _)| name);
        checkpoint::write(path, names.zip(self.read().iter()))
    }

    /// Replaces parameters and states by those of a file, for everyone who shares the model.
    ///
    /// # Errors
    /// As [`Checkpoint::load`](crate::checkpoint::Checkpoint::load); then nothing changes.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let found = checkpoint::read(&path)?;
        let names = self.leaves().into_iter().map(|(name, _)| name);
        let mut values = self.write();
        checkpoint::fill(path.as_ref(), found, names.zip(values.iter_mut()).collect(), checkpoint::TRAINING)
    }
}

/// What can be compiled: a model, or a handle whose parameters are to be shared.
pub trait IntoModel<M> {
    /// The handle.
    fn into_model(self) -> Model<M>;
}

impl<M: Parameters> IntoModel<M> for M {
    fn into_model(self) -> Model<M> {
        Model::new(self)
    }
}

impl<M: Parameters + Clone> IntoModel<M> for &M {
    fn into_model(self) -> Model<M> {
        Model::new(self.clone())
    }
}

impl<M: Parameters> IntoModel<M> for Model<M> {
    fn into_model(self) -> Model<M> {
        self
    }
}

/// The value of a leaf.
pub(crate) fn leaf_tensor(leaf: LeafRef<'_>) -> &Tensor {
    match leaf {
        LeafRef::Param(param) => param.tensor(),
        LeafRef::State(state) => state.tensor(),
    }
}

/// The value of a leaf, writable.
pub(crate) fn leaf_tensor_mut(leaf: LeafMut<'_>) -> &mut Tensor {
    match leaf {
        LeafMut::Param(param) => param.tensor_mut(),
        LeafMut::State(state) => state.tensor_mut(),
    }
}
