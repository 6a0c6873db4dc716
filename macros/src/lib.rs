//! Derive macro for parameter trees.
