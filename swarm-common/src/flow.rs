//! The five-tuple and its hash: one implementation for kernel, tests and planner.
//!
//! The hash decides the backend and the outer source port. It must be the same on every node, so
//! it reads bytes in a fixed order and has no seed.

use crate::addr::Addr;
use crate::maps::{FLOW_FORWARD, FLOW_REPLY, FlowKey};

/// First outer source port; the hash adds 14 bits (RFC 7348 asks for 49152-65535).
const OUTER_PORT_BASE: u16 = 49_152;

/// A packet's addresses and ports. ICMP echo has its identifier in both ports; protocols without
/// ports have 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FiveTuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, network byte order.
    pub sport_be: u16,
    /// Destination port, network byte order.
    pub dport_be: u16,
    /// IP protocol.
    pub proto: u8,
}

impl FiveTuple {
    /// Hash over everything.
    #[inline(always)]
    pub const fn hash(&self) -> u32 {
        hash_words(
            [low(self.src), high(self.src), low(self.dst), high(self.dst)],
            self.ports_word(),
        )
    }

    /// Hash for published ports: without the destination address, because every node must choose
    /// the same backend for a client whichever node the client's packet reaches.
    #[inline(always)]
    pub const fn hash_published(&self) -> u32 {
        hash_words([low(self.src), high(self.src), 0, 0], self.ports_word())
    }

    /// The tuple of the answer.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport_be: self.dport_be,
            dport_be: self.sport_be,
            proto: self.proto,
        }
    }

    /// The conntrack key of a packet going the way of the flow's initiator.
    #[inline(always)]
    pub const fn forward_key(&self, vni: u32) -> FlowKey {
        self.key(vni, FLOW_FORWARD)
    }

    /// The conntrack key of a packet that answers.
    #[inline(always)]
    pub const fn reply_key(&self, vni: u32) -> FlowKey {
        self.key(vni, FLOW_REPLY)
    }

    /// The conntrack key of a packet going in this direction.
    #[inline(always)]
    pub const fn key(&self, vni: u32, direction: u8) -> FlowKey {
        FlowKey {
            vni,
            src: self.src,
            dst: self.dst,
            sport_be: self.sport_be,
            dport_be: self.dport_be,
            proto: self.proto,
            direction,
            pad: 0,
        }
    }

    #[inline(always)]
    const fn ports_word(&self) -> u64 {
        (u16::from_be(self.sport_be) as u64) << 32
            | (u16::from_be(self.dport_be) as u64) << 16
            | self.proto as u64
    }
}

/// Outer source port for a flow's hash, network byte order: spreads flows over receive queues.
#[inline(always)]
pub const fn outer_sport_be(hash: u32) -> u16 {
    (OUTER_PORT_BASE | (hash >> 18) as u16).to_be()
}

#[inline(always)]
const fn low(addr: Addr) -> u64 {
    let [a, b, ..] = addr.words_be;
    (u32::from_le(b) as u64) << 32 | u32::from_le(a) as u64
}

#[inline(always)]
const fn high(addr: Addr) -> u64 {
    let [.., c, d] = addr.words_be;
    (u32::from_le(d) as u64) << 32 | u32::from_le(c) as u64
}

#[inline(always)]
const fn hash_words(addresses: [u64; 4], ports: u64) -> u32 {
    let [a, b, c, d] = addresses;
    let mut hash = mix(ports);
    hash = mix(hash ^ a);
    hash = mix(hash ^ b);
    hash = mix(hash ^ c);
    hash = mix(hash ^ d);
    (hash >> 32) as u32
}

/// One round of splitmix64's finaliser.
#[inline(always)]
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;

    fn tuple(client: u8, sport: u16) -> FiveTuple {
        FiveTuple {
            src: Addr::v4([10, 0, 1, client]),
            dst: Addr::v4([10, 0, 1, 250]),
            sport_be: sport.to_be(),
            dport_be: 80_u16.to_be(),
            proto: 6,
        }
    }

    #[test]
    fn hash_is_pinned() {
        // Nodes of different versions must agree: a change here breaks flows during an upgrade.
        assert_eq!(tuple(1, 40_000).hash(), PINNED);
    }
    const PINNED: u32 = 1_770_230_179;

    #[test]
    fn hash_spreads_ports_evenly() {
        let mut buckets = vec![0_u32; 16];
        for sport in 32_768..49_152 {
            buckets[(tuple(1, sport).hash() >> 28) as usize] += 1;
        }
        for count in buckets {
            assert!((900..1150).contains(&count), "{count} of 1024");
        }
    }

    #[test]
    fn published_hash_ignores_the_node_only() {
        let one = tuple(1, 40_000);
        let other_node = FiveTuple {
            dst: Addr::v4([192, 0, 2, 9]),
            ..one
        };
        assert_eq!(one.hash_published(), other_node.hash_published());
        assert_ne!(one.hash_published(), tuple(1, 40_001).hash_published());
        assert_ne!(one.hash_published(), tuple(2, 40_000).hash_published());
    }

    #[test]
    fn reply_key_is_the_key_of_the_reversed_tuple() {
        let one = tuple(1, 40_000);
        assert_eq!(one.reversed().reversed(), one);
        assert_ne!(one.forward_key(1), one.reply_key(1));
        assert_eq!(one.reply_key(5).vni, 5);
    }

    #[test]
    fn outer_port_stays_in_the_dynamic_range() {
        for hash in [0, 1, 0xffff_ffff, 0x1234_5678] {
            assert!(u16::from_be(outer_sport_be(hash)) >= OUTER_PORT_BASE);
        }
    }
}
