//! One contract for every store: memory and the kernel's maps give the same answers; and
//! verifying against the kernel.

use crate::host::{VNI, on_a_fresh_host, plan};
use swarm_agent_datapath::kernel::KernelMaps;
use swarm_agent_datapath::memory::MemoryStore;
use swarm_agent_datapath::reconcile::read;
use swarm_agent_datapath::report::DifferenceKind;
use swarm_agent_datapath::tables::{Endpoints, Maglev, Peers};
use swarm_agent_datapath::{DataPath, DesiredMaps, MapStore, Reconciler};
use swarm_common::Addr;
use swarm_common::layout::{LAYOUT_HASH, PIN_DIRECTORY, SCHEMA_VERSION};
use swarm_common::maps::{
    BackendKey, BackendValue, FlowKey, LocalAddressKey, LocalAddressValue, MAGLEV_SIZE, PeerKey,
    PeerValue, PublishedKey, PublishedValue, ServiceKey, ServiceValue, SourceKey, SourceValue,
    names,
};

/// Every map has something in it.
fn full_plan() -> DesiredMaps {
    let mut maps = plan(&[(3, 30), (4, 40)]);
    let addr = Addr::v4([10, 0, 1, 2]);
    maps.sources
        .insert(SourceKey { ifindex: 30, addr }, SourceValue { vni: 4098 });
    maps.services.insert(
        ServiceKey {
            vni: VNI,
            addr,
            ..ServiceKey::default()
        },
        ServiceValue {
            service: 9,
            backend_count: 2,
            flags: 0,
        },
    );
    maps.backends.insert(
        BackendKey { backend: 5 },
        BackendValue {
            vni: VNI,
            addr,
            flags: 0,
        },
    );
    maps.maglev.insert(9, vec![5; MAGLEV_SIZE]);
    maps.maglev.insert(10, Vec::new());
    maps.published.insert(
        PublishedKey {
            port_be: 80_u16.to_be(),
            proto: 6,
            pad: 0,
        },
        PublishedValue {
            service: 9,
            target_port_be: 80_u16.to_be(),
            ..Default::default()
        },
    );
    maps.peers.insert(
        PeerKey {
            node: Addr::v4([192, 0, 2, 2]),
        },
        PeerValue::default(),
    );
    maps.local_addresses.insert(
        LocalAddressKey {
            addr: Addr::v4([192, 0, 2, 1]),
        },
        LocalAddressValue { ifindex: 2 },
    );
    maps
}

/// What every store must do, starting empty.
fn contract(store: &mut impl MapStore) {
    assert_eq!(read(store).unwrap(), DesiredMaps::default());
    let plan = full_plan();
    let mut reconciler = Reconciler::default();
    let report = reconciler.apply(store, &plan).unwrap();
    assert_eq!(
        (report.generation, report.written, report.removed),
        (1, 12, 0)
    );
    assert_eq!(read(store).unwrap(), plan);
    let meta = store.meta().unwrap();
    assert_eq!(
        (meta.layout_hash, meta.schema_version),
        (LAYOUT_HASH, SCHEMA_VERSION)
    );

    // Overwriting is one entry, removing what is not there is fine.
    let node = Addr::v4([192, 0, 2, 3]);
    let peer = PeerKey { node };
    store.put::<Peers>(&peer, &PeerValue { flags: 1 }).unwrap();
    store.put::<Peers>(&peer, &PeerValue { flags: 2 }).unwrap();
    assert_eq!(
        store.entries::<Peers>().unwrap()[&peer],
        PeerValue { flags: 2 }
    );
    assert_eq!(store.entries::<Peers>().unwrap().len(), 2);
    store.remove::<Peers>(&peer).unwrap();
    store.remove::<Peers>(&peer).unwrap();
    assert_eq!(store.entries::<Peers>().unwrap().len(), 1);
    store.remove_flow(&FlowKey::default()).unwrap();
    store.remove_service_stats(4711).unwrap();
    assert!(store.flows().unwrap().is_empty());
    assert!(store.counters().unwrap().verdicts.is_empty());

    let report = reconciler.apply(store, &DesiredMaps::default()).unwrap();
    assert_eq!(
        (report.generation, report.written, report.removed),
        (2, 0, 12)
    );
    assert_eq!(read(store).unwrap(), DesiredMaps::default());
}

#[test]
fn memory_keeps_the_contract() {
    contract(&mut MemoryStore::default());
}

#[test]
fn the_kernel_keeps_the_contract() {
    on_a_fresh_host("contract", |host| {
        let datapath = DataPath::open(host.config.clone()).unwrap();
        contract(&mut KernelMaps::open(&host.config.bpffs.join(PIN_DIRECTORY)).unwrap());
        datapath.destroy().unwrap();
    });
}

#[test]
fn damage_in_the_kernel_is_found_and_mended() {
    on_a_fresh_host("verify", |host| {
        let desired = full_plan();
        let mut datapath = DataPath::open(host.config.clone()).unwrap();
        datapath.apply(&desired).unwrap();
        let mut other = DataPath::attach_existing(&host.config.bpffs).unwrap();
        assert_eq!(other.generation().unwrap(), 1);
        assert!(
            other
                .verify(&desired, false)
                .unwrap()
                .differences
                .is_empty()
        );

        let mut maps = KernelMaps::open(&host.config.bpffs.join(PIN_DIRECTORY)).unwrap();
        let endpoint = *desired.endpoints.keys().next().unwrap();
        maps.remove::<Endpoints>(&endpoint).unwrap();
        maps.put::<Maglev>(&9, &vec![6; MAGLEV_SIZE]).unwrap();
        let stranger = PeerKey {
            node: Addr::v4([203, 0, 113, 9]),
        };
        maps.put::<Peers>(&stranger, &PeerValue::default()).unwrap();

        let found = other.verify(&desired, false).unwrap();
        let kinds: Vec<_> = found.differences.iter().map(|d| (d.map, d.kind)).collect();
        let expected = [
            (names::PEERS, DifferenceKind::Unexpected),
            (names::ENDPOINTS, DifferenceKind::Missing),
            (names::MAGLEV, DifferenceKind::Changed),
        ];
        assert_eq!(kinds, expected);
        let mended = datapath.verify(&desired, true).unwrap();
        assert_eq!(mended.differences, found.differences);
        assert_eq!(
            mended.repair.map(|repair| (repair.written, repair.removed)),
            Some((2, 1))
        );
        assert_eq!(datapath.contents().unwrap(), desired);
        datapath.destroy().unwrap();
    });
}
