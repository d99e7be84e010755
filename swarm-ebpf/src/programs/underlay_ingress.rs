//! What arrives from the underlay.
//!
//! - VXLAN to this node's data path address: from peers only; unwrapped and delivered, replies translated back
//!   to their virtual address; forwarded and returned packets of published ports by their reserved network;
//! - to one of this node's addresses: answers to masqueraded flows, then published ports;
//! - everything else is not ours and passes.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use swarm_common::Addr;
use swarm_common::hdr::{ENCAP_LEN, EthHdr, VxlanHdr, eth, ipv4, udp};
use swarm_common::maps::{
    EndpointKey, EndpointValue, INGRESS_FORWARD_VNI, INGRESS_RETURN_VNI, LocalAddressKey, PeerKey,
};
use swarm_common::paths::{PathIn, Stamp};
use swarm_common::verdict::{DropReason, Program, Verdict};

use crate::packet::Packet;
use crate::parse::{self, L4, Parsed};
use crate::{config, count, maps, masquerade, paths, published, vip};

#[classifier]
fn tc_underlay_ingress(context: TcContext) -> i32 {
    let packet = Packet::new(context.skb.skb);
    let length = packet.len();
    count::finish(packet, Program::UnderlayIngress, length, handle(packet))
}

#[inline(always)]
fn handle(packet: Packet) -> Result<Verdict, DropReason> {
    packet.make_linear(parse::HEADERS);
    let Ok(header) = packet.load::<EthHdr>(0) else {
        return Ok(Verdict::Pass);
    };
    if header.ether_type_be != eth::IPV4_BE {
        return Ok(Verdict::Pass);
    }
    let Ok(mut parsed) = parse::ipv4(packet) else {
        return Ok(Verdict::Pass);
    };
    let tuple = &parsed.tuple;
    if tuple.proto == ipv4::UDP
        && tuple.dport_be == config::data_path_port_be()
        && tuple.dst == config::node_addr()
        && !parsed.fragment
    {
        return unwrap(packet, &mut parsed);
    }
    let addr = tuple.dst;
    if maps::local_address(&LocalAddressKey { addr }).is_none() {
        return Ok(Verdict::Pass);
    }
    if let Some(outcome) = masquerade::incoming(packet, &mut parsed) {
        return outcome;
    }
    match published::lookup(parsed.tuple.proto, parsed.tuple.dport_be) {
        Some(published) => published::from_client(packet, &mut parsed, published),
        None => Ok(Verdict::Pass),
    }
}

#[inline(always)]
fn unwrap(packet: Packet, parsed: &mut Parsed) -> Result<Verdict, DropReason> {
    let node = parsed.tuple.src;
    packet.make_linear(ENCAP_LEN + parse::HEADERS);
    let stamp = paths::stamp();
    let wrapped = wrapped(packet);
    let known = match &wrapped {
        Ok(wrapped) => paths::arriving(stamp, node, wrapped.vni, wrapped.dst),
        Err(_) => None,
    };
    // Before anything else is said about what a stranger sends.
    if known.is_none() && maps::peer(&PeerKey { node }).is_none() {
        return Err(DropReason::UnknownPeer);
    }
    let Wrapped { vni, mac, dst } = wrapped?;
    let endpoint = match known {
        None if vni == INGRESS_FORWARD_VNI || vni == INGRESS_RETURN_VNI => None,
        None => Some(destination(stamp, node, vni, dst)?),
        known => known,
    };
    packet.shrink_after_decapsulation()?;
    *parsed = parse::ipv4(packet)?;
    if let Some(endpoint) = endpoint {
        return vip::deliver(packet, parsed, vni, endpoint);
    }
    if vni == INGRESS_FORWARD_VNI {
        return published::forwarded(packet, parsed, mac, node);
    }
    published::returned(parsed)
}

/// What a wrapping says about its content.
struct Wrapped {
    vni: u32,
    /// Inner destination, hardware address.
    mac: [u8; 6],
    /// Inner destination.
    dst: Addr,
}

#[inline(always)]
fn wrapped(packet: Packet) -> Result<Wrapped, DropReason> {
    let vxlan: VxlanHdr = packet.load(L4 + udp::LEN)?;
    let vni = vxlan.vni().ok_or(DropReason::UnknownVni)?;
    let inner: EthHdr = packet.load(ENCAP_LEN)?;
    if inner.ether_type_be != eth::IPV4_BE {
        return Err(DropReason::Protocol);
    }
    let octets: [u8; 4] = packet.load(eth::LEN + ENCAP_LEN + ipv4::DST_OFFSET)?;
    Ok(Wrapped {
        vni,
        mac: inner.dst,
        dst: Addr::v4(octets),
    })
}

/// The inner destination must be an endpoint of this node in that network: checked while the packet is
/// whole, so that a drop leaves evidence.
#[inline(always)]
fn destination(
    stamp: Stamp,
    node: Addr,
    vni: u32,
    addr: Addr,
) -> Result<&'static EndpointValue, DropReason> {
    let endpoint = maps::endpoint(&EndpointKey { vni, addr }).ok_or(DropReason::UnknownVni)?;
    if !endpoint.node.is_none() {
        return Err(DropReason::NotLocal);
    }
    paths::remember_arriving(&PathIn {
        stamp,
        node,
        dst: addr,
        vni,
        endpoint: *endpoint,
        pad: 0,
    });
    Ok(endpoint)
}
