//! IPv4 without options (RFC 791).

use crate::csum;

/// Length of the header without options.
pub const LEN: usize = 20;
/// ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// Offset of the checksum in the header.
pub const CSUM_OFFSET: usize = 10;
/// Offset of the source address.
pub const SRC_OFFSET: usize = 12;
/// Offset of the destination address.
pub const DST_OFFSET: usize = 16;
/// "Don't fragment", network byte order.
pub const DF_BE: u16 = 0x4000_u16.to_be();
/// "More fragments" and the offset, network byte order: zero in a packet that is whole.
pub const FRAGMENT_BE: u16 = 0x3fff_u16.to_be();
/// The offset alone, network byte order: zero in the packet that has the ports.
pub const OFFSET_BE: u16 = 0x1fff_u16.to_be();

/// The header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Hdr {
    /// 0x45 without options.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Total length.
    pub len_be: u16,
    /// Identification.
    pub id_be: u16,
    /// Flags and fragment offset.
    pub fragment_be: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol.
    pub proto: u8,
    /// Header checksum.
    pub csum_be: u16,
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

const _: () = assert!(size_of::<Ipv4Hdr>() == LEN);

impl Ipv4Hdr {
    /// A header with DF, time to live 64 and a correct checksum; `len` in native byte order.
    #[inline(always)]
    pub const fn new(src: [u8; 4], dst: [u8; 4], proto: u8, len: u16) -> Self {
        let mut header = Self {
            version_ihl: 0x45,
            tos: 0,
            len_be: len.to_be(),
            id_be: 0,
            fragment_be: DF_BE,
            ttl: 64,
            proto,
            csum_be: 0,
            src,
            dst,
        };
        header.csum_be = header.csum();
        header
    }

    /// The checksum of the header, taking the checksum field as zero.
    #[inline(always)]
    pub const fn csum(&self) -> u16 {
        let [s0, s1, s2, s3] = self.src;
        let [d0, d1, d2, d3] = self.dst;
        let sum = u16::from_ne_bytes([self.version_ihl, self.tos]) as u32
            + self.len_be as u32
            + self.id_be as u32
            + self.fragment_be as u32
            + u16::from_ne_bytes([self.ttl, self.proto]) as u32
            + u16::from_ne_bytes([s0, s1]) as u32
            + u16::from_ne_bytes([s2, s3]) as u32
            + u16::from_ne_bytes([d0, d1]) as u32
            + u16::from_ne_bytes([d2, d3]) as u32;
        !csum::fold(sum)
    }

    /// The bytes as they lie in a packet.
    pub fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = self.version_ihl;
        bytes[1] = self.tos;
        bytes[2..4].copy_from_slice(&self.len_be.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.id_be.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.fragment_be.to_ne_bytes());
        bytes[8] = self.ttl;
        bytes[9] = self.proto;
        bytes[10..12].copy_from_slice(&self.csum_be.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.src);
        bytes[16..20].copy_from_slice(&self.dst);
        bytes
    }
}

/// Whether packets to this address leave the unicast world (224.0.0.0/4 and the rest above it, which
/// includes 255.255.255.255).
#[inline(always)]
pub const fn is_multicast(address: [u8; 4]) -> bool {
    address[0] >= 224
}

/// Whether this is an address of the loopback network.
#[inline(always)]
pub const fn is_loopback(address: [u8; 4]) -> bool {
    address[0] == 127
}
