//! The stock `docker` client against our socket, its output compared with what it prints against a real engine.
//!
//! Needs the client, which `cargo xtask setup` fetches where it is missing. `DOCKER_CLIENT` names
//! another binary than `docker`.

use std::process::Stdio;

use serde_json::Value;
use swarm_api::logs::{LogLine, LogOrigin, LogSource};
use swarm_core::time::Timestamp;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{
    Engine,
    world::{MANAGER, WORKER_TOKEN, World},
};

/// What a command printed and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    stdout: String,
    stderr: String,
    code: i32,
}

impl Engine {
    /// Runs the client; arguments are split at blanks.
    async fn docker(&self, arguments: &str) -> Ran {
        let configuration = tempfile::tempdir().unwrap();
        let client = std::env::var("DOCKER_CLIENT").unwrap_or_else(|_| "docker".to_owned());
        let mut child = Command::new(client)
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_API_VERSION")
            .env("DOCKER_CONFIG", configuration.path())
            .arg("-H")
            .arg(format!("unix://{}", self.socket.display()))
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the stock docker client is needed");
        child.stdin.take().unwrap().shutdown().await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        Ran {
            stdout: mask(&String::from_utf8(output.stdout).unwrap()),
            stderr: mask(&String::from_utf8(output.stderr).unwrap()),
            code: output.status.code().unwrap(),
        }
    }

    /// Standard output of a command that must succeed silently.
    async fn prints(&self, arguments: &str) -> String {
        let ran = self.docker(arguments).await;
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (0, ""),
            "{arguments}: {}",
            ran.stdout
        );
        ran.stdout
    }

    /// The refusal a command must end with.
    async fn refuses(&self, arguments: &str) -> String {
        let ran = self.docker(arguments).await;
        assert_eq!(ran.code, 1, "{arguments}: {ran:?}");
        ran.stderr
    }
}

/// Replaces identifiers by their length and ages by a word; known identifiers stay.
fn mask(text: &str) -> String {
    let is_id_char = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    let mut masked = String::new();
    let mut word = String::new();
    for character in text.chars().chain(['\0']) {
        if is_id_char(character) {
            word.push(character);
            continue;
        }
        let has_digit = word.chars().any(|c| c.is_ascii_digit());
        match word.len() {
            12 | 25 | 64 if has_digit && word != MANAGER => {
                masked.extend(["<", &word.len().to_string(), ">"]);
            }
            _ => masked.push_str(&word),
        }
        word.clear();
        if character != '\0' {
            masked.push(character);
        }
    }
    for age in [
        "Less than a second ago",
        "less than a second ago",
        "1 second ago",
        "2 seconds ago",
    ] {
        masked = masked.replace(age, "<age>");
    }
    masked
}

/// Rows without the padding that masked columns change.
fn rows(text: &str) -> Vec<String> {
    let squeeze = |line: &str| {
        line.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect::<Vec<_>>()
            .join(" | ")
    };
    text.lines().map(squeeze).collect()
}

#[tokio::test]
async fn the_client_makes_joins_and_leaves_a_swarm() {
    let engine = Engine::start(World::fresh()).await;
    let out = engine.refuses("node ls").await;
    assert_eq!(
        out.trim_end(),
        "Error response from daemon: This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."
    );
    let out = engine
        .prints("swarm init --advertise-addr 10.99.0.12")
        .await;
    let expected = format!(
        "Swarm initialized: current node ({MANAGER}) is now a manager.\n\nTo add a worker to this swarm, run the following command:\n\n    docker swarm join --token {} 10.99.0.12:2377\n\nTo add a manager to this swarm, run 'docker swarm join-token manager' and follow the instructions.\n\n",
        mask(WORKER_TOKEN)
    );
    assert_eq!(out.trim_end(), expected.trim_end());
    let out = engine.prints("swarm join-token worker").await;
    assert_eq!(
        out,
        format!(
            "To add a worker to this swarm, run the following command:\n\n    docker swarm join --token {} 10.99.0.12:2377\n\n",
            mask(WORKER_TOKEN)
        )
    );
    assert_eq!(
        engine
            .prints("swarm join-token -q manager")
            .await
            .split('-')
            .count(),
        4
    );
    let rotated = engine.prints("swarm join-token --rotate worker").await;
    assert!(
        rotated.starts_with("Successfully rotated worker join token.\n"),
        "{rotated}"
    );
    assert_eq!(
        engine.prints("swarm update --task-history-limit 3").await,
        "Swarm updated.\n"
    );
    let out = engine.refuses("swarm leave").await;
    assert!(
        out.contains("Removing the last manager erases all current state of the swarm."),
        "{out}"
    );
    assert_eq!(
        engine.prints("swarm leave --force").await,
        "Node left the swarm.\n"
    );
    let out = engine.refuses("swarm join --token x 10.99.0.12").await;
    assert_eq!(out, "Error response from daemon: invalid join token\n");
    let out = engine
        .prints(&format!("swarm join --token {WORKER_TOKEN} 10.99.0.12"))
        .await;
    assert_eq!(out, "This node joined a swarm as a worker.\n");
    let out = engine.refuses("service ls").await;
    assert!(
        out.contains("Worker nodes can't be used to view or modify cluster state."),
        "{out}"
    );
}

