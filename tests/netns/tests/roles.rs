//! Roles of nodes and their edges, with whole hosts: nobody touches the host whose role changes, and what cannot be done is
//! refused in words that help and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use swarm_testkit::{
    lab::{Host, Lab, Plan},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

/// What the command line says when it refuses.
fn refusal(host: &Host, words: &[&str]) -> String {
    match host.swarm(words) {
        Ok(text) => panic!("{words:?} was not refused: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

/// `host1 Leader`, ..., workers without a second word.
fn roles(host: &Host) -> anyhow::Result<Vec<String>> {
    let format = "{{.Hostname}} {{.ManagerStatus}}";
    let listed = host.swarm(&["node", "ls", "--format", format])?;
    let mut lines: Vec<_> = listed.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    Ok(lines)
}

fn until_roles(host: &Host, what: &str, wanted: impl Fn(&[String]) -> bool) {
    wait::until(what, CONVERGED_AT_MOST, || {
        let seen = roles(host)?;
        anyhow::ensure!(wanted(&seen), "roles are {seen:?}");
        Ok(())
    })
    .unwrap();
}

fn until_exactly(host: &Host, wanted: &[&str]) {
    until_roles(host, &format!("{wanted:?}"), |seen| seen == wanted);
}

#[test]
fn roles_change_without_a_hand_on_the_host() {
    let mut swarm = Swarm::up(3).unwrap();
    let first = swarm.manager();
    first.swarm(&["node", "promote", "host2", "host3"]).unwrap();
    let all = ["host1 Leader", "host2 Reachable", "host3 Reachable"];
    for host in swarm.lab.hosts() {
        until_exactly(host, &all);
    }
    // Of any manager, and in a row: only the last word counts.
    let third = swarm.lab.host(3);
    third.swarm(&["node", "demote", "host2"]).unwrap();
    third
        .swarm(&["node", "update", "--role", "manager", "host2"])
        .unwrap();
    until_exactly(third, &all);
    // The leader hands over.
    third.swarm(&["node", "demote", "host1"]).unwrap();
    until_roles(third, "another leader", |seen| {
        seen[0] == "host1" && seen.iter().filter(|role| role.ends_with("Leader")).count() == 1
    });
    wait::until("the end of host1's manager", CONVERGED_AT_MOST, || {
        anyhow::ensure!(swarm.manager().manager_pid().is_err(), "it still runs");
        Ok(())
    })
    .unwrap();
    // Its process ends a moment before the agent has written the new role down.
    wait::until("host1 to be a worker", CONVERGED_AT_MOST, || {
        let said = refusal(swarm.manager(), &["node", "ls"]);
        anyhow::ensure!(said.contains("Worker nodes can't be used"), "{said}");
        Ok(())
    })
    .unwrap();
    // While its agent is away, a node is promoted; it becomes a manager when it is back, and the other way round.
    swarm.lab.host_mut(1).kill_agent().unwrap();
    swarm
        .lab
        .host(3)
        .swarm(&["node", "promote", "host1"])
        .unwrap();
    swarm.lab.host_mut(1).spawn_agent().unwrap();
    until_exactly_managers(swarm.lab.host(1), 3);
    swarm.lab.host_mut(1).kill_agent().unwrap();
    swarm
        .lab
        .host(3)
        .swarm(&["node", "demote", "host1"])
        .unwrap();
    swarm.lab.host_mut(1).spawn_agent().unwrap();
    wait::until("the end of host1's manager", CONVERGED_AT_MOST, || {
        anyhow::ensure!(swarm.manager().manager_pid().is_err(), "it still runs");
        Ok(())
    })
    .unwrap();
    until_exactly_managers(swarm.lab.host(3), 2);
}

fn until_exactly_managers(host: &Host, count: usize) {
    until_roles(host, &format!("{count} managers"), |seen| {
        let managers = seen.iter().filter(|role| role.contains(' '));
        let unreachable = seen.iter().any(|role| role.ends_with("Unreachable"));
        managers.count() == count && !unreachable
    });
}

#[test]
fn a_node_that_leaves_or_is_removed_is_gone_everywhere() {
    let swarm = Swarm::up(3).unwrap();
    let first = swarm.manager();
    first.swarm(&["node", "promote", "host2", "host3"]).unwrap();
    until_exactly_managers(first, 3);
    let warned = refusal(swarm.lab.host(3), &["swarm", "leave"]);
    assert!(
        warned.contains(
            "You are attempting to leave the swarm on a node that is participating as a manager."
        ),
        "{warned}"
    );
    swarm
        .lab
        .host(3)
        .swarm(&["swarm", "leave", "--force"])
        .unwrap();
    until_exactly_managers(first, 2);
    // A manager is not removed, a worker that is there only by force.
    let manager = refusal(first, &["node", "rm", "host2"]);
    assert!(
        manager.contains("It must be demoted to worker before removal"),
        "{manager}"
    );
    first.swarm(&["node", "demote", "host2", "host3"]).unwrap();
    until_exactly_managers(first, 1);
    let there = refusal(first, &["node", "rm", "host2"]);
    assert!(
        there.contains("is not down and can't be removed"),
        "{there}"
    );
    first.swarm(&["node", "rm", "--force", "host2"]).unwrap();
    first.swarm(&["node", "rm", "--force", "host3"]).unwrap();
    until_exactly(first, &["host1 Leader"]);
    // It left, so it may come again, as another node.
    let token = swarm.worker_token().unwrap();
    let address = swarm.manager_address();
    let third = swarm.lab.host(3);
    third
        .swarm(&["swarm", "join", "--token", &token, &address])
        .unwrap();
    until_exactly(first, &["host1 Leader", "host3"]);
    let last = refusal(first, &["swarm", "leave"]);
    assert!(
        last.contains("Removing the last manager erases all current state"),
        "{last}"
    );
}

/// Port of something that is no manager.
fn web_server(lab: &Lab) -> u16 {
    let port = lab.client().run(|| {
        let listener = TcpListener::bind("0.0.0.0:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let mut some = [0; 32];
                drop(stream.read(&mut some));
                drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
            }
        });
        Ok(port)
    });
    port.unwrap()
}

#[test]
fn what_cannot_be_joined_is_said_and_can_be_given_up() {
    let mut lab = Lab::start(&Plan::from_environment(2).unwrap()).unwrap();
    for host in lab.hosts_mut() {
        host.spawn_agent().unwrap();
    }
    let (one, two) = (lab.host(1), lab.host(2));
    let own = one.ip().to_string();
    let init = ["swarm", "init", "--advertise-addr", &own];
    // Two at once: one swarm.
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| one.swarm(&init));
        let b = scope.spawn(|| one.swarm(&init));
        (a.join().unwrap(), b.join().unwrap())
    });
    let refused = match (a, b) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => format!("{refused:#}"),
        other => panic!("one of two: {other:?}"),
    };
    assert!(
        refused.contains("This node is already part of a swarm"),
        "{refused}"
    );
    let token = one
        .swarm(&["swarm", "join-token", "-q", "manager"])
        .unwrap();
    let token = token.trim();
    let join =
        |host: &Host, address: &str| refusal(host, &["swarm", "join", "--token", token, address]);

    // Itself, and something that is no manager.
    let itself = join(two, &two.ip().to_string());
    assert!(
        itself.contains("is this host itself, where no manager runs"),
        "{itself}"
    );
    let web = join(two, &format!("{}:{}", lab.client_ip(), web_server(&lab)));
    assert!(
        web.contains("does not answer as a swarm manager does"),
        "{web}"
    );
    // An advertised address where it is not: refused by the leader, and not in its list.
    let manager = format!("{}:2377", one.ip());
    let words = [
        "swarm",
        "join",
        "--token",
        token,
        "--advertise-addr",
        "10.255.255.1",
        &manager,
    ];
    let unreachable = refusal(two, &words);
    assert!(
        unreachable.contains("using its advertised address"),
        "{unreachable}"
    );
    until_exactly(one, &["host1 Leader"]);
    // Nobody there: it goes on in the background, says why, and is given up.
    let nobody = join(two, &format!("{}:2399", one.ip()));
    assert!(
        nobody.contains("Timeout was reached before node joined."),
        "{nobody}"
    );
    let info = two.swarm(&["info"]).unwrap();
    assert!(
        info.contains("Swarm: pending") && info.contains("Connection refused"),
        "{info}"
    );
    two.swarm(&["swarm", "leave"]).unwrap();
    assert!(two.swarm(&["info"]).unwrap().contains("Swarm: inactive"));
    two.swarm(&["swarm", "join", "--token", token, &manager])
        .unwrap();
    until_exactly(one, &["host1 Leader", "host2 Reachable"]);
    let again = join(two, &manager);
    assert!(
        again.contains("This node is already part of a swarm"),
        "{again}"
    );
}
