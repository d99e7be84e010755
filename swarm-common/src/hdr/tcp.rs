//! TCP (RFC 9293), as far as translation needs it.

/// Length of the header without options.
pub const LEN: usize = 20;
/// Offset of the checksum.
pub const CSUM_OFFSET: usize = 16;
/// Flag bits of [`TcpHdr::flags`].
pub const FIN: u8 = 0x01;
/// Flag bits of [`TcpHdr::flags`].
pub const SYN: u8 = 0x02;
/// Flag bits of [`TcpHdr::flags`].
pub const RST: u8 = 0x04;
/// Flag bits of [`TcpHdr::flags`].
pub const ACK: u8 = 0x10;

/// The header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpHdr {
    /// Source port.
    pub sport_be: u16,
    /// Destination port.
    pub dport_be: u16,
    /// Sequence number, network byte order.
    pub seq: [u8; 4],
    /// Acknowledged number, network byte order.
    pub ack: [u8; 4],
    /// Header length in words, in the upper four bits.
    pub data_offset: u8,
    /// [`FIN`], [`SYN`], [`RST`], [`ACK`].
    pub flags: u8,
    /// Window.
    pub window_be: u16,
    /// Checksum.
    pub csum_be: u16,
    /// Urgent pointer.
    pub urgent_be: u16,
}

const _: () = assert!(size_of::<TcpHdr>() == LEN);
