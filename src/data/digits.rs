//! The bundled handwritten digits. Source, license and file format: `README.md` in this folder.

use std::io::Read;

use flate2::read::GzDecoder;

use super::Dataset;

/// Records of 64 pixel bytes and one label byte, gzipped.
const PACKED: &[u8] = include_bytes!("digits.bin.gz");
const N_PIXELS: usize = 64;
const N_CLASSES: usize = 10;
/// Value of a fully inked pixel.
const FULL_INK: f32 = 16.0;

/// 1,797 handwritten digits: 8x8 pixels, row by row, scaled to `0..=1` (1 is full ink), in ten classes.
///
/// Cost: unpacks about 46 kB on every call.
///
/// Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits",
/// UCI Machine Learning Repository, doi:10.24432/C50P49, CC BY 4.0.
pub fn digits() -> Dataset {
    let bytes = unpack();
    let records = bytes.chunks_exact(N_PIXELS + 1);
    Dataset {
        features: records
            .clone()
            .flat_map(|record| &record[..N_PIXELS])
            .map(|&ink| f32::from(ink) / FULL_INK)
            .collect(),
        labels: records.map(|record| i64::from(record[N_PIXELS])).collect(),
        n_features: N_PIXELS,
        n_classes: N_CLASSES,
    }
}

fn unpack() -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(PACKED).read_to_end(&mut bytes).expect("the embedded file is a gzip stream");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_every_sample_of_the_source() {
        let data = digits();
        assert_eq!((data.len(), data.n_features, data.n_classes), (1797, 64, 10));
        assert_eq!(data.features.len(), 1797 * 64);
        let counts: Vec<usize> =
            (0..10).map(|class| data.labels.iter().filter(|&&label| label == class).count()).collect();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn pixels_are_sixteenths_between_zero_and_one() {
        let data = digits();
        assert!(
            data.features.iter().all(|pixel| (0.0..=1.0).contains(pixel) && (pixel * 16.0).fract() == 0.0)
        );
        let total_ink: f64 = data.features.iter().map(|&pixel| f64::from(pixel) * 16.0).sum();
        assert_eq!(total_ink, 561_718.0);
    }

    #[test]
    fn the_first_image_is_a_zero() {
        let data = digits();
        assert_eq!(data.labels[0], 0);
        let second_row: Vec<f32> = data.features[8..16].iter().map(|pixel| pixel * 16.0).collect();
        assert_eq!(second_row, [0.0, 0.0, 13.0, 15.0, 10.0, 15.0, 5.0, 0.0]);
    }
}
