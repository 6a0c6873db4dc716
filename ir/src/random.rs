//! Counter-based random numbers: Threefry-2x32 with 20 rounds.
//!
//! The bits of element `i` depend on the seed, the stream and `i` only, and are the same on
//! every target: the cipher is additions, xors and rotations, written once as scalar code
//! ([`bits`]) and once on the host ([`threefry`]); a test compares the two.
//! Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".

use crate::dtype::DType;
use crate::literal::{Data, Literal};
use crate::op::RandomKind;
use crate::scalar::{Reg, ScalarFn, ScalarType, math};

const ROTATIONS: [[u8; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
const PARITY: u32 = 0x1BD1_1BDA;
const ROUNDS: usize = 20;

/// The block cipher: two words from a two-word key and a two-word counter.
pub fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let schedule = [key[0], key[1], PARITY ^ key[0] ^ key[1]];
    let mut x = [counter[0].wrapping_add(key[0]), counter[1].wrapping_add(key[1])];
    for round in 0..ROUNDS {
        x[0] = x[0].wrapping_add(x[1]);
        x[1] = x[1].rotate_left(ROTATIONS[round / 4 % 2][round % 4].into()) ^ x[0];
        if round % 4 == 3 {
            let group = round / 4 + 1;
            x[0] = x[0].wrapping_add(schedule[group % 3]);
            x[1] = x[1].wrapping_add(schedule[(group + 1) % 3]).wrapping_add(group as u32);
        }
    }
    x
}

/// A seed derived from another one and a number, for example the step of a training run.
pub fn fold_in(seed: i64, number: u64) -> i64 {
    let [low, high] = threefry([seed as u32, (seed >> 32) as u32], [number as u32, (number >> 32) as u32]);
    i64::from(high) << 32 | i64::from(low)
}

/// The cipher as scalar code: `key` are two i32 registers, `position` an i32 register.
/// Gives two i32 registers of random bits.
pub fn bits(k: &mut ScalarFn, key: [Reg; 2], stream: u64, position: Reg) -> [Reg; 2] {
    let folded = k.i32((stream ^ (stream >> 32)) as u32 as i32);
    let parity = k.i32(PARITY as i32);
    let mixed = k.xor(key[0], key[1]);
    let schedule = [key[0], key[1], k.xor(parity, mixed)];
    let mut x = [k.int_add(position, key[0]), k.int_add(folded, key[1])];
    for round in 0..ROUNDS {
        x[0] = k.int_add(x[0], x[1]);
        let rotation = ROTATIONS[round / 4 % 2][round % 4];
        let (high, low) = (k.shift_left(x[1], rotation), k.shift_right(x[1], 32 - rotation));
        let rotated = k.or(high, low);
        x[1] = k.xor(rotated, x[0]);
        if round % 4 == 3 {
            let group = round / 4 + 1;
            x[0] = k.int_add(x[0], schedule[group % 3]);
            let number = k.i32(group as i32);
            let step = k.int_add(schedule[(group + 1) % 3], number);
            x[1] = k.int_add(x[1], step);
        }
    }
    x
}

/// Scalar code of a random op: a value of type `ty` from the random bits of an element.
pub fn emit(k: &mut ScalarFn, kind: RandomKind, ty: ScalarType, words: [Reg; 2]) -> Reg {
    match kind {
        RandomKind::Bits => words[0],
        RandomKind::Uniform => uniform(k, ty, words[0]),
        RandomKind::Normal => normal(k, ty, words),
    }
}

/// The top 24 bits (f32) or 31 bits (f64) as a fraction of one.
fn uniform(k: &mut ScalarFn, ty: ScalarType, word: Reg) -> Reg {
    let width = if ty == ScalarType::F32 { 24 } else { 31 };
    let top = k.shift_right(word, 32 - width);
    let number = k.convert(top, ty);
    let unit = k.float(ty, (0.5f64).powi(width.into()));
    k.mul(number, unit)
}

/// Box-Muller: `sqrt(-2 log(1 - u)) cos(2 pi v)`.
fn normal(k: &mut ScalarFn, ty: ScalarType, words: [Reg; 2]) -> Reg {
    let (u, v) = (uniform(k, ty, words[0]), uniform(k, ty, words[1]));
    let (one, minus_two, turn) = (k.float(ty, 1.0), k.float(ty, -2.0), k.float(ty, std::f64::consts::TAU));
    let rest = k.sub(one, u);
    let l = math::log(k, rest);
    let t = k.mul(minus_two, l);
    let radius = k.sqrt(t);
    let angle = k.mul(turn, v);
    let c = math::cos(k, angle);
    k.mul(radius, c)
}

/// The reference: a whole tensor of random numbers.
pub fn fill(kind: RandomKind, stream: u64, seed: i64, dtype: DType, sizes: &[usize]) -> Literal {
    let key = [seed as u32, (seed >> 32) as u32];
    let folded = (stream ^ (stream >> 32)) as u32;
    let words = (0..sizes.iter().product::<usize>() as u32).map(|i| threefry(key, [i, folded]));
    let width = if dtype == DType::F64 { 31 } else { 24 };
    let unit = |word: u32| f64::from(word >> (32 - width)) * (0.5f64).powi(width);
    let data = match kind {
        RandomKind::Bits => Data::Int(words.map(|[x, _]| i64::from(x as i32)).collect()),
        RandomKind::Uniform => Data::Float(words.map(|[x, _]| unit(x)).collect()),
        RandomKind::Normal => {
            let pair = |[x, y]: [u32; 2]| {
                (-2.0 * (1.0 - unit(x)).ln()).sqrt() * (std::f64::consts::TAU * unit(y)).cos()
            };
            Data::Float(words.map(pair).collect())
        }
    };
    Literal { dtype, sizes: sizes.to_vec(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the reference implementation (Random123, threefry2x32-20).
    #[test]
    fn cipher_gives_the_published_words() {
        assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(
            threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]),
            [0xc492_3a9c, 0x483d_f7a0]
        );
    }
}
