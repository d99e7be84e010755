//! The mount table of a container: Docker's fixed part, the three files of the agent, the caller's
//! mounts. A caller's mount replaces a fixed one at the same place.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Prepared;
use crate::Error;
use crate::spec::{Mount, MountKind, Propagation};

/// One entry of the runtime specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OciMount {
    pub(crate) destination: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) source: String,
    pub(crate) options: Vec<String>,
}

/// A caller's mount with what it means on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostMount {
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) source: HostSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostSource {
    Path {
        path: PathBuf,
        propagation: Propagation,
        recursive: bool,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        mode: Option<u32>,
    },
}

/// What Docker mounts into every container: target, type, source, options.
const FIXED: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    (
        "/dev",
        "tmpfs",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    ),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &[
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ],
    ),
    (
        "/sys",
        "sysfs",
        "sysfs",
        &["nosuid", "noexec", "nodev", "ro"],
    ),
    (
        "/sys/fs/cgroup",
        "cgroup",
        "cgroup",
        &["ro", "nosuid", "noexec", "nodev"],
    ),
    (
        "/dev/mqueue",
        "mqueue",
        "mqueue",
        &["nosuid", "noexec", "nodev"],
    ),
    (
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
    ),
];

/// The mounts in the order the runtime makes them: parents before children.
pub(crate) fn all(prepared: &Prepared) -> Result<Vec<OciMount>, Error> {
    let mut users: Vec<OciMount> = Vec::with_capacity(prepared.mounts.len());
    for mount in &prepared.mounts {
        let oci = host_mount(mount);
        if users
            .iter()
            .any(|other| other.destination == oci.destination)
        {
            return Err(Error::DuplicateMount {
                target: oci.destination,
            });
        }
        users.push(oci);
    }
    // Stable, so siblings stay in the caller's order.
    users.sort_by_key(|mount| mount.destination.matches('/').count());
    let mut result: Vec<OciMount> = FIXED.iter().map(fixed).collect();
    result.push(agent_file(&prepared.resolv_conf_file, "/etc/resolv.conf"));
    result.push(agent_file(&prepared.hostname_file, "/etc/hostname"));
    result.push(agent_file(&prepared.hosts_file, "/etc/hosts"));
    result.retain(|mount| {
        users
            .iter()
            .all(|user| user.destination != mount.destination)
    });
    result.extend(users);
    Ok(result)
}

