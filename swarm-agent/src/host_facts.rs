//! What this host is: the facts behind `node inspect`, `info` and the scheduler's resource filter. Read once at start.

use std::{fs, io, path::Path};

use nix::sys::{sysinfo::sysinfo, utsname::uname};
use sha2::{Digest, Sha256};
use swarm_core::{
    model::{Labels, NodeDescription, NodeTls, Platform, Resources},
    time::Timestamp,
};

use crate::config::Options;

/// Facts of the host.
#[derive(Clone, Debug)]
pub(crate) struct HostFacts {
    /// Name in the cluster.
    pub(crate) hostname: String,
    /// As `uname -r` prints it.
    pub(crate) kernel_version: String,
    /// As `uname -m` prints it.
    pub(crate) architecture: String,
    /// PRETTY_NAME of os-release(5).
    pub(crate) operating_system: String,
    /// Processors online.
    pub(crate) cpus: i64,
    /// Physical memory in bytes.
    pub(crate) memory_bytes: i64,
    /// VERSION_ID of os-release(5).
    pub(crate) os_version: String,
    /// `2` where containers are in the unified hierarchy alone, else `1`.
    pub(crate) cgroup_version: String,
    /// Identifies this installation over restarts: a hash of machine-id(5) and the state directory.
    pub(crate) installation_id: String,
    /// When this agent started.
    pub(crate) started_at: Timestamp,
}

impl HostFacts {
    /// Reads the facts.
    pub(crate) fn read(options: &Options) -> io::Result<Self> {
        let name = uname().map_err(io::Error::from)?;
        let memory = sysinfo().map_err(io::Error::from)?.ram_total();
        let release = fs::read_to_string("/etc/os-release")?;
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let cpus = std::thread::available_parallelism()?.get();
        Ok(Self {
            hostname: options.host_name(),
            kernel_version: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            operating_system: release_field(&release, "PRETTY_NAME")
                .unwrap_or("Linux")
                .to_owned(),
            os_version: release_field(&release, "VERSION_ID")
                .unwrap_or_default()
                .to_owned(),
            cgroup_version: cgroup_version(),
            installation_id: identifier(&[&machine, &options.state_dir.display().to_string()]),
            started_at: crate::clock::now(),
            cpus: i64::try_from(cpus).unwrap_or(i64::MAX),
            memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        })
    }

    /// Identifier of a network of this node alone.
    pub(crate) fn network_id(&self, name: &str) -> String {
        identifier(&[&self.installation_id, name])
    }

    /// What the agent tells the managers about the host.
    pub(crate) fn description(&self, tls: NodeTls) -> NodeDescription {
        NodeDescription {
            hostname: self.hostname.clone(),
            platform: Platform {
                architecture: self.architecture.clone(),
                os: String::from("linux"),
            },
            resources: Resources {
                nano_cpus: self.cpus * 1_000_000_000,
                memory_bytes: self.memory_bytes,
            },
            engine_version: String::from(env!("CARGO_PKG_VERSION")),
            engine_labels: Labels::new(),
            tls,
        }
    }
}

/// A field of os-release(5), without its quotes.
fn release_field<'a>(release: &'a str, name: &str) -> Option<&'a str> {
    release.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_matches(['"', '\'']))
    })
}

/// Which hierarchy containers are put into: cgroup v2 alone has its controllers at the root of the mount.
fn cgroup_version() -> String {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    String::from(if unified { "2" } else { "1" })
}

/// 64 hex digits that name these texts.
fn identifier(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.trim().as_bytes());
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_release_are_unquoted() {
        let debian = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID='12'\n";
        for (text, name, value) in [
            (debian, "PRETTY_NAME", Some("Debian GNU/Linux 12")),
            (debian, "VERSION_ID", Some("12")),
            (debian, "VERSION", None),
            ("PRETTY_NAME=Alpine", "PRETTY_NAME", Some("Alpine")),
        ] {
            assert_eq!(release_field(text, name), value, "{name}");
        }
    }

    #[test]
    fn identifiers_depend_on_every_part() {
        assert_eq!(identifier(&["a", "b"]).len(), 64);
        assert_ne!(identifier(&["a", "b"]), identifier(&["ab", ""]));
    }
}
