//! Sessions, heartbeats, change of leader, and that the leader comes to rest.

use alloc::vec::Vec;
use core::time::Duration;

use super::{HeartbeatTimes, Leader, Left, Report, SessionId};
use crate::{
    control::Code,
    id::NodeId,
    model::{ClusterSpec, NodeDescription, NodeState, TaskState, TaskStatus},
    store::Transaction,
    testing::{Cluster, id, service_spec},
};

const SECOND: Duration = Duration::from_secs(1);

fn state(cluster: &Cluster, name: &str) -> NodeState {
    cluster
        .store
        .node(&id::<NodeId>(name))
        .unwrap()
        .status
        .state
}

fn session(name: &str) -> SessionId {
    SessionId(name.into())
}

/// Ends a session; whether it was the node's current one.
fn close(cluster: &mut Cluster, node: &str, ended: &str) -> bool {
    let (store, now) = (&cluster.store, cluster.now);
    cluster
        .leader
        .close_session(store, &id(node), &session(ended), now)
}

#[test]
fn intervals_follow_from_the_heartbeat_period() {
    let times = |seconds| {
        HeartbeatTimes::new(&ClusterSpec {
            heartbeat_period: Duration::from_secs(seconds),
            ..ClusterSpec::default()
        })
    };
    let docker = times(5);
    assert_eq!(docker.interval, Duration::from_millis(500));
    assert_eq!(docker.silence, Duration::from_millis(2500));
    assert_eq!(docker.grace, 15 * SECOND);
    assert_eq!(times(60).interval, 6 * SECOND);
    assert_eq!(times(1).interval, Duration::from_millis(500));
    assert_eq!(times(1).grace, 3 * SECOND);
}

#[test]
fn a_silent_node_is_down_and_a_registration_brings_it_back() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.silent.push(id("n2"));
    cluster.pass(2 * SECOND);
    assert_eq!(state(&cluster, "n2"), NodeState::Ready);
    cluster.pass(SECOND);
    assert_eq!(state(&cluster, "n2"), NodeState::Down);
    let status = &cluster.store.node(&id::<NodeId>("n2")).unwrap().status;
    assert_eq!(status.message, "heartbeat failure");
    assert!(
        !cluster
            .leader
            .heartbeat(&cluster.store, &id("n2"), &session("n2"), cluster.now)
    );
    cluster.register("n2");
    cluster.run();
    assert_eq!(state(&cluster, "n2"), NodeState::Ready);
}

/// The agent restarts: its host answers, so its tasks stay where they are for three heartbeat periods.
#[test]
fn a_closed_session_has_a_grace_period() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let service = cluster.create(service_spec("web", 2)).unwrap();
    cluster.run();
    let before = cluster.table(&service);
    cluster.silent.push(id("n2"));
    assert!(close(&mut cluster, "n2", "n2"));
    cluster.tell(&id("n2"), &Report::Left(Left::Closed));
    cluster.pass(14 * SECOND);
    assert_eq!(state(&cluster, "n2"), NodeState::Disconnected);
    assert_eq!(cluster.table(&service), before);
    cluster.register("n2");
    cluster.run();
    assert_eq!(cluster.table(&service), before);
    cluster.pass(5 * SECOND);
    assert_eq!(state(&cluster, "n2"), NodeState::Ready);
}

#[test]
fn leaving_for_good_needs_no_waiting() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    assert!(close(&mut cluster, "n2", "n2"));
    cluster.tell(&id("n2"), &Report::Left(Left::ForGood));
    assert_eq!(state(&cluster, "n2"), NodeState::Down);
}

#[test]
fn the_end_of_a_replaced_session_changes_nothing() {
    let mut cluster = Cluster::new(&["n1"]);
    assert!(!close(&mut cluster, "n1", "older"));
    let stale = cluster.decide(&id("n1"), &Report::Left(Left::Closed));
    assert_eq!(stale.transaction, Transaction::new(cluster.now));
    assert_eq!(cluster.leader.session(&id("n1")), Some(&session("n1")));
}

