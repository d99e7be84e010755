//! One suite for every executor that works: what a caller may rely on, whoever runs the containers. The
//! failing executor is checked to say so in one way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking and tells its story in one piece"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use support::{World, id, output, within};
use swarm_agent_executor::{
    Behaviour, ContainerId, ContainerSpec, Error, Event, ExecOutput, ExecSpec, Executor,
    FailingExecutor, FakeExecutor, LogLine, LogQuery, LogSource, Mount, MountKind, PullFailure,
    PullOutcome, PullRequest, Reaction, SIGKILL, SIGTERM, Status,
};

#[tokio::test(flavor = "multi_thread")]
async fn real_executor_keeps_the_contract() {
    let world = World::new().await;
    let executor = world.connect().await;
    suite(&executor, &world.registry).await;
}

#[tokio::test]
async fn fake_executor_keeps_the_contract() {
    let registry = "registry.test:5000";
    let fake = FakeExecutor::default();
    let server = |reaction| {
        Behaviour::new(reaction)
            .line(LogSource::Stdout, "ready")
            .command(
                &["/bin/sh", "-c", "echo hi; echo oops >&2; exit 3"],
                ExecOutput {
                    exit_code: 3,
                    stdout: b"hi\n".to_vec(),
                    stderr: b"oops\n".to_vec(),
                },
            )
    };
    let exit = Behaviour::new(Reaction::Exit(7))
        .line(LogSource::Stdout, "out")
        .line(LogSource::Stderr, "err");
    let broken = Reaction::RefuseStart {
        exit_code: 127,
        message: "exec: \"/nosuch\": stat /nosuch: no such file or directory".into(),
    };
    for (tag, behaviour) in [
        ("exit7", exit),
        ("server", server(Reaction::RunUntilStopped(3))),
        ("stubborn", server(Reaction::IgnoreStop)),
        ("broken", Behaviour::new(broken)),
    ] {
        fake.add_image(&format!("{registry}/app:{tag}"), behaviour)
            .unwrap();
    }
    suite(&fake, registry).await;
}

#[tokio::test]
async fn failing_executor_names_the_socket_everywhere() {
    let failing = FailingExecutor::new("/run/none.sock");
    let text = "cannot connect to containerd at /run/none.sock: connection refused";
    let id = id("c");
    assert_eq!(failing.runtime().await.unwrap_err().to_string(), text);
    assert_eq!(failing.start(&id).await.unwrap_err().to_string(), text);
    assert_eq!(failing.list().await.unwrap_err().to_string(), text);
}

async fn suite(executor: &dyn Executor, registry: &str) {
    let images = Images {
        registry: registry.to_owned(),
    };
    assert!(!executor.runtime().await.unwrap().version.is_empty());
    pulls(executor, &images).await;
    a_container_ends_by_itself(executor, &images).await;
    a_container_is_stopped(executor, &images).await;
    a_stubborn_container_is_killed(executor, &images).await;
    a_container_that_cannot_start(executor, &images).await;
    commands(executor, &images).await;
    refusals(executor, &images).await;
    volumes(executor, &images).await;
    assert_eq!(executor.list().await.unwrap(), []);
}

struct Images {
    registry: String,
}

impl Images {
    fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.registry)
    }

    fn spec(&self, tag: &str) -> ContainerSpec {
        ContainerSpec {
            image: self.name(tag),
            ..ContainerSpec::default()
        }
    }
}

async fn pulls(executor: &dyn Executor, images: &Images) {
    let error = executor
        .create(&id("early"), &images.spec("server"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("No such image: {}", images.name("server"))
    );
    for tag in ["exit7", "server", "stubborn", "broken", "server"] {
        let request = PullRequest {
            image: images.name(tag),
            auth: None,
        };
        let outcome = within(executor.pull(&request)).await.unwrap();
        assert!(matches!(outcome, PullOutcome::Pulled(_)), "{outcome:?}");
        assert_eq!(outcome.image().reference, images.name(tag));
    }
    assert_eq!(executor.images().await.unwrap().len(), 4);
    let request = PullRequest {
        image: images.name("nosuch"),
        auth: None,
    };
    let error = within(executor.pull(&request)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuchImage {
                failure: Some(PullFailure::NotFound),
                ..
            }
        ),
        "{error:?}"
    );
    let request = PullRequest {
        image: "BAD:::".into(),
        auth: None,
    };
    let error = executor.pull(&request).await.unwrap_err();
    assert!(matches!(error, Error::InvalidReference { .. }), "{error:?}");
}

