//! The real binary, driven as an agent drives it: over its unix socket and over mutual TLS.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::large_futures,
    reason = "tests and their helpers"
)]
#![allow(dead_code, reason = "the helpers are other tests' too")]

mod durability;
mod host;

use std::time::Duration;

use host::{Host, fixtures::service, within};
use swarm_core::{
    control::{Code, Reason},
    dispatch::{Assignment, Assignments, tasks},
    model::{ClusterSpec, NodeDescription, NodeState, Role, Service, TaskState, TaskStatus},
};
use swarm_proto::{
    client::{
        AgentEvent, CaClient, ControlClient, DispatcherClient, Hello, LogBatch, LogMessage,
        LogOptions, LogSelector, LogStream, LogsClient, ManagerEvent, SessionReceiver,
        SessionSender, TokenRotation,
    },
    tls::{self, new_csr},
};

/// An agent's side of a session, with the assignments it holds.
struct Agent {
    sender: SessionSender,
    receiver: SessionReceiver,
    held: Assignments,
    generation: u64,
}

impl Agent {
    async fn open(host: &Host, identity: &std::sync::Arc<tls::Identity>) -> Self {
        let channel = tls::any_manager(host.addr.to_string(), identity).unwrap();
        let hello = Hello {
            description: NodeDescription {
                hostname: "worker".to_owned(),
                ..NodeDescription::default()
            },
            data_path_addr: None,
        };
        let opened = within("session", DispatcherClient::new(channel).open(hello)).await;
        let (welcome, sender, receiver) = opened.unwrap();
        assert_eq!(welcome.node_id, identity.this_node().node_id);
        assert!(welcome.heartbeat_interval <= Duration::from_secs(5));
        Self {
            sender,
            receiver,
            held: Assignments::new(),
            generation: 0,
        }
    }

    /// Takes generations until `enough`; each is acknowledged, as a real agent does.
    async fn hold_until(&mut self, what: &str, enough: impl Fn(&Assignments) -> bool) {
        let wait = async {
            while !enough(&self.held) || self.generation == 0 {
                match self.receiver.next().await.unwrap() {
                    Some(ManagerEvent::Assignments(delta)) => {
                        assert_eq!(delta.generation, self.generation + 1);
                        assert_eq!(delta.snapshot, self.generation == 0);
                        self.generation = delta.generation;
                        swarm_core::dispatch::apply(&mut self.held, delta);
                        let done = AgentEvent::Programmed(self.generation);
                        self.sender.send(&done).await.unwrap();
                    }
                    Some(ManagerEvent::Managers(managers)) => assert!(!managers.is_empty()),
                    Some(
                        ManagerEvent::NodeChanged { .. }
                        | ManagerEvent::HeartbeatChanged(_)
                        | ManagerEvent::Trust(_),
                    ) => {}
                    None => panic!("the session ended while waiting for {what}"),
                }
            }
        };
        within(what, wait).await;
    }

    /// Reports every task as running.
    async fn run_all(&self) {
        let reports = tasks(&self.held).map(|task| {
            let status = TaskStatus {
                state: TaskState::Running,
                message: "started".to_owned(),
                timestamp: task.status.timestamp,
                ..TaskStatus::default()
            };
            (task.id.clone(), status)
        });
        let event = AgentEvent::TaskStatuses(reports.collect());
        self.sender.send(&event).await.unwrap();
    }
}

fn task_count(held: &Assignments) -> usize {
    let tasks = held
        .values()
        .filter(|item| matches!(item, Assignment::Task(_)));
    tasks.count()
}

