//! The data caches of this machine, as far as the system tells.

use std::sync::LazyLock;

/// A data cache as one core sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1, 2 or 3.
    pub level: u32,
    /// Its size.
    pub bytes: u64,
    /// Cores of this machine that share it.
    pub shared_by: u64,
}

/// Bytes of the last cache where the system does not tell.
const USUAL: u64 = 32 << 20;

/// The caches of the first core, smallest first; none where the system does not tell.
pub fn caches() -> Vec<Cache> {
    (0..8).map_while(cache).flatten().collect()
}

/// Bytes of the largest cache, which decides how results are stored.
pub(crate) fn last_level() -> u64 {
    static BYTES: LazyLock<u64> =
        LazyLock::new(|| caches().iter().map(|cache| cache.bytes).max().unwrap_or(USUAL));
    *BYTES
}

/// Linux tells of each cache in a folder of files. Nothing where there are no more; `Some(None)`
/// holds code.
fn cache(index: usize) -> Option<Option<Cache>> {
    let read = |file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
        Some(std::fs::read_to_string(path).ok()?.trim().to_string())
    };
    let (kind, level, size) = (read("type")?, read("level")?, read("size")?);
    if kind == "Instruction" {
        return Some(None);
    }
    let shared_by = read("shared_cpu_map").map_or(1, |map| bits(&map));
    Some(Some(Cache { level: level.parse().ok()?, bytes: bytes(&size)?, shared_by }))
}

/// A size such as `32768K`.
fn bytes(size: &str) -> Option<u64> {
    let (number, factor) = match size.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (size.strip_suffix('M')?, 1 << 20),
    };
    Some(number.parse::<u64>().ok()? * factor)
}

/// How many bits a mask in hexadecimal has set.
fn bits(mask: &str) -> u64 {
    mask.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| u64::from(digit.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_masks_of_the_system_are_read() {
        assert_eq!((bytes("32768K"), bytes("2M")), (Some(32 << 20), Some(2 << 20)));
        assert_eq!((bytes("many"), bytes("xK"), bytes("")), (None, None, None));
        assert_eq!((bits("3"), bits("00000000,0000ffff"), bits("0")), (2, 16, 0));
    }

    #[test]
    fn caches_grow() {
        assert!(caches().windows(2).all(|pair| pair[0].bytes <= pair[1].bytes), "{:?}", caches());
        assert!(last_level() > 0);
    }
}
