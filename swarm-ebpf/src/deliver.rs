//! The last step of every packet: into a local endpoint, or wrapped to another node, or out.

use swarm_common::Addr;
use swarm_common::hdr::{ENCAP_LEN, Encap, EthHdr, OuterHdr, eth};
use swarm_common::maps::{ENDPOINT_HOST, EndpointValue};
use swarm_common::verdict::DropReason;
use swarm_common::{flow, mac};

use crate::config;
use crate::packet::Packet;
use crate::parse::Parsed;

/// Delivers to an endpoint of this node.
#[inline(always)]
pub fn local(packet: Packet, parsed: &Parsed, endpoint: &EndpointValue) -> Result<(), DropReason> {
    packet.store(
        0,
        &EthHdr {
            dst: endpoint.mac,
            src: mac::of(parsed.tuple.src.v4_octets()),
            ether_type_be: eth::IPV4_BE,
        },
    )?;
    packet.mark_for_host()?;
    if endpoint.flags & ENDPOINT_HOST == 0 {
        Packet::redirect_peer(endpoint.ifindex);
    } else {
        Packet::redirect(endpoint.ifindex);
    }
    Ok(())
}

/// Wraps the packet and sends it to another node.
#[inline(always)]
pub fn remote(
    packet: Packet,
    parsed: &Parsed,
    vni: u32,
    node: Addr,
    inner_dst: [u8; 6],
) -> Result<(), DropReason> {
    if is_too_big(packet, parsed) {
        return Err(DropReason::TooBig);
    }
    let encap = Encap {
        src: config::node_addr().v4_octets(),
        dst: node.v4_octets(),
        sport_be: flow::outer_sport_be(parsed.tuple.hash()),
        dport_be: config::data_path_port_be(),
        vni,
        inner_dst,
        inner_src: mac::of(parsed.tuple.src.v4_octets()),
        inner_len: parsed.ip_len,
    };
    if wrap(packet, &encap) != 0 {
        return Err(DropReason::Rewrite);
    }
    if config::is_neighbour(node) {
        Packet::redirect_to_neighbour(config::underlay_ifindex(), node.to_be32());
    } else {
        Packet::redirect_neigh(config::underlay_ifindex());
    }
    Ok(())
}

/// Whether the packet, wrapped, is longer than the underlay takes.
#[inline(always)]
pub fn is_too_big(packet: Packet, parsed: &Parsed) -> bool {
    // A segmentation-offloaded packet is cut to the sender's segment size, which fits.
    packet.gso_size() == 0 && u32::from(parsed.ip_len) + ENCAP_LEN as u32 > config::underlay_mtu()
}

/// Sends to the outside, next hop by the node's routes.
#[inline(always)]
pub fn out() {
    Packet::redirect_neigh(config::underlay_ifindex());
}

#[inline(always)]
fn wrap(packet: Packet, encap: &Encap) -> i32 {
    let wrapped = packet
        .grow_for_encapsulation()
        .and_then(|()| packet.store(eth::LEN, &OuterHdr::new(encap)));
    i32::from(wrapped.is_err())
}
