//! Containers of this node: the facts an executor knows, and how people refer to them.

use core::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};
use swarm_core::{
    model::{Labels, PortConfig},
    time::Timestamp,
};

use crate::Refusal;

/// Label with the task's identifier.
pub const TASK_ID_LABEL: &str = "com.docker.swarm.task.id";

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Name without a slash: `service.slot.task`.
    pub name: String,
    /// Reference it was made from.
    pub image: String,
    /// `sha256:...`.
    pub image_id: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Hostname inside.
    pub hostname: String,
    /// `user[:group]`.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// Signal that asks to stop.
    pub stop_signal: String,
    /// Has a terminal: its log is not framed.
    pub tty: bool,
    /// Standard input is open.
    pub open_stdin: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: ContainerState,
    /// Why it failed to start; empty if it did not.
    pub error: String,
    /// Labels.
    pub labels: Labels,
    /// Networks in order of attachment.
    pub networks: Vec<ContainerNetwork>,
    /// Mounts.
    pub mounts: Vec<ContainerMount>,
    /// Ports published on this node alone.
    pub host_ports: Vec<PortConfig>,
    /// Limits as the kernel enforces them.
    pub nano_cpus: i64,
    /// Bytes; 0 for none.
    pub memory_bytes: i64,
    /// Root filesystem read-only.
    pub read_only: bool,
}

/// Where a container stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started.
    #[default]
    Created,
    /// Runs.
    Running {
        /// Its first process.
        pid: u32,
        /// Since when.
        started_at: Timestamp,
    },
    /// Ended.
    Exited {
        /// With which code.
        code: i32,
        /// Started when.
        started_at: Timestamp,
        /// Ended when.
        finished_at: Timestamp,
    },
}

/// An attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// Name of the network.
    pub network: String,
    /// Its identifier.
    pub network_id: String,
    /// Address there.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix_len: u8,
    /// Gateway; `None` if it is not the default route.
    pub gateway: Option<Ipv4Addr>,
    /// `02:42:...`.
    pub mac_address: String,
    /// More names there.
    pub aliases: Vec<String>,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerMount {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Name of a volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub destination: String,
    /// Driver of a volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Options in Docker's short form.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Propagation of a bind.
    pub propagation: String,
}

impl Container {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// Docker's word for its state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } => "running",
            ContainerState::Exited { .. } => "exited",
        }
    }

    /// Docker's sentence for its state.
    pub(crate) fn status_text(&self, now: Timestamp) -> String {
        match self.state {
            ContainerState::Created => String::from("Created"),
            ContainerState::Running { started_at, .. } => {
                format!("Up {}", human_duration(now.since(started_at)))
            }
            ContainerState::Exited {
                code, finished_at, ..
            } => format!(
                "Exited ({code}) {} ago",
                human_duration(now.since(finished_at))
            ),
        }
    }
}

/// The container that a reference means: identifier, name (with or without slash), or prefix of one identifier.
pub fn find<'a>(containers: &'a [Container], reference: &str) -> Result<&'a Container, Refusal> {
    let name = reference.strip_prefix('/').unwrap_or(reference);
    let exact = containers
        .iter()
        .find(|container| container.id == reference || container.name == name);
    if let Some(container) = exact {
        return Ok(container);
    }
    let mut matches = containers
        .iter()
        .filter(|container| !reference.is_empty() && container.id.starts_with(reference));
    match (matches.next(), matches.next()) {
        (Some(container), None) => Ok(container),
        (Some(_), Some(_)) => Err(Refusal::AmbiguousContainer {
            prefix: reference.to_owned(),
        }),
        (None, _) => Err(Refusal::NoSuchContainer {
            reference: reference.to_owned(),
        }),
    }
}

/// Go's `units.HumanDuration`.
pub fn human_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest.
    let hours = (span.as_secs() + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, _, _) => String::from("Less than a second"),
        (1, _, _) => String::from("1 second"),
        (2..=59, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => String::from("About a minute"),
        (_, 2..=59, _) => format!("{minutes} minutes"),
        (_, _, 1) => String::from("About an hour"),
        (_, _, 2..=47) => format!("{hours} hours"),
        (_, _, 48..=335) => format!("{} days", hours / 24),
        (_, _, 336..=1439) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..=17519) => format!("{} months", hours / 24 / 30),
        (_, _, _) => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str, name: &str) -> Container {
        Container {
            id: id.to_owned(),
            name: name.to_owned(),
            ..Container::default()
        }
    }

    #[test]
    fn references() {
        let containers = [named("aa11", "web.1.x"), named("aa22", "web.2.y")];
        let found = |reference| find(&containers, reference).map(|container| container.id.as_str());
        assert_eq!(found("aa11"), Ok("aa11"));
        assert_eq!(found("web.2.y"), Ok("aa22"));
        assert_eq!(found("/web.2.y"), Ok("aa22"));
        assert_eq!(found("aa2"), Ok("aa22"));
        let refusal = |reference| found(reference).unwrap_err().to_string();
        assert_eq!(refusal("aa"), "Multiple IDs found with provided prefix: aa");
        assert_eq!(refusal("zz"), "No such container: zz");
        assert_eq!(refusal(""), "No such container: ");
    }

    #[test]
    fn spans_for_people() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5400, "2 hours"),
            (86400 * 3, "3 days"),
            (86400 * 20, "2 weeks"),
            (86400 * 70, "2 months"),
            (86400 * 800, "2 years"),
        ] {
            assert_eq!(
                human_duration(Duration::from_secs(seconds)),
                text,
                "{seconds}"
            );
        }
    }
}
