//! Pairs an enum with its definition rows.

/// Declares a field-less enum, the text name of each variant and the row behind it. With
/// `methods one|two Trait`, also a trait that gives every row a method for traced values, and
/// the same methods on [`GraphBuilder`](crate::GraphBuilder).
macro_rules! table {
    ($(#[doc = $doc:literal])* pub enum $Name:ident: $Row:ty {
        $($(#[doc = $vdoc:literal])* $Variant:ident $name:ident => $row:expr,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $Name { $($(#[doc = $vdoc])* $Variant),* }

        impl $Name {
            /// Every variant, in declaration order.
            pub const ALL: &'static [$Name] = &[$($Name::$Variant),*];
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];
            const DOCS: &'static [&'static str] = &[$(concat!($($vdoc),*)),*];

            /// Name in the text form, in rules and as a method of traced values.
            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }

            /// The row's documentation: formula and conventions.
            pub fn doc(self) -> &'static str {
                Self::DOCS[self as usize].trim()
            }

            /// The variant with this name.
            pub fn from_name(name: &str) -> Option<$Name> {
                Self::NAMES.iter().position(|n| *n == name).map(|i| Self::ALL[i])
            }

            /// The row that defines this op.
            pub fn def(self) -> &'static $Row {
                static ROWS: &[$Row] = &[$($row),*];
                &ROWS[self as usize]
            }
        }
    };
    ($(#[doc = $doc:literal])* pub enum $Name:ident: $Row:ty, methods one $Methods:ident {
        $($(#[doc = $vdoc:literal])* $Variant:ident $name:ident => $row:expr,)*
    }) => {
        crate::op::table::table! {
            $(#[doc = $doc])* pub enum $Name: $Row { $($(#[doc = $vdoc])* $Variant $name => $row,)* }
        }

        /// One method per row of the table.
        pub trait $Methods: Sized {
            /// Applies a row.
            #[track_caller]
            fn unary(self, op: $Name) -> Self;
            $($(#[doc = $vdoc])* #[track_caller] fn $name(self) -> Self { self.unary($Name::$Variant) })*
        }

        impl crate::GraphBuilder {
            $($(#[doc = $vdoc])* pub fn $name(&mut self, x: crate::Value) -> crate::Value {
                self.unary($Name::$Variant, x)
            })*
        }
    };
    ($(#[doc = $doc:literal])* pub enum $Name:ident: $Row:ty, methods two $Methods:ident {
        $($(#[doc = $vdoc:literal])* $Variant:ident $name:ident => $row:expr,)*
    }) => {
        crate::op::table::table! {
            $(#[doc = $doc])* pub enum $Name: $Row { $($(#[doc = $vdoc])* $Variant $name => $row,)* }
        }

        /// One method per row of the table.
        pub trait $Methods<Operand>: Sized {
            /// Applies a row.
            #[track_caller]
            fn binary(self, op: $Name, other: Operand) -> Self;
            $($(#[doc = $vdoc])* #[track_caller] fn $name(self, other: Operand) -> Self {
                self.binary($Name::$Variant, other)
            })*
        }

        impl crate::GraphBuilder {
            $($(#[doc = $vdoc])* pub fn $name(&mut self, x: crate::Value, y: crate::Value) -> crate::Value {
                self.binary($Name::$Variant, x, y)
            })*
        }
    };
}
pub(crate) use table;
