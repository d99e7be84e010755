//! What a task sends (and the node itself, through `swhost1`).
//!
//! - ARP: answered for every address that exists in the network;
//! - a pair of addresses that goes to another node and was met before takes the short way (`paths`);
//! - the source must be an address of the sender;
//! - to the gateway: ping is answered, hairpinned replies go back;
//! - to a virtual address: backend chosen, remembered, translated;
//! - to an endpoint: delivered here or wrapped to its node; a reply is translated back first;
//! - anything else: a published port's reply goes back to its client, the rest is masqueraded.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use swarm_common::hdr::{EthHdr, eth, icmp, ipv4};
use swarm_common::maps::{
    ENDPOINT_HOST, EndpointKey, EndpointValue, InterfaceKey, InterfaceValue, ServiceKey, SourceKey,
};
use swarm_common::paths::{PathOut, Stamp};
use swarm_common::verdict::{DropReason, Program, Verdict};

use crate::packet::Packet;
use crate::parse::{self, Parsed};
use crate::{arp, count, deliver, echo, maps, masquerade, paths, published, vip};

#[classifier]
fn tc_task_ingress(context: TcContext) -> i32 {
    let packet = Packet::new(context.skb.skb);
    let length = packet.len();
    count::finish(packet, Program::TaskIngress, length, handle(packet))
}

#[inline(always)]
fn handle(packet: Packet) -> Result<Verdict, DropReason> {
    let ifindex = packet.ifindex();
    packet.make_linear(parse::HEADERS);
    let header: EthHdr = packet.load(0)?;
    if header.ether_type_be == eth::ARP_BE {
        return arp::answer(packet, interface(ifindex)?);
    }
    if header.ether_type_be != eth::IPV4_BE {
        return Err(DropReason::Protocol);
    }
    let mut parsed = parse::ipv4(packet)?;
    let stamp = paths::stamp();
    if let Some(path) = paths::out(stamp, ifindex, parsed.tuple.src, parsed.tuple.dst) {
        deliver::remote(packet, &parsed, path.vni, path.node, path.mac)?;
        return Ok(Verdict::Encapsulate);
    }
    let interface = interface(ifindex)?;
    let source_vni = check_source(&parsed, ifindex, interface)?;
    if ipv4::is_multicast(parsed.tuple.dst.v4_octets()) {
        return Err(DropReason::Multicast);
    }
    route(packet, &mut parsed, stamp, interface, source_vni)
}

#[inline(always)]
fn interface(ifindex: u32) -> Result<&'static InterfaceValue, DropReason> {
    maps::interface(&InterfaceKey { ifindex }).ok_or(DropReason::UnknownInterface)
}

/// The network the source address belongs to.
#[inline(always)]
fn check_source(
    parsed: &Parsed,
    ifindex: u32,
    interface: &InterfaceValue,
) -> Result<u32, DropReason> {
    let addr = parsed.tuple.src;
    if addr == interface.addr {
        return Ok(interface.vni);
    }
    maps::source(&SourceKey { ifindex, addr })
        .map(|source| source.vni)
        .ok_or(DropReason::SourceSpoofed)
}

#[inline(always)]
fn route(
    packet: Packet,
    parsed: &mut Parsed,
    stamp: Stamp,
    interface: &InterfaceValue,
    source_vni: u32,
) -> Result<Verdict, DropReason> {
    let (vni, addr) = (interface.vni, parsed.tuple.dst);
    if let Some(endpoint) = maps::endpoint(&EndpointKey { vni, addr }) {
        return to_endpoint(packet, parsed, stamp, vni, endpoint);
    }
    let key = ServiceKey {
        vni,
        addr,
        port_be: 0,
        proto: 0,
        pad: 0,
    };
    if let Some(service) = maps::service(&key) {
        return vip::to_backend(packet, parsed, interface, service);
    }
    if addr == interface.gateway {
        return to_gateway(packet, parsed, interface);
    }
    let difference = addr.to_be32() ^ interface.addr.to_be32();
    if difference & interface.netmask_be == 0 {
        return Err(DropReason::NoEndpoint);
    }
    if let Some(outcome) = published::reply(packet, parsed, vni) {
        return outcome;
    }
    if interface.flags & ENDPOINT_HOST != 0 {
        return Err(DropReason::NoEndpoint);
    }
    masquerade::outgoing(packet, parsed, source_vni)
}

/// To a task of the same network, here or on another node.
#[inline(always)]
fn to_endpoint(
    packet: Packet,
    parsed: &mut Parsed,
    stamp: Stamp,
    vni: u32,
    endpoint: &EndpointValue,
) -> Result<Verdict, DropReason> {
    if !endpoint.node.is_none() {
        paths::remember_out(&PathOut {
            stamp,
            src: parsed.tuple.src,
            dst: parsed.tuple.dst,
            ifindex: packet.ifindex(),
            vni,
            node: endpoint.node,
            mac: endpoint.mac,
            pad: [0; 2],
        });
        deliver::remote(packet, parsed, vni, endpoint.node, endpoint.mac)?;
        return Ok(Verdict::Encapsulate);
    }
    vip::deliver(packet, parsed, vni, endpoint)
}

/// The gateway answers echo requests; whatever else is sent to it is the reply to a connection of a task to itself.
#[inline(always)]
fn to_gateway(
    packet: Packet,
    parsed: &mut Parsed,
    interface: &InterfaceValue,
) -> Result<Verdict, DropReason> {
    if parsed.icmp_kind == icmp::ECHO_REQUEST && !parsed.fragment {
        return echo::answer(packet, parsed, interface);
    }
    vip::hairpin_reply(packet, parsed, interface)
}