fn fixed((target, kind, source, options): &(&str, &'static str, &str, &[&str])) -> OciMount {
    OciMount {
        destination: (*target).to_owned(),
        kind,
        source: (*source).to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

fn bind(source: &Path, target: &str, options: Vec<String>) -> OciMount {
    OciMount {
        destination: target.to_owned(),
        kind: "bind",
        source: source.display().to_string(),
        options,
    }
}

fn agent_file(source: &Path, target: &str) -> OciMount {
    bind(source, target, vec!["rbind".into(), "rprivate".into()])
}

pub(crate) fn read_only_file(source: &Path, target: &str) -> OciMount {
    bind(source, target, vec!["bind".into(), "ro".into()])
}

fn host_mount(mount: &HostMount) -> OciMount {
    let target = normalise(&mount.target);
    match &mount.source {
        HostSource::Path {
            path,
            propagation,
            recursive,
        } => {
            let bind_option = if *recursive { "rbind" } else { "bind" };
            let mut options = vec![bind_option.to_owned(), propagation.as_str().to_owned()];
            if mount.read_only {
                options.push("ro".to_owned());
            }
            bind(path, &target, options)
        }
        HostSource::Tmpfs { size_bytes, mode } => {
            let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).into();
            options.extend(size_bytes.map(|bytes| format!("size={bytes}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            if mount.read_only {
                options.push("ro".to_owned());
            }
            OciMount {
                destination: target,
                kind: "tmpfs",
                source: "tmpfs".to_owned(),
                options,
            }
        }
    }
}

/// `/a//b/./c/` as `/a/b/c`, so that two spellings of a place are seen as one.
pub(crate) fn normalise(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// Docker's checks that need no look at the host.
pub(crate) fn validate(mount: &Mount) -> Result<(), Error> {
    let kind = kind_name(&mount.kind);
    let fail = |reason: String| Err(Error::InvalidMount { kind, reason });
    if mount.target.is_empty() {
        return fail("field Target must not be empty".to_owned());
    }
    if !mount.target.starts_with('/') {
        return fail(format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.target
        ));
    }
    if normalise(&mount.target) == "/" || mount.target.split('/').any(|part| part == "..") {
        return fail(format!(
            "invalid specification: destination can't be '{}'",
            mount.target
        ));
    }
    if let MountKind::Bind { source, .. } = &mount.kind {
        if source.as_os_str().is_empty() {
            return fail("field Source must not be empty".to_owned());
        }
        if !source.is_absolute() {
            return fail(format!(
                "invalid mount path: '{}' mount path must be absolute",
                source.display()
            ));
        }
    }
    Ok(())
}

pub(crate) fn kind_name(kind: &MountKind) -> &'static str {
    match kind {
        MountKind::Bind { .. } => "bind",
        MountKind::Volume { .. } => "volume",
        MountKind::Tmpfs { .. } => "tmpfs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tests::prepared;

    fn path_mount(target: &str, source: &str) -> HostMount {
        HostMount {
            target: target.into(),
            read_only: false,
            source: HostSource::Path {
                path: source.into(),
                propagation: Propagation::default(),
                recursive: true,
            },
        }
    }

    #[test]
    fn callers_mounts_replace_fixed_ones_and_parents_come_first() {
        let mut prepared = prepared();
        prepared.mounts = vec![
            path_mount("/data/deep/", "/1"),
            path_mount("/data", "/2"),
            path_mount("/etc/hosts", "/3"),
            HostMount {
                target: "/dev/shm".into(),
                read_only: true,
                source: HostSource::Tmpfs {
                    size_bytes: Some(1024),
                    mode: Some(0o1770),
                },
            },
        ];
        let mounts = all(&prepared).unwrap();
        let tail: Vec<&str> = mounts
            .iter()
            .map(|m| m.destination.as_str())
            .skip(6)
            .collect();
        assert_eq!(
            tail,
            [
                "/etc/resolv.conf",
                "/etc/hostname",
                "/data",
                "/data/deep",
                "/etc/hosts",
                "/dev/shm"
            ]
        );
        let shm = mounts.last().unwrap();
        assert_eq!(
            shm.options,
            ["noexec", "nosuid", "nodev", "size=1024", "mode=1770", "ro"]
        );
    }

    #[test]
    fn the_same_place_twice_is_refused() {
        let mut prepared = prepared();
        prepared.mounts = vec![path_mount("/x", "/1"), path_mount("//x/.", "/2")];
        assert_eq!(
            all(&prepared).unwrap_err().to_string(),
            "Duplicate mount point: /x"
        );
    }

    #[test]
    fn bad_mounts_are_refused_in_dockers_words() {
        let bind = |target: &str, source: &str| Mount {
            target: target.into(),
            read_only: false,
            kind: MountKind::Bind {
                source: source.into(),
                propagation: Propagation::default(),
                recursive: true,
            },
        };
        for (mount, text) in [
            (bind("", "/a"), "field Target must not be empty"),
            (
                bind("a", "/a"),
                "invalid mount path: 'a' mount path must be absolute",
            ),
            (
                bind("/", "/a"),
                "invalid specification: destination can't be '/'",
            ),
            (
                bind("/a/../..", "/a"),
                "invalid specification: destination can't be '/a/../..'",
            ),
            (bind("/a", ""), "field Source must not be empty"),
            (
                bind("/a", "b"),
                "invalid mount path: 'b' mount path must be absolute",
            ),
        ] {
            let error = validate(&mount).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("invalid mount config for type \"bind\": {text}")
            );
        }
        assert!(validate(&bind("/a/..b", "/a")).is_ok());
    }
}
