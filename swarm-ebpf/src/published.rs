//! Published ports, in three places: the node the client speaks to, the backend's node, and the way back.
//!
//! The client's address is never changed. The node the client speaks to wraps the packet unchanged
//! for the backend's node, naming the backend by the inner hardware address; the backend's node
//! translates and remembers who sent it, and sends the answer back the same way.

use swarm_common::Addr;
use swarm_common::flow::FiveTuple;
use swarm_common::lb;
use swarm_common::mac;
use swarm_common::maps::{
    BackendValue, EndpointKey, EndpointValue, FLOW_KIND_PUBLISHED, FlowValue, INGRESS_FORWARD_VNI,
    INGRESS_RETURN_VNI, INGRESS_VNI, LocalAddressKey, PublishedKey, PublishedValue,
};
use swarm_common::verdict::{DropReason, Verdict};

use crate::count::{self, Served};
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::{balance, conntrack, deliver, frag_needed, maps, rewrite};

/// What a port of this cluster leads to.
#[inline(always)]
pub fn lookup(proto: u8, port_be: u16) -> Option<&'static PublishedValue> {
    maps::published(&PublishedKey {
        port_be,
        proto,
        pad: 0,
    })
}

struct Target {
    vni: u32,
    addr: Addr,
    endpoint: &'static EndpointValue,
}

/// A client's packet to a published port of this node.
#[inline(always)]
pub fn from_client(
    packet: Packet,
    parsed: &mut Parsed,
    published: &PublishedValue,
) -> Result<Verdict, DropReason> {
    if parsed.fragment {
        return Err(DropReason::Fragment);
    }
    let length = packet.len();
    let (target, served) = match known(parsed) {
        Some(target) => (target, Served::Known),
        None => match choose(parsed, published) {
            Ok(target) => (target, Served::New),
            Err(reason) => {
                count::service(published.service, length, Served::Refused);
                return Err(reason);
            }
        },
    };
    count::service(published.service, length, served);
    if target.endpoint.node.is_none() {
        let backend = (target.vni, target.addr);
        to_local(
            packet,
            parsed,
            published,
            backend,
            target.endpoint,
            Addr::NONE,
        )?;
        return Ok(Verdict::PublishedLocal);
    }
    if parsed.dont_fragment && deliver::is_too_big(packet, parsed) {
        if frag_needed::answer(packet) != 0 {
            return Err(DropReason::TooBig);
        }
        return Ok(Verdict::FragNeeded);
    }
    let backend_mac = mac::of(target.addr.v4_octets());
    let node = target.endpoint.node;
    deliver::remote(packet, parsed, INGRESS_FORWARD_VNI, node, backend_mac)?;
    Ok(Verdict::PublishedForward)
}

/// A client's packet that another node has forwarded, without its wrapping.
#[inline(always)]
pub fn forwarded(
    packet: Packet,
    parsed: &mut Parsed,
    backend_mac: [u8; 6],
    node: Addr,
) -> Result<Verdict, DropReason> {
    if parsed.fragment {
        return Err(DropReason::Fragment);
    }
    let addr = Addr::v4(mac::address(backend_mac).ok_or(DropReason::NoEndpoint)?);
    let endpoint = maps::endpoint(&EndpointKey {
        vni: INGRESS_VNI,
        addr,
    })
    .ok_or(DropReason::NoEndpoint)?;
    if !endpoint.node.is_none() {
        return Err(DropReason::NotLocal);
    }
    let published =
        lookup(parsed.tuple.proto, parsed.tuple.dport_be).ok_or(DropReason::NotPublished)?;
    let backend = (INGRESS_VNI, addr);
    to_local(packet, parsed, published, backend, endpoint, node)?;
    Ok(Verdict::PublishedDeliver)
}

/// An answer that the backend's node has sent back, without its wrapping: out to the client. Never up
/// the stack, which would take a packet from its own address for a forgery.
#[inline(always)]
pub fn returned(parsed: &Parsed) -> Result<Verdict, DropReason> {
    let addr = parsed.tuple.src;
    if maps::local_address(&LocalAddressKey { addr }).is_none() {
        return Err(DropReason::NoFlow);
    }
    close_forward(parsed.tuple.reversed(), parsed.tcp_flags);
    deliver::out();
    Ok(Verdict::PublishedReply)
}

/// An answer of a backend of this node; `None` when the packet belongs to no published flow.
#[inline(always)]
pub fn reply(packet: Packet, parsed: &mut Parsed, vni: u32) -> Option<Result<Verdict, DropReason>> {
    if !parsed.is_translatable() {
        return None;
    }
    let value = conntrack::reply(&parsed.tuple, vni)?;
    if value.kind != FLOW_KIND_PUBLISHED {
        return None;
    }
    conntrack::touch_reply(value, parsed.tcp_flags);
    let (addr, port_be, node) = (value.addr, value.port_be, value.node);
    Some(send_reply(packet, parsed, addr, port_be, node))
}

