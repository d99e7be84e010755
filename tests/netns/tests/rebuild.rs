//! Hosts with a past: swarms that are made anew, of what the last manager has, after an agent that died while it made one, and
//! after an init that failed late; a node that cannot be started and is given up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use swarm_testkit::{
    lab::{Host, Lab, Plan},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

fn init(host: &Host, flags: &[&str]) -> anyhow::Result<String> {
    let own = host.ip().to_string();
    let words = ["swarm", "init", "--advertise-addr", &own];
    host.swarm(&[words.as_slice(), flags].concat())
}

/// `host1 Ready Leader`, ...
fn nodes(host: &Host) -> anyhow::Result<Vec<String>> {
    let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
    let listed = host.swarm(&["node", "ls", "--format", format])?;
    let mut lines: Vec<_> = listed.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    Ok(lines)
}

fn until_nodes(host: &Host, wanted: &[&str]) {
    wait::until(&format!("{wanted:?}"), CONVERGED_AT_MOST, || {
        let seen = nodes(host)?;
        anyhow::ensure!(seen == wanted, "nodes are {seen:?}");
        Ok(())
    })
    .unwrap();
}

fn kill_manager(host: &Host) -> i32 {
    let pid = host.manager_pid().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    pid
}

#[test]
fn the_last_manager_makes_a_swarm_of_what_it_has() {
    let mut swarm = Swarm::up_with(2, 2).unwrap();
    let tasks = swarm
        .create("web", 2, &["--constraint", "node.hostname==host1"])
        .unwrap();
    // The other manager is lost, and with it the majority.
    kill_manager(swarm.lab.host(2));
    swarm.lab.host_mut(2).kill_agent().unwrap();
    let again = init(swarm.manager(), &[]).unwrap_err();
    assert!(
        format!("{again:#}").contains("This node is already part of a swarm"),
        "{again:#}"
    );
    init(swarm.manager(), &["--force-new-cluster"]).unwrap();
    until_nodes(swarm.manager(), &["host1 Ready Leader", "host2 Down"]);
    assert_eq!(swarm.tasks().unwrap(), tasks, "tasks go on meanwhile");
    // It stays so: a manager that is started again is the one of the new cluster, at its address.
    let killed = kill_manager(swarm.manager());
    wait::until("another manager process", CONVERGED_AT_MOST, || {
        let pid = swarm.manager().manager_pid()?;
        anyhow::ensure!(pid != killed, "it is the old one");
        Ok(())
    })
    .unwrap();
    swarm.lab.host_mut(1).kill_agent().unwrap();
    swarm.lab.host_mut(1).spawn_agent().unwrap();
    until_nodes(swarm.manager(), &["host1 Ready Leader", "host2 Down"]);
    assert_eq!(swarm.tasks().unwrap(), tasks, "adopted");
    let scale = || swarm.manager().swarm(&["service", "scale", "web=3"]);
    wait::until("the service to be scaled", CONVERGED_AT_MOST, scale).unwrap();
    swarm.until_tasks(3).unwrap();
}

#[test]
fn what_an_agent_left_that_died_while_it_made_a_swarm_is_not_in_the_way() {
    let mut lab = Lab::start(&Plan::from_environment(1).unwrap()).unwrap();
    lab.host_mut(1).spawn_agent().unwrap();
    init(lab.host(1), &[]).unwrap();
    let node = lab.host(1).state_dir().join("node.json");
    let raft = lab.host(1).state_dir().join("manager/raft.redb");
    let first = lab
        .host(1)
        .swarm(&["node", "inspect", "self", "--format", "{{.ID}}"])
        .unwrap();
    // As if it had died between the cluster and its own files.
    lab.host_mut(1).kill_agent().unwrap();
    fs::remove_file(&node).unwrap();
    lab.host_mut(1).spawn_agent().unwrap();
    let host = lab.host(1);
    let info = host.swarm(&["info"]).unwrap();
    assert!(info.contains("Swarm: inactive"), "{info}");
    // The state may be all that is left of somebody's swarm.
    let refused = match init(host, &["--force-new-cluster"]) {
        Ok(said) => panic!("a state without a node was rebuilt: {said}"),
        Err(refused) => format!("{refused:#}"),
    };
    assert!(
        refused.contains("is there, but not which node this is"),
        "{refused}"
    );
    assert!(raft.exists(), "the refusal removed it");
    let manager = host.manager_pid().unwrap();
    init(host, &[]).unwrap();
    until_nodes(host, &["host1 Ready Leader"]);
    let second = host
        .swarm(&["node", "inspect", "self", "--format", "{{.ID}}"])
        .unwrap();
    assert_ne!(first, second);
    assert_ne!(host.manager_pid().unwrap(), manager);
}

/// Nothing of a swarm is in the kernel, in containerd or among the processes.
fn assert_clear(lab: &Lab) {
    let host = lab.host(1);
    let tasks = lab.tasks(host).unwrap();
    assert!(tasks.is_empty(), "{tasks:?}");
    // The kernel puts files of its own at the root of the file system; ours are in directories.
    let found = fs::read_dir(host.bpffs()).unwrap().flatten();
    let pins: Vec<_> = found.filter(|entry| entry.path().is_dir()).collect();
    assert!(pins.is_empty(), "{pins:?}");
    let links = host.exec("ip", &["-oneline", "link", "show"]).unwrap();
    assert!(!links.contains("swhost"), "{links}");
    assert!(host.manager_pid().is_err(), "a manager runs");
    assert!(!host.state_dir().join("node.json").exists());
}

#[test]
fn an_init_that_fails_late_leaves_nothing_and_can_be_tried_again() {
    let mut lab = Lab::start(&Plan::from_environment(1).unwrap()).unwrap();
    // In the way of the tasks' namespaces, which come after the data plane.
    let in_the_way = lab.host(1).socket().with_file_name("netns");
    fs::write(&in_the_way, "").unwrap();
    lab.host_mut(1).spawn_agent().unwrap();
    let refused = format!("{:#}", init(lab.host(1), &[]).unwrap_err());
    assert!(refused.contains("starting the node"), "{refused}");
    assert_clear(&lab);
    fs::remove_file(&in_the_way).unwrap();
    init(lab.host(1), &[]).unwrap();
    until_nodes(lab.host(1), &["host1 Ready Leader"]);
}

#[test]
fn a_node_that_cannot_be_started_is_given_up_with_all_it_has() {
    let mut swarm = Swarm::up(1).unwrap();
    swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    swarm.lab.host_mut(1).kill_agent().unwrap();
    let certificate = swarm.manager().state_dir().join("certificates/node.crt");
    fs::remove_file(certificate).unwrap();
    swarm.lab.host_mut(1).spawn_agent().unwrap();
    let info = swarm.manager().swarm(&["info"]).unwrap();
    assert!(info.contains("Swarm: error"), "{info}");
    assert_eq!(swarm.tasks().unwrap().len(), 2, "tasks go on meanwhile");
    swarm
        .manager()
        .swarm(&["swarm", "leave", "--force"])
        .unwrap();
    assert_clear(&swarm.lab);
    init(swarm.manager(), &[]).unwrap();
    until_nodes(swarm.manager(), &["host1 Ready Leader"]);
}
