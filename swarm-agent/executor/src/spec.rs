//! What a caller asks for: the container's specification, in Docker's terms. Plain data; what it
//! means for the kernel is decided in `oci`, what it means for containerd in `containerd`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Docker's default between the stop signal and SIGKILL.
pub const DEFAULT_STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Longest identifier containerd accepts.
const MAX_ID_LENGTH: usize = 76;

/// A container's identifier: 64 hexadecimal digits when generated, any name containerd accepts else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks containerd's rule: letters and digits, `.`, `_`, `-` between them, at most 76 bytes.
    pub fn new(id: impl Into<String>) -> Result<Self, Error> {
        let id = id.into();
        let edges = id.starts_with(|c: char| c.is_ascii_alphanumeric())
            && id.ends_with(|c: char| c.is_ascii_alphanumeric());
        let inner = id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if edges && inner && id.len() <= MAX_ID_LENGTH {
            Ok(Self(id))
        } else {
            Err(Error::InvalidContainerId { id })
        }
    }

    /// Docker's form from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve characters: what tables show and what the default host name is.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One container as Docker's `ContainerSpec` and `Resources` describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Docker's name (`web.1.<task id>`); only shown, never an identity here.
    pub name: String,
    /// As the user wrote it, tag or digest; must have been pulled.
    pub image: String,
    /// Replaces the image's ENTRYPOINT (and then drops the image's CMD).
    pub command: Option<Vec<String>>,
    /// Replaces the image's CMD.
    pub args: Option<Vec<String>>,
    /// `NAME=value`; a bare `NAME` removes the image's variable.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    /// `user`, `uid`, `user:group`, `uid:gid`.
    pub user: Option<String>,
    /// Supplementary groups, names or numbers.
    pub groups: Vec<String>,
    /// `None`: the first twelve characters of the identifier.
    pub hostname: Option<String>,
    pub mounts: Vec<Mount>,
    pub labels: BTreeMap<String, String>,
    /// Name or number; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// `None`: [`DEFAULT_STOP_GRACE_PERIOD`].
    pub stop_grace_period: Option<Duration>,
    pub tty: bool,
    pub read_only: bool,
    /// Run an init process as PID 1 that reaps and forwards signals.
    pub init: bool,
    pub capability_add: Vec<String>,
    pub capability_drop: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
    pub resources: Resources,
    pub oom_score_adj: Option<i32>,
    pub no_new_privileges: bool,
    /// Path of a prepared network namespace; `None`: a new one with nothing but `lo`.
    pub netns: Option<PathBuf>,
    /// Whole text of `/etc/hosts` and `/etc/resolv.conf`.
    pub hosts: String,
    pub resolv_conf: String,
    pub log: LogRotation,
}

impl ContainerSpec {
    pub fn stop_grace_period(&self) -> Duration {
        self.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE_PERIOD)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    pub read_only: bool,
    pub kind: MountKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    Bind {
        /// Absolute path on the host; must exist.
        source: PathBuf,
        propagation: Propagation,
        recursive: bool,
    },
    Volume {
        /// `None`: an anonymous volume that is removed with the container.
        name: Option<String>,
        labels: BTreeMap<String, String>,
        /// Do not fill a new volume with what the image has at the target.
        no_copy: bool,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        /// Permission bits, octal when written.
        mode: Option<u32>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    RecursivePrivate,
    Private,
    RecursiveShared,
    Shared,
    RecursiveSlave,
    Slave,
}

impl Propagation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecursivePrivate => "rprivate",
            Self::Private => "private",
            Self::RecursiveShared => "rshared",
            Self::Shared => "shared",
            Self::RecursiveSlave => "rslave",
            Self::Slave => "slave",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, ...
    pub name: String,
    /// -1 is unlimited.
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub memory_reservation_bytes: Option<u64>,
    /// Memory plus swap, -1 unlimited; `None`: twice the memory limit, as Docker.
    pub memory_swap_bytes: Option<i64>,
    pub pids: Option<u64>,
}

/// When the log file is rotated. Docker's defaults: never, one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRotation {
    pub max_size_bytes: Option<u64>,
    /// At least 1; the current file counts.
    pub max_files: u32,
}

impl Default for LogRotation {
    fn default() -> Self {
        Self {
            max_size_bytes: None,
            max_files: 1,
        }
    }
}

/// A command to run in a running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub command: Vec<String>,
    /// Added to the container's own environment.
    pub env: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    pub tty: bool,
    /// Open a standard input that [`crate::ExecStream`] can write to.
    pub stdin: bool,
}

/// What to pull and as whom. Without credentials the registry is asked anonymously.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    pub image: String,
    pub auth: Option<RegistryCredentials>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_follow_containerds_rule() {
        for good in ["a", "web.1.abc", "A-b_c.9", &"a".repeat(76)] {
            assert_eq!(ContainerId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "a/b", "a b", "../x", &"a".repeat(77)] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
        let id = ContainerId::from_random([0xab; 32]);
        assert_eq!((id.as_str().len(), id.short()), (64, "abababababab"));
        assert_eq!(ContainerId::new("abc").unwrap().short(), "abc");
    }
}
