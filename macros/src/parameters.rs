//! What `#[derive(Parameters)]` writes: one match per method, one arm per variant.
//!
//! A struct is a type with one variant. Start at [`expand`].
//!
//! Invariant: the code names everything by absolute path, so it does not depend on what the user
//! imports; errors point at the field or attribute that causes them.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, Generics, Index, Member, Result, parse_quote};

/// The implementation for one type, or an error at its place in the user's code.
pub(crate) fn expand(input: DeriveInput) -> Result<TokenStream> {
    refuse_constant(&input.attrs)?;
    let variants = variants(&input)?;
    let visit = method(&variants, "visit", quote!(&'__leaf), quote!(LeafRef));
    let visit_mut = method(&variants, "visit_mut", quote!(&'__leaf mut), quote!(LeafMut));
    let generics = bounded(input.generics, &variants);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::evenkeel::nn::Parameters for #name #type_generics #where_clause {
            #visit
            #visit_mut
        }
    })
}

/// A struct, or one variant of an enum: its constructor and the fields to visit.
struct Variant {
    constructor: TokenStream,
    fields: Vec<VisitedField>,
}

struct VisitedField {
    member: Member,
    ty: syn::Type,
}

fn variants(input: &DeriveInput) -> Result<Vec<Variant>> {
    match &input.data {
        Data::Struct(data) => Ok(vec![variant(quote!(Self), &data.fields)?]),
        Data::Enum(data) => data
            .variants
            .iter()
            .map(|each| {
                refuse_constant(&each.attrs)?;
                let name = &each.ident;
                variant(quote!(Self::#name), &each.fields)
            })
            .collect(),
        Data::Union(data) => Err(Error::new(
            data.union_token.span,
            "`Parameters` cannot be derived for a union: which field holds the parameters is unknown; use an enum",
        )),
    }
}

fn variant(constructor: TokenStream, fields: &Fields) -> Result<Variant> {
    let mut visited = Vec::new();
    for (position, field) in fields.iter().enumerate() {
        if !is_constant(field)? {
            let member = match &field.ident {
                Some(name) => Member::Named(name.clone()),
                None => Member::Unnamed(Index::from(position)),
            };
            visited.push(VisitedField { member, ty: field.ty.clone() });
        }
    }
    Ok(Variant { constructor, fields: visited })
}

/// Whether a field carries `#[constant]`.
fn is_constant(field: &Field) -> Result<bool> {
    let mut marks = field.attrs.iter().filter(|attribute| attribute.path().is_ident("constant"));
    let Some(mark) = marks.next() else {
        return Ok(false);
    };
    if mark.meta.require_path_only().is_err() {
        return Err(Error::new(mark.span(), "`#[constant]` takes no arguments"));
    }
    match marks.next() {
        Some(second) => Err(Error::new(second.span(), "the field is already marked `#[constant]`")),
        None => Ok(true),
    }
}

/// Errors on `#[constant]` where no field is.
fn refuse_constant(attributes: &[Attribute]) -> Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("constant")) {
        Some(mark) => Err(Error::new(mark.span(), "`#[constant]` belongs on a field")),
        None => Ok(()),
    }
}

/// One of the two methods; they differ in how they borrow.
fn method(variants: &[Variant], name: &str, borrow: TokenStream, leaf: TokenStream) -> TokenStream {
    let name = Ident::new(name, Span::call_site());
    let arms = variants.iter().map(|variant| arm(variant, &name));
    // A reference to a type without values still needs an arm.
    let unreachable = variants.is_empty().then(|| quote!(_ => {}));
    quote! {
        #[allow(unused_variables)]
        fn #name<'__leaf>(
            #borrow self,
            __path: &mut ::evenkeel::nn::FieldPath,
            __visitor: &mut dyn ::core::ops::FnMut(
                &::evenkeel::nn::FieldPath,
                ::evenkeel::nn::#leaf<'__leaf>,
            ),
        ) {
            match self {
                #(#arms)*
                #unreachable
            }
        }
    }
}

fn arm(variant: &Variant, method: &Ident) -> TokenStream {
    let Variant { constructor, fields } = variant;
    let bindings: Vec<Ident> =
        (0..fields.len()).map(|position| format_ident!("__field_{position}")).collect();
    let members = fields.iter().map(|field| &field.member);
    let visits = fields.iter().zip(&bindings).map(|(field, binding)| {
        let (segment, ty) = (segment(&field.member), &field.ty);
        let visit = quote_spanned!(ty.span()=> <#ty as ::evenkeel::nn::Parameters>::#method);
        quote!(__path.within(#segment, |__path| #visit(#binding, __path, __visitor));)
    });
    quote! {
        #constructor { #(#members: #bindings,)* .. } => { #(#visits)* }
    }
}

/// A field's part of the path.
fn segment(member: &Member) -> String {
    match member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

/// Requires `Parameters` of each type parameter that a visited field mentions.
fn bounded(mut generics: Generics, variants: &[Variant]) -> Generics {
    let types: Vec<TokenStream> =
        variants.iter().flat_map(|variant| &variant.fields).map(|field| field.ty.to_token_stream()).collect();
    for parameter in generics.type_params_mut() {
        if types.iter().any(|tokens| mentions(tokens.clone(), &parameter.ident)) {
            parameter.bounds.push(parse_quote!(::evenkeel::nn::Parameters));
        }
    }
    generics
}

fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expanded(input: DeriveInput) -> String {
        expand(input).unwrap().to_string()
    }

    #[track_caller]
    fn refused(input: DeriveInput) -> String {
        expand(input).unwrap_err().to_string()
    }

    #[test]
    fn bounds_go_to_the_type_parameters_that_visited_fields_mention() {
        let code = expanded(parse_quote! {
            struct Residual<'s, T: Clone, F, const N: usize> { inner: [Vec<T>; N], #[constant] f: &'s F }
        });
        let head = "impl < 's , T : Clone + :: evenkeel :: nn :: Parameters , F , const N : usize > \
                    :: evenkeel :: nn :: Parameters for Residual < 's , T , F , N >";
        assert!(code.contains(head), "{code}");
    }

    #[test]
    fn raw_names_lose_their_prefix_in_paths() {
        let code = expanded(parse_quote!(
            struct Cast {
                r#type: Param,
            }
        ));
        assert!(code.contains("within (\"type\" ,"), "{code}");
    }

    #[test]
    fn unions_are_refused() {
        assert_eq!(
            refused(parse_quote!(union Either { a: f32, b: u32 })),
            "`Parameters` cannot be derived for a union: which field holds the parameters is unknown; use an enum"
        );
    }

    #[test]
    fn misplaced_constants_are_refused() {
        let message = "`#[constant]` belongs on a field";
        assert_eq!(
            refused(parse_quote!(
                #[constant]
                struct A;
            )),
            message
        );
        assert_eq!(
            refused(parse_quote!(
                enum A {
                    #[constant]
                    B,
                }
            )),
            message
        );
    }

    #[test]
    fn malformed_constants_are_refused() {
        let message = "`#[constant]` takes no arguments";
        assert_eq!(
            refused(parse_quote!(
                struct A {
                    #[constant(yes)]
                    a: f32,
                }
            )),
            message
        );
        assert_eq!(
            refused(parse_quote!(
                struct A {
                    #[constant = 1]
                    a: f32,
                }
            )),
            message
        );
        assert_eq!(
            refused(parse_quote!(
                struct A {
                    #[constant]
                    #[constant]
                    a: f32,
                }
            )),
            "the field is already marked `#[constant]`"
        );
    }
}
