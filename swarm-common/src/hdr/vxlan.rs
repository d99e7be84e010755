//! VXLAN (RFC 7348).

/// Length of the header.
pub const LEN: usize = 8;
/// "The network number is valid", network byte order.
const VALID_BE: u16 = 0x0800_u16.to_be();

/// The header. Words rather than bytes: a program writes them without calling `memset`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VxlanHdr {
    /// 0x08 in the first byte.
    pub flags_be: u16,
    /// Zero.
    pub reserved_be: u16,
    /// Network number, 24 bit, then eight zero bits.
    pub vni_be: [u16; 2],
}

const _: () = assert!(size_of::<VxlanHdr>() == LEN);

impl VxlanHdr {
    /// A header for the network (upper eight bits of `vni` are not carried).
    #[inline(always)]
    pub const fn new(vni: u32) -> Self {
        let [_, a, b, c] = vni.to_be_bytes();
        Self {
            flags_be: VALID_BE,
            reserved_be: 0,
            vni_be: [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, 0])],
        }
    }

    /// The network, unless the header says there is none.
    #[inline(always)]
    pub const fn vni(&self) -> Option<u32> {
        if self.flags_be & VALID_BE == 0 {
            return None;
        }
        let [high_be, low_be] = self.vni_be;
        Some((u16::from_be(high_be) as u32) << 8 | (u16::from_be(low_be) as u32) >> 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_number_survives() {
        for vni in [0, 1, 4096, 0x00ff_fffe, 0x00ff_ffff] {
            assert_eq!(VxlanHdr::new(vni).vni(), Some(vni));
        }
        assert_eq!(
            VxlanHdr {
                flags_be: 0,
                ..VxlanHdr::new(7)
            }
            .vni(),
            None
        );
    }
}
