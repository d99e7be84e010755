//! What one CPU remembers of the tables: where the packets between two addresses go.
//!
//! Two direct-mapped caches, one per direction, in per-CPU arrays, which programs reach without calling the kernel. A
//! packet of a known pair then costs no hash look-up at all, where it would cost four (sender and destination on one
//! node, peer and destination on the other). Only what depends on nothing but the tables is remembered, never what a packet's own bytes decide.
//!
//! An entry counts while two numbers are what they were when it was written: the plan's generation
//! ([`crate::maps::Meta::generation`], which the agent raises after every change of the tables) and a slow clock
//! ([`moment`]), so that a table changed by another hand, or by an agent that died before it raised the generation,
//! is seen within three seconds too. Programs read both *before* they look into the tables: a change in between raises the
//! generation afterwards, and the entry is void.

use crate::addr::Addr;
use crate::maps::EndpointValue;

/// Entries of each cache on each CPU (a power of two). Pairs that share one take turns.
pub const CAPACITY: usize = 1_024;
const MASK: u32 = 1_023;
const _: () = assert!(MASK as usize + 1 == CAPACITY && CAPACITY.is_power_of_two());

/// When something was remembered.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp {
    /// [`crate::maps::Meta::generation`].
    pub generation: u64,
    /// [`moment`].
    pub moment: u64,
}

/// The slow clock for a count of the kernel's ticks: 256 ticks are 0.26 s at 1,000 Hz and 2.56 s at 100 Hz.
#[inline(always)]
pub const fn moment(jiffies: u64) -> u64 {
    jiffies >> 8
}

/// `paths_out` value: from a task of this node to an endpoint on another one.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PathOut {
    /// When.
    pub stamp: Stamp,
    /// Source address, which the sender owns.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Interface the packets come from.
    pub ifindex: u32,
    /// The network.
    pub vni: u32,
    /// Underlay address of the destination's node.
    pub node: Addr,
    /// Hardware address of the destination.
    pub mac: [u8; 6],
    /// Zero.
    pub pad: [u8; 2],
}

impl PathOut {
    /// Its place in `paths_out`.
    #[inline(always)]
    pub const fn index(ifindex: u32, src: Addr, dst: Addr) -> u32 {
        fold([ifindex, host_order(src), host_order(dst)])
    }

    /// Whether it says where this packet goes.
    #[inline(always)]
    pub fn is_of(&self, stamp: Stamp, ifindex: u32, src: Addr, dst: Addr) -> bool {
        self.ifindex == ifindex && self.dst == dst && self.src == src && self.stamp.is(stamp)
    }
}

/// `paths_in` value: from a peer to an endpoint of this node.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PathIn {
    /// When.
    pub stamp: Stamp,
    /// Underlay address of the node that sends, which is a peer.
    pub node: Addr,
    /// Destination address inside the wrapping.
    pub dst: Addr,
    /// The network.
    pub vni: u32,
    /// The destination.
    pub endpoint: EndpointValue,
    /// Zero.
    pub pad: u32,
}

impl PathIn {
    /// Its place in `paths_in`.
    #[inline(always)]
    pub const fn index(node: Addr, vni: u32, dst: Addr) -> u32 {
        fold([vni, host_order(node), host_order(dst)])
    }

    /// Whether it says where this packet goes.
    #[inline(always)]
    pub fn is_of(&self, stamp: Stamp, node: Addr, vni: u32, dst: Addr) -> bool {
        self.vni == vni && self.dst == dst && self.node == node && self.stamp.is(stamp)
    }
}

impl Stamp {
    #[inline(always)]
    const fn is(self, other: Self) -> bool {
        self.generation == other.generation && self.moment == other.moment
    }
}

/// An index from three words that differ in their low bits and may depend on each other, as an interface and its address do:
/// each multiplication carries them up, each shift brings them down again for the next.
#[inline(always)]
const fn fold([a, b, c]: [u32; 3]) -> u32 {
    const GOLDEN: u32 = 0x9e37_79b1; // 2^32 divided by the golden ratio, made odd
    let word = a.wrapping_mul(GOLDEN);
    let word = (word ^ (word >> 15)).wrapping_add(b).wrapping_mul(GOLDEN);
    let word = (word ^ (word >> 15)).wrapping_add(c).wrapping_mul(GOLDEN);
    word >> MASK.leading_zeros()
}

#[inline(always)]
const fn host_order(addr: Addr) -> u32 {
    u32::from_be(addr.to_be32())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    const STAMP: Stamp = Stamp {
        generation: 7,
        moment: 3,
    };

    fn task(last: u8) -> Addr {
        Addr::v4([10, 0, 1, last])
    }

    #[test]
    fn an_entry_counts_for_its_own_packets_and_moment_only() {
        let out = PathOut {
            stamp: STAMP,
            src: task(3),
            dst: task(5),
            ifindex: 9,
            ..PathOut::default()
        };
        assert!(out.is_of(STAMP, 9, task(3), task(5)));
        assert!(!out.is_of(STAMP, 8, task(3), task(5)), "another veth");
        assert!(!out.is_of(STAMP, 9, task(4), task(5)), "another source");
        assert!(
            !out.is_of(STAMP, 9, task(3), task(6)),
            "another destination"
        );
        let arrived = PathIn {
            stamp: STAMP,
            node: task(200),
            dst: task(5),
            vni: 4097,
            ..PathIn::default()
        };
        assert!(arrived.is_of(STAMP, task(200), 4097, task(5)));
        assert!(
            !arrived.is_of(STAMP, task(201), 4097, task(5)),
            "another node"
        );
        assert!(
            !arrived.is_of(STAMP, task(200), 4098, task(5)),
            "another network"
        );
        assert!(
            !arrived.is_of(STAMP, task(200), 4097, task(6)),
            "another destination"
        );
        for (name, stamp) in [
            (
                "another plan",
                Stamp {
                    generation: 8,
                    ..STAMP
                },
            ),
            ("later", Stamp { moment: 4, ..STAMP }),
        ] {
            assert!(!out.is_of(stamp, 9, task(3), task(5)), "{name}");
            assert!(!arrived.is_of(stamp, task(200), 4097, task(5)), "{name}");
        }
    }

    #[test]
    fn an_empty_entry_is_of_nothing() {
        // Addresses in packets are never `Addr::NONE`, not even 0.0.0.0.
        let zero = Addr::v4([0; 4]);
        assert!(!PathOut::default().is_of(Stamp::default(), 0, zero, zero));
        assert!(!PathIn::default().is_of(Stamp::default(), zero, 0, zero));
    }

    #[test]
    fn pairs_of_a_network_spread_over_the_entries() {
        let mut out = BTreeSet::new();
        let mut arrived = BTreeSet::new();
        for src in 0..16 {
            for dst in 0..16 {
                out.insert(PathOut::index(u32::from(src) + 40, task(src), task(dst)));
                arrived.insert(PathIn::index(task(src), 4097, task(dst)));
            }
        }
        assert!(out.len() > 200, "{} of 256", out.len());
        assert!(arrived.len() > 200, "{} of 256", arrived.len());
    }

    #[test]
    fn a_moment_is_at_most_three_seconds() {
        const SLOWEST_HZ: u64 = 100;
        assert_eq!(moment(0), moment(255));
        assert_ne!(moment(0), moment(3 * SLOWEST_HZ));
    }
}
