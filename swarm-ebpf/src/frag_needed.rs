//! Tells a client that its packet does not fit the tunnel (RFC 1191).
//!
//! The packet itself becomes the message: cut after the first eight bytes of its transport header and
//! sent back where it came from. Without it a datagram with DF would vanish.

use swarm_common::csum;
use swarm_common::hdr::{ENCAP_LEN, EthHdr, IcmpHdr, Ipv4Hdr, UdpHdr, eth, icmp, ipv4, udp};
use swarm_common::verdict::DropReason;

use crate::config;
use crate::packet::Packet;
use crate::parse::{L3, L4};

/// Offset of the quoted packet.
const QUOTED: usize = L4 + icmp::LEN;
/// The whole message.
const LEN: usize = QUOTED + ipv4::LEN + udp::LEN;

/// Sends the message instead of the packet.
#[inline(never)]
pub fn answer(packet: Packet) -> u32 {
    u32::from(build(packet).is_err())
}

#[inline(always)]
fn build(packet: Packet) -> Result<(), DropReason> {
    let ethernet: EthHdr = packet.load(0)?;
    let quoted: Ipv4Hdr = packet.load(L3)?;
    let transport: UdpHdr = packet.load(L4)?;
    packet.resize(LEN as u32)?;
    packet.make_linear(LEN);
    packet.store(
        0,
        &EthHdr {
            dst: ethernet.src,
            src: ethernet.dst,
            ether_type_be: eth::IPV4_BE,
        },
    )?;
    let len = (LEN - L3) as u16;
    packet.store(L3, &Ipv4Hdr::new(quoted.dst, quoted.src, ipv4::ICMP, len))?;
    let mut message = IcmpHdr {
        kind: icmp::UNREACHABLE,
        code: icmp::FRAG_NEEDED,
        csum_be: 0,
        id_be: 0,
        seq_be: (config::underlay_mtu() as u16)
            .wrapping_sub(ENCAP_LEN as u16)
            .to_be(),
    };
    // A correct IPv4 header sums to zero, so the quoted one does not count.
    let sum = u32::from(u16::from_ne_bytes([message.kind, message.code]))
        + u32::from(message.seq_be)
        + u32::from(transport.sport_be)
        + u32::from(transport.dport_be)
        + u32::from(transport.len_be)
        + u32::from(transport.csum_be);
    message.csum_be = !csum::fold(sum);
    packet.store(L4, &message)?;
    packet.store(QUOTED, &quoted)?;
    packet.store(QUOTED + ipv4::LEN, &transport)?;
    Packet::redirect(packet.ifindex());
    Ok(())
}
