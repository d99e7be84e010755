//! What is given where, and the property that nothing is given twice: the addresses that live objects hold are distinct
//! and are exactly what the index holds.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::net::Ipv4Addr;

use proptest::prelude::*;

use crate::{
    control::{self, Code},
    id::{NetworkId, NodeId, ServiceId},
    model::{
        Attachment, EndpointMode, EndpointSpec, IpamConfig, Protocol, PublishMode, ServiceSpec,
        TaskState,
    },
    store::Store,
    testing::{Cluster, attach, id, network_spec, port, publish, service_spec},
};

fn allocation(cluster: &Cluster, id: &NetworkId) -> (u32, String) {
    let found = cluster.store.network(id).unwrap().allocation.unwrap();
    (found.vni, found.subnet.to_string())
}

#[test]
fn ingress_comes_first_and_user_networks_follow() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let ingress = cluster.store.ingress_network().unwrap().id.clone();
    assert_eq!(allocation(&cluster, &ingress), (4096, "10.0.0.0/24".into()));
    let first = cluster.create_network("one");
    let second = cluster.create_network("two");
    assert_eq!(allocation(&cluster, &first), (4097, "10.0.1.0/24".into()));
    assert_eq!(allocation(&cluster, &second), (4098, "10.0.2.0/24".into()));
    let nodes = cluster.store.nodes();
    let own: Vec<String> = nodes
        .map(|node| node.attachment.as_ref().unwrap().address.to_string())
        .collect();
    assert_eq!(own, ["10.0.0.2", "10.0.0.3"]);
    // A freed VNI is not the next one; a freed subnet is.
    let remove = control::remove_network(&cluster.store, &second, cluster.now).unwrap();
    cluster.commit(remove);
    let third = cluster.create_network("three");
    assert_eq!(allocation(&cluster, &third), (4099, "10.0.2.0/24".into()));
}

#[test]
fn a_published_service_has_the_ingress_address_first() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("app");
    let mut spec = service_spec("web", 1);
    spec.task.networks = [attach(&network)].into();
    spec.endpoint = Some(publish(&[port(8080, 80), port(0, 81)]));
    let id = cluster.create(spec).unwrap();
    let endpoint = cluster.service(&id).endpoint.clone().unwrap();
    let addresses = |attachments: &[Attachment]| -> Vec<String> {
        let addresses = attachments.iter().map(|found| found.address.to_string());
        addresses.collect()
    };
    assert_eq!(addresses(&endpoint.virtual_ips), ["10.0.0.3", "10.0.1.2"]);
    let ports: Vec<u16> = endpoint
        .ports
        .iter()
        .map(|port| port.published_port)
        .collect();
    assert_eq!(ports, [8080, 30000]);
    let task = cluster.store.tasks_of_service(&id).next().unwrap();
    assert_eq!(addresses(&task.attachments), ["10.0.0.4", "10.0.1.3"]);
    assert_eq!(task.endpoint, Some(endpoint));
    assert_eq!(task.status.state, TaskState::Assigned);
}

#[test]
fn plain_dns_has_no_virtual_address() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("app");
    let mut spec = service_spec("web", 1);
    spec.task.networks = [attach(&network)].into();
    spec.endpoint = Some(EndpointSpec {
        mode: EndpointMode::DnsRoundRobin,
        ports: Vec::new(),
    });
    let id = cluster.create(spec).unwrap();
    assert!(
        cluster
            .service(&id)
            .endpoint
            .as_ref()
            .unwrap()
            .virtual_ips
            .is_empty()
    );
    let task = cluster.store.tasks_of_service(&id).next().unwrap();
    assert_eq!(task.attachments[0].address, Ipv4Addr::new(10, 0, 1, 2));
}

#[test]
fn freed_addresses_come_back_only_after_the_cursor_has_gone_round() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = small_network(&mut cluster, "192.168.0.0/29");
    // Six hosts: gateway .1, virtual address .2, tasks .3 to .6.
    let mut spec = service_spec("web", 1);
    spec.task.networks = [attach(&network)].into();
    let id = cluster.create(spec).unwrap();
    let mut seen = Vec::new();
    for round in 0..6u64 {
        cluster.run();
        seen.push(cluster.running(&id)[0].attachments[0].address.octets()[3]);
        cluster.update(&id, |spec| spec.task.force_update = round + 1);
        cluster.run();
    }
    assert_eq!(seen, [3, 4, 5, 6, 3, 4]);
}

fn small_network(cluster: &mut Cluster, subnet: &str) -> NetworkId {
    let mut spec = network_spec("small");
    spec.ipam = [IpamConfig {
        subnet: subnet.parse().unwrap(),
        gateway: None,
    }]
    .into();
    let (id, transaction) =
        control::create_network(&cluster.store, spec, cluster.now, &mut cluster.rng).unwrap();
    cluster.commit(transaction);
    cluster.settle();
    id
}

