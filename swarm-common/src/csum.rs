//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are over 16-bit words in native order of bytes as they lie in the packet; the result is
//! stored the same way, so no byte order conversion happens anywhere.

/// Adds the carries back until 16 bits remain.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits")]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    twice as u16
}

/// Sum of the words of `bytes`; an odd last byte counts as if followed by zero.
pub fn words(bytes: &[u8]) -> u32 {
    let mut sum = 0_u32;
    let (pairs, rest) = bytes.as_chunks::<2>();
    for pair in pairs {
        sum = u32::from(fold(sum)) + u32::from(u16::from_ne_bytes(*pair));
    }
    if let [last] = rest {
        sum = u32::from(fold(sum)) + u32::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

/// The checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(words(bytes))
}

/// The checksum after one word changed (RFC 1624, equation 3).
#[inline(always)]
pub const fn replace(csum: u16, from: u16, to: u16) -> u16 {
    !fold(!csum as u32 + !from as u32 + to as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_header() {
        // The example header everybody uses: 4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7.
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        let csum = checksum(&header);
        assert_eq!(csum, 0xb861_u16.to_be());
        header[10..12].copy_from_slice(&csum.to_ne_bytes());
        assert_eq!(fold(words(&header)), 0xffff);
    }

    proptest! {
        #[test]
        fn incremental_equals_full(mut bytes in prop::collection::vec(any::<u8>(), 4..64), at in 0_usize..32, to: u16) {
            let at = (at * 2) % (bytes.len() & !1);
            let before = checksum(&bytes);
            let from = u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&to.to_ne_bytes());
            let after = checksum(&bytes);
            let updated = replace(before, from, to);
            // 0x0000 and 0xffff are the same number; RFC 1624 never turns a sum of other words into the wrong one.
            prop_assert!(updated == after || (bytes.iter().all(|byte| *byte == 0)));
        }

        #[test]
        fn a_checksummed_buffer_sums_to_all_ones(mut bytes in prop::collection::vec(any::<u8>(), 2..64)) {
            bytes[0] = 0;
            bytes[1] = 0;
            let csum = checksum(&bytes);
            bytes[0..2].copy_from_slice(&csum.to_ne_bytes());
            prop_assert_eq!(fold(words(&bytes)), 0xffff);
        }
    }
}
