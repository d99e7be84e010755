//! Virtual addresses: the client's node chooses, remembers and translates both ways.
//!
//! The port is kept, so a flow's two conntrack entries differ in one address only. A packet in the middle
//! of a flow whose entry is gone is given the backend its hash stands for: the same, unless the
//! service has changed meanwhile.

use swarm_common::Addr;
use swarm_common::flow::FiveTuple;
use swarm_common::lb;
use swarm_common::maps::{
    BackendValue, EndpointKey, EndpointValue, FLOW_KIND_HAIRPIN, FLOW_KIND_VIP, FlowValue,
    InterfaceValue, ServiceValue,
};
use swarm_common::verdict::{DropReason, Verdict};

use crate::count::{self, Served};
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::{balance, conntrack, deliver, maps, rewrite};

/// A packet from a client to a virtual address.
#[inline(always)]
pub fn to_backend(
    packet: Packet,
    parsed: &mut Parsed,
    interface: &InterfaceValue,
    service: &ServiceValue,
) -> Result<Verdict, DropReason> {
    if parsed.fragment {
        return Err(DropReason::Fragment);
    }
    if !parsed.is_translatable() {
        return Err(DropReason::NoFlow);
    }
    let length = packet.len();
    let (vni, addr, endpoint, served) = match known(parsed, interface.vni) {
        Some((vni, addr, endpoint)) => (vni, addr, endpoint, Served::Known),
        None => match choose(parsed, interface.vni, service) {
            Ok((vni, addr, endpoint)) => (vni, addr, endpoint, Served::New),
            Err(reason) => {
                count::service(service.service, length, Served::Refused);
                return Err(reason);
            }
        },
    };
    count::service(service.service, length, served);
    maps::note_vip_client(packet.ifindex());
    remember_reply(parsed, interface, service.service, &addr);
    let port_be = parsed.tuple.dport_be;
    rewrite::destination(packet, parsed, addr, port_be)?;
    if addr == interface.addr {
        // The client itself: it would drop a packet from its own address.
        let port_be = parsed.tuple.sport_be;
        rewrite::source(packet, parsed, interface.gateway, port_be)?;
    }
    if endpoint.node.is_none() {
        deliver::local(packet, parsed, endpoint)?;
        Ok(Verdict::VipLocal)
    } else {
        deliver::remote(packet, parsed, vni, endpoint.node, endpoint.mac)?;
        Ok(Verdict::VipRemote)
    }
}

/// The remembered backend, unless the flow starts anew or the backend is gone.
#[inline(always)]
fn known(parsed: &Parsed, vni: u32) -> Option<(u32, Addr, &'static EndpointValue)> {
    let value = conntrack::forward(&parsed.tuple, vni)?;
    if lb::reselect(value.state, parsed.tcp_flags) {
        return None;
    }
    let endpoint = maps::endpoint(&EndpointKey {
        vni: value.vni,
        addr: value.addr,
    })?;
    conntrack::touch_forward(value, parsed.tcp_flags);
    Some((value.vni, value.addr, endpoint))
}

#[inline(always)]
fn choose(
    parsed: &Parsed,
    vni: u32,
    service: &ServiceValue,
) -> Result<(u32, Addr, &'static EndpointValue), DropReason> {
    let backend = balance::choose(service.service, parsed.tuple.hash())?;
    let endpoint = balance::locate(backend)?;
    remember_choice(parsed, vni, service, backend);
    Ok((backend.vni, backend.addr, endpoint))
}

/// A function of its own, as everything that builds a key and a value: they fill a fifth of the
/// stack, and only for the first packet of a flow.
#[inline(never)]
fn remember_choice(parsed: &Parsed, vni: u32, service: &ServiceValue, backend: &BackendValue) {
    conntrack::put(
        &parsed.tuple.forward_key(vni),
        &FlowValue {
            kind: FLOW_KIND_VIP,
            state: lb::state_forward(0, parsed.tcp_flags),
            port_be: parsed.tuple.dport_be,
            addr: backend.addr,
            vni: backend.vni,
            node: Addr::NONE,
            service: service.service,
            seen_s: conntrack::now_s(),
        },
    );
}

