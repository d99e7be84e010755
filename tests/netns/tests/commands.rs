//! The command line and Docker's own client against the same swarm: they show the same, and
//! what cannot be done is refused with the text Docker prints and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use swarm_testkit::{lab::Host, wait};
use swarm_tests_netns::{CONVERGED_AT_MOST, Swarm};

/// What the command line says when it refuses.
fn refusal(host: &Host, words: &[&str]) -> String {
    match host.swarm(words) {
        Ok(text) => panic!("{words:?} was not refused: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

#[track_caller]
fn assert_refused(host: &Host, words: &[&str], text: &str) {
    let refusal = refusal(host, words);
    assert!(
        refusal.contains(text),
        "{words:?} should say {text:?}, but says {refusal}"
    );
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words_and_leaves_nothing() {
    let mut swarm = Swarm::up(2).unwrap();
    let image = swarm.lab.web_image();
    let host = swarm.manager();
    let own = host.ip().to_string();
    assert_refused(
        host,
        &["swarm", "init", "--advertise-addr", &own],
        "This node is already part of a swarm",
    );
    assert_refused(
        swarm.lab.host(2),
        &["node", "ls"],
        "This node is not a swarm manager. Worker nodes can't be used",
    );
    assert_refused(
        host,
        &[
            "service",
            "create",
            "--name",
            "x",
            "--network",
            "nope",
            &image,
        ],
        "network nope not found",
    );
    swarm.create_web(1).unwrap();
    let create = ["service", "create", "--name"];
    let with = |more: &[&str]| {
        let words: Vec<_> = create.iter().chain(more).copied().collect();
        refusal(host, &words)
    };
    let clash = with(&["web", &image]);
    assert!(
        clash.contains("name conflicts with an existing object: service web already exists"),
        "{clash}"
    );
    let taken = with(&["x", "--publish", "8080:80", &image]);
    assert!(
        taken.contains("port '8080' is already in use by service 'web'"),
        "{taken}"
    );
    assert_refused(
        host,
        &["network", "create", "--driver", "overlay", "app"],
        "network with name app already exists",
    );
    assert_refused(host, &["service", "rm", "nope"], "service nope not found");
    assert_refused(
        host,
        &["service", "create", "--name", "x", "--secret", "s", &image],
        "not supported yet",
    );
    let listed = host.swarm(&["service", "ls", "--quiet"]).unwrap();
    assert_eq!(listed.lines().count(), 1, "only web is there: {listed}");
    unreachable_registry(&swarm);
    bad_token(&mut swarm);
}

fn unreachable_registry(swarm: &Swarm) {
    let host = swarm.manager();
    let image = format!("{}:5999/none:1", swarm.lab.client_ip());
    host.swarm(&["service", "create", "--detach", "--name", "lost", &image])
        .unwrap();
    wait::until("the task to be rejected", CONVERGED_AT_MOST, || {
        let tasks = host.swarm(&["service", "ps", "--no-trunc", "lost"])?;
        anyhow::ensure!(tasks.contains("Rejected"), "{tasks}");
        Ok(())
    })
    .unwrap();
    host.swarm(&["service", "rm", "lost"]).unwrap();
}

fn bad_token(swarm: &mut Swarm) {
    let address = swarm.manager_address();
    let good = swarm.worker_token().unwrap();
    swarm.lab.host(2).swarm(&["swarm", "leave"]).unwrap();
    let worker = swarm.lab.host(2);
    assert_refused(
        worker,
        &["swarm", "join", "--token", "SWMTKN-nonsense", &address],
        "invalid join token",
    );
    let (trusted, _) = good.rsplit_once('-').unwrap();
    let wrong = format!("{trusted}-0000000000000000000000000");
    assert!(refusal(worker, &["swarm", "join", "--token", &wrong, &address]).contains("token"));
    assert_refused(worker, &["node", "ls"], "This node is not a swarm manager");
    worker
        .swarm(&["swarm", "join", "--token", &good, &address])
        .unwrap();
}

#[test]
fn dockers_own_client_sees_the_same_swarm() {
    let swarm = Swarm::up(2).unwrap();
    let host = swarm.manager();
    let image = swarm.lab.web_image();
    host.docker(&["network", "create", "--driver", "overlay", "app"])
        .unwrap();
    let create = [
        "--name",
        "web",
        "--replicas",
        "2",
        "--network",
        "app",
        "-p",
        "8080:80",
    ];
    let words: Vec<_> = ["service", "create", "--quiet", "--no-resolve-image"]
        .iter()
        .chain(&create)
        .copied()
        .chain([image.as_str()])
        .collect();
    host.docker(&words).unwrap();
    swarm.until_tasks(2).unwrap();
    swarm.until_served().unwrap();
    for words in [
        &["node", "ls"][..],
        &["service", "ls"],
        &["network", "ls"],
        &[
            "service",
            "ps",
            "--format",
            "{{.Name}} {{.Node}} {{.DesiredState}}",
            "web",
        ],
        &["service", "inspect", "--pretty", "web"],
    ] {
        assert_eq!(
            host.docker(words).unwrap(),
            host.swarm(words).unwrap(),
            "{words:?}"
        );
    }
    host.docker(&["service", "scale", "--detach", "web=1"])
        .unwrap();
    swarm.until_tasks(1).unwrap();
    host.docker(&["service", "rm", "web"]).unwrap();
    swarm.until_tasks(0).unwrap();
    wait::until("the network to be free", CONVERGED_AT_MOST, || {
        host.docker(&["network", "rm", "app"])
    })
    .unwrap();
}

#[test]
fn the_service_shows_logs_of_its_tasks() {
    let swarm = Swarm::up(2).unwrap();
    swarm.create_web(2).unwrap();
    let host = swarm.manager();
    wait::until("both tasks' first lines", CONVERGED_AT_MOST, || {
        let logs = host.swarm(&["service", "logs", "web"])?;
        anyhow::ensure!(logs.matches("serves port 80").count() == 2, "{logs}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_data_path_is_what_it_should_be() {
    let swarm = Swarm::up(2).unwrap();
    swarm.create_web(2).unwrap();
    swarm.until_served().unwrap();
    for host in swarm.lab.hosts() {
        host.datapath(&["verify"]).unwrap();
        let counters = host.datapath(&["counters"]).unwrap();
        assert!(counters.contains("tc_underlay_ingress"), "{counters}");
    }
}
