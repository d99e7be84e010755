//! UDP (RFC 768).

/// Length of the header.
pub const LEN: usize = 8;
/// Offset of the checksum.
pub const CSUM_OFFSET: usize = 6;

/// The header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpHdr {
    /// Source port.
    pub sport_be: u16,
    /// Destination port.
    pub dport_be: u16,
    /// Length with this header.
    pub len_be: u16,
    /// Checksum; 0 means none.
    pub csum_be: u16,
}

const _: () = assert!(size_of::<UdpHdr>() == LEN);
