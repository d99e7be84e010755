//! The gateway answers ping itself: there is no router behind .1 that could.

use swarm_common::hdr::{EthHdr, eth, icmp, ipv4};
use swarm_common::mac;
use swarm_common::maps::InterfaceValue;
use swarm_common::verdict::{DropReason, Verdict};

use crate::packet::{CsumChange, Packet};
use crate::parse::{L3, L4, Parsed};

/// Turns an echo request into its reply and sends it back.
#[inline(always)]
pub fn answer(
    packet: Packet,
    parsed: &Parsed,
    interface: &InterfaceValue,
) -> Result<Verdict, DropReason> {
    let from = u16::from_ne_bytes([icmp::ECHO_REQUEST, 0]);
    let to = u16::from_ne_bytes([icmp::ECHO_REPLY, 0]);
    let change = CsumChange::word(false);
    packet.replace_l4(L4 + icmp::CSUM_OFFSET, from.into(), to.into(), change)?;
    packet.store(L4, &to)?;
    // Swapping the addresses leaves the header's sum as it is.
    packet.store(L3 + ipv4::SRC_OFFSET, &parsed.tuple.dst.v4_octets())?;
    packet.store(L3 + ipv4::DST_OFFSET, &parsed.tuple.src.v4_octets())?;
    packet.store(
        0,
        &EthHdr {
            dst: interface.mac,
            src: mac::of(interface.gateway.v4_octets()),
            ether_type_be: eth::IPV4_BE,
        },
    )?;
    Packet::redirect(packet.ifindex());
    Ok(Verdict::Echo)
}
