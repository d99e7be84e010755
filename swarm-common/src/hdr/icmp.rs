//! ICMP (RFC 792): echo and its identifier, frag-needed (RFC 1191).

/// Length of the header.
pub const LEN: usize = 8;
/// Offset of the checksum.
pub const CSUM_OFFSET: usize = 2;
/// Offset of an echo's identifier.
pub const ID_OFFSET: usize = 4;
/// Echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: fragmentation needed and DF set.
pub const FRAG_NEEDED: u8 = 4;
/// Echo request.
pub const ECHO_REQUEST: u8 = 8;

/// The header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpHdr {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum over the whole message.
    pub csum_be: u16,
    /// Echo: identifier. Unreachable: unused.
    pub id_be: u16,
    /// Echo: sequence number. Frag-needed: next hop's MTU.
    pub seq_be: u16,
}

const _: () = assert!(size_of::<IcmpHdr>() == LEN);