/// A full network shows in the status of the tasks that wait, and they go on when there is room.
#[test]
fn exhaustion_is_visible_and_ends_when_there_is_room() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = small_network(&mut cluster, "192.168.0.0/29");
    let mut spec = service_spec("web", 6);
    spec.task.networks = [attach(&network)].into();
    let id = cluster.create(spec).unwrap();
    cluster.run();
    assert_eq!(cluster.running(&id).len(), 4);
    let waiting: Vec<&str> = cluster
        .store
        .tasks_of_service(&id)
        .filter(|task| task.status.state == TaskState::New)
        .map(|task| task.status.err.as_str())
        .collect();
    let text = format!(
        "could not find an available IP in network {network}: all of 192.168.0.0/29 are in use"
    );
    assert_eq!(waiting, [text.as_str(), text.as_str()]);
    cluster.update(&id, |spec| {
        spec.mode = crate::model::ServiceMode::Replicated { replicas: 4 };
    });
    cluster.run();
    assert_eq!(cluster.running(&id).len(), 4);
    assert_eq!(cluster.table(&id).len(), 4);
}

#[test]
fn an_overlapping_subnet_is_refused_at_once() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("app");
    let mut spec = network_spec("other");
    spec.ipam = [IpamConfig {
        subnet: "10.0.1.128/25".parse().unwrap(),
        gateway: None,
    }]
    .into();
    let refused = control::create_network(&cluster.store, spec, cluster.now, &mut cluster.rng);
    let error = refused.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    assert_eq!(
        error.message,
        format!("subnet 10.0.1.128/25 overlaps with network app ({network})")
    );
}

/// One request of a random history.
#[derive(Clone, Debug)]
enum Request {
    Network,
    RemoveNetwork(usize),
    Service {
        networks: usize,
        replicas: u64,
        publish: bool,
    },
    Scale(usize, u64),
    Redeploy(usize, bool),
    RemoveService(usize),
    Fail(usize),
    Node,
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Network),
        (0..8usize).prop_map(Request::RemoveNetwork),
        (0..3usize, 0..5u64, any::<bool>()).prop_map(|(networks, replicas, publish)| {
            Request::Service {
                networks,
                replicas,
                publish,
            }
        }),
        (0..8usize, 0..6u64).prop_map(|(service, replicas)| Request::Scale(service, replicas)),
        (0..8usize, any::<bool>())
            .prop_map(|(service, publish)| Request::Redeploy(service, publish)),
        (0..8usize).prop_map(Request::RemoveService),
        (0..20usize).prop_map(Request::Fail),
        Just(Request::Node),
    ]
}

fn serve(cluster: &mut Cluster, request: &Request, serial: usize) {
    let networks: Vec<NetworkId> = cluster
        .store
        .networks()
        .filter(|network| !network.spec.ingress)
        .map(|network| network.id.clone())
        .collect();
    let services: Vec<ServiceId> = cluster
        .store
        .services()
        .map(|found| found.id.clone())
        .collect();
    match request {
        Request::Network => drop(cluster.create_network(&format!("net{serial}"))),
        Request::RemoveNetwork(at) => remove_network(cluster, networks.get(*at)),
        Request::Service {
            networks: count,
            replicas,
            publish: published,
        } => {
            let mut spec = service_spec(&format!("svc{serial}"), *replicas);
            spec.task.networks = networks.iter().take(*count).map(attach).collect();
            spec.endpoint = published.then(|| publish(&[port(0, 80), port(0, 81)]));
            cluster.create(spec).unwrap();
        }
        Request::Scale(at, replicas) => {
            let replicas = *replicas;
            change(cluster, services.get(*at), |spec| {
                spec.mode = crate::model::ServiceMode::Replicated { replicas };
            });
        }
        Request::Redeploy(at, published) => change(cluster, services.get(*at), |spec| {
            spec.task.force_update += 1;
            spec.endpoint = published.then(|| publish(&[port(0, 80)]));
        }),
        Request::RemoveService(at) => {
            if let Some(id) = services.get(*at) {
                let remove = control::remove_service(&cluster.store, id, cluster.now).unwrap();
                cluster.commit(remove);
            }
        }
        Request::Fail(at) => fail(cluster, *at),
        Request::Node => join(cluster, serial),
    }
}

fn remove_network(cluster: &mut Cluster, id: Option<&NetworkId>) {
    if let Some(id) = id
        && let Ok(transaction) = control::remove_network(&cluster.store, id, cluster.now)
    {
        cluster.commit(transaction);
    }
}

