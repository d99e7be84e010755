//! Which of a host's addresses a swarm is told: hosts with a second link, whose address `--advertise-addr` names by interface or
//! as it is. The swarm lives on that link.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use swarm_testkit::{
    lab::{Host, Lab, Plan},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

/// The hosts' addresses on the second link.
const SECOND: [&str; 2] = ["192.168.77.1", "192.168.77.2"];

/// Two hosts with agents and a second link between them, eth1.
fn two_links() -> Lab {
    let mut lab = Lab::start(&Plan::from_environment(2).unwrap()).unwrap();
    let ip = |host: &Host, words: &str| {
        let words: Vec<_> = words.split_whitespace().collect();
        host.exec("ip", &words).unwrap();
    };
    let other = lab.host(2).netns().path().display().to_string();
    let link = format!("link add eth1 type veth peer name eth1 netns {other}");
    ip(lab.host(1), &link);
    for (host, address) in lab.hosts().iter().zip(SECOND) {
        ip(host, &format!("addr add {address}/24 dev eth1"));
        ip(host, "link set eth1 up");
    }
    for host in lab.hosts_mut() {
        host.spawn_agent().unwrap();
    }
    lab
}

/// What the command line says when it refuses.
fn refusal(host: &Host, words: &[&str]) -> String {
    match host.swarm(words) {
        Ok(text) => panic!("{words:?} was not refused: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

/// What `node inspect` says of a node: its address, and where it listens as a manager.
fn addresses(host: &Host, node: &str) -> String {
    let format = "{{.Status.Addr}}{{if .ManagerStatus}} {{.ManagerStatus.Addr}}{{end}}";
    let shown = host.swarm(&["node", "inspect", "--format", format, node]);
    shown.unwrap().trim().to_owned()
}

/// Runs the command that `join-token` or `init` prints.
fn join_as_told(host: &Host, told: &str) {
    let command = told.lines().find(|line| line.contains(" join --token "));
    let (_, arguments) = command.unwrap().split_once(" join ").unwrap();
    let mut words = vec!["swarm", "join"];
    words.extend(arguments.split_whitespace());
    host.swarm(&words).unwrap();
}

fn until_roles(host: &Host, wanted: &[&str]) {
    let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
    wait::until(&format!("{wanted:?}"), CONVERGED_AT_MOST, || {
        let listed = host.swarm(&["node", "ls", "--format", format])?;
        let mut seen: Vec<_> = listed.lines().map(str::trim).collect();
        seen.sort_unstable();
        anyhow::ensure!(seen == wanted, "nodes are {seen:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_address_to_advertise_has_to_be_chosen_and_to_be_there() {
    let lab = two_links();
    let host = lab.host(1);
    let several = refusal(host, &["swarm", "init"]);
    let first = host.ip();
    let text = format!(
        "could not choose an IP address to advertise since this system has multiple addresses on different interfaces ({first} on eth0 and {} on eth1) - specify one with --advertise-addr",
        SECOND[0]
    );
    assert!(several.contains(&text), "{several}");
    let bad = "advertise address must be a non-zero IP address or network interface (with optional port number)";
    for given in ["eth9", "eth9:2377", "0.0.0.0", "eth1:port"] {
        let refused = refusal(host, &["swarm", "init", "--advertise-addr", given]);
        assert!(refused.contains(bad), "{given}: {refused}");
    }
    let elsewhere = refusal(host, &["swarm", "init", "--listen-addr", "9.9.9.9:2377"]);
    let text = "Error response from daemon: manager stopped: failed to listen on remote API address: listen tcp 9.9.9.9:2377: bind: cannot assign requested address";
    assert!(elsewhere.contains(text), "{elsewhere}");
    // Nothing of it is left in the way.
    assert!(host.swarm(&["info"]).unwrap().contains("Swarm: inactive"));
    host.swarm(&["swarm", "init", "--advertise-addr", "eth1"])
        .unwrap();
    until_roles(host, &["host1 Ready Leader"]);
}

#[test]
fn a_swarm_lives_on_the_interface_that_was_named() {
    let swarm = Swarm { lab: two_links() };
    let (one, two) = (swarm.lab.host(1), swarm.lab.host(2));
    let [own, peer] = SECOND.map(|address| format!("{address}:2377"));
    let told = one
        .swarm(&["swarm", "init", "--advertise-addr", "eth1"])
        .unwrap();
    assert!(told.contains(&own), "{told}");
    let worker = one.swarm(&["swarm", "join-token", "worker"]).unwrap();
    let manager = one.swarm(&["swarm", "join-token", "manager"]).unwrap();
    for printed in [&worker, &manager] {
        assert!(printed.contains(&own), "{printed}");
    }
    let info = one.swarm(&["info"]).unwrap();
    for line in [
        format!("Node Address: {}\n", SECOND[0]),
        format!("Manager Addresses:\n   {own}\n"),
    ] {
        assert!(info.contains(&line), "{line}{info}");
    }
    assert_eq!(addresses(one, "self"), format!("{} {own}", SECOND[0]));

    // A worker comes the way that it was told, and is known by the address on that link.
    join_as_told(two, &told);
    until_roles(one, &["host1 Ready Leader", "host2 Ready"]);
    assert_eq!(addresses(one, "host2"), SECOND[1]);
    // So is it as a manager.
    one.swarm(&["node", "promote", "host2"]).unwrap();
    until_roles(two, &["host1 Ready Leader", "host2 Ready Reachable"]);
    assert_eq!(addresses(two, "host2"), format!("{} {peer}", SECOND[1]));

    // Tasks reach each other with nothing but that link between the hosts.
    let tasks = swarm.create_web(2).unwrap();
    one.exec("ip", &["link", "set", "eth0", "down"]).unwrap();
    let there = tasks[1].on_app().unwrap().address.to_string();
    wait::until("the overlay to carry packets", CONVERGED_AT_MOST, || {
        tasks[0].exec(&["ping", "-c", "1", "-W", "1", &there])
    })
    .unwrap();
}

#[test]
fn a_manager_joins_with_the_address_it_names() {
    let lab = two_links();
    let (one, two) = (lab.host(1), lab.host(2));
    let [own, peer] = SECOND.map(|address| format!("{address}:2400"));
    let first = one.ip().to_string();
    let words = ["swarm", "init", "--listen-addr", "0.0.0.0:2400"];
    one.swarm(&[&words[..], &["--advertise-addr", SECOND[0]]].concat())
        .unwrap();
    let token = one.swarm(&["swarm", "join-token", "-q", "manager"]);
    let token = token.unwrap().trim().to_owned();
    // Asked on the first link, and known on the second.
    let remote = format!("{first}:2400");
    let join = ["swarm", "join", "--token", &token];
    let unknown = refusal(
        two,
        &[&join[..], &["--advertise-addr", "eth9", &remote]].concat(),
    );
    let bad = "advertise address must be a non-zero IP address or network interface (with optional port number)";
    assert!(unknown.contains(bad), "{unknown}");
    let listen = ["--listen-addr", "eth1:2400", "--advertise-addr", "eth1"];
    two.swarm(&[&join[..], &listen, &[&remote]].concat())
        .unwrap();
    until_roles(one, &["host1 Ready Leader", "host2 Ready Reachable"]);
    assert_eq!(addresses(one, "host1"), format!("{} {own}", SECOND[0]));
    assert_eq!(addresses(one, "host2"), format!("{} {peer}", SECOND[1]));
    let info = two.swarm(&["info"]).unwrap();
    let managers = format!("Manager Addresses:\n   {own}\n   {peer}\n");
    assert!(info.contains(&managers), "{info}");
}
