//! Every program passes the verifier, and the maps look as both sides expect.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure ends the test"
)]

use aya_obj::btf::BtfKind;
use swarm_common::config::Config;
use swarm_common::maps::{
    BackendKey, BackendValue, Counter, DropCount, EndpointKey, EndpointValue, FlowKey, FlowValue,
    HostFlowKey, HostFlowValue, InterfaceKey, InterfaceValue, LocalAddressKey, LocalAddressValue,
    MaglevKey, MaglevTable, Meta, PeerKey, PeerValue, PublishedKey, PublishedValue, ServiceKey,
    ServiceStats, ServiceStatsKey, ServiceValue, SourceKey, SourceValue, VipClient, names,
};
use swarm_common::paths::{PathIn, PathOut};
use swarm_tests_bpf::fixture::{Fixture, OBJECT};

fn sizes<K, V>() -> (u32, u32) {
    let size = |bytes: usize| u32::try_from(bytes).unwrap();
    (size(size_of::<K>()), size(size_of::<V>()))
}

#[test]
fn every_program_loads_and_every_map_has_its_sizes() {
    let fixture = Fixture::load(&Config::UNSET).unwrap();
    let rows = [
        (names::ENDPOINTS, sizes::<EndpointKey, EndpointValue>()),
        (names::INTERFACES, sizes::<InterfaceKey, InterfaceValue>()),
        (names::SOURCES, sizes::<SourceKey, SourceValue>()),
        (names::SERVICES, sizes::<ServiceKey, ServiceValue>()),
        (names::BACKENDS, sizes::<BackendKey, BackendValue>()),
        (names::MAGLEV, sizes::<MaglevKey, MaglevTable>()),
        (names::PUBLISHED, sizes::<PublishedKey, PublishedValue>()),
        (names::PEERS, sizes::<PeerKey, PeerValue>()),
        (
            names::LOCAL_ADDRESSES,
            sizes::<LocalAddressKey, LocalAddressValue>(),
        ),
        (names::META, sizes::<u32, Meta>()),
        (names::CONNTRACK, sizes::<FlowKey, FlowValue>()),
        (names::VIP_CLIENTS, sizes::<u32, VipClient>()),
        (names::PATHS_OUT, sizes::<u32, PathOut>()),
        (names::PATHS_IN, sizes::<u32, PathIn>()),
        (names::HOST_FLOWS, sizes::<HostFlowKey, HostFlowValue>()),
        (
            names::SERVICE_STATS,
            sizes::<ServiceStatsKey, ServiceStats>(),
        ),
        (names::DROPS, sizes::<u32, DropCount>()),
        (names::COUNTERS, sizes::<u32, Counter>()),
        (names::EVENTS, (0, 0)),
    ];
    assert_eq!(rows.map(|(name, _)| name), names::ALL);
    for (name, expected) in rows {
        assert_eq!(fixture.entry_sizes(name).unwrap(), expected, "{name}");
    }
}

/// `bpftool map dump` prints field names only when keys and values are structs in the type
/// information.
#[test]
fn map_entries_are_structs_with_named_fields() {
    let object = aya_obj::Object::parse(OBJECT).unwrap();
    let btf = object.btf.as_ref().unwrap();
    for name in [
        "EndpointKey",
        "EndpointValue",
        "InterfaceKey",
        "InterfaceValue",
        "SourceKey",
        "SourceValue",
        "ServiceKey",
        "ServiceValue",
        "BackendKey",
        "BackendValue",
        "MaglevKey",
        "MaglevTable",
        "PublishedKey",
        "PublishedValue",
        "PeerKey",
        "PeerValue",
        "LocalAddressKey",
        "LocalAddressValue",
        "Meta",
        "FlowKey",
        "FlowValue",
        "HostFlowKey",
        "HostFlowValue",
        "ServiceStatsKey",
        "ServiceStats",
        "DropCount",
        "Counter",
        "Addr",
    ] {
        assert!(
            btf.id_by_type_name_kind(name, BtfKind::Struct).is_ok(),
            "{name}"
        );
    }
    let bytes = btf.to_bytes();
    for field in [
        "vni",
        "addr",
        "ifindex",
        "sport_be",
        "dport_be",
        "seen_s",
        "backend_count",
        "words_be",
    ] {
        let wanted = format!("\0{field}\0");
        assert!(
            bytes
                .windows(wanted.len())
                .any(|part| part == wanted.as_bytes()),
            "{field}"
        );
    }
}

#[test]
fn the_licence_lets_programs_use_every_helper() {
    assert_eq!(
        aya_obj::Object::parse(OBJECT).unwrap().license.to_str(),
        Ok("Dual MIT/GPL")
    );
}
