//! The node's configuration, written by the loader before the programs are loaded.

use core::ptr;

use swarm_common::Addr;
use swarm_common::config::Config;

#[unsafe(no_mangle)]
static CONFIG: Config = Config::UNSET;

macro_rules! read {
    ($field:ident) => {{
        // SAFETY: points into a static that lives for the whole program and is aligned. Volatile,
        // because the compiler must not use the value it sees: the loader replaces it.
        unsafe { ptr::read_volatile(&raw const CONFIG.$field) }
    }};
}

/// Underlay address of this node.
#[inline(always)]
pub fn node_addr() -> Addr {
    read!(node_addr)
}

/// Interface towards the other nodes and the outside.
#[inline(always)]
pub fn underlay_ifindex() -> u32 {
    read!(underlay_ifindex)
}

/// Whether another node is on the underlay's own subnet.
#[inline(always)]
pub fn is_neighbour(node: Addr) -> bool {
    Config::is_neighbour(node_addr(), read!(underlay_prefix_len), node)
}

/// Longest IP packet the underlay takes.
#[inline(always)]
pub fn underlay_mtu() -> u32 {
    read!(underlay_mtu)
}

/// UDP port of the overlay, network byte order.
#[inline(always)]
pub fn data_path_port_be() -> u16 {
    read!(data_path_port).to_be()
}

/// First and last source port of masqueraded flows, native byte order.
#[inline(always)]
pub fn masquerade_ports() -> (u16, u16) {
    (read!(masquerade_port_min), read!(masquerade_port_max))
}

/// Cookie of the agent's network namespace.
#[inline(always)]
pub fn host_netns_cookie() -> u64 {
    read!(host_netns_cookie)
}
