//! Half precision on the host: f16 and bf16 elements as f64.
//!
//! Not here: arithmetic. No target executes these types yet; tensors of them are stored and shown.

/// A 16-bit float format: sign, exponent, fraction.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    exponent: u32,
    fraction: u32,
}

/// IEEE binary16.
pub(crate) const F16: Format = Format { exponent: 5, fraction: 10 };
/// bfloat16.
pub(crate) const BF16: Format = Format { exponent: 8, fraction: 7 };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// The bits of infinity, which are also the largest of a number.
    fn infinity(self) -> u16 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    /// The number that these bits stand for.
    pub(crate) fn decode(self, bits: u16) -> f64 {
        let (sign, magnitude) = (if bits >> 15 == 1 { -1.0 } else { 1.0 }, bits & 0x7fff);
        let (exponent, fraction) = (magnitude >> self.fraction, magnitude & ((1 << self.fraction) - 1));
        let unit = |exponent: i32| 2f64.powi(exponent - self.bias() - self.fraction as i32);
        sign * match exponent {
            0 => f64::from(fraction) * unit(1),
            _ if magnitude == self.infinity() => f64::INFINITY,
            _ if magnitude > self.infinity() => f64::NAN,
            _ => f64::from(fraction | 1 << self.fraction) * unit(exponent.into()),
        }
    }

    /// The nearest number of this format, ties to even.
    pub(crate) fn encode(self, x: f64) -> u16 {
        let sign = u16::from(x.is_sign_negative()) << 15;
        if x.is_nan() {
            return sign | self.infinity() | 1 << (self.fraction - 1);
        }
        if x.abs() >= 2f64.powi(self.bias() + 1) {
            return sign | self.infinity();
        }
        let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(1 - self.bias());
        let units = (x.abs() * 2f64.powi(self.fraction as i32 - exponent)).round_ties_even() as u16;
        // a carry out of the fraction raises the exponent, up to infinity
        let high = ((exponent + self.bias() - 1) as u16) << self.fraction;
        sign | (high + units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives() {
        for format in [F16, BF16] {
            for bits in 0..=u16::MAX {
                let number = format.decode(bits);
                let back = format.encode(number);
                assert!(back == bits || number.is_nan() && format.decode(back).is_nan(), "{bits:#x}");
            }
        }
    }

    #[test]
    fn known_numbers_and_rounding() {
        assert_eq!(
            [0x3c00, 0xc000, 0x7bff, 0x0001].map(|b| F16.decode(b)),
            [1.0, -2.0, 65504.0, 2f64.powi(-24)]
        );
        assert_eq!([0x3f80, 0x7f7f].map(|b| BF16.decode(b)), [1.0, 3.3895313892515355e38]);
        assert_eq!(
            [65519.0, 65520.0, 1e300, 2049.0, 2051.0].map(|x| F16.encode(x)),
            [0x7bff, 0x7c00, 0x7c00, 0x6800, 0x6802]
        );
    }
}
