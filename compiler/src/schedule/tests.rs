//! Which lanes and tiles kernels get.

use super::schedule;
use crate::expand::expand;
use crate::fuse::fuse;
use crate::plan::plan;
use evenkeel_ir::parse;

/// Lanes and tiles of the first kernel of a program.
fn lanes_and_tiles(text: &str) -> String {
    let graph = expand(&parse(text, "schedule").unwrap_or_else(|error| panic!("{text}\n{error}")));
    let planned = plan(&graph, &fuse(&graph, true), &[]);
    let kernel = &planned.kernels.first().expect("a kernel").kernel;
    let schedule = schedule(kernel, 64);
    let axis = schedule.lane_axis.map_or("none".to_string(), |axis| kernel.space[axis].to_string());
    schedule.tiles.map_or(axis.clone(), |tiles| format!("{axis}, {tiles}"))
}

#[test]
fn strided_accesses_go_through_tiles_where_no_axis_is_dense() {
    let cases = [
        // dense along some axis, of any place
        ("x = input f32[N,48]\nreturn exp x", "48N"),
        ("x = input f32[N,48,20]\nreturn exp (transpose @1,0,2 x)", "20"),
        ("x = input f32[N,20,48]\nreturn sum @1,2 (exp (transpose @0,2,1 x))", "960"),
        // neighboring rows share cache lines
        ("x = input f32[N,48]\nreturn exp (transpose @1,0 x)", "N, tiles of 16 rows by 256, for param 0"),
        ("x = input f32[768,N]\nreturn exp (transpose @1,0 x)", "768, tiles of 64 rows by 128, for param 0"),
        (
            "x = input f32[N,20,64]\nreturn exp (transpose @2,1,0 x)",
            "N, tiles of 64 rows by 128, for param 0",
        ),
        (
            "x = input f32[768,N]\nreturn softmax @1 (transpose @1,0 x)",
            "768, tiles of 64 whole rows, for param 0",
        ),
        (
            "x = input f32[768,N]\ny = input f32[N,768]\nreturn mul (softmax @0 (transpose @1,0 x)) y",
            "N, tiles of 16 whole rows, for param 3, for store 0",
        ),
        // rows share nothing
        ("x = input f32[N,40]\nreturn exp (flip @1 x)", "40, tiles of 1 whole rows, for param 0"),
        // two rows or short ones, and lanes of 8 bytes
        ("x = input f32[N,2]\nreturn exp (transpose @1,0 x)", "none"),
        ("x = input f32[7,N]\nreturn exp (transpose @1,0 x)", "none"),
        ("x = input f64[N,48]\nreturn exp (transpose @1,0 x)", "none"),
    ];
    for (text, wanted) in cases {
        assert_eq!(lanes_and_tiles(text), wanted, "{text}");
    }
}
