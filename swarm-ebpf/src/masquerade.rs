//! Tasks to the outside, behind the node's address: TCP, UDP and ICMP echo.
//!
//! The source port comes from a range the node's own sockets do not use. Two entries per flow: the task's
//! tuple -> port, and the outside's tuple -> task.

use swarm_common::Addr;
use swarm_common::flow::FiveTuple;
use swarm_common::hdr::{icmp, ipv4};
use swarm_common::lb;
use swarm_common::maps::{
    EndpointKey, FLOW_KIND_MASQUERADE, FlowValue, LocalAddressKey, MASQUERADE_VNI,
};
use swarm_common::verdict::{DropReason, Verdict};

use crate::packet::Packet;
use crate::parse::Parsed;
use crate::{config, conntrack, deliver, maps, rewrite};

/// Ports tried for one flow before giving up.
const ATTEMPTS: u32 = 8;
/// Distance between two tries (prime, so that it visits the whole range).
const STRIDE: u32 = 1031;

/// A task's packet to the outside.
#[inline(always)]
pub fn outgoing(packet: Packet, parsed: &mut Parsed, vni: u32) -> Result<Verdict, DropReason> {
    let addr = parsed.tuple.dst;
    if maps::local_address(&LocalAddressKey { addr }).is_some() {
        return Err(DropReason::OwnNode);
    }
    if parsed.fragment {
        return Err(DropReason::Fragment);
    }
    let proto = parsed.tuple.proto;
    let carried = proto == ipv4::TCP
        || proto == ipv4::UDP
        || (proto == ipv4::ICMP && parsed.icmp_kind == icmp::ECHO_REQUEST);
    if !carried {
        return Err(DropReason::Protocol);
    }
    rewrite::decrement_ttl(packet, parsed)?;
    let port_be = match known(parsed, vni) {
        Some(port_be) => port_be,
        None => match allocate(parsed, vni) {
            0 => return Err(DropReason::PortsExhausted),
            port_be => port_be as u16,
        },
    };
    rewrite::source(packet, parsed, config::node_addr(), port_be)?;
    deliver::out();
    Ok(Verdict::MasqueradeOut)
}

/// A packet from the outside that may answer a masqueraded flow; `None` when it does not.
#[inline(always)]
pub fn incoming(packet: Packet, parsed: &mut Parsed) -> Option<Result<Verdict, DropReason>> {
    let (min, max) = config::masquerade_ports();
    let port = u16::from_be(parsed.tuple.dport_be);
    if port < min || port > max || !parsed.is_translatable() {
        return None;
    }
    let value = conntrack::reply(&parsed.tuple, MASQUERADE_VNI)?;
    conntrack::touch_reply(value, parsed.tcp_flags);
    let (vni, addr, port_be) = (value.vni, value.addr, value.port_be);
    let Some(endpoint) = maps::endpoint(&EndpointKey { vni, addr }) else {
        return Some(Err(DropReason::NoEndpoint));
    };
    if !endpoint.node.is_none() {
        return Some(Err(DropReason::NotLocal));
    }
    let delivered = rewrite::destination(packet, parsed, addr, port_be)
        .and_then(|()| deliver::local(packet, parsed, endpoint));
    Some(delivered.map(|()| Verdict::MasqueradeIn))
}

/// The tuple the outside answers with.
#[inline(always)]
fn outside(parsed: &Parsed, port_be: u16) -> FiveTuple {
    let is_icmp = parsed.tuple.proto == ipv4::ICMP;
    FiveTuple {
        src: parsed.tuple.dst,
        dst: config::node_addr(),
        sport_be: if is_icmp {
            port_be
        } else {
            parsed.tuple.dport_be
        },
        dport_be: port_be,
        proto: parsed.tuple.proto,
    }
}

/// The port of a known flow, provided that the way back still leads to this task.
#[inline(always)]
fn known(parsed: &Parsed, vni: u32) -> Option<u16> {
    let value = conntrack::forward(&parsed.tuple, vni)?;
    if value.kind != FLOW_KIND_MASQUERADE {
        return None;
    }
    let port_be = value.port_be;
    conntrack::touch_forward(value, parsed.tcp_flags);
    let back = conntrack::reply(&outside(parsed, port_be), MASQUERADE_VNI)?;
    if back.addr != parsed.tuple.src || back.port_be != parsed.tuple.sport_be || back.vni != vni {
        return None;
    }
    conntrack::touch_forward(back, parsed.tcp_flags);
    Some(port_be)
}

/// A port (network byte order), or 0 when all that were tried are in use.
#[inline(always)]
fn allocate(parsed: &Parsed, vni: u32) -> u32 {
    let (min, max) = config::masquerade_ports();
    let range = u32::from(max.wrapping_sub(min)) + 1;
    let mut candidate = parsed.tuple.hash();
    for _ in 0..ATTEMPTS {
        let port_be = (min + (candidate % range) as u16).to_be();
        if claim(parsed, vni, port_be) == 0 {
            return port_be.into();
        }
        candidate = candidate.wrapping_add(STRIDE);
    }
    0
}

/// Takes the port for this flow; 1 when it is in use towards this destination. A function of its own: key
/// and value fill a fifth of the stack.
#[inline(never)]
fn claim(parsed: &Parsed, vni: u32, port_be: u16) -> u32 {
    let now_s = conntrack::now_s();
    let mut value = FlowValue {
        kind: FLOW_KIND_MASQUERADE,
        state: 0,
        port_be: parsed.tuple.sport_be,
        addr: parsed.tuple.src,
        vni,
        node: Addr::NONE,
        service: 0,
        seen_s: now_s,
    };
    let mut key = outside(parsed, port_be).reply_key(MASQUERADE_VNI);
    if !conntrack::put_new(&key, &value) {
        // Only a flow that has ended or been silent for long gives way, or this very flow.
        if let Some(current) = conntrack::get(&key) {
            let own = current.addr == value.addr
                && current.port_be == value.port_be
                && current.vni == vni;
            if !own && !lb::is_idle(current, key.proto, now_s) {
                return 1;
            }
        }
        conntrack::put(&key, &value);
    }
    key = parsed.tuple.forward_key(vni);
    value.port_be = port_be;
    value.addr = config::node_addr();
    conntrack::put(&key, &value);
    0
}