#[tokio::test]
async fn the_client_shows_nodes_info_and_version() {
    let engine = Engine::start(World::manager()).await;
    let out = engine.prints("node ls").await;
    assert_eq!(
        rows(&out),
        [
            "ID | HOSTNAME | STATUS | AVAILABILITY | MANAGER STATUS | ENGINE VERSION".to_owned(),
            format!("{MANAGER} * | refnode2 | Ready | Active | Leader | 0.1.0"),
            "<25> | refnode3 | Ready | Active | 0.1.0".to_owned(),
        ]
    );
    let inspected: Value = serde_json::from_str(&engine.prints("node inspect self").await).unwrap();
    assert_eq!(inspected[0]["Description"]["Hostname"], "refnode2");
    let pretty = engine.prints("node inspect --pretty refnode3").await;
    assert!(
        pretty.contains("Availability:\t\tActive") || pretty.contains("Availability:"),
        "{pretty}"
    );
    // 28 prints the engine's words, 20.10 its own.
    let out = engine.refuses("node inspect nosuch").await;
    assert!(
        out.contains("node nosuch not found") || out.contains("No such node: nosuch"),
        "{out}"
    );
    assert_eq!(
        engine.refuses("node ls -f foo=bar").await,
        "Error response from daemon: invalid filter 'foo'\n"
    );
    assert_eq!(
        engine
            .prints("node update --availability drain refnode3")
            .await,
        "refnode3\n"
    );
    let out = engine.refuses("node demote refnode2").await;
    assert!(out.contains("rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"), "{out}");
    let info = engine.docker("info").await;
    assert_eq!(info.code, 0, "{info:?}");
    for line in [
        "Swarm: active",
        "Is Manager: true",
        "Managers: 1",
        "Nodes: 2",
        "Task History Retention Limit: 5",
        "Heartbeat Period: 5 seconds",
        "Expiry Duration: 3 months",
        "Node Address: 10.99.0.12",
        "10.99.0.12:2377",
    ] {
        assert!(
            info.stdout.lines().any(|found| found.trim() == line),
            "{line} is missing in {}",
            info.stdout
        );
    }
    let version = engine.prints("version").await;
    assert!(
        version.contains("API version:      1.51 (minimum version 1.24)"),
        "{version}"
    );
}

#[tokio::test]
async fn the_client_runs_a_service() {
    let engine = Engine::start(World::manager()).await;
    assert_eq!(
        engine.prints("network create --driver overlay app").await,
        "<25>\n"
    );
    let out = engine.prints("service create --quiet --name web --replicas 2 --network app -p 8080:80 -e A=b --label l=v --constraint node.hostname==refnode2 --update-monitor 1ms --mount type=volume,src=vol1,dst=/v --restart-max-attempts 3 busybox:latest httpd -f").await;
    assert_eq!(out, "<25>\n");
    let asked = engine.world.lock().asked.clone();
    assert_eq!(asked, ["digest of busybox:latest auth="]);
    let out = engine.prints("service ls").await;
    assert_eq!(
        rows(&out),
        [
            "ID | NAME | MODE | REPLICAS | IMAGE | PORTS",
            "<12> | web | replicated | 2/2 | busybox:latest | *:8080->80/tcp"
        ]
    );
    let out = engine.prints("service ps web").await;
    assert_eq!(
        rows(&out),
        [
            "ID | NAME | IMAGE | NODE | DESIRED STATE | CURRENT STATE | ERROR | PORTS",
            "<12> | web.1 | busybox:latest | refnode2 | Running | Running <age>",
            "<12> | web.2 | busybox:latest | refnode2 | Running | Running <age>",
        ]
    );
    let out = engine.prints("node ps").await;
    assert_eq!(rows(&out).len(), 3, "{out}");
    let inspected: Value =
        serde_json::from_str(&engine.prints("service inspect web").await).unwrap();
    assert_eq!(inspected[0]["Spec"]["Mode"]["Replicated"]["Replicas"], 2);
    let pretty = engine.prints("service inspect --pretty web").await;
    for part in [
        "Service Mode:\tReplicated",
        "Replicas:\t2",
        "PublishedPort = 8080",
        "Constraints:\t[node.hostname==refnode2]",
    ] {
        assert!(
            pretty.replace(' ', "").contains(&part.replace(' ', "")),
            "{part} in {pretty}"
        );
    }
    let scaled = engine.prints("service scale web=3").await;
    assert!(scaled.starts_with("web scaled to 3\n"), "{scaled}");
    assert!(scaled.contains(" converged"), "{scaled}");
    let updated = engine
        .prints("service update --env-add C=d --publish-add 8081:81 web")
        .await;
    assert!(
        updated.starts_with("web\n") && updated.contains("overall progress: 3 out of 3 tasks"),
        "{updated}"
    );
    assert_eq!(engine.prints("service rollback -q web").await, "web\n");
    let out = engine
        .refuses("service create -d --no-resolve-image --health-cmd true busybox")
        .await;
    assert_eq!(
        out,
        "Error response from daemon: ContainerSpec.Healthcheck is not supported yet\n"
    );
    let out = engine
        .refuses("service create -d --no-resolve-image --name web busybox")
        .await;
    assert!(
        out.contains("name conflicts with an existing object: service web already exists"),
        "{out}"
    );
    let out = engine
        .refuses("service create -d --no-resolve-image --network nosuch busybox")
        .await;
    assert!(
        out.contains("network nosuch not found") || out.contains("No such network: nosuch"),
        "{out}"
    );
    assert_eq!(
        engine.refuses("service ps nosuch").await,
        "no such service: nosuch\n"
    );
    assert!(
        engine
            .refuses("network rm app")
            .await
            .contains("is in use by service")
    );
    assert_eq!(engine.prints("service rm web").await, "web\n");
    assert_eq!(rows(&engine.prints("service ls").await).len(), 1);
    assert_eq!(engine.prints("network rm app").await, "app\n");
}