async fn a_container_ends_by_itself(executor: &dyn Executor, images: &Images) {
    let id = id("ends");
    let mut events = executor.events();
    let mut spec = images.spec("exit7");
    spec.labels = [("com.docker.swarm.task.id".to_owned(), "t1".to_owned())].into();
    executor.create(&id, &spec).await.unwrap();
    let created = executor.inspect(&id).await.unwrap();
    assert_eq!((created.status, &created.spec), (Status::Created, &spec));
    assert!(matches!(
        executor.wait(&id).await,
        Err(Error::NotRunning { .. })
    ));
    let pid = executor.start(&id).await.unwrap();
    assert!(pid > 0);
    let exit = within(executor.wait(&id)).await.unwrap();
    assert_eq!((exit.code, exit.oom_killed, &exit.error), (7, false, &None));
    assert_eq!(
        within(executor.wait(&id)).await.unwrap(),
        exit,
        "waiting again answers again"
    );
    let ended = executor.inspect(&id).await.unwrap();
    let Status::Exited {
        started_at: Some(started_at),
        exit: shown,
    } = ended.status
    else {
        panic!("{ended:?}");
    };
    assert!(shown == exit && started_at <= exit.at);
    let printed = output(executor, &id).await;
    assert_eq!(
        printed,
        BTreeMap::from([("stdout", "out\n".into()), ("stderr", "err\n".into())])
    );
    assert!(matches!(
        executor.start(&id).await,
        Err(Error::Ended { .. })
    ));
    assert!(matches!(
        executor.kill(&id, SIGTERM).await,
        Err(Error::NotRunning { .. })
    ));
    assert_eq!(
        executor.stop(&id, None).await.unwrap(),
        exit,
        "stopping it is done already"
    );
    executor.delete(&id, false).await.unwrap();
    let expected = [
        Event::Created { id: id.clone() },
        Event::Started {
            id: id.clone(),
            pid,
        },
        Event::Exited {
            id: id.clone(),
            exit,
        },
        Event::Deleted { id: id.clone() },
    ];
    for expected in expected {
        assert_eq!(next_event(&mut events).await, expected);
    }
}

/// The next that is about a container.
async fn next_event(events: &mut swarm_agent_executor::EventStream) -> Event {
    loop {
        let event = within(events.next()).await.unwrap();
        if event != Event::Resynced {
            return event;
        }
    }
}

async fn running(executor: &dyn Executor, name: &str, spec: &ContainerSpec) -> ContainerId {
    let id = id(name);
    executor.create(&id, spec).await.unwrap();
    executor.start(&id).await.unwrap();
    support::wait_for_line(executor, &id, "ready").await;
    id
}

async fn a_container_is_stopped(executor: &dyn Executor, images: &Images) {
    let id = running(executor, "stops", &images.spec("server")).await;
    let status = executor.inspect(&id).await.unwrap().status;
    let Status::Running { pid, .. } = status else {
        panic!("{status:?}")
    };
    assert_eq!(
        executor.start(&id).await.unwrap(),
        pid,
        "starting it again changes nothing"
    );
    let listed = executor.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, id);
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let lines = executor.logs(&id, &query).await.unwrap();
    assert!(executor.stats(&id).await.unwrap().pids > 0);
    assert!(matches!(
        executor.delete(&id, false).await,
        Err(Error::StillRunning { .. })
    ));
    let exit = within(executor.stop(&id, None)).await.unwrap();
    assert_eq!(exit.code, 3);
    let lines: Vec<Result<LogLine, Error>> = within(lines.collect()).await;
    assert_eq!(
        lines.len(),
        1,
        "following ends with the container: {lines:?}"
    );
    assert!(matches!(
        executor.stats(&id).await,
        Err(Error::NotRunning { .. })
    ));
    executor.delete(&id, false).await.unwrap();
}

async fn a_stubborn_container_is_killed(executor: &dyn Executor, images: &Images) {
    let mut spec = images.spec("stubborn");
    spec.stop_grace_period = Some(Duration::from_millis(300));
    let id = running(executor, "stubborn", &spec).await;
    executor.kill(&id, SIGTERM).await.unwrap();
    let exit = within(executor.stop(&id, None)).await.unwrap();
    assert_eq!(exit.code, 128 + SIGKILL);
    executor.delete(&id, false).await.unwrap();
    let id = running(executor, "forced", &spec).await;
    within(executor.delete(&id, true)).await.unwrap();
    assert!(matches!(
        executor.inspect(&id).await,
        Err(Error::NoSuchContainer { .. })
    ));
}

async fn a_container_that_cannot_start(executor: &dyn Executor, images: &Images) {
    let id = id("broken");
    executor.create(&id, &images.spec("broken")).await.unwrap();
    let error = executor.start(&id).await.unwrap_err();
    assert_eq!(error.exit_code(), Some(127), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("failed to create task for container: "),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("exec: \"/nosuch\": stat /nosuch: no such file"),
        "{error}"
    );
    let exit = within(executor.wait(&id)).await.unwrap();
    assert_eq!(exit.code, 127);
    assert!(exit.error.is_some());
    executor.delete(&id, false).await.unwrap();
}

