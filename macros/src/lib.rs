//! Derive macro for parameter trees.
//!
//! One macro, [`Parameters`](macro@Parameters); what it writes is in `parameters`.
//!
//! Not here: the trait itself and what its paths mean (`evenkeel::nn::Parameters`).

mod parameters;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `evenkeel::nn::Parameters` for a struct or an enum by visiting its fields in order.
///
/// * `#[constant]` on a field skips it: it may be any Rust value.
/// * Every type parameter that a visited field mentions must implement `Parameters`.
/// * Of an enum, the fields of the active variant are visited; the variant adds nothing to the path.
///
/// # Errors
/// Unions, `#[constant]` with arguments, and `#[constant]` on anything but a field do not compile.
#[proc_macro_derive(Parameters, attributes(constant))]
pub fn derive_parameters(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    parameters::expand(input).unwrap_or_else(syn::Error::into_compile_error).into()
}