async fn token(control: &ControlClient, role: Role) -> String {
    let root = control.cluster().await.unwrap().root_ca;
    swarm_core::ca::join_token(&root, role).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_needs_the_right_token_and_the_right_authority() {
    let host = Host::start(1).await;
    host.init().await;
    let control = host.control();
    let good = token(&control, Role::Worker).await;
    let addr = host.addr.to_string();
    let csr = new_csr().unwrap();
    let availability = swarm_core::model::Availability::Active;
    let join = async |token: &str| CaClient::join(&addr, token, &csr, availability).await;

    let refused = join("SWMTKN-1-nonsense").await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    let (head, secret) = good.rsplit_once('-').unwrap();
    let wrong_secret = format!("{head}-{}", secret.chars().rev().collect::<String>());
    let refused = join(&wrong_secret).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    assert_eq!(
        refused.message,
        "A valid join token is necessary to join this cluster"
    );
    let foreign = format!("SWMTKN-1-{}-{secret}", "0".repeat(50));
    let refused = join(&foreign).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated);

    let joined = join(&good).await.unwrap();
    assert_eq!(joined.role, Role::Worker);
    let identity = tls::Identity::new(&joined.into_credentials(csr.key_pem.clone())).unwrap();
    let worker = ControlClient::new(tls::any_manager(addr.clone(), &identity).unwrap());
    assert_eq!(
        worker.nodes().await.unwrap_err().code,
        Code::PermissionDenied
    );
    let ca_pem = identity.ca_pem();
    let nobody = ControlClient::new(tls::anonymous(addr.clone(), &ca_pem).unwrap());
    assert_eq!(
        nobody.nodes().await.unwrap_err().code,
        Code::Unauthenticated
    );

    // A rotated token is worthless at once, the other one stays.
    let cluster = control.cluster().await.unwrap();
    let rotation = TokenRotation {
        worker: true,
        unlock_key: false,
        manager: false,
    };
    control
        .update_cluster(cluster.meta.version, &cluster.spec, rotation, None)
        .await
        .unwrap();
    assert_eq!(join(&good).await.unwrap_err().code, Code::InvalidArgument);
    let manager_token = token(&control, Role::Manager).await;
    assert_eq!(join(&manager_token).await.unwrap().role, Role::Manager);

    // Renewal keeps the node.
    let fresh = new_csr().unwrap();
    let renewed = CaClient::renew_at(&addr, &identity, &fresh).await.unwrap();
    assert_eq!(renewed.node_id, identity.this_node().node_id);
    let log = host.stop().await;
    assert!(!log.contains("SWMTKN") && !log.contains(secret), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_reaches_its_node_and_everything_survives_a_kill() {
    let mut host = Host::start(2).await;
    host.init().await;
    let control = host.control();
    let identity = host.join_as(&control, Role::Worker).await;
    let mut agent = Agent::open(&host, &identity).await;
    agent.hold_until("the first snapshot", |_| true).await;

    let made = control.create_service(&service("web", 2)).await.unwrap();
    let clash = control
        .create_service(&service("web", 1))
        .await
        .unwrap_err();
    assert_eq!(clash.code, Code::AlreadyExists, "{clash}");
    agent
        .hold_until("two tasks", |held| task_count(held) == 2)
        .await;
    agent.run_all().await;
    let seen = |service: &Service| service.id == made.id;
    assert!(control.services().await.unwrap().iter().any(seen));
    agent
        .hold_until("running tasks", |held| {
            held.values().filter(|item| is_running(item)).count() == 2
        })
        .await;
    let counts = control.service_counts().await.unwrap();
    let counts = counts.iter().find(|c| c.service == made.id).unwrap();
    assert_eq!((counts.running, counts.desired), (2, 2));
    let cluster = control.cluster().await.unwrap();
    let tasks = control.tasks_of_service(&made.id).await.unwrap();
    assert!(cluster.root_ca.key_pem.is_empty());
    // A stale version is refused with Docker's text.
    let stale = control
        .update_service(
            &made.id,
            swarm_core::model::Version(1),
            &service("web", 3),
            false,
        )
        .await
        .unwrap_err();
    assert_eq!(stale.message, "update out of sequence");

    host.kill_and_restart().await;
    let control = host.control();
    assert_eq!(control.cluster().await.unwrap(), cluster);
    let ids = |tasks: &[swarm_core::model::Task]| -> Vec<_> {
        tasks.iter().map(|task| task.id.clone()).collect()
    };
    let after = control.tasks_of_service(&made.id).await.unwrap();
    assert_eq!(ids(&after), ids(&tasks));
    let mut agent = Agent::open(&host, &identity).await;
    agent
        .hold_until("its tasks again", |held| task_count(held) == 2)
        .await;

    // A removed node loses its session at once and gets no new one.
    let worker = identity.this_node().node_id;
    control.remove_node(worker.as_str(), true).await.unwrap();
    let over = within("the end of the session", async {
        loop {
            match agent.receiver.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the session ended without a reason"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert_eq!(over.code, Code::PermissionDenied);
    let channel = tls::any_manager(host.addr.to_string(), &identity).unwrap();
    let hello = Hello {
        description: NodeDescription::default(),
        data_path_addr: None,
    };
    let refused = DispatcherClient::new(channel)
        .open(hello)
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    host.stop().await;
}

fn is_running(item: &Assignment) -> bool {
    matches!(item, Assignment::Task(task) if task.status.state == TaskState::Running)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_managers_survive_the_death_of_their_leader() {
    let first = Host::start(3).await;
    first.init().await;
    let control = first.control();
    let second = Host::start(4).await;
    let third = Host::start(5).await;
    for host in [&second, &third] {
        host.join_managers(&control, &first).await;
    }
    let nodes = control.nodes().await.unwrap();
    let managers: Vec<_> = nodes.iter().filter_map(|n| n.manager.as_ref()).collect();
    assert_eq!(managers.len(), 3);
    assert_eq!(managers.iter().filter(|manager| manager.leader).count(), 1);
    let before = control.create_service(&service("before", 1)).await.unwrap();
    // A follower answers with the leader's state.
    let there = second.control().service("before").await.unwrap();
    assert_eq!(there.id, before.id);
    let identity = first.join_as(&control, Role::Worker).await;
    let mut agent = Agent::open(&third, &identity).await; // through a follower
    agent
        .hold_until("a task through a follower", |held| task_count(held) == 1)
        .await;

    let first = first.killed().await;
    let after = within("a write after the failover", async {
        second.control().create_service(&service("after", 1)).await
    })
    .await
    .unwrap();
    let listed = third.control().services().await.unwrap();
    let names: Vec<&str> = listed
        .iter()
        .map(|service| service.spec.annotations.name.as_str())
        .collect();
    assert_eq!(listed.len(), 2, "{names:?}");
    assert!(listed.iter().any(|service| service.id == after.id));

    // The killed manager comes back with its state and catches up.
    let first = first.restart().await;
    let there = within("an answer", async {
        first.control().service("after").await
    })
    .await
    .unwrap();
    assert_eq!(there.id, after.id);

    // A manager that leaves is no longer a member; the others go on without it.
    within("leaving", second.leave()).await.unwrap();
    let nodes = within("nodes", first.control().nodes()).await.unwrap();
    assert_eq!(
        nodes.iter().filter(|node| node.manager.is_some()).count(),
        2
    );
    let idle = second.control().nodes().await.unwrap_err();
    assert_eq!(idle.message, "this manager is not part of a swarm");
    first.stop().await;
    second.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_reach_their_reader() {
    let host = Host::start(6).await;
    host.init().await;
    let control = host.control();
    let identity = host.join_as(&control, Role::Worker).await;
    let mut agent = Agent::open(&host, &identity).await;
    let made = control.create_service(&service("talk", 1)).await.unwrap();
    agent
        .hold_until("its task", |held| task_count(held) == 1)
        .await;
    let channel = tls::any_manager(host.addr.to_string(), &identity).unwrap();
    let publisher = LogsClient::new(channel);
    let mut requests = publisher.listen().await.unwrap();
    let selector = LogSelector {
        services: vec![made.id.clone()],
        ..LogSelector::default()
    };
    let options = LogOptions {
        stdout: true,
        stderr: true,
        ..LogOptions::default()
    };
    let logs = LogsClient::new(tls::unix(&host.socket()));
    let mut reader = logs.subscribe(&selector, &options).await.unwrap();
    let asked = within("the request", requests.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(asked.selector, selector);
    let line = LogMessage {
        service: made.id.clone(),
        task: tasks(&agent.held).next().unwrap().id.clone(),
        node: identity.this_node().node_id,
        timestamp: swarm_core::time::Timestamp(5),
        stream: LogStream::Stdout,
        data: b"hello\n".to_vec(),
    };
    let answer = publisher.publish(&asked.id);
    answer.send(vec![line.clone()]).await.unwrap();
    let batch = within("the line", reader.next()).await.unwrap();
    let expected = LogBatch {
        messages: vec![line],
        warning: None,
    };
    assert_eq!(batch, Some(expected));
    within("delivery", answer.finish(None)).await.unwrap();
    assert_eq!(within("the end", reader.next()).await.unwrap(), None);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_said_and_leaves_nothing_behind() {
    let host = Host::start(7).await;
    let taken = std::net::TcpListener::bind(host.addr).unwrap();
    let refused = host.try_init(ClusterSpec::default()).await.unwrap_err();
    let expected = format!(
        "manager stopped: failed to listen on remote API address: listen tcp {}: bind: address already in use",
        host.addr
    );
    assert_eq!(refused.message, expected);
    assert_eq!(refused.reason, Some(Reason::CannotListen));
    drop(taken);
    let idle = host.control().cluster().await.unwrap_err();
    assert_eq!(idle.message, "this manager is not part of a swarm");
    host.init().await;
    let again = host.try_init(ClusterSpec::default()).await.unwrap_err();
    assert!(
        again
            .message
            .starts_with("This node is already part of a swarm")
    );
    let node = host.control().nodes().await.unwrap().remove(0);
    assert_ne!(node.status.state, NodeState::Ready, "it has no session yet");
    let dir = host.kill().await;

    // A damaged state is refused, and its file is named.
    let file = dir.path().join("state/raft.redb");
    std::fs::write(&file, vec![0x5a; 8192]).unwrap();
    let (code, log) = Host::run_to_end(dir.path()).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&file.display().to_string()), "{log}");

    // So is a state without its key, and a directory that cannot be one.
    std::fs::remove_file(dir.path().join("state/seal.key")).unwrap();
    let (code, log) = Host::run_to_end(dir.path()).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("seal.key is missing"), "{log}");
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    std::fs::write(dir.path().join("state"), "").unwrap();
    let (code, log) = Host::run_to_end(dir.path()).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("state directory"), "{log}");
}
