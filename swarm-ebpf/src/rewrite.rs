//! Changes one end of a packet's five-tuple, checksums included.
//!
//! Only through the kernel's checksum helpers: a task's packet usually carries an unfinished checksum
//! (`CHECKSUM_PARTIAL`) that only they understand.

use swarm_common::Addr;
use swarm_common::hdr::{icmp, ipv4, tcp, udp};
use swarm_common::verdict::DropReason;

use crate::packet::{CsumChange, Packet};
use crate::parse::{L3, L4, Parsed};

/// Writes a new source address and port.
#[inline(always)]
pub fn source(
    packet: Packet,
    parsed: &mut Parsed,
    addr: Addr,
    port_be: u16,
) -> Result<(), DropReason> {
    let from = parsed.tuple.src;
    change_address(
        packet,
        parsed.tuple.proto,
        L3 + ipv4::SRC_OFFSET,
        from,
        addr,
    )?;
    change_port(
        packet,
        parsed.tuple.proto,
        L4,
        parsed.tuple.sport_be,
        port_be,
    )?;
    parsed.tuple.src = addr;
    parsed.tuple.sport_be = port_be;
    Ok(())
}

/// Writes a new destination address and port.
#[inline(always)]
pub fn destination(
    packet: Packet,
    parsed: &mut Parsed,
    addr: Addr,
    port_be: u16,
) -> Result<(), DropReason> {
    let from = parsed.tuple.dst;
    change_address(
        packet,
        parsed.tuple.proto,
        L3 + ipv4::DST_OFFSET,
        from,
        addr,
    )?;
    change_port(
        packet,
        parsed.tuple.proto,
        L4 + 2,
        parsed.tuple.dport_be,
        port_be,
    )?;
    parsed.tuple.dst = addr;
    parsed.tuple.dport_be = port_be;
    Ok(())
}

/// Counts the time to live down by one, as a router does.
#[inline(always)]
pub fn decrement_ttl(packet: Packet, parsed: &mut Parsed) -> Result<(), DropReason> {
    if parsed.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let proto = parsed.tuple.proto;
    let from = u16::from_ne_bytes([parsed.ttl, proto]);
    parsed.ttl -= 1;
    let to = u16::from_ne_bytes([parsed.ttl, proto]);
    packet.replace_l3(L3 + ipv4::CSUM_OFFSET, from.into(), to.into(), 2)?;
    packet.store(L3 + 8, &parsed.ttl)
}

#[inline(always)]
fn change_address(
    packet: Packet,
    proto: u8,
    offset: usize,
    from: Addr,
    to: Addr,
) -> Result<(), DropReason> {
    let (from, to) = (from.to_be32(), to.to_be32());
    if from == to {
        return Ok(());
    }
    if proto == ipv4::TCP {
        packet.replace_l4(L4 + tcp::CSUM_OFFSET, from, to, CsumChange::address(false))?;
    } else if proto == ipv4::UDP {
        packet.replace_l4(L4 + udp::CSUM_OFFSET, from, to, CsumChange::address(true))?;
    }
    packet.replace_l3(L3 + ipv4::CSUM_OFFSET, from, to, 4)?;
    packet.store(offset, &to.to_ne_bytes())
}

#[inline(always)]
fn change_port(
    packet: Packet,
    proto: u8,
    offset: usize,
    from: u16,
    to: u16,
) -> Result<(), DropReason> {
    if from == to {
        return Ok(());
    }
    let (from32, to32) = (u32::from(from), u32::from(to));
    if proto == ipv4::TCP {
        packet.replace_l4(L4 + tcp::CSUM_OFFSET, from32, to32, CsumChange::word(false))?;
        packet.store(offset, &to)
    } else if proto == ipv4::UDP {
        packet.replace_l4(L4 + udp::CSUM_OFFSET, from32, to32, CsumChange::word(true))?;
        packet.store(offset, &to)
    } else if proto == ipv4::ICMP {
        packet.replace_l4(
            L4 + icmp::CSUM_OFFSET,
            from32,
            to32,
            CsumChange::word(false),
        )?;
        packet.store(L4 + icmp::ID_OFFSET, &to)
    } else {
        Ok(())
    }
}
