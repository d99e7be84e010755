//! What can happen to a packet: indices of the counters and their texts for operators.
//!
//! Every packet that a program handles moves exactly one entry of `counters`; every drop moves one
//! entry of `drops` as well.

use core::fmt;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// How many there are.
            #[expect(clippy::cast_possible_truncation, reason = "a handful of values")]
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Its number: the index of a counter.
            #[inline(always)]
            pub const fn index(self) -> u32 {
                self as u32
            }

            /// The value with this number.
            pub fn from_index(index: u32) -> Option<Self> {
                Self::ALL.get(usize::try_from(index).ok()?).copied()
            }

            /// Text for operators.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

numbered! {
    /// A program of the data plane.
    Program {
        /// What tasks (and the node through `swhost1`) send.
        TaskIngress = "tc_task_ingress",
        /// What arrives from the underlay.
        UnderlayIngress = "tc_underlay_ingress",
        /// Connections of the node's own processes.
        Connect4 = "connect4",
        /// Datagrams of the node's own processes.
        Sendmsg4 = "sendmsg4",
        /// Answers to those datagrams.
        Recvmsg4 = "recvmsg4",
        /// The peer address those processes see.
        Getpeername4 = "getpeername4",
    }
}

numbered! {
    /// What a program did with a packet.
    Verdict {
        /// Not ours: left to the kernel.
        Pass = "passed to the kernel",
        /// Dropped; the reason is counted in `drops`.
        Drop = "dropped",
        /// An ARP request answered.
        Arp = "arp answered",
        /// An echo request to the gateway answered.
        Echo = "echo answered by the gateway",
        /// Delivered to an endpoint of this node.
        DeliverLocal = "delivered to a local endpoint",
        /// Encapsulated towards another node.
        Encapsulate = "encapsulated to another node",
        /// To a virtual address: delivered to an endpoint of this node.
        VipLocal = "virtual address to a local backend",
        /// To a virtual address: encapsulated towards another node.
        VipRemote = "virtual address to a remote backend",
        /// Answer from a virtual address, translated back and delivered.
        VipReply = "reply translated back to the virtual address",
        /// Client's packet to a published port, delivered on this node.
        PublishedLocal = "published port to a local backend",
        /// Client's packet to a published port, forwarded unchanged to the backend's node.
        PublishedForward = "published port forwarded to a remote backend",
        /// Forwarded packet for a published port, delivered on this node.
        PublishedDeliver = "forwarded published packet delivered",
        /// Reply of a published port, sent back through the node the client spoke to.
        PublishedReturn = "published reply returned through the ingress node",
        /// Reply of a published port, sent out to the client.
        PublishedReply = "published reply sent to the client",
        /// Sent to the outside behind the node's address.
        MasqueradeOut = "masqueraded to the outside",
        /// Answer from the outside, delivered to the task.
        MasqueradeIn = "masqueraded reply delivered",
        /// A node's own connection redirected to a backend.
        HostRewrite = "node's own connection sent to a backend",
        /// Frag-needed sent to a client.
        FragNeeded = "frag-needed sent to the client",
    }
}

numbered! {
    /// Why a packet was dropped.
    DropReason {
        /// Headers do not fit into the packet.
        Truncated = "headers are cut off",
        /// IPv4 options are not carried.
        IpOptions = "ip options are not supported",
        /// A later fragment, or the first one of a translated packet.
        Fragment = "ip fragment of a flow that needs translation",
        /// Not a protocol the overlay carries (IPv6, VLAN, ...).
        Protocol = "protocol is not carried by the overlay",
        /// The interface is not in `interfaces`.
        UnknownInterface = "sent through an unknown interface",
        /// The source is not an address of the sender.
        SourceSpoofed = "source address does not belong to the sender",
        /// The destination is inside the subnet and no endpoint.
        NoEndpoint = "no endpoint has the destination address",
        /// A service without a backend.
        NoBackend = "service has no healthy backend",
        /// A reply or masqueraded packet that belongs to no known flow.
        NoFlow = "no flow matches the reply",
        /// VXLAN from an address that is not a peer.
        UnknownPeer = "vxlan from an unknown node",
        /// VXLAN with a network no local endpoint of that address is in.
        UnknownVni = "vxlan for a network this endpoint is not in",
        /// The endpoint is not on this node: the sender's map is stale.
        NotLocal = "vxlan for an endpoint of another node",
        /// No masquerade port is free towards this destination.
        PortsExhausted = "no free masquerade port",
        /// The packet does not fit the tunnel.
        TooBig = "packet does not fit the tunnel",
        /// The kernel refused to grow, shrink or rewrite the packet.
        Rewrite = "kernel refused to rewrite the packet",
        /// TTL has run out at a routed hop.
        TtlExpired = "time to live expired",
        /// From a task to this node's own address.
        OwnNode = "task to its own node's address is not carried",
        /// A multicast or broadcast destination.
        Multicast = "multicast is not carried by the overlay",
        /// Published port: the forwarded packet names a port that is not published here.
        NotPublished = "forwarded packet names a port that is not published",
    }
}

/// Entries of `counters`.
pub const COUNTERS: u32 = Program::COUNT * Verdict::COUNT;
/// Entries of `drops`.
pub const DROPS: u32 = DropReason::COUNT;

/// Index into `counters`.
#[inline(always)]
pub const fn counter_index(program: Program, verdict: Verdict) -> u32 {
    program.index() * Verdict::COUNT + verdict.index()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_indices_are_dense_and_unique() {
        let mut expected = 0;
        for program in Program::ALL {
            for verdict in Verdict::ALL {
                assert_eq!(counter_index(*program, *verdict), expected);
                expected += 1;
            }
        }
        assert_eq!(expected, COUNTERS);
    }

    #[test]
    fn numbers_and_values_match() {
        for (index, reason) in (0_u32..).zip(DropReason::ALL) {
            assert_eq!(reason.index(), index);
            assert_eq!(DropReason::from_index(index), Some(*reason));
            assert!(!reason.text().is_empty());
        }
        assert_eq!(DropReason::from_index(DROPS), None);
    }
}
