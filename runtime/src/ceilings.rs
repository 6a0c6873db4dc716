//! Loops that run at the limits of a machine: moving bytes, and multiplying and adding.
//!
//! They are written for the widest vectors that the processor has, chosen at run time, and are only
//! there to be timed. On processors other than x86-64 plain loops take their place, and streaming
//! stores are ordinary ones.

/// The width of vectors that the loops use, in bits.
pub fn vector_bits() -> u32 {
    widest().bits
}

/// Reads every element and returns their sum.
pub fn read(from: &[f32]) -> f32 {
    (widest().read)(from)
}

/// Copies by ordinary stores, which keep what they write in the caches.
///
/// # Panics
/// When the lengths differ.
pub fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "a copy is as long as what it copies");
    (widest().copy)(from, to);
}

/// Copies by non-temporal stores, which go past the caches.
///
/// # Panics
/// When the lengths differ.
pub fn copy_streaming(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "a copy is as long as what it copies");
    (widest().copy_streaming)(from, to);
}

/// Multiplies and adds many times, in chains that do not wait for each other; returns how many
/// floating-point operations that were (a multiplication and an addition are two).
pub fn multiply_add(rounds: u64) -> u64 {
    std::hint::black_box((widest().multiply_add)(std::hint::black_box(rounds)));
    rounds * CHAINS as u64 * u64::from(vector_bits() / 32) * 2
}

/// Chains of dependent multiply-adds: more than the latency times the units of any processor so far.
const CHAINS: usize = 12;

/// The loops for one width.
struct Loops {
    bits: u32,
    read: fn(&[f32]) -> f32,
    copy: fn(&[f32], &mut [f32]),
    copy_streaming: fn(&[f32], &mut [f32]),
    multiply_add: fn(u64) -> f32,
}

#[cfg(not(target_arch = "x86_64"))]
fn widest() -> Loops {
    Loops {
        bits: 128,
        read: portable::read,
        copy: portable::copy,
        copy_streaming: portable::copy,
        multiply_add: portable::multiply_add,
    }
}

#[cfg(target_arch = "x86_64")]
fn widest() -> Loops {
    if std::is_x86_feature_detected!("avx512f") {
        bits_512::LOOPS
    } else if std::is_x86_feature_detected!("avx") && std::is_x86_feature_detected!("fma") {
        bits_256::LOOPS
    } else {
        bits_128::LOOPS
    }
}

/// Plain loops, which the compiler makes vectors of.
#[cfg(not(target_arch = "x86_64"))]
mod portable {
    use super::CHAINS;

    pub(super) fn read(from: &[f32]) -> f32 {
        let mut sums = [0f32; 16];
        for chunk in from.chunks_exact(16) {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
        }
        sums.iter().sum()
    }