fn change(cluster: &mut Cluster, id: Option<&ServiceId>, edit: impl FnOnce(&mut ServiceSpec)) {
    if let Some(id) = id {
        cluster.update(id, edit);
    }
}

fn fail(cluster: &mut Cluster, at: usize) {
    let tasks = cluster.store.tasks();
    let running = tasks.filter(|task| task.status.state == TaskState::Running);
    let victim = running.map(|task| task.id.clone()).nth(at);
    if let Some(victim) = victim {
        cluster.report(&victim, TaskState::Failed, "");
    }
}

fn join(cluster: &mut Cluster, serial: usize) {
    let name = format!("m{serial}");
    let new = crate::testing::new_node(&name, crate::model::Role::Worker);
    if let Ok(transaction) = control::add_node(&cluster.store, new, cluster.now) {
        cluster.commit(transaction);
        cluster.register(&name);
    }
}

/// Everything that is held, read from the objects themselves.
fn held(store: &Store) -> Vec<(NetworkId, Ipv4Addr)> {
    let nodes = store.nodes().flat_map(|node| node.attachment.as_slice());
    let services = store
        .services()
        .filter_map(|service| service.endpoint.as_ref());
    let virtual_ips = services.flat_map(|endpoint| &endpoint.virtual_ips);
    let live = store
        .tasks()
        .filter(|task| !task.status.state.is_terminal());
    let tasks = live.flat_map(|task| &task.attachments);
    let all = nodes.chain(virtual_ips).chain(tasks);
    all.map(|found| (found.network.clone(), found.address))
        .collect()
}

fn check(store: &Store) {
    let held = held(store);
    let distinct: BTreeSet<_> = held.iter().cloned().collect();
    assert_eq!(held.len(), distinct.len(), "an address is held twice");
    let indexed: BTreeSet<_> = store
        .networks()
        .flat_map(|network| {
            let holders = store.address_holders(&network.id);
            holders.map(|(address, _holder)| (network.id.clone(), address))
        })
        .collect();
    let known = |found: &&(NetworkId, Ipv4Addr)| store.network(&found.0).is_some();
    let of_known: BTreeSet<_> = distinct.iter().filter(known).cloned().collect();
    assert_eq!(indexed, of_known, "index and objects differ");
    let mut vnis = BTreeSet::new();
    for network in store.networks() {
        let given = network.allocation.unwrap();
        assert!(vnis.insert(given.vni), "a VNI is given twice");
        for (found, address) in &distinct {
            if *found == network.id {
                assert!(given.subnet.contains(*address) && *address != given.gateway);
            }
        }
        for other in store.networks().filter(|other| other.id != network.id) {
            assert!(!other.allocation.unwrap().subnet.overlaps(given.subnet));
        }
    }
    let mut ports: BTreeMap<(Protocol, u16), &ServiceId> = BTreeMap::new();
    for service in store.services() {
        for port in service.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
            if port.publish_mode == PublishMode::Ingress {
                let key = (port.protocol, port.published_port);
                assert_eq!(
                    ports.insert(key, &service.id),
                    None,
                    "a port is given twice"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_is_given_twice_and_everything_comes_back(
        requests in prop::collection::vec((request(), any::<bool>()), 1..40),
    ) {
        let mut cluster = Cluster::new(&["n1", "n2"]);
        for (serial, (request, run)) in requests.iter().enumerate() {
            serve(&mut cluster, request, serial);
            check(&cluster.store);
            if *run { cluster.run() } else { cluster.settle() }
            check(&cluster.store);
        }
        let services: Vec<ServiceId> = cluster.store.services().map(|found| found.id.clone()).collect();
        for service in services {
            let remove = control::remove_service(&cluster.store, &service, cluster.now).unwrap();
            cluster.commit(remove);
        }
        cluster.run();
        prop_assert_eq!(cluster.store.tasks().count(), 0);
        let nodes: BTreeSet<NodeId> = cluster.store.nodes().map(|node| node.id.clone()).collect();
        prop_assert_eq!(held(&cluster.store).len(), nodes.len(), "only the nodes' own addresses are left");
    }
}

#[test]
fn a_leader_that_starts_anew_gives_nothing_twice() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("app");
    let mut spec = service_spec("web", 3);
    spec.task.networks = [attach(&network)].into();
    cluster.create(spec.clone()).unwrap();
    cluster.run();
    cluster.leader = crate::leader::Leader::new(cluster.now);
    cluster.register("n1");
    spec.annotations.name = "api".into();
    cluster.create(spec).unwrap();
    cluster.run();
    check(&cluster.store);
    assert!(cluster.store.node(&id::<NodeId>("n1")).is_some());
    assert_eq!(held(&cluster.store).len(), 1 + 4 + 4);
}
