//! The folds, one row each. Order matters: parameters first move up, then down, then what is left
//! is shared or moved.
//!
//! In examples, inputs whose names start with `x` are data, all others parameters.

use super::context::Context;
use super::{Findings, center, following, preceding, redundant, row_scale, shared};

/// One fold.
pub struct Fold {
    /// Its unique name.
    pub name: &'static str,
    /// What becomes of what.
    pub about: &'static str,
    /// The identities behind it, by id, and where they were read.
    pub source: &'static str,
    /// True where only range keeps both sides equal: the folded one may overflow first.
    pub finite: bool,
    pub(crate) find: fn(&Context<'_>) -> Findings,
    /// A graph in which it applies.
    pub example: &'static str,
    /// Graphs in which one side condition fails, and what is said then.
    pub refuses: &'static [(&'static str, &'static str)],
}

/// Every fold.
pub const FOLDS: &[Fold] = &[
    Fold {
        name: "redundant-norm",
        about: "LN(x + k) -> LN(x); LN_e(a x) -> LN_(e/a^2)(x); LN_0(LN_0(x)) -> LN_0(x); softmax(x + k) -> softmax(x)",
        source: "C2, C3, C4, C6, C7, E1",
        finite: true,
        find: redundant::find,
        example: "x = input f64[N,6]\nx1 = input f64[N,1]\nreturn y=standardize @1 eps=1e-5 (add x x1)",
        refuses: &[
            (
                "x = input f64[N,6]\nx1 = input f64[N,1]\nreturn y=rms_unit @1 eps=1e-5 (add x x1)",
                "rms_unit does not center",
            ),
            (
                "x = input f64[N,6]\nreturn y=standardize @1 eps=1e-5 (mul x -2.0)",
                "the factor -2 of mul at <example>:2:35 is not positive",
            ),
            (
                "x = input f64[N,6]\nreturn y=standardize @1 (standardize @1 eps=1e-5 x)",
                "has the same axes, but eps is not 0",
            ),
            ("x = input f64[N,6]\nreturn y=standardize @1 (standardize @0 x)", "normalizes other axes"),
            (
                "x = input f64[N,6]\nreturn y=standardize @1 (standardize @1 correction=1 x)",
                "divides by another count",
            ),
            (
                "x = input f64[N,6]\nreturn y=standardize @0,1 eps=1e-5 (center @1 x)",
                "the mean that center at <example>:2:37 subtracts varies along the axes",
            ),
            ("x = input f64[N,6]\nreturn y=standardize @1 eps=1e-5 (mul x 1e-20)", "leaves the range of f32"),
        ],
    },
    Fold {
        name: "into-preceding-linear",
        about: "s * (x W^T + b) + c -> x (s W)^T + (s b + c), s and c of parameters only",
        source: "D1, D2, D4, D5, D9",
        finite: false,
        find: preceding::find,
        example: "x = input f64[N,6]\nw = input f64[4,6]\nb = input f64[4]\nm = input f64[4]\ns = input f64[4]\n\
                  g = input f64[4]\ny = add (dot @1 @1 x w) b\n\
                  return y=add (mul (mul (sub y m) (rsqrt (add (square s) 1e-5))) g) b",
        refuses: &[
            (
                "x = input f64[N,6]\nw = input f64[4,6]\ng = input f64[4]\ny = dot @1 @1 x w\nz = mul y g\n\
                 return a=tanh z, b=tanh y",
                "mul at <example>:5:5 needs the product to itself, but it is also read by tanh at <example>:6:20",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\ng = input f64[4]\ny = dot @1 @1 x w\nreturn y, z=mul y g",
                "needs the product to itself, but it is the output y",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\nx1 = input f64[1,4]\nreturn y=mul (dot @1 @1 x w) x1",
                "mul at <example>:4:10 depends on input x1",
            ),
            (
                "x = input f64[N,3,6]\nw = input f64[4,6]\ng = input f64[3,1]\nreturn y=mul (dot @2 @1 x w) (reshape [1,3,1] g)",
                "varies along axes that the weight lacks",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\ng = input f64[4]\nb = input f64[4]\n\
                 return y=layer_norm @0 eps=1e-5 (dot @1 @1 x w) g b",
                "the statistics of layer_norm at <example>:5:10 are of the batch, not constants",
            ),
        ],
    },
    Fold {
        name: "into-following-linears",
        about: "(g u + b) W^T -> u (g W)^T + W b for every reader, g and b of parameters only",
        source: "C11, D3, H9",
        finite: false,
        find: following::find,
        example: "x = input f64[N,6]\ng = input f64[6]\nb = input f64[6]\nw = input f64[4,6]\nv = input f64[6,3]\n\
                  n = layer_norm @1 eps=1e-5 x g b\nreturn y=dot @1 @1 n w, z=dot @1 @0 n v",
        refuses: &[
            (
                "x = input f64[N,6]\ng = input f64[6]\nw = input f64[6,6]\n\
                 n = rms_norm @1 eps=1e-5 x g\nreturn y=add n (dot @1 @1 n w)",
                "it is also read by add at <example>:5:10, which needs its scale",
            ),
            (
                "x = input f64[N,6]\ng = input f64[6]\nw = input f64[6,6]\n\
                 n = rms_norm @1 eps=1e-5 x g\nreturn n, y=dot @1 @1 n w",
                "it is the output n",
            ),
            (
                "x = input f64[N,6]\ng = input f64[6]\nw = input f64[6,6]\nx1 = input f64[N,6]\n\
                 n = rms_norm @1 eps=1e-5 x g\nreturn y=dot @1 @1 n w, z=dot @1 @1 n x1",
                "is also read by dot at <example>:6:27, whose other operand is not a parameter",
            ),
            (
                "x = input f64[N,6]\nx1 = input f64[N,6]\nw = input f64[6,6]\n\
                 n = rms_norm @1 eps=1e-5 x x1\nreturn y=dot @1 @1 n w",
                "its gain or bias depends on input x1",
            ),
            (
                "x = input f64[N,6]\nx1 = input f64[1,6]\nw = input f64[6,6]\nreturn y=dot @1 @1 (mul x x1) w",
                "its gain or bias depends on input x1",
            ),
            (
                "x = input f64[N,3,6]\ng = input f64[6]\nw = input f64[4,3]\n\
                 n = rms_norm @2 eps=1e-5 x g\nreturn y=dot @1 @1 n w",
                "its scale varies along axes that dot at <example>:5:10 does not sum over",
            ),
            (
                "x = input f64[3,5,6]\ng = input f64[6]\nw = input f64[3,4,6]\n\
                 n = rms_norm @2 eps=1e-5 x g\nreturn y=dot batch=1 @2 @2 n w",
                "dot at <example>:5:10 has a weight per batch entry",
            ),
        ],
    },
    Fold {
        name: "pre-rms",
        about: "LN(x) -> RMS(x) where all that is added to the stream x is centred",
        source: "A4, A5, A7, C1'; arXiv:2305.14858",
        finite: false,
        find: center::find,
        example: "i = input i32[N]\nt = input f64[9,6]\nw = input f64[6,6]\nb = input f64[6]\nv = input f64[3,6]\n\
                  x0 = gather axis=0 t i\nh = gelu (standardize @1 eps=1e-5 x0)\n\
                  x1 = add x0 (add (dot @1 @1 h w) b)\nreturn y=dot @1 @1 (standardize @1 eps=1e-5 x1) v",
        refuses: &[
            (
                "x = input f64[N,6]\nv = input f64[6,6]\ng = input f64[6]\nb = input f64[6]\n\
                 s = layer_norm @1 eps=1e-5 x g b\n\
                 return y=tanh (layer_norm @1 eps=1e-5 (add s (dot @1 @1 s v)) g b)",
                "post-norm: the stream holds the result of a norm with a gain",
            ),
            (
                "x = input f64[N,6]\nxkeep = input bool[N,6]\nw = input f64[6,6]\nv = input f64[6,6]\n\
                 s = dot @1 @1 x w\nh = select xkeep (dot @1 @1 (standardize @1 s) v) 0.0\n\
                 return y=tanh (standardize @1 (add s h))",
                "elementwise dropout or selection does not keep the mean of a row",
            ),
            (
                "x = input f64[N,6]\nw = input f64[6,6]\ns = dot @1 @1 x w\n\
                 return y=standardize @1 s, z=tanh s",
                "the stream is also read by tanh at <example>:4:30, which needs its mean",
            ),
            (
                "x = input f64[N,6]\nw = input f64[6,6]\ns = dot @1 @1 x w\nreturn s, y=standardize @1 s",
                "the stream is the output s",
            ),
            ("x = input f64[N,6]\nreturn y=standardize @1 x", "input x is data, which no weight centers"),
            (
                "i = input i32[6]\nt = input f64[6,9]\nreturn y=standardize @1 (gather axis=1 t i)",
                "the gathered axis is that of the norm",
            ),
            (
                "i = input i32[N]\nx = input f64[9,6]\nreturn y=standardize @1 (gather axis=0 x i)",
                "rows of a value that is not a parameter cannot be centred",
            ),
            (
                "x = input f64[6,5]\nw = input f64[4,5]\nreturn y=standardize @1 (dot @1 @1 w x)",
                "the product keeps the width of its data, not of its weight",
            ),
            (
                "x = input f64[N,6]\nx1 = input f64[N,6]\nreturn y=standardize @1 (dot @0 @0 x x1)",
                "a product whose weight is not a parameter cannot be centred",
            ),
            (
                "x = input f64[N,6]\nw = input f64[6,6]\nreturn y=standardize @1 (tanh (dot @1 @1 x w))",
                "tanh writes to the stream and cannot be centred",
            ),
            (
                "x = input f64[N,6]\nw = input f64[6,6]\ng = input f64[6]\n\
                 return y=standardize @1 (mul (dot @1 @1 x w) g)",
                "an elementwise factor does not keep the mean of a row",
            ),
            (
                "x = input f64[N,6]\nw = input f64[6,6]\nx1 = input f64[N,1]\n\
                 return y=standardize @1 (add (dot @1 @1 x w) x1)",
                "a shift of whole rows moves their mean",
            ),
        ],
    },
    Fold {
        name: "shared-norm",
        about: "norms of one value with several gains -> one unit norm",
        source: "C11, H1",
        finite: false,
        find: shared::find,
        example: "x = input f64[N,6]\ng = input f64[6]\nh = input f64[6]\n\
                  return y=tanh (rms_norm @1 eps=1e-5 x g), z=tanh (rms_norm @1 eps=1e-5 x h)",
        refuses: &[
            (
                "x = input f64[N,6]\ng = input f64[6]\nh = input f64[6]\n\
                 return y=tanh (rms_norm @1 eps=1e-5 x g), z=tanh (rms_norm @1 eps=1e-6 x h)",
                "normalizes the same value with another eps or divisor",
            ),
            (
                "x = input f64[N,6]\ng = input f64[6]\nh = input f64[6]\n\
                 return y=tanh (rms_norm @1 eps=1e-5 x g), z=tanh (rms_norm @0 eps=1e-5 x h)",
                "normalizes the same value with another axes",
            ),
        ],
    },
    Fold {
        name: "row-scale-behind-product",
        about: "(r x) W^T -> r (x W^T), r of rows, where an elementwise kernel follows",
        source: "C18, G7",
        finite: true,
        find: row_scale::find,
        example: "x = input f64[N,6]\nw = input f64[4,6]\nreturn y=gelu (dot @1 @1 (rms_unit @1 eps=1e-6 x) w)",
        refuses: &[
            (
                "x = input f64[N,6]\nw = input f64[4,6]\nreturn y=dot @1 @1 (rms_unit @1 eps=1e-6 x) w",
                "is the output y: no kernel follows",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\nreturn y=gelu (dot @1 @1 (rms_unit @0 eps=1e-6 x) w)",
                "its scale varies along axes that dot at <example>:3:16 sums over",
            ),
            (
                "x = input f64[N,6]\nw = input f64[6,6]\nn = rms_unit @1 eps=1e-6 x\nreturn y=add n (dot @1 @1 n w)",
                "it is also read by add",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\nv = input f64[4,4]\n\
                 return y=dot @1 @1 (dot @1 @1 (rms_unit @1 eps=1e-6 x) w) v",
                "is read by dot at <example>:4:10: no kernel between",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\nreturn y=gelu (dot @1 @1 (standardize @1 eps=1e-6 x) w)",
                "standardize centers: the product of rows that are not cancels",
            ),
            (
                "x = input f64[N,6]\nw = input f64[4,6]\nx1 = input f64[1,6]\nreturn y=gelu (dot @1 @1 (mul x x1) w)",
                "its scale varies along axes that dot",
            ),
        ],
    },
];

impl Fold {
    /// The row with a name.
    pub fn named(name: &str) -> Option<&'static Fold> {
        FOLDS.iter().find(|row| row.name == name)
    }

    /// All rows but `row-scale-behind-product`, whose product may overflow where the norm's does not.
    pub fn safe() -> Vec<&'static Fold> {
        FOLDS.iter().filter(|row| row.name != "row-scale-behind-product").collect()
    }
}
