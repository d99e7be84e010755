//! The read-only configuration the loader writes into the object before it is loaded.
//!
//! One struct, one global: [`CONFIG_GLOBAL`]. What can change while the programs run belongs into a
//! map instead.

use crate::addr::Addr;

/// Name of the global (`EbpfLoader::override_global(CONFIG_GLOBAL, &config, true)`).
pub const CONFIG_GLOBAL: &str = "CONFIG";

/// Default UDP port of the overlay.
pub const DEFAULT_DATA_PATH_PORT: u16 = 4789;
/// First source port of masqueraded flows: above Linux' default ephemeral range (32768-60999).
pub const DEFAULT_MASQUERADE_PORT_MIN: u16 = 61_000;
/// Last source port of masqueraded flows.
pub const DEFAULT_MASQUERADE_PORT_MAX: u16 = 65_535;

/// Configuration of all programs of one node.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Config {
    /// Cookie of the agent's network namespace (`SO_NETNS_COOKIE`): cgroup programs ignore sockets
    /// of every other one.
    pub host_netns_cookie: u64,
    /// The node's data path address: outer source of VXLAN, source of masqueraded flows.
    pub node_addr: Addr,
    /// Interface that carries `node_addr`.
    pub underlay_ifindex: u32,
    /// MTU of that interface: an encapsulated packet must not be longer.
    pub underlay_mtu: u32,
    /// UDP port of the overlay, native byte order.
    pub data_path_port: u16,
    /// First source port of masqueraded flows, native byte order.
    pub masquerade_port_min: u16,
    /// Last source port of masqueraded flows, native byte order.
    pub masquerade_port_max: u16,
    /// Prefix length of the underlay's subnet in bits: another node inside it is a neighbour, any other
    /// is looked up in the routes.
    pub underlay_prefix_len: u16,
}

impl Config {
    /// What the object contains before the loader has set it: nothing works, nothing is undefined.
    pub const UNSET: Self = Self {
        host_netns_cookie: 0,
        node_addr: Addr::NONE,
        underlay_ifindex: 0,
        underlay_mtu: 1500,
        data_path_port: DEFAULT_DATA_PATH_PORT,
        masquerade_port_min: DEFAULT_MASQUERADE_PORT_MIN,
        masquerade_port_max: DEFAULT_MASQUERADE_PORT_MAX,
        underlay_prefix_len: 32,
    };

    /// Whether a node is reached without a gateway.
    #[inline(always)]
    pub const fn is_neighbour(node_addr: Addr, prefix_len: u16, other: Addr) -> bool {
        let difference = u32::from_be(node_addr.to_be32() ^ other.to_be32());
        // A shift by all 32 bits is not defined; a subnet of everything has no gateway either.
        prefix_len == 0 || difference >> ((32 - prefix_len as u32) & 31) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_the_prefix() {
        let own = Addr::v4([192, 168, 4, 7]);
        for (prefix_len, other, expected) in [
            (24, [192, 168, 4, 200], true),
            (24, [192, 168, 5, 7], false),
            (23, [192, 168, 5, 7], true),
            (32, [192, 168, 4, 7], true),
            (32, [192, 168, 4, 6], false),
            (1, [128, 0, 0, 1], true),
            (1, [10, 0, 0, 1], false),
            (0, [10, 0, 0, 1], true),
        ] {
            let found = Config::is_neighbour(own, prefix_len, Addr::v4(other));
            assert_eq!(found, expected, "{prefix_len} {other:?}");
        }
    }
}
