//! Proof that the structs of [`crate::maps`] and [`crate::config`] have no hidden padding, and a
//! number that names their layout.
//!
//! The pin directory is named by [`LAYOUT_HASH`], because the loader re-uses a pinned map without
//! looking at its sizes.

use crate::addr::Addr;
use crate::config::Config;
use crate::maps::{
    BackendKey, BackendValue, Counter, DropCount, EndpointKey, EndpointValue, Event, FlowKey,
    FlowValue, HostFlowKey, HostFlowValue, InterfaceKey, InterfaceValue, LocalAddressKey,
    LocalAddressValue, MAGLEV_SIZE, MaglevKey, MaglevTable, Meta, PeerKey, PeerValue, PublishedKey,
    PublishedValue, ServiceKey, ServiceStats, ServiceStatsKey, ServiceValue, SourceKey,
    SourceValue, VipClient,
};
use crate::paths::{PathIn, PathOut, Stamp};
use crate::verdict;

/// Meaning of the map contents; raise it when a field changes its meaning but not its place.
pub const SCHEMA_VERSION: u32 = 1;

/// Asserts every field's offset and the size, and yields the numbers for the hash. A struct whose
/// fields' sizes do not add up to its own size has hidden padding and does not compile.
macro_rules! layout {
    ($($name:ident { $($field:ident: $type:ty = $offset:literal),* $(,)? } = $size:literal;)*) => {
        $(const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
            assert!(0 $(+ size_of::<$type>())* == $size);
        };)*

        const LAYOUT: &[u64] = &[
            $($size, $($offset,)*)*
        ];
    };
}

layout! {
    Addr { words_be: [u32; 4] = 0 } = 16;
    EndpointKey { vni: u32 = 0, addr: Addr = 4 } = 20;
    EndpointValue { node: Addr = 0, ifindex: u32 = 16, flags: u32 = 20, mac: [u8; 6] = 24, pad: [u8; 2] = 30 } = 32;
    InterfaceKey { ifindex: u32 = 0 } = 4;
    InterfaceValue {
        vni: u32 = 0, flags: u32 = 4, addr: Addr = 8, gateway: Addr = 24, netmask_be: u32 = 40,
        mac: [u8; 6] = 44, pad: [u8; 2] = 50,
    } = 52;
    SourceKey { ifindex: u32 = 0, addr: Addr = 4 } = 20;
    SourceValue { vni: u32 = 0 } = 4;
    ServiceKey { vni: u32 = 0, addr: Addr = 4, port_be: u16 = 20, proto: u8 = 22, pad: u8 = 23 } = 24;
    ServiceValue { service: u32 = 0, backend_count: u32 = 4, flags: u32 = 8 } = 12;
    BackendKey { backend: u32 = 0 } = 4;
    BackendValue { vni: u32 = 0, addr: Addr = 4, flags: u32 = 20 } = 24;
    MaglevKey { service: u32 = 0 } = 4;
    MaglevTable { backends: [u32; MAGLEV_SIZE] = 0 } = 4084;
    PublishedKey { port_be: u16 = 0, proto: u8 = 2, pad: u8 = 3 } = 4;
    PublishedValue { service: u32 = 0, target_port_be: u16 = 4, pad: u16 = 6, backend_count: u32 = 8, flags: u32 = 12 } = 16;
    PeerKey { node: Addr = 0 } = 16;
    PeerValue { flags: u32 = 0 } = 4;
    LocalAddressKey { addr: Addr = 0 } = 16;
    LocalAddressValue { ifindex: u32 = 0 } = 4;
    Meta { layout_hash: u64 = 0, generation: u64 = 8, schema_version: u32 = 16, flags: u32 = 20 } = 24;
    VipClient { used: u32 = 0 } = 4;
    Stamp { generation: u64 = 0, moment: u64 = 8 } = 16;
    PathOut {
        stamp: Stamp = 0, src: Addr = 16, dst: Addr = 32, ifindex: u32 = 48, vni: u32 = 52, node: Addr = 56,
        mac: [u8; 6] = 72, pad: [u8; 2] = 78,
    } = 80;
    PathIn { stamp: Stamp = 0, node: Addr = 16, dst: Addr = 32, vni: u32 = 48, endpoint: EndpointValue = 52, pad: u32 = 84 } = 88;
    FlowKey {
        vni: u32 = 0, src: Addr = 4, dst: Addr = 20, sport_be: u16 = 36, dport_be: u16 = 38,
        proto: u8 = 40, direction: u8 = 41, pad: u16 = 42,
    } = 44;
    FlowValue {
        kind: u8 = 0, state: u8 = 1, port_be: u16 = 2, addr: Addr = 4, vni: u32 = 20, node: Addr = 24,
        service: u32 = 40, seen_s: u32 = 44,
    } = 48;
    HostFlowKey { cookie: u64 = 0, addr: Addr = 8, port_be: u16 = 24, proto: u8 = 26, pad: [u8; 5] = 27 } = 32;
    HostFlowValue { addr: Addr = 0, port_be: u16 = 16, pad: u16 = 18 } = 20;
    ServiceStatsKey { service: u32 = 0 } = 4;
    ServiceStats { packets: u64 = 0, bytes: u64 = 8, new_flows: u64 = 16, no_backend: u64 = 24 } = 32;
    DropCount { packets: u64 = 0 } = 8;
    Counter { packets: u64 = 0, bytes: u64 = 8 } = 16;
    Event {
        time_ns: u64 = 0, program: u32 = 8, reason: u32 = 12, ifindex: u32 = 16, length: u32 = 20,
        flow: FlowKey = 24, pad: u32 = 68,
    } = 72;
    Config {
        host_netns_cookie: u64 = 0, node_addr: Addr = 8, underlay_ifindex: u32 = 24, underlay_mtu: u32 = 28,
        data_path_port: u16 = 32, masquerade_port_min: u16 = 34, masquerade_port_max: u16 = 36,
        underlay_prefix_len: u16 = 38,
    } = 40;
}

/// FNV-1a over every size and offset, the numbers of counters and the schema version.
pub const LAYOUT_HASH: u64 = {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, SCHEMA_VERSION as u64);
    hash = fnv(hash, verdict::COUNTERS as u64);
    hash = fnv(hash, verdict::DROPS as u64);
    let mut at = 0;
    while at < LAYOUT.len() {
        hash = fnv(hash, LAYOUT[at]);
        at += 1;
    }
    hash
};

/// Characters of [`pin_directory`].
pub const PIN_DIRECTORY_LENGTH: usize = 17;

/// Name of the directory the maps of this layout are pinned in: `v` and the hash in hexadecimal.
pub const fn pin_directory() -> [u8; PIN_DIRECTORY_LENGTH] {
    let mut name = [b'v'; PIN_DIRECTORY_LENGTH];
    let mut at = 1;
    let mut rest = LAYOUT_HASH;
    while at < PIN_DIRECTORY_LENGTH {
        name[at] = b"0123456789abcdef"[(rest >> 60) as usize];
        rest <<= 4;
        at += 1;
    }
    name
}

/// [`pin_directory`] as text.
pub const PIN_DIRECTORY: &str = {
    const NAME: [u8; PIN_DIRECTORY_LENGTH] = pin_directory();
    match core::str::from_utf8(&NAME) {
        Ok(text) => text,
        Err(_) => panic!("hexadecimal digits are ASCII"),
    }
};

const fn fnv(mut hash: u64, value: u64) -> u64 {
    let bytes = value.to_le_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn pin_directory_is_the_hash() {
        assert_eq!(PIN_DIRECTORY, std::format!("v{LAYOUT_HASH:016x}"));
    }
}