#[tokio::test]
async fn the_client_warns_when_the_registry_does_not_answer() {
    let engine = Engine::start(World::manager()).await;
    let ran = engine
        .docker("service create -d --name x unreachable:1")
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "<25>\n"));
    assert!(
        ran.stderr.starts_with(
            "image unreachable:1 could not be accessed on a registry to record\nits digest."
        ),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn the_client_shows_networks_containers_and_logs() {
    let engine = Engine::start(World::manager()).await;
    let out = engine.prints("network ls").await;
    assert_eq!(
        rows(&out),
        [
            "NETWORK ID | NAME | DRIVER | SCOPE",
            "<12> | bridge | bridge | local",
            "<12> | host | host | local",
            "<12> | ingress | overlay | swarm",
            "<12> | none | null | local",
        ]
    );
    let inspected: Value =
        serde_json::from_str(&engine.prints("network inspect ingress").await).unwrap();
    assert_eq!(inspected[0]["Ingress"], true);
    engine
        .prints("service create -q --update-monitor 1ms --name web busybox httpd -f")
        .await;
    let out = engine.prints("ps").await;
    let table = rows(&out);
    assert_eq!(
        table[0],
        "CONTAINER ID | IMAGE | COMMAND | CREATED | STATUS | PORTS | NAMES"
    );
    assert!(
        table[1]
            .starts_with("<12> | busybox:latest | \"httpd -f\" | 11 seconds ago | Up 11 seconds"),
        "{out}"
    );
    {
        let mut state = engine.world.lock();
        let task = state.tasks.values().next().unwrap().clone();
        state.log.push(LogLine {
            timestamp: Timestamp(1_795_359_157_000_000_000),
            source: LogSource::Stdout,
            data: b"hello\n".to_vec(),
            origin: Some(LogOrigin {
                node: task.node.clone(),
                service: task.service.clone(),
                task: task.id.clone(),
            }),
            attributes: std::collections::BTreeMap::new(),
        });
    }
    assert_eq!(
        engine.prints("service logs web").await,
        "web.1.<12>@refnode2    | hello\n"
    );
    assert_eq!(
        engine.prints("service logs --raw -t web").await,
        "2026-11-22T14:52:37.000000000Z hello\n"
    );
    let name = engine.world.lock().containers()[0].name.clone();
    assert_eq!(engine.prints(&format!("logs {name}")).await, "hello\n");
    let inspected: Value =
        serde_json::from_str(&engine.prints(&format!("inspect {name}")).await).unwrap();
    assert_eq!(inspected[0]["State"]["Status"], "running");
    let out = engine.refuses(&format!("rm {name}")).await;
    assert!(out.contains("container is running"), "{out}");
    engine.prints(&format!("rm -f {name}")).await;
    assert_eq!(rows(&engine.prints("ps").await).len(), 1);
    assert!(engine.refuses("inspect nosuch").await.contains("nosuch"));
}
