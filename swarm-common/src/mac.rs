//! Hardware addresses of the overlay: a function of the address, so nothing has to be distributed.

/// 02:42:a:b:c:d for a.b.c.d (Docker's form).
#[inline(always)]
pub const fn of(address: [u8; 4]) -> [u8; 6] {
    let [a, b, c, d] = address;
    [0x02, 0x42, a, b, c, d]
}

/// The address a hardware address of the overlay stands for.
#[inline(always)]
pub const fn address(mac: [u8; 6]) -> Option<[u8; 4]> {
    match mac {
        [0x02, 0x42, a, b, c, d] => Some([a, b, c, d]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_survives() {
        assert_eq!(of([10, 0, 1, 200]), [0x02, 0x42, 10, 0, 1, 200]);
        assert_eq!(address(of([10, 0, 1, 200])), Some([10, 0, 1, 200]));
        assert_eq!(address([0x02, 0x43, 10, 0, 1, 200]), None);
    }
}
