//! Ethernet II.

/// Length of the header.
pub const LEN: usize = 14;
/// IPv4, network byte order.
pub const IPV4_BE: u16 = 0x0800_u16.to_be();
/// ARP, network byte order.
pub const ARP_BE: u16 = 0x0806_u16.to_be();

/// The header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EthHdr {
    /// Destination.
    pub dst: [u8; 6],
    /// Source.
    pub src: [u8; 6],
    /// Protocol, network byte order.
    pub ether_type_be: u16,
}

const _: () = assert!(size_of::<EthHdr>() == LEN);
