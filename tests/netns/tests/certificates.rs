//! Identities on whole hosts: the root is replaced under traffic and nobody notices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, sync::mpsc};

use swarm_testkit::{
    traffic::{UdpEcho, ping_until},
    wait,
};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

#[test]
fn rotating_the_root_under_a_running_ping_loses_nothing() {
    let swarm = Swarm::up(3).unwrap();
    let tasks = swarm.create_web(3).unwrap();
    swarm.until_served().unwrap();
    let manager = swarm.manager();
    let (before, token) = (
        manager.swarm(&["swarm", "ca"]).unwrap(),
        swarm.worker_token().unwrap(),
    );
    let (one, two) = (tasks[0].on_app().unwrap(), tasks[1].on_app().unwrap());
    let echo = UdpEcho::start(&two, 0).unwrap();
    let (stop, stopped) = mpsc::channel();
    let pinging = ping_until(&one.netns, echo.address, stopped);
    let shown = manager.swarm(&["swarm", "ca", "--rotate"]).unwrap();
    assert!(shown.contains("desired root digest: sha256:"), "{shown}");
    drop(stop);
    let rounds = pinging.join().unwrap().unwrap();
    assert_eq!(rounds.lost, 0, "of {} pings", rounds.times.len());
    assert_eq!(swarm.tasks().unwrap(), tasks, "no task was replaced");

    let after = manager.swarm(&["swarm", "ca"]).unwrap();
    assert_ne!(after, before);
    assert!(shown.trim_end().ends_with(after.trim()), "{shown}");
    assert_ne!(swarm.worker_token().unwrap(), token);
    let nodes = swarm.nodes().unwrap();
    assert_eq!(nodes.matches("Ready").count(), 3, "{nodes}");
    // Agents that start anew connect with what is on disk now.
    let mut swarm = swarm;
    for number in [3, 1] {
        swarm.lab.host_mut(number).kill_agent().unwrap();
        swarm.lab.host_mut(number).spawn_agent().unwrap();
    }
    wait::until("every node to be back", CONVERGED_AT_MOST, || {
        let nodes = swarm.nodes()?;
        anyhow::ensure!(nodes.matches("Ready").count() == 3, "{nodes}");
        Ok(())
    })
    .unwrap();
    swarm
        .manager()
        .swarm(&["service", "scale", "web=4"])
        .unwrap();
    swarm.until_tasks(4).unwrap();
    assert_told_nowhere(&swarm, &token);
}

/// No log and no answer that people do not ask for it holds a token or a private key.
fn assert_told_nowhere(swarm: &Swarm, old_token: &str) {
    let manager = swarm.manager();
    let tokens = ["worker", "manager"].map(|role| {
        manager
            .swarm(&["swarm", "join-token", "--quiet", role])
            .unwrap()
    });
    let mut said: Vec<String> = Vec::new();
    for host in swarm.lab.hosts() {
        said.push(fs::read_to_string(host.log()).unwrap());
        said.push(host.swarm(&["info"]).unwrap());
        said.push(host.docker(&["info", "--format", "{{json .}}"]).unwrap());
    }
    said.push(fs::read_to_string(manager.state_dir().join("manager.log")).unwrap());
    for number in 1..=3 {
        let node = format!("host{number}");
        said.push(manager.swarm(&["node", "inspect", &node]).unwrap());
    }
    said.push(manager.swarm(&["service", "inspect", "web"]).unwrap());
    // The second secret part of a token; the rest is the digest of a root that everybody may see.
    let secret = |token: &str| {
        token
            .trim()
            .rsplit('-')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut secrets: Vec<String> = tokens.iter().map(|token| secret(token)).collect();
    secrets.extend([secret(old_token), "PRIVATE KEY".to_owned()]);
    for secret in secrets {
        assert!(secret.len() > 8, "{secret:?} is no secret");
        for text in &said {
            assert!(!text.contains(&secret), "a secret is told in {text}");
        }
    }
}
