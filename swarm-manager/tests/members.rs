//! Managers that join, move, are demoted and die, with the real binary: what is refused and why, and that nothing is left
//! half done.

#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

mod host;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use host::{
    Host,
    fixtures::{service, three},
    within,
};
use swarm_core::{
    control::{Code, ControlError, Reason},
    model::{ClusterSpec, Node, NodeDescription, Reachability, Role},
};
use swarm_proto::{
    client::{ControlClient, DispatcherClient, Hello, ManagerEvent, TokenRotation},
    tls,
};

const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
const QUORUM: &str = "can't remove member from the raft: this would result in a loss of quorum";

/// The managers by their address.
fn managers(nodes: &[Node]) -> BTreeMap<SocketAddr, (bool, Reachability)> {
    let managers = nodes.iter().filter_map(|node| node.manager.as_ref());
    managers
        .map(|manager| (manager.addr, (manager.leader, manager.reachability)))
        .collect()
}

/// Asks until the nodes are as wanted.
async fn until(
    what: &str,
    control: &ControlClient,
    good: impl Fn(&BTreeMap<SocketAddr, (bool, Reachability)>) -> bool,
) {
    host::until(what, async || {
        let nodes = control.nodes().await;
        nodes.is_ok_and(|nodes| good(&managers(&nodes)))
    })
    .await;
}

