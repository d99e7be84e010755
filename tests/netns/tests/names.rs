//! Names and virtual addresses inside tasks: DNS at 127.0.0.11, balancing over a service's
//! tasks for every protocol, a task reaching itself, and the way out of the swarm.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddr};

use swarm_testkit::{
    traffic::{Place, UdpEcho, ask_udp, seen_source},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm, Task, page};

#[test]
fn a_name_is_a_virtual_address_that_reaches_every_task() {
    let swarm = Swarm::up(3).unwrap();
    let tasks = swarm.create_web(3).unwrap();
    let vip = wait::until("the name web", CONVERGED_AT_MOST, || {
        let addresses = tasks[0].resolve("web")?;
        anyhow::ensure!(addresses.len() == 1, "web is {addresses:?}");
        Ok(addresses[0])
    })
    .unwrap();
    let mut own: Vec<_> = tasks
        .iter()
        .map(|task| task.on_app().unwrap().address)
        .collect();
    own.sort_unstable();
    assert!(!own.contains(&vip), "{vip} is a task's own address");
    for task in &tasks {
        assert_eq!(task.resolve("web").unwrap(), [vip]);
        assert_eq!(task.resolve("WEB").unwrap(), [vip], "names have no case");
        assert_eq!(task.resolve("tasks.web").unwrap(), own);
        assert!(task.exec(&["nslookup", "nothing-of-that-name"]).is_err());
    }
    for task in &tasks {
        let server = SocketAddr::from((vip, 80));
        let answered: BTreeSet<String> = (0..60)
            .map(|_| task.netns().run(|| page(server)).unwrap().hostname)
            .collect();
        assert_eq!(
            answered.len(),
            3,
            "through {vip} only {answered:?}, the asker among them"
        );
        task.exec(&["ping", "-c", "2", "-W", "2", "web"]).unwrap();
    }
    datagrams_through(vip, &tasks);
}

fn datagrams_through(vip: std::net::Ipv4Addr, tasks: &[Task]) {
    let echoes: Vec<_> = tasks
        .iter()
        .map(|task| UdpEcho::start(&task.on_app().unwrap(), 7000).unwrap())
        .collect();
    for task in tasks {
        for _ in 0..10 {
            ask_udp(&task.netns(), SocketAddr::from((vip, 7000))).unwrap();
        }
    }
    drop(echoes);
}

#[test]
fn a_task_reaches_the_outside_behind_its_hosts_address() {
    let swarm = Swarm::up(2).unwrap();
    let mut tasks = swarm.create_web(2).unwrap();
    // A task without any network of its own has a way out too.
    tasks.extend(
        swarm
            .create("alone", 1, &[])
            .unwrap()
            .into_iter()
            .filter(|task| task.address(swarm_tests_netns::APP).is_err()),
    );
    assert_eq!(tasks.len(), 3);
    let outside = Place {
        netns: swarm.lab.client(),
        address: swarm.lab.client_ip(),
    };
    let echo = UdpEcho::start(&outside, 0).unwrap();
    for task in &tasks {
        let host = swarm.lab.host(task.host);
        let source = wait::until("a way out", CONVERGED_AT_MOST, || {
            seen_source(&task.netns(), &outside)
        })
        .unwrap();
        assert_eq!(source.ip(), host.ip());
        ask_udp(&task.netns(), echo.address).unwrap();
        task.exec(&["ping", "-c", "2", "-W", "2", &outside.address.to_string()])
            .unwrap();
    }
}
