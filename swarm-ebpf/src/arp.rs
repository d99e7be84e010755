//! ARP answers: every address of the subnet that exists is at its own deterministic hardware address.

use swarm_common::hdr::{ArpHdr, EthHdr, eth};
use swarm_common::maps::{EndpointKey, InterfaceValue, ServiceKey};
use swarm_common::verdict::{DropReason, Verdict};
use swarm_common::{Addr, mac};

use crate::maps;
use crate::packet::Packet;

/// Answers a request for an endpoint, a virtual address or the gateway, not for the asker's own
/// address (that would break duplicate address detection); drops every other ARP.
#[inline(always)]
pub fn answer(packet: Packet, interface: &InterfaceValue) -> Result<Verdict, DropReason> {
    let request: ArpHdr = packet.load(eth::LEN)?;
    if !request.is_ipv4_request() {
        return Err(DropReason::Protocol);
    }
    let target = Addr::v4(request.target);
    if target == interface.addr || !exists(interface, target) {
        return Err(DropReason::NoEndpoint);
    }
    let hardware = mac::of(request.target);
    packet.store(
        0,
        &EthHdr {
            dst: request.sender_mac,
            src: hardware,
            ether_type_be: eth::ARP_BE,
        },
    )?;
    packet.store(eth::LEN, &request.reply(hardware))?;
    Packet::redirect(packet.ifindex());
    Ok(Verdict::Arp)
}

#[inline(always)]
fn exists(interface: &InterfaceValue, addr: Addr) -> bool {
    let vni = interface.vni;
    addr == interface.gateway
        || maps::endpoint(&EndpointKey { vni, addr }).is_some()
        || maps::service(&ServiceKey {
            vni,
            addr,
            port_be: 0,
            proto: 0,
            pad: 0,
        })
        .is_some()
}
