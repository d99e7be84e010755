//! What may die without anybody noticing, and what is replaced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, sync::mpsc, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use swarm_testkit::{
    traffic::{UdpEcho, bulk, ping_until},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, PUBLISHED, Swarm, page};

#[test]
fn a_killed_task_is_replaced_and_the_service_answers_again() {
    let swarm = Swarm::up(2).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    let killed = &tasks[0];
    kill(
        Pid::from_raw(i32::try_from(killed.pid).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    wait::until("a replacement", CONVERGED_AT_MOST, || {
        let tasks = swarm.tasks()?;
        anyhow::ensure!(
            tasks.len() == 2 && !tasks.contains(killed),
            "running are {tasks:?}"
        );
        Ok(())
    })
    .unwrap();
    let history = swarm
        .manager()
        .swarm(&["service", "ps", "--no-trunc", "web"])
        .unwrap();
    assert!(history.contains("Failed"), "{history}");
    assert!(history.contains("non-zero exit (137)"), "{history}");
    swarm.until_served().unwrap();
    for number in [1, 2] {
        for _ in 0..20 {
            swarm.page_from_outside(number).unwrap();
        }
    }
}

#[test]
fn killing_agents_under_a_running_ping_loses_no_packet_and_no_task() {
    let mut swarm = Swarm::up(2).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    let (one, two) = (tasks[0].on_app().unwrap(), tasks[1].on_app().unwrap());
    let echo = UdpEcho::start(&two, 0).unwrap();
    let (stop, stopped) = mpsc::channel();
    let pinging = ping_until(&one.netns, echo.address, stopped);
    kill_and_restart_agents(&mut swarm);
    drop(stop);
    let rounds = pinging.join().unwrap().unwrap();
    assert_eq!(rounds.lost, 0, "of {} pings", rounds.times.len());
    assert!(
        rounds.times.len() > 1000,
        "only {} pings",
        rounds.times.len()
    );
    assert_eq!(swarm.tasks().unwrap(), tasks, "the same tasks, adopted");
    swarm
        .manager()
        .swarm(&["service", "scale", "web=3"])
        .unwrap();
    swarm.until_tasks(3).unwrap();
}

#[test]
fn killing_agents_during_a_transfer_leaves_it_whole() {
    let mut swarm = Swarm::up(2).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    let (from, to) = (tasks[0].netns(), tasks[1].on_app().unwrap());
    let transfer = std::thread::spawn(move || bulk(&from, &to, 1 << 30));
    kill_and_restart_agents(&mut swarm);
    transfer.join().unwrap().unwrap();
}

fn kill_and_restart_agents(swarm: &mut Swarm) {
    for number in [2, 1] {
        swarm.lab.host_mut(number).kill_agent().unwrap();
        // With its agent gone, a host still serves.
        for _ in 0..20 {
            swarm.page_from_outside(number).unwrap();
        }
        swarm.lab.host_mut(number).spawn_agent().unwrap();
        for _ in 0..20 {
            swarm.page_from_outside(number).unwrap();
        }
    }
    wait::until("the swarm to be whole again", CONVERGED_AT_MOST, || {
        let nodes = swarm.nodes()?;
        anyhow::ensure!(nodes.matches("Ready").count() == 2, "{nodes}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_killed_manager_comes_back_with_everything_it_had() {
    let swarm = Swarm::up(2).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    let before = swarm
        .manager()
        .swarm(&["service", "inspect", "web"])
        .unwrap();
    let killed = swarm.manager().manager_pid().unwrap();
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    let host = swarm.manager();
    let server = SocketAddr::from((host.ip(), PUBLISHED));
    swarm.lab.client().run(|| page(server)).unwrap();
    wait::until("another manager process", CONVERGED_AT_MOST, || {
        let pid = host.manager_pid()?;
        anyhow::ensure!(pid != killed, "it is the old one");
        Ok(())
    })
    .unwrap();
    let after = wait::until("the manager to answer", CONVERGED_AT_MOST, || {
        host.swarm(&["service", "inspect", "web"])
    })
    .unwrap();
    assert_eq!(before, after);
    wait::until("both nodes to be back", CONVERGED_AT_MOST, || {
        let nodes = swarm.nodes()?;
        anyhow::ensure!(nodes.matches("Ready").count() == 2, "{nodes}");
        Ok(())
    })
    .unwrap();
    assert_eq!(swarm.tasks().unwrap(), tasks);
    host.swarm(&["service", "scale", "web=4"]).unwrap();
    swarm.until_tasks(4).unwrap();
}

#[test]
fn a_worker_keeps_serving_while_there_is_no_manager() {
    let mut swarm = Swarm::up(2).unwrap();
    swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    swarm.lab.host_mut(1).kill_agent().unwrap();
    let manager = swarm.manager().manager_pid();
    if let Ok(pid) = manager {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    for _ in 0..50 {
        swarm.page_from_outside(2).unwrap();
    }
    let task = swarm
        .tasks()
        .unwrap()
        .into_iter()
        .find(|task| task.host == 2)
        .unwrap();
    wait::until("the name web", Duration::from_secs(5), || {
        let addresses = task.resolve("web")?;
        anyhow::ensure!(addresses.len() == 1, "web is {addresses:?}");
        Ok(())
    })
    .unwrap();
}
