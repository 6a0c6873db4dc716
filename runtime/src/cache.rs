//! The size of the last cache, which decides how results are stored.

use std::sync::LazyLock;

/// Bytes where the system does not tell.
const USUAL: u64 = 32 << 20;

/// Bytes of the largest cache that this machine tells of.
pub(crate) fn last_level() -> u64 {
    static BYTES: LazyLock<u64> = LazyLock::new(|| (0..8).filter_map(size).max().unwrap_or(USUAL));
    *BYTES
}

/// Linux tells the size of every cache of the first core in a file, as in `32768K`.
fn size(index: usize) -> Option<u64> {
    let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
    parsed(std::fs::read_to_string(path).ok()?.trim())
}

fn parsed(text: &str) -> Option<u64> {
    let (number, factor) = match text.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (text.strip_suffix('M')?, 1 << 20),
    };
    Some(number.parse::<u64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parsed("32768K"), Some(32 << 20));
        assert_eq!(parsed("2M"), Some(2 << 20));
        assert_eq!((parsed("many"), parsed("xK"), parsed("")), (None, None, None));
        assert!(last_level() > 0);
    }
}
