//! A locked swarm: what an operator with Docker's own client sees of it, and what goes on without him.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use swarm_testkit::{lab::Host, wait};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

const LOCKED: &str = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";

/// Runs a client to its end with this on its standard input.
fn fed(mut client: Command, words: &[&str], input: &str) -> Output {
    let mut child = client
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn refusal(client: Command, words: &[&str], input: &str) -> String {
    let output = fed(client, words, input);
    assert!(!output.status.success(), "{words:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

/// Waits until the node's private key on disk is sealed.
fn until_sealed(host: &Host) {
    let path = host.state_dir().join("certificates/node.key");
    wait::until("the sealed private key", CONVERGED_AT_MOST, || {
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains("SEALED PRIVATE KEY"), "it is in plain");
        Ok(())
    })
    .unwrap();
}

fn until_state(host: &Host, state: &str) {
    wait::until(state, CONVERGED_AT_MOST, || {
        let found = host.docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"])?;
        anyhow::ensure!(found.trim() == state, "it is {found}");
        Ok(())
    })
    .unwrap();
}

fn until_ready(swarm: &Swarm) {
    wait::until("both nodes", CONVERGED_AT_MOST, || {
        let nodes = swarm.manager().docker(&["node", "ls"])?;
        anyhow::ensure!(nodes.matches("Ready").count() == 2, "{nodes}");
        Ok(())
    })
    .unwrap();
}

/// No file that people read, no command line and no answer holds the key.
fn assert_told_nowhere(swarm: &Swarm, key: &str) {
    let host = swarm.manager();
    let mut said = vec![
        fs::read_to_string(host.log()).unwrap(),
        fs::read_to_string(host.state_dir().join("manager.log")).unwrap(),
        host.docker(&["info", "--format", "{{json .}}"]).unwrap(),
        host.docker(&["node", "inspect", "self"]).unwrap(),
    ];
    for pid in [
        host.manager_pid().unwrap().to_string(),
        host.agent_pid().unwrap().to_string(),
    ] {
        said.push(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
    }
    let secret = key.strip_prefix("SWMKEY-1-").unwrap();
    for text in said {
        assert!(!text.contains(secret), "the key is told in {text}");
    }
}

#[test]
fn a_locked_manager_waits_for_dockers_unlock_while_tasks_and_packets_go_on() {
    let mut swarm = Swarm::up(2).unwrap();
    let tasks = swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    let host = swarm.manager();
    let not_locked = refusal(host.docker_command(), &["swarm", "unlock"], "");
    assert!(
        not_locked.contains("Error: swarm is not locked"),
        "{not_locked}"
    );
    let none = refusal(host.docker_command(), &["swarm", "unlock-key"], "");
    assert!(none.contains("no unlock key is set"), "{none}");

    let said = host
        .docker(&["swarm", "update", "--autolock=true"])
        .unwrap();
    let key = host.docker(&["swarm", "unlock-key", "-q"]).unwrap();
    let key = key.trim();
    assert!(
        said.starts_with("Swarm updated.") && said.contains(key),
        "{said}"
    );
    assert_eq!(
        host.swarm(&["swarm", "unlock-key", "-q"]).unwrap().trim(),
        key
    );
    until_sealed(host);

    // the manager alone dies: its agent starts it again, and it waits
    let manager = Pid::from_raw(host.manager_pid().unwrap());
    kill(manager, Signal::SIGKILL).unwrap();
    until_state(host, "locked");
    for words in [["node", "ls"], ["service", "ls"]] {
        let text = refusal(host.swarm_command(), &words, "");
        assert!(text.contains(LOCKED), "{text}");
    }
    let text = refusal(host.docker_command(), &["node", "ls"], "");
    assert!(text.contains(LOCKED), "{text}");

    // and so it is for an agent that starts with a locked manager
    swarm.lab.host_mut(1).kill_agent().unwrap();
    swarm.lab.host_mut(1).spawn_agent().unwrap();
    let host = swarm.manager();
    until_state(host, "locked");
    for number in [1, 2] {
        for _ in 0..20 {
            swarm.page_from_outside(number).unwrap();
        }
    }
    assert_eq!(swarm.tasks().unwrap(), tasks, "the same tasks");

    let malformed = refusal(host.docker_command(), &["swarm", "unlock"], "x\n");
    assert!(malformed.contains("invalid key string"), "{malformed}");
    let other = format!("SWMKEY-1-{}\n", "A".repeat(43));
    let wrong = refusal(host.docker_command(), &["swarm", "unlock"], &other);
    assert!(
        wrong.contains("swarm could not be unlocked: invalid key provided"),
        "{wrong}"
    );
    until_state(host, "locked");

    let unlocked = fed(
        host.docker_command(),
        &["swarm", "unlock"],
        &format!("{key}\n"),
    );
    assert!(unlocked.status.success(), "{unlocked:?}");
    until_ready(&swarm);
    assert_eq!(swarm.tasks().unwrap(), tasks, "the same tasks");
    assert_told_nowhere(&swarm, key);

    rotated_and_then_off(&swarm, key);
}

/// A rotated key; then no lock any more.
fn rotated_and_then_off(swarm: &Swarm, key: &str) {
    let rotated = swarm
        .manager()
        .docker(&["swarm", "unlock-key", "--rotate", "-q"]);
    let rotated = rotated.unwrap().trim().to_owned();
    assert_ne!(rotated, key);
    let off = swarm
        .manager()
        .swarm(&["swarm", "update", "--autolock=false"]);
    assert_eq!(off.unwrap().trim(), "Swarm updated.");
    let path = swarm.manager().state_dir().join("certificates/node.key");
    wait::until("the private key in plain", CONVERGED_AT_MOST, || {
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains("BEGIN PRIVATE KEY"), "it is sealed");
        Ok(())
    })
    .unwrap();
    let manager = Pid::from_raw(swarm.manager().manager_pid().unwrap());
    kill(manager, Signal::SIGKILL).unwrap();
    until_ready(swarm);
    assert_told_nowhere(swarm, &rotated);
}
