//! The 16-bit float formats, by their bits: storage types that are held as f64 on the host.

use crate::dtype::DType;

/// A 16-bit format: sign, exponent with this bias, mantissa of this many bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    mantissa: i32,
    bias: i32,
}

impl Half {
    /// IEEE 754 binary16.
    pub const F16: Half = Half { mantissa: 10, bias: 15 };
    /// The upper half of an f32.
    pub const BF16: Half = Half { mantissa: 7, bias: 127 };

    /// The format of an element type, if it is one of the two.
    pub fn of(dtype: DType) -> Option<Half> {
        match dtype {
            DType::F16 => Some(Half::F16),
            DType::Bf16 => Some(Half::BF16),
            _ => None,
        }
    }

    /// The number that the bits stand for.
    pub fn decode(self, bits: u16) -> f64 {
        let Half { mantissa, bias } = self;
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let exponent = i32::from(bits & 0x7fff) >> mantissa;
        let fraction = i32::from(bits) & ((1 << mantissa) - 1);
        let unit = |exponent: i32| 2f64.powi(exponent - bias - mantissa);
        sign * match exponent {
            0 => f64::from(fraction) * unit(1),
            all if all == 2 * bias + 1 => {
                if fraction == 0 {
                    f64::INFINITY
                } else {
                    f64::NAN
                }
            }
            _ => f64::from(fraction + (1 << mantissa)) * unit(exponent),
        }
    }

    /// The nearest number of the format, ties to even; infinity beyond its range.
    pub fn encode(self, x: f64) -> u16 {
        let Half { mantissa, bias } = self;
        let sign = if x.is_sign_negative() { 1 << 15 } else { 0 };
        let infinity = (2 * bias + 1) << mantissa;
        if x.is_nan() {
            return sign | (infinity | 1 << (mantissa - 1)) as u16;
        }
        let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).clamp(1 - bias, bias + 1);
        // a carry out of the mantissa moves on to the exponent, as it should
        let units = (x.abs() / 2f64.powi(exponent - mantissa)).round_ties_even();
        let code = units + f64::from((exponent + bias - 1) << mantissa);
        sign | code.min(infinity.into()) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives() {
        for half in [Half::F16, Half::BF16] {
            for bits in 0..=u16::MAX {
                let x = half.decode(bits);
                if x.is_nan() {
                    assert!(half.decode(half.encode(x)).is_nan());
                } else {
                    assert_eq!(half.encode(x), bits, "{half:?}: {x}");
                }
            }
        }
    }

    #[test]
    fn bf16_is_the_upper_half_of_f32() {
        for bits in (0..=u16::MAX).step_by(7) {
            let f32 = f32::from_bits(u32::from(bits) << 16);
            assert!(f64::from(f32) == Half::BF16.decode(bits) || f32.is_nan());
        }
    }

    #[test]
    fn known_numbers_round_to_the_nearest() {
        let cases = [
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65519.0, 0x7bff),
            (65520.0, 0x7c00),
            (1e300, 0x7c00),
            (f64::NEG_INFINITY, 0xfc00),
            (2f64.powi(-24), 0x0001),
            (2f64.powi(-25), 0x0000),
            (1.5 * 2f64.powi(-25), 0x0001),
            (2f64.powi(-1074), 0x0000),
            (1.0 + 2f64.powi(-11), 0x3c00),
            (1.0 + 3.0 * 2f64.powi(-11), 0x3c02),
            (-0.0, 0x8000),
        ];
        for (x, bits) in cases {
            assert_eq!(Half::F16.encode(x), bits, "{x}");
        }
    }
}
