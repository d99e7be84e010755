//! Reconciling over memory and over a store that fails; the contract is run over the kernel's
//! maps as well, in `tests/`.

use swarm_common::Addr;
use swarm_common::maps::{
    BackendKey, BackendValue, EndpointValue, FlowKey, FlowValue, InterfaceKey, InterfaceValue,
    MAGLEV_SIZE, PeerKey, PeerValue, ServiceKey, ServiceStats, ServiceValue, names,
};

use super::*;
use crate::memory::{Change, FailingStore, MemoryStore};

const VNI: u32 = 4097;

fn addr(last: u8) -> Addr {
    Addr::v4([10, 0, 1, last])
}

/// A network with one service (10.0.1.2) and backends on the given last octets.
fn plan(backends: &[u8]) -> DesiredMaps {
    let mut maps = DesiredMaps::default();
    maps.peers.insert(
        PeerKey {
            node: Addr::v4([192, 0, 2, 2]),
        },
        PeerValue::default(),
    );
    for last in backends {
        let ifindex = 100 + u32::from(*last);
        maps.interfaces.insert(
            InterfaceKey { ifindex },
            InterfaceValue {
                vni: VNI,
                addr: addr(*last),
                ..InterfaceValue::default()
            },
        );
        maps.endpoints.insert(
            EndpointKey {
                vni: VNI,
                addr: addr(*last),
            },
            EndpointValue {
                ifindex,
                ..EndpointValue::default()
            },
        );
        maps.backends.insert(
            BackendKey {
                backend: u32::from(*last),
            },
            BackendValue {
                vni: VNI,
                addr: addr(*last),
                flags: 0,
            },
        );
    }
    if let Some(first) = backends.first() {
        maps.maglev.insert(9, vec![u32::from(*first); MAGLEV_SIZE]);
        let key = ServiceKey {
            vni: VNI,
            addr: addr(2),
            ..ServiceKey::default()
        };
        let value = ServiceValue {
            service: 9,
            backend_count: 1,
            flags: 0,
        };
        maps.services.insert(key, value);
    }
    maps
}

#[test]
fn references_never_dangle_while_a_plan_is_applied() {
    let mut store = MemoryStore::default();
    let mut reconciler = Reconciler::default();
    reconciler.apply(&mut store, &plan(&[3])).unwrap();
    let put = |name| {
        store
            .changes
            .iter()
            .position(|change| *change == Change::Put(name))
            .unwrap()
    };
    let additions = [
        names::PEERS,
        names::INTERFACES,
        names::ENDPOINTS,
        names::BACKENDS,
        names::MAGLEV,
        names::SERVICES,
    ];
    assert!(additions.map(put).is_sorted());

    store.changes.clear();
    reconciler
        .apply(&mut store, &DesiredMaps::default())
        .unwrap();
    let removals: Vec<_> = store
        .changes
        .iter()
        .map(|change| match change {
            Change::Remove(name) | Change::Put(name) => *name,
        })
        .collect();
    assert_eq!(
        removals,
        [
            names::SERVICES,
            names::MAGLEV,
            names::BACKENDS,
            names::ENDPOINTS,
            names::INTERFACES,
            names::PEERS
        ]
    );
    assert_eq!(store.maps, DesiredMaps::default());
}

#[test]
fn the_new_table_is_in_place_before_its_old_backend_goes() {
    let mut store = MemoryStore::default();
    let mut reconciler = Reconciler::default();
    reconciler.apply(&mut store, &plan(&[3])).unwrap();
    store.changes.clear();
    let report = reconciler.apply(&mut store, &plan(&[4])).unwrap();
    let table = store
        .changes
        .iter()
        .position(|c| *c == Change::Put(names::MAGLEV))
        .unwrap();
    let gone = store
        .changes
        .iter()
        .position(|c| *c == Change::Remove(names::BACKENDS))
        .unwrap();
    assert!(table < gone);
    // Written: interface, endpoint, backend, table. Removed: interface, endpoint, backend.
    assert_eq!(
        (report.generation, report.written, report.removed),
        (2, 4, 3)
    );
}

#[test]
fn flows_and_statistics_end_with_their_endpoint_and_service() {
    let mut store = MemoryStore::default();
    let mut reconciler = Reconciler::default();
    reconciler.apply(&mut store, &plan(&[3, 4])).unwrap();
    for backend in [3, 4] {
        let key = FlowKey {
            vni: VNI,
            src: addr(9),
            dst: addr(2),
            sport_be: backend.into(),
            ..FlowKey::default()
        };
        let value = FlowValue {
            vni: VNI,
            addr: addr(backend),
            ..FlowValue::default()
        };
        store.flows.insert(key, value);
    }
    store.counters.services.insert(9, ServiceStats::default());

    let report = reconciler.apply(&mut store, &plan(&[3])).unwrap();
    assert_eq!(report.flows_forgotten, 1);
    assert_eq!(
        store
            .flows
            .keys()
            .map(|key| key.sport_be)
            .collect::<Vec<_>>(),
        [3]
    );
    assert_eq!(store.counters.services.len(), 1);
    reconciler.apply(&mut store, &plan(&[])).unwrap();
    assert!(store.flows.is_empty());
    assert!(store.counters.services.is_empty());
}

#[test]
fn after_any_failure_the_next_plan_still_comes_out_right() {
    let before = plan(&[3, 4]);
    let after = plan(&[4, 5]);
    let mut failures = 0;
    for operations in 0..200 {
        let mut reconciler = Reconciler::default();
        let mut good = MemoryStore::default();
        reconciler.apply(&mut good, &before).unwrap();
        let mut failing = FailingStore::after(good, operations);
        let outcome = reconciler.apply(&mut failing, &after);
        let mut store = failing.inner;
        if let Err(error) = outcome {
            failures += 1;
            assert!(error.to_string().contains("out of memory"), "{error}");
            reconciler.apply(&mut store, &after).unwrap();
        }
        assert_eq!(store.maps, after, "after {operations} operations");
    }
    assert!(failures > 5, "{failures}");
}

#[test]
fn verify_lists_what_differs_and_mends_it() {
    let desired = plan(&[3, 4]);
    let mut store = MemoryStore::default();
    let mut reconciler = Reconciler::default();
    reconciler.apply(&mut store, &desired).unwrap();
    let clean = reconciler.verify(&mut store, &desired, true).unwrap();
    assert_eq!(
        (clean.compared, clean.differences.len(), clean.repair),
        (9, 0, None)
    );

    store.maps.peers.clear();
    store
        .maps
        .backends
        .insert(BackendKey { backend: 77 }, BackendValue::default());
    store.maps.maglev.insert(9, vec![4; MAGLEV_SIZE]);
    let found = reconciler.verify(&mut store, &desired, false).unwrap();
    let kinds: Vec<_> = found.differences.iter().map(|d| (d.map, d.kind)).collect();
    assert_eq!(
        kinds,
        [
            (names::PEERS, DifferenceKind::Missing),
            (names::BACKENDS, DifferenceKind::Unexpected),
            (names::MAGLEV, DifferenceKind::Changed),
        ]
    );
    assert_ne!(store.maps, desired, "looking changes nothing");
    let mended = reconciler.verify(&mut store, &desired, true).unwrap();
    assert_eq!(
        mended.repair.map(|repair| (repair.written, repair.removed)),
        Some((2, 1))
    );
    assert_eq!(store.maps, desired);
    assert!(
        mended
            .to_string()
            .ends_with("10 entries compared, 3 differ, 2 written, 1 removed"),
        "{mended}"
    );
}
