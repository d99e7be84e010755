//! Takes a lab down, whoever started it. What belongs to it is read from the system, not from a
//! record that a killed run may not have finished: processes of ours with an argument below the
//! lab's folder and their descendants, mounts below the folder, namespaces with its prefix, the
//! cgroups its containers were in. Nothing else is touched.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use super::claim::Site;
use crate::{
    netns::{FOLDER as NAMESPACES, run},
    processes::{self, Row},
    wait,
};

/// Programs that a lab starts, as the kernel shortens their names (15 bytes).
const PROGRAMS: &[&str] = &[
    "swarm-agent",
    "swarm-manager",
    "containerd",
    "containerd-shim",
    "docker-registry",
];

/// How long the kernel may take to let go of killed processes.
const AT_MOST: Duration = Duration::from_secs(10);

pub(super) fn remove(site: &Site) -> anyhow::Result<()> {
    // First: a containerd that sees its shim die removes the file that names the socket.
    let shim_sockets = shim_sockets(&site.folder);
    let cgroups = kill_all(&site.folder)?;
    unmount_below(&site.folder)?;
    delete_namespaces(&site.prefix())?;
    // Deepest first. One that a late process still holds is not worth failing for.
    for cgroup in cgroups.iter().rev() {
        remove_empty(cgroup)?;
    }
    for socket in shim_sockets {
        if socket.exists() {
            fs::remove_file(&socket).with_context(|| socket.display().to_string())?;
        }
    }
    if site.folder.exists() {
        fs::remove_dir_all(&site.folder).with_context(|| site.folder.display().to_string())?;
    }
    Ok(())
}

/// Kills everything of the lab, those who start others first, until nothing is left. Gives the
/// cgroups of its containers.
fn kill_all(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut cgroups = BTreeSet::new();
    wait::until("the lab's processes to end", AT_MOST, || {
        let ours = processes_of(folder)?;
        for process in &ours {
            if process.is_container {
                cgroups.extend(container_cgroups(process.pid));
            }
            match kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error).context(format!("process {}", process.pid)),
            }
            reap(process.pid)?;
        }
        if ours.is_empty() {
            Ok(())
        } else {
            bail!("{} are there", ours.len())
        }
    })?;
    Ok(cgroups)
}

/// Lets a killed child of this very process go; others have parents of their own.
fn reap(pid: i32) -> anyhow::Result<()> {
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(_) | Err(nix::errno::Errno::ECHILD) => Ok(()),
        Err(error) => Err(error).context(format!("waiting for {pid}")),
    }
}

/// A process of a lab.
#[derive(Debug)]
struct Ours {
    pid: i32,
    /// Inside a container, so its cgroup goes with it.
    is_container: bool,
}

/// The lab's programs, then all their descendants. Zombies are dead already.
fn processes_of(folder: &Path) -> anyhow::Result<Vec<Ours>> {
    let table = processes::table()?;
    let below = format!("{}/", folder.display());
    let is_root = |row: &Row| {
        PROGRAMS.contains(&row.name.as_str())
            && row
                .arguments
                .iter()
                .any(|argument| argument.contains(&below))
    };
    let mut ours: Vec<Ours> = Vec::new();
    let mut shims = BTreeSet::new();
    for row in table.iter().filter(|row| is_root(row)) {
        ours.push(Ours {
            pid: row.pid,
            is_container: false,
        });
        if row.name == "containerd-shim" {
            shims.insert(row.pid);
        }
    }
    let mut next = 0;
    while let Some(parent) = ours
        .get(next)
        .map(|process| (process.pid, process.is_container))
    {
        for row in table.iter().filter(|row| row.parent == parent.0) {
            if ours.iter().all(|process| process.pid != row.pid) {
                let is_container = parent.1 || shims.contains(&parent.0);
                ours.push(Ours {
                    pid: row.pid,
                    is_container,
                });
            }
        }
        next += 1;
    }
    Ok(ours)
}

/// The cgroups a container's process is in, in every hierarchy; never the root's.
fn container_cgroups(pid: i32) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines()
        .filter(|line| !own.lines().any(|mine| mine == *line))
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            let path = parts.next()?.trim_start_matches('/');
            (!path.is_empty()).then(|| hierarchy(controllers).join(path))
        })
        .collect()
}

/// Where a hierarchy is mounted on systems with version 1, version 2 or both.
fn hierarchy(controllers: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let name = controllers.trim_start_matches("name=");
    if !name.is_empty() {
        return root.join(name);
    }
    let unified = root.join("unified");
    if unified.exists() {
        unified
    } else {
        root.to_owned()
    }
}

/// Removes a cgroup if nothing is in it.
fn remove_empty(cgroup: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(cgroup) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error).with_context(|| cgroup.display().to_string()),
    }
}

/// Sockets of shims lie in one folder for the whole machine; each bundle names its own.
fn shim_sockets(folder: &Path) -> Vec<PathBuf> {
    let tasks = folder.join("containerd/state/io.containerd.runtime.v2.task");
    let bundles = entries(&tasks)
        .into_iter()
        .flat_map(|namespace| entries(&namespace));
    bundles
        .filter_map(|bundle| fs::read_to_string(bundle.join("address")).ok())
        .filter_map(|address| address.strip_prefix("unix://").map(PathBuf::from))
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Unmounts everything below a folder, the last mounted first. Unmounting a bpffs lets go of
/// every program, map and link pinned there.
fn unmount_below(folder: &Path) -> anyhow::Result<()> {
    let mounts = mounts_below(folder, &fs::read_to_string("/proc/self/mountinfo")?);
    for mount in mounts.iter().rev() {
        umount2(mount, MntFlags::MNT_DETACH).with_context(|| mount.display().to_string())?;
    }
    let left = mounts_below(folder, &fs::read_to_string("/proc/self/mountinfo")?);
    if let Some(mount) = left.first() {
        bail!("{} is still mounted", mount.display());
    }
    Ok(())
}

fn mounts_below(folder: &Path, mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|mount| mount.starts_with(folder))
        .collect()
}

fn delete_namespaces(prefix: &str) -> anyhow::Result<()> {
    for path in entries(Path::new(NAMESPACES)) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(prefix) {
            run(Command::new("ip").args(["netns", "delete", name]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_those_below_the_folder_and_no_others() {
        let mountinfo = "1 0 8:1 / / rw - ext4 /dev/sda rw\n\
                         2 1 0:9 / /tmp/swarm-lab/1/host1/bpf rw - bpf bpf rw\n\
                         3 1 0:9 / /tmp/swarm-lab/10/host1/bpf rw - bpf bpf rw\n";
        let found = mounts_below(Path::new("/tmp/swarm-lab/1"), mountinfo);
        assert_eq!(found, [PathBuf::from("/tmp/swarm-lab/1/host1/bpf")]);
    }

    #[test]
    fn a_lab_that_never_was_has_no_processes() {
        let ours = processes_of(Path::new("/tmp/swarm-lab/none")).unwrap();
        assert!(ours.is_empty(), "{ours:?}");
    }
}
