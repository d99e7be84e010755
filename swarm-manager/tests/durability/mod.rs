//! What is confirmed stays: through SIGKILL of everybody, loss of the quorum, a long absence, full disks and disks that cannot
//! be written.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use swarm_core::{
    control::ControlError,
    model::{ClusterSpec, Role},
};
use swarm_proto::client::ControlClient;

use crate::host::{
    Host,
    fixtures::{service, three, three_with},
    within,
};

async fn names(control: &ControlClient) -> Vec<String> {
    let services = within("the services", async {
        loop {
            match control.services().await {
                Ok(services) => return services,
                Err(error) => assert!(error.message.contains("leader"), "{error}"),
            }
        }
    })
    .await;
    let names = services.into_iter().map(|s| s.spec.annotations.name);
    names.collect()
}

/// Creates services until one is refused; gives the refusal. What was confirmed is noted.
async fn write_on(
    control: ControlClient,
    writer: usize,
    confirmed: Arc<Mutex<Vec<String>>>,
) -> ControlError {
    for number in 0.. {
        let name = format!("s-{writer}-{number}");
        match control.create_service(&service(&name, 0)).await {
            Ok(_) => confirmed.lock().unwrap().push(name),
            Err(error) => return error,
        }
    }
    unreachable!("the numbers do not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_writes_survive_sigkill_of_all_managers() {
    let [first, second, third] = three(10).await;
    let confirmed = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = [&first, &second, &third, &first]
        .into_iter()
        .enumerate()
        .map(|(writer, host)| {
            tokio::spawn(write_on(host.control(), writer, Arc::clone(&confirmed)))
        })
        .collect();
    within("forty writes", async {
        while confirmed.lock().unwrap().len() < 40 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let killed = tokio::join!(first.killed(), second.killed(), third.killed());
    for writer in writers {
        within("the end of a writer", writer).await.unwrap();
    }
    let (first, second, third) =
        tokio::join!(killed.0.restart(), killed.1.restart(), killed.2.restart());
    let found = names(&second.control()).await;
    let confirmed = confirmed.lock().unwrap().clone();
    let lost: Vec<_> = confirmed
        .iter()
        .filter(|name| !found.contains(name))
        .collect();
    assert!(lost.is_empty(), "{lost:?} of {} are lost", confirmed.len());
    for host in [first, second, third] {
        host.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_is_forced_after_the_quorum_is_lost() {
    let [first, second, third] = three(13).await;
    let control = first.control();
    control.create_service(&service("kept", 0)).await.unwrap();
    let before = control.cluster().await.unwrap();
    let own = third.control(); // a follower goes on
    assert_eq!(names(&own).await, ["kept"]);
    let (first, second) = tokio::join!(first.killed(), second.killed());
    let node = within("the forced cluster", third.force_new_cluster())
        .await
        .unwrap()
        .node_id;
    let after = own.cluster().await.unwrap();
    assert_eq!(after.id, before.id);
    assert_eq!(after.root_ca, before.root_ca, "tokens included");
    assert_eq!(names(&own).await, ["kept"]);
    let nodes = own.nodes().await.unwrap();
    assert_eq!(nodes.len(), 3);
    for found in &nodes {
        let manager = found.id == node;
        let role = if manager { Role::Manager } else { Role::Worker };
        assert_eq!((found.spec.role, found.manager.is_some()), (role, manager));
    }
    own.create_service(&service("new", 0)).await.unwrap();

    // Those that were left behind return, and have a majority among themselves; the forced cluster does not hear them.
    let (first, second) = tokio::join!(first.restart(), second.restart());
    assert_eq!(names(&first.control()).await, ["kept"]);
    own.create_service(&service("newer", 0)).await.unwrap();
    let third = third.killed().await;
    let (code, text) = Host::recover(third.dir(), &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("3 services"), "{text}");
    let third = third.restart().await;
    let mut found = names(&third.control()).await;
    found.sort();
    assert_eq!(found, ["kept", "new", "newer"]);

    // Offline, from another member's disk.
    let running = Host::recover(first.dir(), &["--force-new-cluster"]).await;
    assert_eq!(running.0, Some(1), "{}", running.1);
    assert!(
        running.1.contains("another process uses it"),
        "{}",
        running.1
    );
    let first = first.killed().await;
    second.kill().await;
    let (code, text) = Host::recover(first.dir(), &["--force-new-cluster"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("made a cluster of one"), "{text}");
    let first = first.restart().await;
    assert_eq!(names(&first.control()).await, ["kept"]);
    first
        .control()
        .create_service(&service("again", 0))
        .await
        .unwrap();
    first.stop().await;
    third.stop().await;
}

/// The others have written more than the log keeps: only a snapshot over the network helps.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_away_installs_a_snapshot() {
    let spec = ClusterSpec {
        snapshot_interval: 40,
        log_entries_for_slow_followers: 5,
        ..ClusterSpec::default()
    };
    let [first, second, third] = three_with(16, spec).await;
    let third = third.killed().await;
    let control = first.control();
    let mut wanted = Vec::new();
    for number in 0..150 {
        let name = format!("s-{number}");
        control.create_service(&service(&name, 0)).await.unwrap();
        wanted.push(name);
    }
    let (_, text) = Host::recover(third.dir(), &[]).await;
    assert!(text.contains(" 0 services"), "{text}");
    let third = third.restart().await;
    // Without the first, a write needs the third one's copy of everything.
    let first = first.killed().await;
    within("a write with the third manager's vote", async {
        while let Err(error) = second.control().create_service(&service("last", 0)).await {
            assert!(!error.message.contains("exist"), "{error}");
        }
    })
    .await;
    let third = third.killed().await;
    let (code, text) = Host::recover(third.dir(), &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("sound") && text.contains("151 services"),
        "{text}"
    );
    let first = first.restart().await;
    let third = third.restart().await;
    wanted.push("last".to_owned());
    let found = names(&third.control()).await;
    assert!(wanted.iter().all(|name| found.contains(name)));
    for host in [first, second, third] {
        host.kill().await;
    }
}

/// A small file system of its own for a manager's state.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path) -> Self {
        std::fs::create_dir_all(path).unwrap();
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=16m"),
        )
        .unwrap();
        Self(path.to_owned())
    }

    fn read_only(&self, on: bool) {
        let none: Option<&str> = None;
        let flags = if on {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        mount(none, &self.0, none, MsFlags::MS_REMOUNT | flags, none).unwrap();
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        let block = vec![1; 4096];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            assert!(std::thread::panicking(), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_and_costs_nothing_that_was_confirmed() {
    let mut disk = None;
    let host = Host::start_on(19, |dir| disk = Some(Tmpfs::mount(&dir.join("state")))).await;
    let disk = disk.unwrap();
    host.init().await;
    let confirmed = Arc::new(Mutex::new(Vec::new()));
    let writer = tokio::spawn(write_on(host.control(), 0, Arc::clone(&confirmed)));
    within("ten writes", async {
        while confirmed.lock().unwrap().len() < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    disk.fill();
    within("the refusal", writer).await.unwrap();
    let (code, log, dir) = host.ended().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("No space left on device"), "{log}");
    assert!(log.contains("What was confirmed is on disk"), "{log}");
    disk.free();
    let (code, text) = Host::recover(dir.path(), &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let host = Host::start_again(dir).await;
    let found = names(&host.control()).await;
    let confirmed = confirmed.lock().unwrap().clone();
    assert!(confirmed.iter().all(|name| found.contains(name)));
    host.control()
        .create_service(&service("after", 0))
        .await
        .unwrap();
    drop(disk); // before the directory is removed
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_written_is_named_and_works_again_later() {
    let mut disk = None;
    let host = Host::start_on(20, |dir| disk = Some(Tmpfs::mount(&dir.join("state")))).await;
    let disk = disk.unwrap();
    host.init().await;
    host.control()
        .create_service(&service("kept", 0))
        .await
        .unwrap();
    let dir = host.kill().await;
    disk.read_only(true);
    let (code, log) = Host::run_to_end(dir.path()).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
    let state = dir.path().join("state").display().to_string();
    assert!(log.contains(&state), "{log}");
    let (code, text) = Host::recover(dir.path(), &[]).await;
    assert_eq!(code, Some(0), "recover only looks: {text}");
    assert!(text.contains("1 services"), "{text}");
    disk.read_only(false);
    let host = Host::start_again(dir).await;
    assert_eq!(names(&host.control()).await, ["kept"]);
    drop(disk); // before the directory is removed
    host.stop().await;
}
