//! Containers go on while the agent or containerd does not, and nothing that happened is forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking and tells its story in one piece"
)]

mod support;

use futures::StreamExt;
use support::{World, id, output, wait_for_line, within};
use swarm_agent_executor::{
    ContainerSpec, ContainerdExecutor, Error, Event, Executor, LogQuery, PullRequest, SIGTERM,
    Status,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_finds_running_and_ended_containers_and_every_line() {
    let world = World::new().await;
    let first = world.connect().await;
    let spec = world.spec(&first, "app:server").await;
    let script = |text: &str| ContainerSpec {
        args: Some(["/bin/sh", "-c", text].map(str::to_owned).into()),
        labels: [("com.docker.swarm.task.id".to_owned(), "t1".to_owned())].into(),
        ..spec.clone()
    };
    // It prints and ends when told so by a file, with nobody watching.
    let go = world.directory.path().join("go");
    let status = nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU);
    status.unwrap();
    let mut ends = script(
        "echo ready; cat /go; i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done; echo bye >&2; exit 9",
    );
    ends.mounts = vec![swarm_agent_executor::Mount {
        target: "/go".into(),
        read_only: false,
        kind: swarm_agent_executor::MountKind::Bind {
            source: go.clone(),
            propagation: swarm_agent_executor::Propagation::default(),
            recursive: true,
        },
    }];
    for (name, spec) in [("stays", &spec), ("ends", &ends)] {
        first.create(&id(name), spec).await.unwrap();
        first.start(&id(name)).await.unwrap();
        wait_for_line(&first, &id(name), "ready").await;
    }
    first.create(&id("waits"), &spec).await.unwrap();
    let before = first.inspect(&id("stays")).await.unwrap();
    let Status::Running { pid, .. } = first.inspect(&id("ends")).await.unwrap().status else {
        panic!("it runs");
    };
    drop(first);
    let process = std::fs::File::open(format!("/proc/{pid}")).unwrap();
    std::fs::write(&go, "go\n").unwrap();
    let gone = tokio::task::spawn_blocking(move || wait_gone(&process, pid));
    within(gone).await.unwrap();

    let second = world.connect().await;
    let listed = second.list().await.unwrap();
    let names: Vec<&str> = listed
        .iter()
        .map(|container| container.id.as_str())
        .collect();
    assert_eq!(names, ["ends", "stays", "waits"]);
    assert_eq!(
        listed[1], before,
        "nothing about the running one has changed"
    );
    assert_eq!(listed[2].status, Status::Created);
    assert!(matches!(&listed[0].status, Status::Exited { exit, .. } if exit.code == 9));
    assert_eq!(listed[0].spec.labels["com.docker.swarm.task.id"], "t1");
    assert_eq!(within(second.wait(&id("ends"))).await.unwrap().code, 9);
    let printed = output(&second, &id("ends")).await;
    let numbers = support::numbered("", 5000);
    assert_eq!(printed["stdout"], format!("ready\ngo\n{numbers}"));
    assert_eq!(printed["stderr"], "bye\n");
    let stays = id("stays");
    let waiting = second.wait(&stays);
    let stopping = async { second.kill(&stays, SIGTERM).await.unwrap() };
    let (exit, ()) = within(async { tokio::join!(waiting, stopping) }).await;
    assert_eq!(exit.unwrap().code, 3);
}

/// Blocks until the process is a zombie or gone; its parent, the shim, reaps it at once.
fn wait_gone(_directory: &std::fs::File, pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    while nix::sys::signal::kill(pid, None).is_ok() {
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_containerd_is_survived() {
    let mut world = World::new().await;
    let executor = world.connect().await;
    let spec = world.spec(&executor, "app:server").await;
    let id = id("survives");
    executor.create(&id, &spec).await.unwrap();
    let pid = executor.start(&id).await.unwrap();
    wait_for_line(&executor, &id, "ready").await;
    let mut events = executor.events();
    world.stop_containerd();
    let error = executor.list().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    let socket = world.socket();
    assert!(text.starts_with(&format!(
        "cannot connect to containerd at {}: ",
        socket.display()
    )));
    let waiting = executor.wait(&id);
    tokio::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    world.start_containerd();
    while within(events.next()).await.unwrap() != Event::Resynced {}
    let status = executor.inspect(&id).await.unwrap().status;
    assert!(matches!(status, Status::Running { pid: now, .. } if now == pid));
    executor.kill(&id, SIGTERM).await.unwrap();
    let exited = within(events.next()).await.unwrap();
    assert!(
        matches!(&exited, Event::Exited { exit, .. } if exit.code == 3),
        "{exited:?}"
    );
    let exit = within(executor.wait(&id)).await.unwrap();
    assert_eq!(exit.code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_shim_was_killed_is_lost_or_killed_never_running() {
    let world = World::new().await;
    let executor = world.connect().await;
    let spec = world.spec(&executor, "app:server").await;
    let id = id("orphan");
    executor.create(&id, &spec).await.unwrap();
    let pid = executor.start(&id).await.unwrap();
    wait_for_line(&executor, &id, "ready").await;
    let parent = support::read(format!("/proc/{pid}/stat"));
    let parent = parent
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let shim = nix::unistd::Pid::from_raw(parent);
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    let ended = within(executor.wait(&id)).await;
    match ended {
        Ok(exit) => assert_ne!(exit.code, 0),
        Err(error) => assert!(matches!(error, Error::ExitUnknown { .. }), "{error:?}"),
    }
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let lines: Vec<_> = within(executor.logs(&id, &query).await.unwrap().collect()).await;
    assert_eq!(lines.len(), 1, "following a lost container ends");
    executor.delete(&id, true).await.unwrap();
    assert_eq!(executor.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_an_interrupted_agent_are_swept() {
    let world = World::new().await;
    let executor = world.connect().await;
    let spec = world.spec(&executor, "app:server").await;
    executor.create(&id("kept"), &spec).await.unwrap();
    drop(executor);
    let config = world.config();
    let folder = config.state_dir.join("containers/leftover");
    std::fs::create_dir_all(folder.join("volumes/0")).unwrap();
    let pipes = config.run_dir.join("exec/exec-1");
    std::fs::create_dir_all(&pipes).unwrap();
    let executor = world.connect().await;
    assert!(!folder.exists() && !pipes.exists());
    assert_eq!(executor.list().await.unwrap().len(), 1);
    executor.start(&id("kept")).await.unwrap();
}

#[tokio::test]
async fn without_containerd_the_error_names_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let config = swarm_agent_executor::ContainerdConfig::new(
        &socket,
        "swx-none",
        directory.path().join("state"),
        directory.path().join("run"),
    );
    let error = ContainerdExecutor::connect(config).await.unwrap_err();
    let expected = format!(
        "cannot connect to containerd at {}: No such file or directory (os error 2)",
        socket.display()
    );
    assert_eq!(error.to_string(), expected);
    let fake = swarm_agent_executor::FakeExecutor::default();
    let request = PullRequest {
        image: "nosuch:1".into(),
        auth: None,
    };
    let error = fake.pull(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "No such image: nosuch:1");
}