/// `node promote|demote`, again if somebody else wrote the node meanwhile.
async fn set_role(
    control: &ControlClient,
    addr: SocketAddr,
    role: Role,
) -> Result<(), ControlError> {
    loop {
        let nodes = control.nodes().await?;
        let found = nodes.into_iter().find(|node| {
            let manager = node.manager.as_ref();
            manager.is_some_and(|manager| manager.addr == addr)
        });
        let node = found.unwrap();
        let mut spec = node.spec;
        spec.role = role;
        match control
            .update_node(&node.id, node.meta.version, &spec)
            .await
        {
            Err(error) if error.message == "update out of sequence" => {}
            outcome => return outcome.map(drop),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_that_would_lose_the_quorum_is_refused_and_the_dead_one_may_go() {
    let [first, second, third] = three(20).await;
    let control = first.control();
    let third = third.killed().await;
    // Seen from a follower too.
    for asked in [&control, &second.control()] {
        until("the dead manager to be unreachable", asked, |managers| {
            managers[&third.addr].1 == Reachability::Unreachable
                && managers[&first.addr] == (true, Reachability::Reachable)
                && managers[&second.addr] == (false, Reachability::Reachable)
        })
        .await;
    }
    let refused = set_role(&control, second.addr, Role::Worker).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::FailedPrecondition, QUORUM)
    );
    set_role(&second.control(), third.addr, Role::Worker)
        .await
        .unwrap();
    until("two managers", &control, |managers| managers.len() == 2).await;

    // It comes back and disturbs nobody: the same leader goes on, and it is told nothing.
    let third = third.restart().await;
    let alone = within("an answer", third.control().nodes())
        .await
        .unwrap_err();
    assert_eq!(alone.message, NO_LEADER);
    assert_eq!(alone.reason, Some(Reason::NoLeader));
    for name in ["one", "two", "three"] {
        control.create_service(&service(name, 0)).await.unwrap();
    }
    let now = managers(&control.nodes().await.unwrap());
    assert_eq!(now.len(), 2);
    assert_eq!(now[&first.addr], (true, Reachability::Reachable));

    // With two of two, the leader may be demoted: it hands over first.
    set_role(&control, first.addr, Role::Worker).await.unwrap();
    let control = second.control();
    until("the other one to lead alone", &control, |managers| {
        managers.len() == 1 && managers[&second.addr] == (true, Reachability::Reachable)
    })
    .await;
    let last = set_role(&control, second.addr, Role::Worker)
        .await
        .unwrap_err();
    assert_eq!(
        last.message,
        "attempting to demote the last manager of the swarm"
    );
    control.create_service(&service("four", 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_refuses_reads_and_writes_in_time_and_rejoins() {
    let [first, second, third] = three(24).await;
    second
        .control()
        .create_service(&service("before", 0))
        .await
        .unwrap();
    let (first, second) = (first.killed().await, second.killed().await);
    let control = third.control();
    for attempt in 0..2 {
        let read = control.nodes().await.unwrap_err();
        assert_eq!(read.message, NO_LEADER, "attempt {attempt}");
        let write = control
            .create_service(&service("never", 0))
            .await
            .unwrap_err();
        assert_eq!(write.message, NO_LEADER, "attempt {attempt}");
    }
    let first = first.restart().await;
    let name = |service: &swarm_core::model::Service| service.spec.annotations.name.clone();
    let back = within("an answer", async {
        loop {
            if let Ok(services) = control.services().await {
                return services;
            }
        }
    })
    .await;
    assert_eq!(back.iter().map(name).collect::<Vec<_>>(), ["before"]);
    let second = second.restart().await;
    until("three managers again", &second.control(), |managers| {
        managers
            .values()
            .all(|(_, reach)| *reach == Reachability::Reachable)
    })
    .await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_inits_at_once_make_one_cluster() {
    let host = Host::start(28).await;
    let csr = host.write_key();
    let (one, two) = tokio::join!(
        host.init_with(&csr, ClusterSpec::default()),
        host.init_with(&csr, ClusterSpec::default())
    );
    let refused = match (one, two) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        other => panic!("one of two: {other:?}"),
    };
    assert!(
        refused
            .message
            .starts_with("This node is already part of a swarm."),
        "{refused}"
    );
    assert_eq!(host.control().nodes().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_cannot_be_reached_is_refused_and_leaves_nothing() {
    let first = Host::start(29).await;
    first.init().await;
    let control = first.control();
    let second = Host::start(30).await;
    let wrong = SocketAddr::new(second.addr.ip(), 2399);
    let refused = second.try_join_managers(&control, &first, wrong).await;
    let refused = refused.unwrap_err();
    let text = "could not connect to prospective new cluster member using its advertised address";
    assert!(refused.message.starts_with(text), "{refused}");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert_eq!(control.nodes().await.unwrap().len(), 1, "nobody joined");
    control
        .create_service(&service("goes-on", 0))
        .await
        .unwrap();

    // An address of its own that it cannot listen on is its own refusal, and is taken back as well.
    let taken = std::net::TcpListener::bind(second.addr).unwrap();
    let refused = second
        .try_join_managers(&control, &first, second.addr)
        .await;
    assert_eq!(refused.unwrap_err().reason, Some(Reason::CannotListen));
    assert_eq!(control.nodes().await.unwrap().len(), 1, "nobody joined");
    drop(taken);

    // And then it works; asked a second time, it is part of a swarm.
    second.join_managers(&control, &first).await;
    let again = second
        .try_join_managers(&control, &first, second.addr)
        .await;
    let again = again.unwrap_err();
    assert!(
        again
            .message
            .starts_with("This node is already part of a swarm."),
        "{again}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_that_join_at_the_same_time_all_get_in() {
    let first = Host::start(31).await;
    first.init().await;
    let control = first.control();
    let (second, third) = (Host::start(32).await, Host::start(33).await);
    tokio::join!(
        second.join_managers(&control, &first),
        third.join_managers(&control, &first)
    );
    until("three managers", &third.control(), |managers| {
        managers.len() == 3
            && managers
                .values()
                .all(|(_, reach)| *reach == Reachability::Reachable)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_comes_back_elsewhere_is_found_there() {
    let [first, second, third] = three(34).await;
    let control = first.control();
    let elsewhere = |host: &Host| {
        let IpAddr::V4(ip) = host.addr.ip() else {
            panic!("hosts of tests have IPv4 addresses")
        };
        let [a, b, c, d] = ip.octets();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b + 60, c, d)), 2388)
    };
    // A follower.
    let moved = elsewhere(&third);
    let third = third.move_to(moved).await;
    until("the follower at its new address", &control, |managers| {
        managers.len() == 3 && managers.get(&moved) == Some(&(false, Reachability::Reachable))
    })
    .await;
    // Its vote counts: with the second one gone it is needed.
    let second = second.killed().await;
    control
        .create_service(&service("needs-the-moved-one", 0))
        .await
        .unwrap();
    let second = second.restart().await;
    // The leader.
    let moved = elsewhere(&first);
    let first = first.move_to(moved).await;
    until(
        "the former leader at its new address",
        &second.control(),
        |managers| {
            managers.len() == 3
                && managers
                    .get(&moved)
                    .is_some_and(|(_, reach)| *reach == Reachability::Reachable)
        },
    )
    .await;
    let services = first.control().services().await.unwrap();
    assert_eq!(services.len(), 1);
    third.stop().await;
}

/// All it knew are gone, and without it the others have no majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_finds_those_who_came_while_it_was_away() {
    let [first, second, away] = three(50).await;
    let away = away.killed().await;
    let (fourth, fifth) = (Host::start(53).await, Host::start(54).await);
    for host in [&fourth, &fifth] {
        host.join_managers(&first.control(), &first).await;
    }
    let control = fourth.control();
    for old in [&second, &first] {
        until("the newcomers to answer", &control, |managers| {
            let answer = |host: &Host| {
                managers
                    .get(&host.addr)
                    .is_some_and(|(_, reach)| *reach == Reachability::Reachable)
            };
            answer(&fourth) && answer(&fifth)
        })
        .await;
        set_role(&control, old.addr, Role::Worker).await.unwrap();
        until("one manager less", &control, |managers| {
            !managers.contains_key(&old.addr)
        })
        .await;
    }
    for gone in [first, second] {
        gone.kill().await;
    }
    let away = away.restart().await;
    let (leads, dies) = {
        let nodes = within("the nodes", control.nodes()).await.unwrap();
        if managers(&nodes)[&fourth.addr].0 {
            (fourth, fifth)
        } else {
            (fifth, fourth)
        }
    };
    host::until("the returned manager to follow", async || {
        let status = away.local().status().await.unwrap();
        status.leader_addr == Some(leads.addr)
    })
    .await;
    dies.kill().await;
    let needs_both = leads.control();
    let spec = service("needs-both", 0);
    let made = Box::pin(needs_both.create_service(&spec));
    within("a write", made).await.unwrap();
    assert_eq!(away.control().services().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_take_effect_while_everything_runs() {
    let host = Host::start(37).await;
    host.init().await;
    let control = host.control();
    let identity = host.join_as(&control, Role::Worker).await;
    let channel = tls::any_manager(host.addr.to_string(), &identity).unwrap();
    let hello = Hello {
        description: NodeDescription::default(),
        data_path_addr: None,
    };
    let opened = DispatcherClient::new(channel).open(hello).await;
    let (welcome, _sender, mut receiver) = opened.unwrap();
    assert_eq!(welcome.heartbeat_interval, Duration::from_millis(500));

    let cluster = control.cluster().await.unwrap();
    let mut spec = cluster.spec.clone();
    spec.heartbeat_period = Duration::from_mins(1);
    spec.snapshot_interval = 20;
    let keep = TokenRotation::default();
    control
        .update_cluster(cluster.meta.version, &spec, keep, None)
        .await
        .unwrap();
    let period = within("the new period", async {
        loop {
            match receiver.next().await.unwrap() {
                Some(ManagerEvent::HeartbeatChanged(period)) => return period,
                Some(_) => {}
                None => panic!("the session ended"),
            }
        }
    })
    .await;
    assert_eq!(period, Duration::from_secs(6));
    for number in 0..40 {
        let spec = service(&format!("s{number}"), 0);
        control.create_service(&spec).await.unwrap();
    }
    let log = host.stop().await;
    assert!(log.matches("making a snapshot").count() >= 2, "{log}");
}