#[test]
fn a_removed_node_gets_no_session() {
    let mut cluster = Cluster::new(&["n1"]);
    let report = Report::Registered {
        session: session("gone"),
        description: NodeDescription::default(),
        addr: None,
        data_path_addr: None,
    };
    let refused = cluster.decide(&id("gone"), &report);
    assert_eq!(refused.transaction, Transaction::new(cluster.now));
    assert!(matches!(&refused.outcomes[..], [Err(refusal)] if refusal.code == Code::NotFound));
    assert_eq!(cluster.leader.session(&id("gone")), None);
}

/// A new leader does not know who is there: nodes are unknown, their tasks stay, and those that do not come are down.
#[test]
fn after_a_change_of_leader_nodes_are_unknown_until_they_come_back() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let service = cluster.create(service_spec("web", 2)).unwrap();
    cluster.run();
    let before = cluster.table(&service);
    cluster.leader = Leader::new(cluster.now);
    cluster.silent = [id("n1"), id("n2")].into();
    cluster.settle();
    assert_eq!(state(&cluster, "n1"), NodeState::Unknown);
    let status = &cluster.store.node(&id::<NodeId>("n1")).unwrap().status;
    assert_eq!(
        status.message,
        "Node moved to \"unknown\" state due to leadership change in cluster"
    );
    cluster.pass(2 * SECOND);
    cluster.register("n1");
    cluster.pass(10 * SECOND);
    assert_eq!(state(&cluster, "n1"), NodeState::Ready);
    assert_eq!(cluster.table(&service), before);
    cluster.pass(4 * SECOND);
    assert_eq!(state(&cluster, "n2"), NodeState::Down);
    let lost = "2 n2 running/shutdown v1";
    assert!(cluster.table(&service).contains(&lost.into()));
}

#[test]
fn reports_on_other_nodes_tasks_and_steps_back_are_dropped() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let service = cluster.create(service_spec("web", 1)).unwrap();
    cluster.run();
    let task = cluster.running(&service)[0].clone();
    let mut statuses = |node: &str, state| {
        let status = TaskStatus {
            state,
            ..TaskStatus::default()
        };
        let report = Report::Tasks([(task.id.clone(), status)].into());
        cluster.decide(&id(node), &report).transaction
    };
    assert!(statuses("n2", TaskState::Failed).is_empty());
    assert!(statuses("n1", TaskState::Ready).is_empty());
    assert_eq!(statuses("n1", TaskState::Failed).changes.len(), 1);
}

/// A transaction that was refused is decided again: nothing is forgotten.
#[test]
fn a_lost_race_is_decided_again() {
    let mut cluster = Cluster::new(&["n1"]);
    let spec = service_spec("web", 2);
    let (service, transaction) =
        crate::control::create_service(&cluster.store, spec, cluster.now, &mut cluster.rng)
            .unwrap();
    cluster.commit(transaction);
    for _ in 0..3 {
        let step = cluster
            .leader
            .step(&cluster.store, cluster.now, &mut cluster.rng);
        assert!(step.transaction.is_some_and(|lost| !lost.is_empty()));
    }
    cluster.run();
    assert_eq!(
        cluster.table(&service),
        ["1 n1 running/running v1", "2 n1 running/running v1"]
    );
}

/// Many tasks come in transactions of bounded size and are all placed.
#[test]
fn a_large_service_is_placed_in_bounded_transactions() {
    let names: Vec<alloc::string::String> = (0..50)
        .map(|number| alloc::format!("m{number:02}x"))
        .collect();
    let names: Vec<&str> = names.iter().map(alloc::string::String::as_str).collect();
    let mut cluster = Cluster::new(&names);
    let service = cluster.create(service_spec("web", 3000)).unwrap();
    cluster.run();
    assert_eq!(cluster.running(&service).len(), 3000);
    for name in names {
        let on_node = cluster.store.tasks_of_node(&id(name)).count();
        assert_eq!(on_node, 60, "{name}");
    }
}
