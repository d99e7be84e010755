//! What a node is told, and that deltas lead from one set to the next.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    Affected, Assignment, Assignments, affected_nodes, apply, assignments_for, diff, snapshot,
};
use crate::{
    id::NodeId,
    model::{EndpointMode, EndpointSpec},
    testing::{Cluster, attach, id, port, publish, service_spec},
};

/// The set as text, without tasks.
fn lines(set: &Assignments) -> Vec<String> {
    let line = |item: &Assignment| match item {
        Assignment::Task(_) => None,
        Assignment::Network(network) => {
            Some(alloc::format!("network {}", network.spec.annotations.name))
        }
        Assignment::Endpoint(endpoint) => {
            let serving = if endpoint.serving { " serving" } else { "" };
            let draining = if endpoint.draining { " draining" } else { "" };
            let node = &endpoint.node.as_str()[..2];
            Some(alloc::format!(
                "endpoint {} on {node}{serving}{draining}",
                endpoint.address
            ))
        }
        Assignment::Service(service) => Some(alloc::format!("service {}", service.name)),
        Assignment::Peer(peer) => Some(alloc::format!("peer {}", peer.hostname)),
        Assignment::IngressAddress(own) => Some(alloc::format!("own {}", own.address)),
    };
    let mut lines: Vec<String> = set.values().filter_map(line).collect();
    lines.sort();
    lines
}

fn tasks(set: &Assignments) -> usize {
    let task = |item: &&Assignment| matches!(item, Assignment::Task(_));
    set.values().filter(task).count()
}

fn published_and_private() -> Cluster {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"]);
    let network = cluster.create_network("app");
    let mut web = service_spec("web", 1);
    web.task.networks = [attach(&network)].into();
    web.task.placement.constraints = ["node.hostname==n2".into()].into();
    web.endpoint = Some(publish(&[port(8080, 80)]));
    cluster.create(web).unwrap();
    let mut db = service_spec("db", 1);
    db.task.networks = [attach(&network)].into();
    db.task.placement.constraints = ["node.hostname==n1".into()].into();
    cluster.create(db).unwrap();
    cluster.run();
    cluster
}

#[test]
fn a_node_knows_the_mesh_and_the_networks_of_its_tasks() {
    let cluster = published_and_private();
    let set = assignments_for(&cluster.store, &id("n1"));
    assert_eq!(
        lines(&set),
        [
            "endpoint 10.0.0.2 on n1",
            "endpoint 10.0.0.3 on n2",
            "endpoint 10.0.0.4 on n3",
            "endpoint 10.0.0.6 on n2 serving",
            "endpoint 10.0.1.3 on n2 serving",
            "endpoint 10.0.1.5 on n1 serving",
            "network app",
            "network ingress",
            "own 10.0.0.2",
            "peer n2",
            "peer n3",
            "service db",
            "service web",
        ]
    );
    assert_eq!(tasks(&set), 1);
    // n3 runs nothing: the mesh is all it needs.
    let set = assignments_for(&cluster.store, &id("n3"));
    assert_eq!(
        lines(&set),
        [
            "endpoint 10.0.0.2 on n1",
            "endpoint 10.0.0.3 on n2",
            "endpoint 10.0.0.4 on n3",
            "endpoint 10.0.0.6 on n2 serving",
            "network ingress",
            "own 10.0.0.4",
            "peer n1",
            "peer n2",
            "service web",
        ]
    );
    assert_eq!(tasks(&set), 0);
    assert!(assignments_for(&cluster.store, &id("unknown")).is_empty());
}

#[test]
fn a_node_that_is_down_is_nobodys_peer() {
    let mut cluster = published_and_private();
    cluster.silent.push(id("n2"));
    cluster.pass(core::time::Duration::from_secs(3));
    let set = assignments_for(&cluster.store, &id("n3"));
    assert_eq!(
        lines(&set),
        [
            "endpoint 10.0.0.2 on n1",
            "endpoint 10.0.0.4 on n3",
            "network ingress",
            "own 10.0.0.4",
            "peer n1",
            "service web",
        ]
    );
}

#[test]
fn aliases_stand_for_tasks_where_there_is_no_virtual_address() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("app");
    let mut spec = service_spec("web", 1);
    spec.task.networks = [attach(&network)].into();
    spec.task.networks[0].aliases = ["www".into()].into();
    spec.endpoint = Some(EndpointSpec {
        mode: EndpointMode::DnsRoundRobin,
        ports: Vec::new(),
    });
    cluster.create(spec).unwrap();
    cluster.run();
    let set = assignments_for(&cluster.store, &id("n1"));
    let names = set.values().find_map(|item| match item {
        Assignment::Endpoint(endpoint) if endpoint.task.is_some() => Some(&endpoint.names),
        Assignment::Endpoint(_)
        | Assignment::Task(_)
        | Assignment::Network(_)
        | Assignment::Service(_)
        | Assignment::Peer(_)
        | Assignment::IngressAddress(_) => None,
    });
    let task = cluster.store.tasks().next().unwrap();
    assert_eq!(*names.unwrap(), [task.container_name(), "www".to_string()]);
}

#[test]
fn deltas_lead_from_one_set_to_the_next() {
    let mut cluster = published_and_private();
    let node = id::<NodeId>("n1");
    let mut held = Assignments::new();
    apply(
        &mut held,
        snapshot(&assignments_for(&cluster.store, &node), 1),
    );
    assert_eq!(held, assignments_for(&cluster.store, &node));
    let web = cluster.store.service_by_name("web").unwrap().id.clone();
    cluster.update(&web, |spec| spec.task.force_update = 1);
    let next = assignments_for(&cluster.store, &node);
    let delta = diff(&held, &next, 2);
    assert_eq!((delta.generation, delta.snapshot), (2, false));
    assert!(!delta.upserts.is_empty());
    apply(&mut held, delta);
    assert_eq!(held, next);
    let db = cluster.store.service_by_name("db").unwrap().id.clone();
    let remove = crate::control::remove_service(&cluster.store, &db, cluster.now).unwrap();
    cluster.commit(remove);
    cluster.run();
    let next = assignments_for(&cluster.store, &node);
    let delta = diff(&held, &next, 3);
    assert!(!delta.removals.is_empty());
    apply(&mut held, delta);
    assert_eq!(held, next);
    assert_eq!(diff(&held, &next, 4).upserts, Vec::new());
}

#[test]
fn a_change_concerns_the_nodes_that_can_see_it() {
    let mut cluster = published_and_private();
    let affected = |cluster: &Cluster, since| {
        affected_nodes(&cluster.store, cluster.store.changes_since(since).unwrap())
    };
    let db = cluster.store.service_by_name("db").unwrap().id.clone();
    let web = cluster.store.service_by_name("web").unwrap().id.clone();
    for (service, expected) in [
        (db, Affected::Nodes(BTreeSet::from([id("n1"), id("n2")]))),
        (web, Affected::All),
    ] {
        let task = cluster.running(&service)[0].id.clone();
        let before = cluster.store.index();
        cluster.report(&task, crate::model::TaskState::Failed, "");
        assert_eq!(affected(&cluster, before), expected);
    }
}
