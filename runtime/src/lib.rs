//! From program and tensors to tensors.