/// Makes sure the answer can be translated back, also after its entry alone was evicted.
#[inline(never)]
fn remember_reply(parsed: &Parsed, interface: &InterfaceValue, service: u32, backend: &Addr) {
    let backend = *backend;
    let hairpin = backend == interface.addr;
    let client = parsed.tuple.src;
    let reply = FiveTuple {
        src: backend,
        dst: if hairpin { interface.gateway } else { client },
        sport_be: parsed.tuple.dport_be,
        dport_be: parsed.tuple.sport_be,
        proto: parsed.tuple.proto,
    };
    let key = reply.reply_key(interface.vni);
    if conntrack::get(&key).is_some_and(|value| value.addr == parsed.tuple.dst) {
        return;
    }
    conntrack::put(
        &key,
        &FlowValue {
            kind: if hairpin {
                FLOW_KIND_HAIRPIN
            } else {
                FLOW_KIND_VIP
            },
            state: 0,
            port_be: parsed.tuple.dport_be,
            addr: parsed.tuple.dst,
            vni: interface.vni,
            node: Addr::NONE,
            service,
            seen_s: conntrack::now_s(),
        },
    );
}

/// To a task of this node (`endpoint`), which may be the client of a virtual address.
#[inline(always)]
pub fn deliver(
    packet: Packet,
    parsed: &mut Parsed,
    vni: u32,
    endpoint: &EndpointValue,
) -> Result<Verdict, DropReason> {
    let is_reply = translate_reply(packet, parsed, vni, endpoint)?;
    deliver::local(packet, parsed, endpoint)?;
    Ok(if is_reply {
        Verdict::VipReply
    } else {
        Verdict::DeliverLocal
    })
}

/// Gives an answer that is about to be delivered to the client (`endpoint`, of this node) its virtual source
/// address back. `false`: the packet answers no translated flow.
#[inline(always)]
fn translate_reply(
    packet: Packet,
    parsed: &mut Parsed,
    vni: u32,
    endpoint: &EndpointValue,
) -> Result<bool, DropReason> {
    if !maps::is_vip_client(endpoint.ifindex) || !parsed.is_translatable() {
        return Ok(false);
    }
    let Some(value) = conntrack::reply(&parsed.tuple, vni) else {
        return Ok(false);
    };
    if value.kind != FLOW_KIND_VIP {
        return Ok(false);
    }
    close_forward(parsed, vni, value.addr);
    conntrack::touch_reply(value, parsed.tcp_flags);
    let (addr, port_be) = (value.addr, value.port_be);
    rewrite::source(packet, parsed, addr, port_be)?;
    Ok(true)
}

/// A packet to the gateway that answers a hairpinned flow: back to its sender, from the virtual
/// address.
#[inline(always)]
pub fn hairpin_reply(
    packet: Packet,
    parsed: &mut Parsed,
    interface: &InterfaceValue,
) -> Result<Verdict, DropReason> {
    let value = conntrack::reply(&parsed.tuple, interface.vni)
        .filter(|value| value.kind == FLOW_KIND_HAIRPIN)
        .ok_or(DropReason::NoEndpoint)?;
    let endpoint = maps::endpoint(&EndpointKey {
        vni: interface.vni,
        addr: interface.addr,
    })
    .ok_or(DropReason::NoEndpoint)?;
    conntrack::touch_reply(value, parsed.tcp_flags);
    let (addr, port_be) = (value.addr, value.port_be);
    let client_port_be = parsed.tuple.dport_be;
    rewrite::source(packet, parsed, addr, port_be)?;
    rewrite::destination(packet, parsed, interface.addr, client_port_be)?;
    close_forward_of(parsed.tuple.reversed(), parsed.tcp_flags, interface.vni);
    deliver::local(packet, parsed, endpoint)?;
    Ok(Verdict::VipReply)
}

/// Notes in the client's entry that the backend closes the connection.
#[inline(always)]
fn close_forward(parsed: &Parsed, vni: u32, vip: Addr) {
    let forward = FiveTuple {
        src: parsed.tuple.dst,
        dst: vip,
        sport_be: parsed.tuple.dport_be,
        dport_be: parsed.tuple.sport_be,
        proto: parsed.tuple.proto,
    };
    close_forward_of(forward, parsed.tcp_flags, vni);
}

#[inline(always)]
fn close_forward_of(forward: FiveTuple, tcp_flags: u8, vni: u32) {
    if lb::state_reply(0, tcp_flags) == 0 {
        return;
    }
    if let Some(value) = conntrack::forward(&forward, vni) {
        conntrack::touch_reply(value, tcp_flags);
    }
}