async fn commands(executor: &dyn Executor, images: &Images) {
    let id = running(executor, "commands", &images.spec("server")).await;
    let command = |words: &[&str]| ExecSpec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecSpec::default()
    };
    let script = command(&["/bin/sh", "-c", "echo hi; echo oops >&2; exit 3"]);
    let output = within(executor.exec(&id, &script)).await.unwrap();
    let expected = ExecOutput {
        exit_code: 3,
        stdout: b"hi\n".to_vec(),
        stderr: b"oops\n".to_vec(),
    };
    assert_eq!(output, expected);
    let stream = executor.exec_stream(&id, &script).await.unwrap();
    let mut chunks: Vec<_> = within(stream.output.collect()).await;
    chunks.sort_by_key(|(source, _)| *source == LogSource::Stderr);
    let chunks: Vec<(LogSource, &[u8])> = chunks.iter().map(|(s, b)| (*s, &b[..])).collect();
    assert_eq!(
        chunks,
        [
            (LogSource::Stdout, &b"hi\n"[..]),
            (LogSource::Stderr, &b"oops\n"[..])
        ]
    );
    assert_eq!(within(stream.exit_code).await.unwrap().unwrap(), 3);
    let error = within(executor.exec(&id, &command(&["nosuch"])))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), Some(127), "{error}");
    assert!(
        error
            .to_string()
            .contains("exec: \"nosuch\": executable file not found in $PATH")
    );
    assert!(matches!(
        executor.exec(&id, &command(&[])).await,
        Err(Error::NoCommand)
    ));
    within(executor.stop(&id, None)).await.unwrap();
    assert!(matches!(
        executor.exec(&id, &script).await,
        Err(Error::NotRunning { .. })
    ));
    executor.delete(&id, false).await.unwrap();
}

async fn refusals(executor: &dyn Executor, images: &Images) {
    let nobody = id("nobody");
    let gone = |error: &Error| matches!(error, Error::NoSuchContainer { .. });
    assert!(gone(&executor.start(&nobody).await.unwrap_err()));
    assert!(gone(&executor.wait(&nobody).await.unwrap_err()));
    assert!(gone(&executor.kill(&nobody, SIGTERM).await.unwrap_err()));
    assert!(gone(&executor.stop(&nobody, None).await.unwrap_err()));
    assert!(gone(&executor.delete(&nobody, true).await.unwrap_err()));
    assert!(gone(&executor.inspect(&nobody).await.unwrap_err()));
    assert!(gone(&executor.stats(&nobody).await.unwrap_err()));
    let Err(error) = executor.logs(&nobody, &LogQuery::default()).await else {
        panic!()
    };
    assert!(gone(&error));
    let id = id("twice");
    executor.create(&id, &images.spec("server")).await.unwrap();
    let again = executor.create(&id, &images.spec("server")).await;
    assert!(matches!(again, Err(Error::ContainerExists { .. })));
    assert_eq!(
        executor.inspect(&id).await.unwrap().status,
        Status::Created,
        "it is still whole"
    );
    executor.delete(&id, false).await.unwrap();
    let tmpfs = Mount {
        target: "/x".into(),
        read_only: false,
        kind: MountKind::Tmpfs {
            size_bytes: None,
            mode: None,
        },
    };
    let mut spec = images.spec("server");
    spec.mounts = vec![tmpfs.clone(), tmpfs];
    let error = executor.create(&id, &spec).await.unwrap_err();
    assert_eq!(error.to_string(), "Duplicate mount point: /x");
}

async fn volumes(executor: &dyn Executor, images: &Images) {
    let labels: BTreeMap<_, _> = [("a".to_owned(), "1".to_owned())].into();
    let made = executor.create_volume("data", &labels).await.unwrap();
    assert_eq!((made.name.as_str(), &made.labels), ("data", &labels));
    let mut spec = images.spec("server");
    spec.mounts = ["data", "more"]
        .map(|name| Mount {
            target: format!("/{name}"),
            read_only: false,
            kind: MountKind::Volume {
                name: Some(name.to_owned()),
                labels: BTreeMap::new(),
                no_copy: false,
            },
        })
        .into();
    let id = id("volumes");
    executor.create(&id, &spec).await.unwrap();
    let names = |volumes: Vec<swarm_agent_executor::Volume>| {
        volumes
            .into_iter()
            .map(|volume| volume.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(executor.volumes().await.unwrap()), ["data", "more"]);
    let error = executor.remove_volume("data").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "remove data: volume is in use - [volumes]"
    );
    executor.delete(&id, false).await.unwrap();
    executor.remove_volume("data").await.unwrap();
    executor.remove_volume("more").await.unwrap();
    let error = executor.remove_volume("data").await.unwrap_err();
    assert_eq!(error.to_string(), "get data: no such volume");
    let error = executor.create_volume("../x", &labels).await.unwrap_err();
    assert!(matches!(error, Error::InvalidVolumeName { .. }));
}
