//! Published ports: every host answers on the port, wherever the task is, and the task sees
//! who really asked.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
};

use swarm_testkit::wait;
use swarm_tests_netns::{CONVERGED_AT_MOST, PUBLISHED, Swarm, page};

#[test]
fn one_task_is_reached_through_every_host_and_sees_the_clients_own_address() {
    let swarm = Swarm::up(3).unwrap();
    let tasks = swarm.create_web(1).unwrap();
    assert_eq!(tasks.len(), 1);
    swarm.until_served().unwrap();
    let client = swarm.lab.client_ip().to_string();
    for number in 1..=3 {
        // One of the three hosts has the task, the other two forward.
        for _ in 0..20 {
            assert_eq!(
                swarm.page_from_outside(number).unwrap().client,
                client,
                "host {number}"
            );
        }
    }
    from_the_hosts_themselves(&swarm);
}

fn from_the_hosts_themselves(swarm: &Swarm) {
    for host in swarm.lab.hosts() {
        for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 9), host.ip()] {
            let server = SocketAddr::from((address, PUBLISHED));
            let what = format!("{} asking {server}", host.name());
            wait::until(&what, CONVERGED_AT_MOST, || {
                host.netns().run(|| page(server))
            })
            .unwrap();
        }
        for other in swarm
            .lab
            .hosts()
            .iter()
            .filter(|other| other.name() != host.name())
        {
            let server = SocketAddr::from((other.ip(), PUBLISHED));
            let page = host.netns().run(|| page(server));
            let page =
                page.unwrap_or_else(|error| panic!("{} asks {server}: {error:#}", host.name()));
            assert_eq!(page.client, host.ip().to_string());
        }
    }
}

#[test]
fn requests_are_spread_over_all_tasks_and_go_away_with_the_service() {
    let swarm = Swarm::up(3).unwrap();
    swarm.create_web(3).unwrap();
    swarm.until_served().unwrap();
    for number in 1..=3 {
        let answered: BTreeSet<String> = (0..60)
            .map(|_| swarm.page_from_outside(number).unwrap().hostname)
            .collect();
        assert_eq!(answered.len(), 3, "host {number} asked only {answered:?}");
    }
    swarm.manager().swarm(&["service", "rm", "web"]).unwrap();
    swarm.until_tasks(0).unwrap();
    for number in 1..=3 {
        wait::until_true(
            &format!("host {number} to stop serving"),
            CONVERGED_AT_MOST,
            || swarm.page_from_outside(number).is_err(),
        )
        .unwrap();
    }
}