#[inline(always)]
fn send_reply(
    packet: Packet,
    parsed: &mut Parsed,
    addr: Addr,
    port_be: u16,
    node: Addr,
) -> Result<Verdict, DropReason> {
    rewrite::source(packet, parsed, addr, port_be)?;
    if node.is_none() {
        close_forward(parsed.tuple.reversed(), parsed.tcp_flags);
        deliver::out();
        return Ok(Verdict::PublishedReply);
    }
    let client_mac = mac::of(parsed.tuple.dst.v4_octets());
    deliver::remote(packet, parsed, INGRESS_RETURN_VNI, node, client_mac)?;
    Ok(Verdict::PublishedReturn)
}

#[inline(always)]
fn known(parsed: &Parsed) -> Option<Target> {
    let value = conntrack::forward(&parsed.tuple, INGRESS_FORWARD_VNI)?;
    if lb::reselect(value.state, parsed.tcp_flags) {
        return None;
    }
    let (vni, addr) = (value.vni, value.addr);
    let endpoint = maps::endpoint(&EndpointKey { vni, addr })?;
    conntrack::touch_forward(value, parsed.tcp_flags);
    Some(Target {
        vni,
        addr,
        endpoint,
    })
}

#[inline(always)]
fn choose(parsed: &Parsed, published: &PublishedValue) -> Result<Target, DropReason> {
    let backend = balance::choose(published.service, parsed.tuple.hash_published())?;
    let endpoint = balance::locate(backend)?;
    remember_choice(parsed, published, backend);
    Ok(Target {
        vni: backend.vni,
        addr: backend.addr,
        endpoint,
    })
}

/// Own functions for what builds a key and a value: they fill a fifth of the stack.
#[inline(never)]
fn remember_choice(parsed: &Parsed, published: &PublishedValue, backend: &BackendValue) {
    conntrack::put(
        &parsed.tuple.forward_key(INGRESS_FORWARD_VNI),
        &FlowValue {
            kind: FLOW_KIND_PUBLISHED,
            state: lb::state_forward(0, parsed.tcp_flags),
            port_be: published.target_port_be,
            addr: backend.addr,
            vni: backend.vni,
            node: Addr::NONE,
            service: published.service,
            seen_s: conntrack::now_s(),
        },
    );
}

/// Translates a client's packet, remembers the way back and delivers it.
#[inline(always)]
fn to_local(
    packet: Packet,
    parsed: &mut Parsed,
    published: &PublishedValue,
    backend: (u32, Addr),
    endpoint: &EndpointValue,
    node: Addr,
) -> Result<(), DropReason> {
    let (vni, addr) = backend;
    remember_reply(parsed, published, vni, &addr, &node);
    rewrite::destination(packet, parsed, addr, published.target_port_be)?;
    deliver::local(packet, parsed, endpoint)
}

#[inline(never)]
fn remember_reply(
    parsed: &Parsed,
    published: &PublishedValue,
    vni: u32,
    backend: &Addr,
    node: &Addr,
) {
    let (backend, node) = (*backend, *node);
    let reply = FiveTuple {
        src: backend,
        dst: parsed.tuple.src,
        sport_be: published.target_port_be,
        dport_be: parsed.tuple.sport_be,
        proto: parsed.tuple.proto,
    };
    let key = reply.reply_key(vni);
    if let Some(value) = conntrack::get(&key)
        && value.addr == parsed.tuple.dst
        && value.port_be == parsed.tuple.dport_be
        && value.node == node
    {
        conntrack::touch_forward(value, parsed.tcp_flags);
        return;
    }
    conntrack::put(
        &key,
        &FlowValue {
            kind: FLOW_KIND_PUBLISHED,
            state: lb::state_forward(0, parsed.tcp_flags),
            port_be: parsed.tuple.dport_be,
            addr: parsed.tuple.dst,
            vni,
            node,
            service: published.service,
            seen_s: conntrack::now_s(),
        },
    );
}

/// Notes in the client's entry that the backend closes the connection.
#[inline(always)]
fn close_forward(forward: FiveTuple, tcp_flags: u8) {
    if lb::state_reply(0, tcp_flags) == 0 {
        return;
    }
    if let Some(value) = conntrack::forward(&forward, INGRESS_FORWARD_VNI) {
        conntrack::touch_reply(value, tcp_flags);
    }
}
