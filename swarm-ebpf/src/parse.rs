//! From bytes to a five-tuple. Says what is in the packet, decides nothing.

use swarm_common::Addr;
use swarm_common::flow::FiveTuple;
use swarm_common::hdr::{IcmpHdr, Ipv4Hdr, TcpHdr, UdpHdr, eth, icmp, ipv4, tcp};
use swarm_common::verdict::DropReason;

use crate::packet::Packet;

/// Offset of the IPv4 header.
pub const L3: usize = eth::LEN;
/// Offset of the transport header (options are refused).
pub const L4: usize = eth::LEN + ipv4::LEN;

/// End of the longest header that is looked at.
pub const HEADERS: usize = L4 + size_of::<TcpHdr>();

/// An IPv4 packet's properties.
pub struct Parsed {
    pub tuple: FiveTuple,
    /// Total length of the IP packet, native byte order.
    pub ip_len: u16,
    pub ttl: u8,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP type; 255 for other protocols.
    pub icmp_kind: u8,
    /// One of several fragments.
    pub fragment: bool,
    /// "Don't fragment" is set.
    pub dont_fragment: bool,
}

impl Parsed {
    /// A packet whose two ends can be told from others' by ports or an identifier.
    #[inline(always)]
    pub fn is_translatable(&self) -> bool {
        !self.fragment && (self.tuple.proto != ipv4::ICMP || self.is_echo())
    }

    #[inline(always)]
    pub fn is_echo(&self) -> bool {
        self.icmp_kind == icmp::ECHO_REQUEST || self.icmp_kind == icmp::ECHO_REPLY
    }
}

/// Parses the packet behind the Ethernet header.
#[inline(always)]
pub fn ipv4(packet: Packet) -> Result<Parsed, DropReason> {
    let ip: Ipv4Hdr = packet.load(L3)?;
    if ip.version_ihl != 0x45 {
        return Err(if ip.version_ihl >> 4 == 4 && ip.version_ihl & 15 > 5 {
            DropReason::IpOptions
        } else {
            DropReason::Truncated
        });
    }
    let mut parsed = Parsed {
        tuple: FiveTuple {
            src: Addr::v4(ip.src),
            dst: Addr::v4(ip.dst),
            sport_be: 0,
            dport_be: 0,
            proto: ip.proto,
        },
        ip_len: u16::from_be(ip.len_be),
        ttl: ip.ttl,
        tcp_flags: 0,
        icmp_kind: 255,
        fragment: ip.fragment_be & ipv4::FRAGMENT_BE != 0,
        dont_fragment: ip.fragment_be & ipv4::DF_BE != 0,
    };
    if ip.fragment_be & ipv4::OFFSET_BE == 0 {
        transport(packet, &mut parsed)?;
    }
    Ok(parsed)
}

#[inline(always)]
fn transport(packet: Packet, parsed: &mut Parsed) -> Result<(), DropReason> {
    if parsed.tuple.proto == ipv4::TCP {
        let header: TcpHdr = packet.load(L4)?;
        parsed.tuple.sport_be = header.sport_be;
        parsed.tuple.dport_be = header.dport_be;
        parsed.tcp_flags = header.flags & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK);
    } else if parsed.tuple.proto == ipv4::UDP {
        let header: UdpHdr = packet.load(L4)?;
        parsed.tuple.sport_be = header.sport_be;
        parsed.tuple.dport_be = header.dport_be;
    } else if parsed.tuple.proto == ipv4::ICMP {
        let header: IcmpHdr = packet.load(L4)?;
        parsed.icmp_kind = header.kind;
        if parsed.is_echo() {
            parsed.tuple.sport_be = header.id_be;
            parsed.tuple.dport_be = header.id_be;
        }
    }
    Ok(())
}
