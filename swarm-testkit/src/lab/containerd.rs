//! A containerd of the lab's own: nothing of the machine's, if it has one, is seen or touched.

use std::{
    fs::{self, File},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;

use super::claim::Site;
use crate::{netns, wait};

#[derive(Debug)]
pub(super) struct Containerd {
    socket: PathBuf,
    process: Option<Child>,
}

/// A running task as containerd names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskProcess {
    /// The container's id.
    pub id: String,
    /// The first process in it.
    pub pid: u32,
}

impl Containerd {
    pub(super) fn start(site: &Site) -> anyhow::Result<Self> {
        let folder = site.folder.join("containerd");
        fs::create_dir_all(&folder)?;
        let socket = folder.join("containerd.sock");
        let configuration = folder.join("config.toml");
        fs::write(&configuration, configuration_text(&folder))?;
        let log = File::create(folder.join("log"))?;
        let process = Command::new("containerd")
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start containerd")?;
        let containerd = Self {
            socket,
            process: Some(process),
        };
        wait::until("containerd to answer", Duration::from_secs(20), || {
            UnixStream::connect(&containerd.socket)?;
            containerd.ctr(&["version"])
        })
        .with_context(|| format!("its log is {}", folder.join("log").display()))?;
        Ok(containerd)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Tasks that are running in a containerd namespace.
    pub(super) fn tasks(&self, namespace: &str) -> anyhow::Result<Vec<TaskProcess>> {
        Ok(running(&self.ctr(&[
            "--namespace",
            namespace,
            "tasks",
            "list",
        ])?))
    }

    fn ctr(&self, words: &[&str]) -> anyhow::Result<String> {
        netns::run(
            Command::new("ctr")
                .arg("--address")
                .arg(&self.socket)
                .args(words),
        )
    }

    pub(super) fn detach(mut self) {
        self.process = None;
    }
}

/// Rows of `ctr tasks list` that are running: `ID PID STATUS`.
fn running(table: &str) -> Vec<TaskProcess> {
    table
        .lines()
        .skip(1)
        .filter_map(|row| {
            let mut words = row.split_whitespace();
            let (id, pid, status) = (words.next()?, words.next()?, words.next()?);
            let pid = pid.parse().ok()?;
            (status == "RUNNING").then(|| TaskProcess {
                id: id.to_owned(),
                pid,
            })
        })
        .collect()
}

fn configuration_text(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{folder}/containerd.sock"

[ttrpc]
address = "{folder}/containerd.sock.ttrpc"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_running_tasks_are_listed() {
        let table = "TASK    PID      STATUS    \nabc     123      RUNNING\nold     99  STOPPED\n";
        assert_eq!(
            running(table),
            [TaskProcess {
                id: "abc".to_owned(),
                pid: 123
            }]
        );
    }
}
