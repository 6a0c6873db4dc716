//! Training.
mod diagnose;
mod update;
