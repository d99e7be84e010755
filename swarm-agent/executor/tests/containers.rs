//! What a real container sees: its files, user, network namespace, limits; commands, logs, and that a
//! failed creation leaves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking and tells its story in one piece"
)]

mod support;

use std::os::unix::fs::MetadataExt;

use futures::StreamExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use support::{World, id, output, read, run_script, wait_for_line, within};
use swarm_agent_executor::{
    ContainerSpec, ExecSpec, Executor, LogQuery, LogRotation, Mount, MountKind, Propagation,
    Resources, Ulimit,
};

fn bind(source: &std::path::Path, target: &str, read_only: bool) -> Mount {
    let (propagation, recursive) = (Propagation::default(), true);
    let kind = MountKind::Bind {
        source: source.to_owned(),
        propagation,
        recursive,
    };
    Mount {
        target: target.into(),
        read_only,
        kind,
    }
}

fn volume(name: Option<&str>, target: &str) -> Mount {
    let kind = MountKind::Volume {
        name: name.map(str::to_owned),
        labels: std::collections::BTreeMap::new(),
        no_copy: false,
    };
    Mount {
        target: target.into(),
        read_only: false,
        kind,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_sees_what_was_asked_for() {
    let world = World::new().await;
    let executor = world.connect().await;
    let base = ContainerSpec {
        env: vec!["GREETING=hello world".into()],
        hostname: Some("box".into()),
        hosts: "10.0.0.9 box\n".into(),
        resolv_conf: "nameserver 127.0.0.11\n".into(),
        ..world.spec(&executor, "app:server").await
    };
    let shared = world.directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in"), "from the host\n").unwrap();
    let spec = ContainerSpec {
        workdir: Some("/tmp".into()),
        user: Some("web".into()),
        read_only: true,
        capability_drop: vec!["ALL".into()],
        capability_add: vec!["NET_ADMIN".into()],
        sysctls: [("net.core.somaxconn".to_owned(), "77".to_owned())].into(),
        ulimits: vec![Ulimit {
            name: "nofile".into(),
            soft: 64,
            hard: 128,
        }],
        oom_score_adj: Some(123),
        mounts: vec![
            bind(&shared, "/shared", true),
            Mount {
                target: "/scratch".into(),
                read_only: false,
                kind: MountKind::Tmpfs {
                    size_bytes: Some(1 << 20),
                    mode: Some(0o777),
                },
            },
        ],
        ..base.clone()
    };
    let script = "echo $GREETING; pwd; id -u; id -g; id -G; hostname; cat /etc/hosts /etc/resolv.conf \
         /etc/hostname /shared/in /proc/sys/net/core/somaxconn /proc/self/oom_score_adj; ulimit -n; \
         echo x > /shared/out || echo bind is ro; echo x > /y || echo root is ro; echo x > /scratch/y && \
         df -k /scratch | tail -1 | awk '{print $2}'; grep CapBnd /proc/self/status; cat /proc/1/comm; true";
    let (code, printed) = run_script(&executor, "sees", &spec, script).await;
    let expected = "hello world\n/tmp\n33\n44\n44 55\nbox\n10.0.0.9 box\nnameserver 127.0.0.11\nbox\n\
         from the host\n77\n123\n64\nbind is ro\nroot is ro\n1024\nCapBnd:\t0000000000001000\nsh\n";
    assert_eq!((code, printed.as_str()), (0, expected));
    let (code, printed) = run_script(
        &executor,
        "defaults",
        &base,
        "grep CapBnd /proc/self/status; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
         wc -c < /proc/interrupts; mount -t tmpfs none /tmp || echo no mount; unshare -n true || echo no ns; \
         cat /sys/class/net/lo/ifindex; head -c1 /dev/zero | wc -c",
    )
    .await;
    // Docker's 14 capabilities; a masked file is empty.
    let expected = "CapBnd:\t00000000a80425fb\n0\n0\nno mount\nno ns\n1\n1\n";
    assert_eq!((code, printed.as_str()), (0, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_in_the_prepared_network_namespace() {
    let world = World::new().await;
    let executor = world.connect().await;
    let path = world.directory.path().join("netns");
    std::fs::write(&path, "").unwrap();
    let target = path.clone();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let own = std::path::Path::new("/proc/thread-self/ns/net");
        mount(
            Some(own),
            &target,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
    })
    .join()
    .unwrap();
    let mut spec = world.spec(&executor, "app:server").await;
    spec.netns = Some(path.clone());
    executor.create(&id("netns"), &spec).await.unwrap();
    let pid = executor.start(&id("netns")).await.unwrap();
    let inode = |path: &std::path::Path| std::fs::metadata(path).unwrap().ino();
    let process = std::path::PathBuf::from(format!("/proc/{pid}/ns/net"));
    assert_eq!(inode(&process), inode(&path));
    executor.delete(&id("netns"), true).await.unwrap();
    umount2(&path, MntFlags::MNT_DETACH).unwrap();
    spec.netns = Some("/nosuch/netns".into());
    executor.create(&id("nons"), &spec).await.unwrap();
    let error = executor.start(&id("nons")).await.unwrap_err();
    assert_eq!(error.exit_code(), Some(127), "{error}");
    assert!(error.to_string().contains("/nosuch/netns"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_reach_the_cgroup_and_an_oom_kill_is_told() {
    let world = World::new().await;
    let executor = world.connect().await;
    let mut spec = world.spec(&executor, "app:server").await;
    spec.resources = Resources {
        nano_cpus: Some(500_000_000),
        memory_bytes: Some(16 << 20),
        pids: Some(32),
        ..Resources::default()
    };
    executor.create(&id("limits"), &spec).await.unwrap();
    executor.start(&id("limits")).await.unwrap();
    let cgroup = |controller: &str, file: &str| {
        let parent = world.config().cgroup_parent;
        read(format!("/sys/fs/cgroup/{controller}{parent}/limits/{file}"))
            .trim()
            .to_owned()
    };
    assert_eq!(cgroup("memory", "memory.limit_in_bytes"), "16777216");
    assert_eq!(cgroup("pids", "pids.max"), "32");
    assert_eq!(cgroup("cpu", "cpu.cfs_quota_us"), "50000");
    let stats = executor.stats(&id("limits")).await.unwrap();
    assert_eq!(stats.memory_limit_bytes, 16 << 20);
    assert!(
        stats.memory_bytes > 0 && stats.cpu_total_nanos > 0 && stats.pids >= 1,
        "{stats:?}"
    );
    executor.delete(&id("limits"), true).await.unwrap();
    spec.args = Some(
        ["/bin/sh", "-c", "exec tail /dev/zero"]
            .map(str::to_owned)
            .into(),
    );
    executor.create(&id("oom"), &spec).await.unwrap();
    executor.start(&id("oom")).await.unwrap();
    let exit = within(executor.wait(&id("oom"))).await.unwrap();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_keep_data_and_start_with_the_images() {
    let world = World::new().await;
    let executor = world.connect().await;
    world
        .push(
            "vol:1",
            &json!({ "Cmd": ["/bin/sh"], "Volumes": { "/data": {} } }),
        )
        .await;
    let plain = world.spec(&executor, "vol:1").await;
    let script = "cat /data/sub/seed; echo more >> /data/sub/seed";
    for name in ["anonymous1", "anonymous2"] {
        let (code, printed) = run_script(&executor, name, &plain, script).await;
        assert_eq!(
            (code, printed.as_str()),
            (0, "from the image\n"),
            "each has its own"
        );
    }
    let named = ContainerSpec {
        mounts: vec![volume(Some("kept"), "/data")],
        ..plain.clone()
    };
    let (_, first) = run_script(&executor, "named1", &named, script).await;
    let (_, second) = run_script(&executor, "named2", &named, script).await;
    assert_eq!(
        (first.as_str(), second.as_str()),
        ("from the image\n", "from the image\nmore\n")
    );
    let volumes = executor.volumes().await.unwrap();
    assert_eq!(volumes.len(), 1, "only the named one");
    assert_eq!(
        read(volumes[0].mountpoint.join("sub/seed")),
        "from the image\nmore\nmore\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_creation_leaves_nothing() {
    let world = World::new().await;
    let executor = world.connect().await;
    let good = world.spec(&executor, "app:server").await;
    let with_mounts = |mounts| ContainerSpec {
        mounts,
        ..good.clone()
    };
    let missing = world.directory.path().join("nosuch");
    for (spec, text) in [
        (
            with_mounts(vec![
                volume(Some("fresh"), "/v"),
                bind(&missing, "/x", false),
            ]),
            format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                missing.display()
            ),
        ),
        (
            with_mounts(vec![
                volume(Some("fresh"), "/v"),
                volume(Some("fresh"), "/v/"),
            ]),
            "Duplicate mount point: /v".to_owned(),
        ),
        (
            ContainerSpec {
                user: Some("nobody".into()),
                ..good.clone()
            },
            "unable to find user nobody: no matching entries in passwd file".to_owned(),
        ),
        (
            ContainerSpec {
                capability_add: vec!["NOPE".into()],
                ..good.clone()
            },
            "invalid CapAdd or CapDrop: unknown capability: \"NOPE\"".to_owned(),
        ),
        (
            ContainerSpec {
                stop_signal: Some("SIGNOPE".into()),
                ..good.clone()
            },
            "Invalid signal: SIGNOPE".to_owned(),
        ),
        (
            ContainerSpec {
                init: true,
                ..good.clone()
            },
            "an init process was asked for, but this node has no init binary configured".to_owned(),
        ),
    ] {
        let error = executor.create(&id("bad"), &spec).await.unwrap_err();
        assert_eq!(error.to_string(), text);
        let folders = std::fs::read_dir(world.config().state_dir.join("containers")).unwrap();
        assert_eq!(folders.count(), 0, "{text}");
        assert_eq!(executor.volumes().await.unwrap(), [], "{text}");
    }
    // The name is free: neither a snapshot nor a container is in the way.
    executor.create(&id("bad"), &good).await.unwrap();
    executor.delete(&id("bad"), false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_have_their_own_user_input_and_big_output() {
    let world = World::new().await;
    let executor = world.connect().await;
    let spec = world.spec(&executor, "app:server").await;
    let id = id("commands");
    executor.create(&id, &spec).await.unwrap();
    executor.start(&id).await.unwrap();
    wait_for_line(&executor, &id, "ready").await;
    let command = |script: &str| ExecSpec {
        command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        ..ExecSpec::default()
    };
    let as_user = ExecSpec {
        user: Some("web".into()),
        workdir: Some("/data".into()),
        env: vec!["A=b".into()],
        ..command("id -u; id -G; pwd; echo $A; grep CapEff /proc/self/status")
    };
    let output = within(executor.exec(&id, &as_user)).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "33\n44 55\n/data\nb\nCapEff:\t0000000000000000\n");
    let big = within(executor.exec(&id, &command("head -c 3000000 /dev/zero")))
        .await
        .unwrap();
    assert_eq!((big.exit_code, big.stdout.len()), (0, 3_000_000));
    let terminal = ExecSpec {
        tty: true,
        ..command("tty >/dev/null && echo on a terminal")
    };
    let output = within(executor.exec(&id, &terminal)).await.unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "on a terminal\r\n"
    );
    let cat = ExecSpec {
        stdin: true,
        ..command("cat; echo end")
    };
    let stream = executor.exec_stream(&id, &cat).await.unwrap();
    let input = stream.stdin.unwrap();
    input.send("typed\n".into()).await.unwrap();
    drop(input);
    let chunks: Vec<_> = within(stream.output.collect()).await;
    let text: Vec<u8> = chunks
        .iter()
        .flat_map(|(_, bytes)| bytes.to_vec())
        .collect();
    assert_eq!(String::from_utf8(text).unwrap(), "typed\nend\n");
    assert_eq!(within(stream.exit_code).await.unwrap().unwrap(), 0);
    let left = std::fs::read_dir(world.config().run_dir.join("exec"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no pipe is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_complete_rotated_and_followed() {
    let world = World::new().await;
    let executor = world.connect().await;
    let spec = world.spec(&executor, "app:server").await;
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; printf tail";
    let (_, printed) = run_script(&executor, "complete", &spec, script).await;
    let expected = support::numbered("line ", 20_000);
    assert!(printed == expected + "tail", "{} bytes", printed.len());
    let rotated = ContainerSpec {
        log: LogRotation {
            max_size_bytes: Some(20_000),
            max_files: 3,
        },
        ..spec.clone()
    };
    let folder = world.config().state_dir.join("containers/rotated");
    let (_, printed) = run_script(&executor, "rotated", &rotated, script).await;
    assert!(printed.ends_with("line 19999\ntail"), "the newest are kept");
    for file in ["json.log", "json.log.1", "json.log.2"] {
        assert!(
            std::fs::metadata(folder.join(file)).unwrap().len() <= 20_000,
            "{file}"
        );
    }
    assert!(!folder.join("json.log.3").exists());
    let on_terminal = ContainerSpec { tty: true, ..spec };
    let (_, printed) = run_script(&executor, "tty", &on_terminal, "tty >&2 && echo $TERM").await;
    assert_eq!(printed, "/dev/pts/0\r\nxterm\r\n");
    let query = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    let last: Vec<_> = executor
        .logs(&id("complete"), &query)
        .await
        .unwrap()
        .collect()
        .await;
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].as_ref().unwrap().text, "tail");
    assert_eq!(output(&executor, &id("tty")).await.len(), 1);
}
