//! The programmed barrier: a serving task is drained on every node before it is told to stop.

use super::*;

/// A service on a network, with a running task for each node.
fn serving(nodes: &[&str]) -> (Cluster, ServiceId) {
    let mut cluster = Cluster::new(nodes);
    let network = cluster.create_network("app");
    let mut spec = service_spec("web", u64::try_from(nodes.len()).unwrap());
    spec.task.networks = [attach(&network)].into();
    let service = cluster.create(spec).unwrap();
    cluster.run();
    (cluster, service)
}

/// A node has programmed its first assignments.
fn program(cluster: &mut Cluster, name: &str) {
    let index = cluster.store.index();
    cluster.leader.assignments_sent(&id(name), 1, index);
    cluster.leader.programmed(&id(name), 1);
}

/// A task with addresses is drained before it is stopped, as long as a node has not programmed that.
#[test]
fn a_serving_task_drains_until_the_nodes_have_programmed_it() {
    let (mut cluster, service) = serving(&["n1", "n2"]);
    for name in ["n1", "n2"] {
        program(&mut cluster, name);
    }
    set_replicas(&mut cluster, &service, 1);
    let draining = [
        "1 n1 running/running v1",
        "2 n2 running/running v1 draining",
    ];
    assert_eq!(cluster.table(&service), draining);
    for name in ["n1", "n2"] {
        cluster
            .leader
            .assignments_sent(&id(name), 2, cluster.store.index());
    }
    cluster.leader.programmed(&id("n1"), 2);
    cluster.now = cluster.now + SECOND;
    cluster.settle();
    assert_eq!(cluster.table(&service), draining, "n2 has not acknowledged");
    cluster.leader.programmed(&id("n2"), 2);
    cluster.settle();
    assert_eq!(
        cluster.table(&service),
        ["1 n1 running/running v1", "2 n2 running/remove v1 draining"]
    );
}

#[test]
fn draining_is_bounded_and_can_be_taken_back() {
    let (mut cluster, service) = serving(&["n1", "n2"]);
    program(&mut cluster, "n1");
    set_replicas(&mut cluster, &service, 1);
    assert_eq!(
        cluster.table(&service)[1],
        "2 n2 running/running v1 draining"
    );
    set_replicas(&mut cluster, &service, 2);
    assert_eq!(cluster.table(&service)[1], "2 n2 running/running v1");
    set_replicas(&mut cluster, &service, 1);
    cluster.pass(2 * SECOND);
    assert_eq!(cluster.table(&service), ["1 n1 running/running v1"]);
}

#[test]
fn removing_a_service_takes_its_tasks_with_it() {
    let (mut cluster, id) = started(&["n1"], 2);
    let transaction = control::remove_service(&cluster.store, &id, cluster.now).unwrap();
    cluster.commit(transaction);
    cluster.settle();
    assert_eq!(
        cluster.table(&id),
        ["1 n1 running/remove v1", "2 n1 running/remove v1"]
    );
    cluster.run();
    assert!(cluster.table(&id).is_empty());
}

/// The wish to stop a serving task is written late, after draining; its replacement must not take that for "still wanted".
#[test]
fn stop_first_waits_for_a_task_that_still_drains() {
    let (mut cluster, service) = serving(&["n1"]);
    program(&mut cluster, "n1");
    update_with(&mut cluster, &service, UpdateConfig::default());
    cluster.settle();
    assert_eq!(
        cluster.table(&service),
        ["1 n1 running/running v1 draining", "1 n1 assigned/ready v2"]
    );
}
