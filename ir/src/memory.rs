//! Whether memory can be had: asked before large allocations, because a failed one ends the process.

/// Would the system give this many bytes now?
pub fn can_allocate(bytes: u64) -> bool {
    let mut probe = Vec::<u8>::new();
    let given = usize::try_from(bytes).is_ok_and(|bytes| probe.try_reserve_exact(bytes).is_ok());
    // an allocation that nobody sees would be optimized away
    std::hint::black_box(&probe);
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_given_and_too_much_is_not() {
        assert!(can_allocate(0) && can_allocate(1 << 20));
        assert!(!can_allocate(1 << 60) && !can_allocate(u64::MAX));
    }
}
