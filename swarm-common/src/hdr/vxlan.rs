//! VXLAN (RFC 7348).

/// Length of the header.
pub const LEN: usize = 8;
/// "The network number is valid".
const VALID: u8 = 0x08;

/// The header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VxlanHdr {
    /// 0x08.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Network number, 24 bit, network byte order.
    pub vni: [u8; 3],
    /// Zero.
    pub reserved_last: u8,
}

const _: () = assert!(size_of::<VxlanHdr>() == LEN);

impl VxlanHdr {
    /// A header for the network (upper eight bits of `vni` are not carried).
    #[inline(always)]
    pub const fn new(vni: u32) -> Self {
        let [_, a, b, c] = vni.to_be_bytes();
        Self {
            flags: VALID,
            reserved: [0; 3],
            vni: [a, b, c],
            reserved_last: 0,
        }
    }

    /// The network, unless the header says there is none.
    #[inline(always)]
    pub const fn vni(&self) -> Option<u32> {
        if self.flags & VALID == 0 {
            return None;
        }
        let [a, b, c] = self.vni;
        Some(u32::from_be_bytes([0, a, b, c]))
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
                flags: 0,
                ..VxlanHdr::new(7)
            }
            .vni(),
            None
        );
    }
}
