//! Packet headers as they lie in memory: one per file, alignment 2, network byte order in the names.
//!
//! A field named `*_be` is network byte order read as a native integer. Addresses are byte arrays, so
//! that a header may start at any even offset (an IPv4 header behind Ethernet does).

pub mod arp;
pub mod eth;
pub mod icmp;
pub mod ipv4;
pub mod tcp;
pub mod udp;
pub mod vxlan;

pub use arp::ArpHdr;
pub use eth::EthHdr;
pub use icmp::IcmpHdr;
pub use ipv4::Ipv4Hdr;
pub use tcp::TcpHdr;
pub use udp::UdpHdr;
pub use vxlan::VxlanHdr;

/// Bytes an encapsulated packet is longer than the inner IP packet's frame: outer IPv4, UDP, VXLAN
/// and the inner Ethernet header.
pub const ENCAP_LEN: usize = ipv4::LEN + udp::LEN + vxlan::LEN + eth::LEN;

const IP_OVERHEAD: u16 = 20;
const UDP_OVERHEAD: u16 = 30;
const _: () = assert!((IP_OVERHEAD + UDP_OVERHEAD) as usize == ENCAP_LEN);

/// Everything between the outer Ethernet header, which the neighbour lookup writes, and the inner IP packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OuterHdr {
    /// Outer IPv4.
    pub ip: Ipv4Hdr,
    /// Outer UDP.
    pub udp: UdpHdr,
    /// VXLAN.
    pub vxlan: VxlanHdr,
    /// Inner Ethernet.
    pub inner: EthHdr,
}

const _: () = assert!(size_of::<OuterHdr>() == ENCAP_LEN);

/// What an encapsulated packet needs besides its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encap {
    /// Underlay address of this node.
    pub src: [u8; 4],
    /// Underlay address of the other node.
    pub dst: [u8; 4],
    /// Source port, from the flow's hash, network byte order.
    pub sport_be: u16,
    /// UDP port of the overlay, network byte order.
    pub dport_be: u16,
    /// Network or reserved number.
    pub vni: u32,
    /// Inner destination.
    pub inner_dst: [u8; 6],
    /// Inner source.
    pub inner_src: [u8; 6],
    /// Total length of the inner IP packet.
    pub inner_len: u16,
}

impl OuterHdr {
    /// The header of an encapsulated packet: DF set, time to live 64, UDP checksum 0 (RFC 7348).
    #[inline(always)]
    pub fn new(encap: &Encap) -> Self {
        // A segmentation-offloaded packet may be 64 KiB long; the kernel writes the real lengths
        // into every segment.
        let udp_len = encap.inner_len.wrapping_add(UDP_OVERHEAD);
        let ip_len = udp_len.wrapping_add(IP_OVERHEAD);
        Self {
            ip: Ipv4Hdr::new(encap.src, encap.dst, ipv4::UDP, ip_len),
            udp: UdpHdr {
                sport_be: encap.sport_be,
                dport_be: encap.dport_be,
                len_be: udp_len.to_be(),
                csum_be: 0,
            },
            vxlan: VxlanHdr::new(encap.vni),
            inner: EthHdr {
                dst: encap.inner_dst,
                src: encap.inner_src,
                ether_type_be: eth::IPV4_BE,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csum;

    #[test]
    fn outer_header_is_valid_vxlan() {
        let outer = OuterHdr::new(&Encap {
            src: [192, 0, 2, 1],
            dst: [192, 0, 2, 2],
            sport_be: 50_000_u16.to_be(),
            dport_be: 4789_u16.to_be(),
            vni: 4097,
            inner_dst: [2, 0x42, 10, 0, 1, 3],
            inner_src: [2, 0x42, 10, 0, 1, 2],
            inner_len: 84,
        });
        assert_eq!(u16::from_be(outer.ip.len_be), 84 + 50);
        assert_eq!(u16::from_be(outer.udp.len_be), 84 + 30);
        assert_eq!(outer.vxlan.vni(), Some(4097));
        assert_eq!(csum::fold(csum::words(&outer.ip.bytes())), 0xffff);
    }
}
