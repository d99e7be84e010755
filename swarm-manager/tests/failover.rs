//! What a change of leader looks like from outside, with the real binary: a frozen leader is replaced and wakes as a follower, a
//! leader that is stopped hands over first, and many reports of agents are few writes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::large_futures,
    reason = "tests and their helpers"
)]
#![allow(dead_code, reason = "the helpers are other tests' too")]

mod host;

use std::collections::BTreeSet;

use host::{
    Host,
    fixtures::{service, three},
    within,
};
use swarm_core::{
    control::ControlError,
    dispatch::{Assignments, tasks},
    model::{NodeDescription, Role, Service, TaskState, TaskStatus},
};
use swarm_proto::{
    client::{AgentEvent, ControlClient, DispatcherClient, Hello, ManagerEvent},
    tls,
};

/// Writes until it is confirmed, as a user does who is told that the outcome is unknown; gives the service.
async fn written(control: &ControlClient, name: &str) -> Service {
    within(name, async {
        loop {
            match control.create_service(&service(name, 0)).await {
                Ok(made) => return made,
                Err(error) => {
                    if let Ok(made) = control.service(name).await {
                        return made; // it had taken effect
                    }
                    assert_eq!(
                        error.code,
                        swarm_core::control::Code::Unavailable,
                        "{error}"
                    );
                }
            }
        }
    })
    .await
}

async fn names(control: &ControlClient) -> Result<BTreeSet<String>, ControlError> {
    let services = control.services().await?;
    let names = services.into_iter().map(|one| one.spec.annotations.name);
    Ok(names.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_and_wakes_as_a_follower() {
    let [first, second, third] = three(20).await;
    written(&first.control(), "before").await;
    first.signal("STOP").await;
    // What is asked of it now is answered when it wakes, and must not be an old truth.
    let asked = tokio::spawn({
        let control = first.control();
        async move { names(&control).await }
    });
    let stale_write = tokio::spawn({
        let control = first.control();
        async move { control.create_service(&service("asleep", 0)).await }
    });
    written(&second.control(), "during").await;
    first.signal("CONT").await;
    let all: BTreeSet<String> = ["before", "during"].map(str::to_owned).into();
    match within("an answer of the woken leader", asked)
        .await
        .unwrap()
    {
        Ok(seen) => assert!(seen.is_superset(&all), "a stale read: {seen:?}"),
        Err(refused) => assert!(!refused.message.is_empty()),
    }
    // Confirmed means written, whoever confirmed it.
    let confirmed = within("an answer", stale_write).await.unwrap().is_ok();
    let seen = within("services", names(&third.control())).await.unwrap();
    assert!(!confirmed || seen.contains("asleep"), "{seen:?}");
    // It is a member like the others again.
    written(&first.control(), "after").await;
    let seen = within("services", names(&third.control())).await.unwrap();
    assert!(seen.contains("after") && seen.is_superset(&all), "{seen:?}");
    for host in [first, second, third] {
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_hands_over_first() {
    let [first, second, third] = three(24).await;
    written(&first.control(), "before").await;
    let stopping = tokio::spawn(first.stop());
    // Every write through another manager succeeds at its first attempt: nobody is told that the outcome is unknown.
    let mut writes = 0;
    while !stopping.is_finished() || writes < 20 {
        let (control, spec) = (second.control(), service(&format!("w{writes}"), 0));
        within("a write", control.create_service(&spec))
            .await
            .unwrap();
        writes += 1;
    }
    let log = stopping.await.unwrap();
    assert!(log.contains("leadership handed over"), "{log}");
    let seen = within("services", names(&third.control())).await.unwrap();
    assert_eq!(seen.len(), writes + 1);

    // With two left, the heir needs the vote of the one that stops.
    let (leader, other) = leader_of(second, third).await;
    let stopping = tokio::spawn(leader.stop());
    let log = within("the end of the leader", stopping).await.unwrap();
    assert!(log.contains("leadership handed over"), "{log}");
    other.kill().await;
}

/// Of two managers the one that leads, and the other.
async fn leader_of(one: Host, other: Host) -> (Host, Host) {
    let nodes = within("nodes", one.control().nodes()).await.unwrap();
    let managers = nodes.iter().filter_map(|node| node.manager.as_ref());
    let leads = managers
        .into_iter()
        .find(|manager| manager.leader)
        .unwrap_or_else(|| panic!("nobody leads: {nodes:?}"));
    if leads.addr == one.addr {
        (one, other)
    } else {
        (other, one)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reports_of_an_agent_are_few_writes() {
    const TASKS: u64 = 150;
    let host = Host::start(28).await;
    host.init().await;
    let control = host.control();
    let identity = host.join_as(&control, Role::Worker).await;
    let channel = tls::any_manager(host.addr.to_string(), &identity).unwrap();
    let hello = Hello {
        description: NodeDescription::default(),
        data_path_addr: None,
    };
    let opened = within("session", DispatcherClient::new(channel).open(hello)).await;
    let (_welcome, sender, mut receiver) = opened.unwrap();
    let made = control
        .create_service(&service("many", TASKS))
        .await
        .unwrap();
    let mut held = Assignments::new();
    within("all tasks", async {
        while tasks(&held).count() < usize::try_from(TASKS).unwrap() {
            if let Some(ManagerEvent::Assignments(delta)) = receiver.next().await.unwrap() {
                swarm_core::dispatch::apply(&mut held, delta);
            }
        }
    })
    .await;
    for task in tasks(&held) {
        let status = TaskStatus {
            state: TaskState::Running,
            timestamp: task.status.timestamp,
            ..TaskStatus::default()
        };
        let report = AgentEvent::TaskStatuses([(task.id.clone(), status)].into());
        sender.send(&report).await.unwrap();
    }
    let versions = within("running tasks", async {
        loop {
            let tasks = control.tasks_of_service(&made.id).await.unwrap();
            if tasks
                .iter()
                .all(|task| task.status.state == TaskState::Running)
            {
                let versions = tasks.iter().map(|task| task.meta.version);
                return versions.collect::<BTreeSet<_>>();
            }
        }
    })
    .await;
    // An object's version is the index of the Raft entry that wrote it.
    assert!(
        versions.len() < 30,
        "{} entries for {TASKS} reports",
        versions.len()
    );
    host.stop().await;
}
