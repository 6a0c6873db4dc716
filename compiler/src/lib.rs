//! From graph to program.
