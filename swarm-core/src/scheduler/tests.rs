//! Where tasks go, and what is said when they go nowhere.

use alloc::{string::String, vec::Vec};

use crate::{
    id::ServiceId,
    model::{Availability, Platform, PublishMode, Resources, ServiceSpec, TaskState},
    testing::{Cluster, port, publish, service_spec},
};

fn spec(replicas: u64, edit: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
    let mut spec = service_spec("web", replicas);
    edit(&mut spec);
    spec
}

/// Errors of tasks that wait for a node.
fn waiting(cluster: &Cluster, id: &ServiceId) -> Vec<String> {
    let tasks = cluster.store.tasks_of_service(id);
    let pending = tasks.filter(|task| task.status.state == TaskState::Pending);
    pending.map(|task| task.status.err.clone()).collect()
}

fn counts(cluster: &Cluster, id: &ServiceId, nodes: &[&str]) -> Vec<usize> {
    let on = |name: &&str| {
        let tasks = cluster.store.tasks_of_service(id);
        tasks
            .filter(|task| task.node == crate::testing::id(name))
            .count()
    };
    nodes.iter().map(on).collect()
}

#[test]
fn refusals_are_counted_by_reason_most_frequent_first() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"]);
    cluster.edit_node("n3", |node| node.spec.availability = Availability::Pause);
    for (edit, expected) in [
        (
            (|spec: &mut ServiceSpec| {
                spec.task.placement.constraints = ["node.hostname==other".into()].into();
            }) as fn(&mut ServiceSpec),
            "no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)",
        ),
        (
            |spec| spec.task.resources.reservations.memory_bytes = 16 << 30,
            "no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)",
        ),
        (
            |spec| {
                spec.task.placement.platforms = [Platform {
                    architecture: "arm64".into(),
                    os: "linux".into(),
                }]
                .into();
            },
            "no suitable node (unsupported platform on 2 nodes; 1 node not available for new tasks)",
        ),
    ] {
        let id = cluster.create(spec(1, edit)).unwrap();
        assert_eq!(waiting(&cluster, &id), [expected]);
        let remove = crate::control::remove_service(&cluster.store, &id, cluster.now).unwrap();
        cluster.commit(remove);
        cluster.settle();
    }
}

#[test]
fn a_waiting_task_is_placed_when_a_node_appears() {
    let mut cluster = Cluster::new(&["n1"]);
    cluster.edit_node("n1", |node| node.spec.availability = Availability::Pause);
    let id = cluster.create(service_spec("web", 1)).unwrap();
    let text = "no suitable node (1 node not available for new tasks)";
    assert_eq!(waiting(&cluster, &id), [text]);
    cluster.edit_node("n1", |node| node.spec.availability = Availability::Active);
    cluster.run();
    assert_eq!(cluster.running(&id).len(), 1);
    assert_eq!(cluster.running(&id)[0].status.err, "");
}

#[test]
fn two_names_of_one_processor_are_the_same() {
    let mut cluster = Cluster::new(&["n1"]);
    let platform = Platform {
        architecture: "amd64".into(),
        os: "linux".into(),
    };
    let spec = spec(1, |spec| spec.task.placement.platforms = [platform].into());
    let id = cluster.create(spec).unwrap();
    assert_eq!(counts(&cluster, &id, &["n1"]), [1]);
}

#[test]
fn the_service_counts_before_the_total() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let mut other = service_spec("other", 3);
    other.task.placement.constraints = ["node.hostname==n1".into()].into();
    cluster.create(other).unwrap();
    let id = cluster.create(service_spec("web", 4)).unwrap();
    assert_eq!(counts(&cluster, &id, &["n1", "n2"]), [2, 2]);
    let single = cluster.create(service_spec("single", 1)).unwrap();
    assert_eq!(counts(&cluster, &single, &["n1", "n2"]), [0, 1]);
}

#[test]
fn reservations_fill_a_node_up() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let two_cores = Resources {
        nano_cpus: 2_000_000_000,
        memory_bytes: 0,
    };
    let spec = spec(5, |spec| spec.task.resources.reservations = two_cores);
    let id = cluster.create(spec).unwrap();
    assert_eq!(counts(&cluster, &id, &["n1", "n2"]), [2, 2]);
    let text = "no suitable node (insufficient resources on 2 nodes)";
    assert_eq!(waiting(&cluster, &id), [text]);
}

#[test]
fn a_host_port_is_taken_once_per_node_and_replicas_are_limited() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let hosted = spec(3, |spec| {
        let mut port = port(8080, 80);
        port.publish_mode = PublishMode::Host;
        spec.endpoint = Some(publish(&[port]));
    });
    let id = cluster.create(hosted).unwrap();
    assert_eq!(counts(&cluster, &id, &["n1", "n2"]), [1, 1]);
    let text = "no suitable node (host-mode port already in use on 2 nodes)";
    assert_eq!(waiting(&cluster, &id), [text]);
    let mut limited = service_spec("limited", 5);
    limited.task.placement.max_replicas = 2;
    let id = cluster.create(limited).unwrap();
    assert_eq!(counts(&cluster, &id, &["n1", "n2"]), [2, 2]);
    let text = "no suitable node (max replicas per node limit exceed)";
    assert_eq!(waiting(&cluster, &id), [text]);
}

/// Tasks are even over the zones first; zone `b` has one node, which gets as many as the three of zone `a` together.
#[test]
fn spread_preferences_come_before_the_nodes() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3", "n4"]);
    for (name, zone) in [("n1", "a"), ("n2", "a"), ("n3", "a"), ("n4", "b")] {
        cluster.edit_node(name, |node| {
            node.spec
                .annotations
                .labels
                .insert("zone".into(), zone.into());
        });
    }
    let zones = spec(6, |spec| {
        spec.task.placement.spread = ["node.labels.zone".into()].into();
    });
    let id = cluster.create(zones).unwrap();
    assert_eq!(
        counts(&cluster, &id, &["n1", "n2", "n3", "n4"]),
        [1, 1, 1, 3]
    );
}

#[test]
fn a_node_where_the_service_failed_often_comes_last() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let mut spec = service_spec("web", 1);
    spec.task.restart = Some(crate::model::RestartPolicy {
        delay: core::time::Duration::from_secs(1),
        ..crate::model::RestartPolicy::default()
    });
    // n2 is full of others, so the task would always go to n1.
    let mut others = service_spec("others", 3);
    others.task.placement.constraints = ["node.hostname==n2".into()].into();
    cluster.create(others).unwrap();
    let id = cluster.create(spec).unwrap();
    cluster.run();
    let mut nodes = Vec::new();
    for _ in 0..6 {
        let task = cluster.running(&id)[0].clone();
        nodes.push(String::from(&task.node.as_str()[..2]));
        cluster.report(&task.id, TaskState::Failed, "");
        cluster.pass(core::time::Duration::from_secs(2));
    }
    assert_eq!(nodes, ["n1", "n1", "n1", "n1", "n1", "n2"]);
}
