//! The lab by itself, without any agent: what it makes is there and works, and what it leaves
//! is nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use swarm_testkit::{
    http,
    lab::{Lab, Plan, Underlay},
};

/// A lab's number is free for another once it is gone, so "it is gone" is looked at alone.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plan(hosts: usize, underlay: Underlay) -> Plan {
    let none = PathBuf::from("/nonexistent");
    Plan {
        hosts,
        underlay,
        agent: none.clone(),
        manager: none,
    }
}

fn mentions(file: &str, text: &str) -> bool {
    fs::read_to_string(file).unwrap().contains(text)
}

#[test]
fn hosts_reach_each_other_the_client_and_the_registry_and_nothing_is_left() {
    let _alone = alone();
    let lab = Lab::start(&plan(3, Underlay::Switch)).unwrap();
    let registry: SocketAddr = lab.registry().parse().unwrap();
    for host in lab.hosts() {
        let manifest = host
            .netns()
            .run(|| {
                let accept = [("Accept", "application/vnd.oci.image.manifest.v1+json")];
                http::request("GET", registry, "/v2/web/manifests/1", &accept, &[])
            })
            .unwrap();
        assert_eq!(manifest.status, 200, "{}", manifest.text());
        let client = lab.client_ip().to_string();
        host.exec("busybox", &["ping", "-c", "1", "-W", "2", &client])
            .unwrap();
    }
    assert_eq!(lab.tasks(lab.host(1)).unwrap(), []);
    let folder = lab.folder().to_owned();
    assert!(mentions("/proc/self/mountinfo", folder.to_str().unwrap()));
    drop(lab);
    assert!(!folder.exists());
    assert!(!mentions(
        "/proc/self/mountinfo",
        &format!("{}/", folder.display())
    ));
}

#[test]
fn two_labs_live_beside_each_other() {
    let _alone = alone();
    let switch = Lab::start(&plan(1, Underlay::Switch)).unwrap();
    let cable = Lab::start(&plan(2, Underlay::Cable)).unwrap();
    assert_ne!(switch.folder(), cable.folder());
    let other = cable.host(2).ip().to_string();
    cable
        .host(1)
        .exec("busybox", &["ping", "-c", "1", "-W", "2", &other])
        .unwrap();
    drop(switch);
    cable
        .host(1)
        .exec("busybox", &["ping", "-c", "1", "-W", "2", &other])
        .unwrap();
}

#[test]
fn an_agent_that_cannot_start_is_reported_with_its_last_words() {
    let _alone = alone();
    let mut lab = Lab::start(&plan(1, Underlay::Switch)).unwrap();
    let error = format!("{:#}", lab.host_mut(1).spawn_agent().unwrap_err());
    assert!(error.contains("/nonexistent"), "{error}");
}
