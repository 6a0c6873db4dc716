//! How near do compiled kernels come to the best loops written by hand?
//!
//! For each layer of the table, a loop of AVX-512 intrinsics for one thread is first checked against
//! evenkeel on the same numbers and then timed in alternation with it and with copies of as many
//! bytes; the shortest times are printed. A loop that may write past the caches is timed both ways.
//!
//! `cargo bench --bench limits`; with `-- NAME ..`, only cases whose names contain one of these.

#[cfg(target_arch = "x86_64")]
#[cfg(target_arch = "x86_64")]
#[path = "common/prepared.rs"]
mod prepared;

#[cfg(target_arch = "x86_64")]
mod limits {
    pub(crate) mod backward;
    pub(crate) mod compare;
    pub(crate) mod images;
    pub(crate) mod operands;
    pub(crate) mod rows;
    pub(crate) mod vector;
}

#[cfg(target_arch = "x86_64")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // cargo itself passes `--bench`
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    limits::compare::run(&names, std::time::Duration::from_millis(1500))
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("the loops written by hand are for x86-64 with AVX-512");
}