    pub(super) fn copy(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    pub(super) fn multiply_add(rounds: u64) -> f32 {
        let (scale, shift) = std::hint::black_box((0.5f32, 1.0f32));
        let mut sums = [1f32; CHAINS * 4];
        for _ in 0..rounds {
            sums.iter_mut().for_each(|sum| *sum = sum.mul_add(scale, shift));
        }
        sums.iter().sum()
    }
}

/// The loops at one width of x86-64 vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! loops {
    (
        $module:ident, $features:literal, $bits:literal, $Vector:ident, $load:ident, $store:ident,
        $stream:ident, $set:ident, $add:ident, $fma:expr
    ) => {
        mod $module {
            use super::{CHAINS, Loops};
            use std::arch::x86_64::*;

            pub(super) const LOOPS: Loops = Loops {
                bits: $bits,
                read: |from| {
                    // SAFETY: `widest` chooses these loops only where it finds the features
                    unsafe { read(from) }
                },
                copy: |from, to| {
                    // SAFETY: as above
                    unsafe { copy::<false>(from, to) }
                },
                copy_streaming: |from, to| {
                    // SAFETY: as above
                    unsafe { copy::<true>(from, to) }
                },
                multiply_add: |rounds| {
                    // SAFETY: as above
                    unsafe { multiply_add(rounds) }
                },
            };

            const LANES: usize = $bits / 32;

            #[target_feature(enable = $features)]
            fn lanes(vector: $Vector) -> f32 {
                let mut lanes = [0f32; LANES];
                // SAFETY: the array is as long as a vector
                unsafe { $store(lanes.as_mut_ptr(), vector) };
                lanes.iter().sum()
            }

            #[target_feature(enable = $features)]
            fn read(from: &[f32]) -> f32 {
                let mut sums = [$set(0.0); 8];
                for chunk in from.chunks_exact(8 * LANES) {
                    for (sum, part) in sums.iter_mut().zip(chunk.chunks_exact(LANES)) {
                        // SAFETY: the part is as long as a vector
                        *sum = $add(*sum, unsafe { $load(part.as_ptr()) });
                    }
                }
                sums.into_iter().map(|sum| lanes(sum)).sum()
            }

            #[target_feature(enable = $features)]
            fn copy<const STREAMING: bool>(from: &[f32], to: &mut [f32]) {
                // streaming stores need an aligned place; what is before and after is short
                let start = to.as_ptr().align_offset(size_of::<$Vector>()).min(to.len());
                to[..start].copy_from_slice(&from[..start]);
                let (from, to) = (&from[start..], &mut to[start..]);
                for (from, to) in from.chunks_exact(LANES).zip(to.chunks_exact_mut(LANES)) {
                    // SAFETY: both parts are as long as a vector, and the place is aligned
                    unsafe {
                        let vector = $load(from.as_ptr());
                        if STREAMING {
                            $stream(to.as_mut_ptr(), vector);
                        } else {
                            $store(to.as_mut_ptr(), vector);
                        }
                    }
                }
                let rest = from.len() - from.len() % LANES;
                to[rest..].copy_from_slice(&from[rest..]);
                if STREAMING {
                    _mm_sfence();
                }
            }

            #[target_feature(enable = $features)]
            fn multiply_add(rounds: u64) -> f32 {
                let (scale, shift) = std::hint::black_box((0.5f32, 1.0f32));
                let (scale, shift) = ($set(scale), $set(shift));
                let mut sums = [$set(1.0); CHAINS];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        *sum = $fma(*sum, scale, shift);
                    }
                }
                sums.into_iter().map(|sum| lanes(sum)).sum()
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
loops!(
    bits_512,
    "avx512f",
    512,
    __m512,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_stream_ps,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps
);
#[cfg(target_arch = "x86_64")]
loops!(
    bits_256,
    "avx,fma",
    256,
    __m256,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_stream_ps,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_fmadd_ps
);
#[cfg(target_arch = "x86_64")]
loops!(
    bits_128,
    "sse",
    128,
    __m128,
    _mm_loadu_ps,
    _mm_storeu_ps,
    _mm_stream_ps,
    _mm_set1_ps,
    _mm_add_ps,
    |x, scale, shift| _mm_add_ps(_mm_mul_ps(x, scale), shift)
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every width that this machine has.
    fn all() -> Vec<Loops> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut all = vec![bits_128::LOOPS];
            if std::is_x86_feature_detected!("avx") && std::is_x86_feature_detected!("fma") {
                all.push(bits_256::LOOPS);
            }
            all.push(widest());
            all
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![widest()]
    }

    #[test]
    fn copies_are_complete_at_every_length_and_place() {
        for loops in all() {
            let from: Vec<f32> = (0..100).map(|x| x as f32).collect();
            for length in 0..70 {
                for place in 0..20 {
                    for copy in [loops.copy, loops.copy_streaming] {
                        let mut to = vec![-1f32; 100];
                        copy(&from[..length], &mut to[place..place + length]);
                        assert_eq!(to[place..place + length], from[..length], "{} bits", loops.bits);
                        assert!(to[..place].iter().chain(&to[place + length..]).all(|&x| x == -1.0));
                    }
                }
            }
        }
    }

    #[test]
    fn reading_sums_and_chains_converge() {
        for loops in all() {
            assert_eq!((loops.read)(&[1.0; 1024]), 1024.0);
            // x / 2 + 1 goes to 2 in every lane of every chain
            let lanes = (loops.bits / 32) as f32;
            assert_eq!((loops.multiply_add)(100), 2.0 * lanes * CHAINS as f32);
        }
        assert_eq!(multiply_add(10), 10 * 12 * 2 * u64::from(vector_bits()) / 32);
    }
}
