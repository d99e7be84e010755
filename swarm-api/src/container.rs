//! Containers of this node: the facts an executor knows, and the API's two views of them.

use core::{net::Ipv4Addr, time::Duration};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use swarm_core::{
    model::{Labels, PortConfig},
    time::Timestamp,
};

use crate::{
    Refusal,
    endpoint::protocol,
    json::{is_default, rfc3339, unix_seconds},
};

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
    fn status_text(&self, now: Timestamp) -> String {
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

/// An entry of `/containers/json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// Identifier.
    pub id: String,
    /// Names with a slash.
    pub names: Vec<String>,
    /// Reference.
    pub image: String,
    /// Identifier of the image.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Command line.
    pub command: String,
    /// Unix seconds.
    pub created: i64,
    /// Published ports.
    pub ports: Vec<SummaryPort>,
    /// Labels.
    pub labels: Labels,
    /// State.
    pub state: String,
    /// Sentence for the state.
    pub status: String,
    /// Host settings.
    pub host_config: SummaryHostConfig,
    /// Networks.
    pub network_settings: NetworkSettings,
    /// Mounts.
    pub mounts: Vec<ContainerMount>,
}

/// A published port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryPort {
    /// Address of the host.
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Inside.
    pub private_port: u16,
    /// On the host.
    #[serde(skip_serializing_if = "is_default")]
    pub public_port: u16,
    /// Protocol.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// Host settings of a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SummaryHostConfig {
    /// Name of the first network.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_mode: String,
}

/// Networks of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// By name.
    pub networks: BTreeMap<String, Value>,
}

impl ContainerSummary {
    /// The entry of a container.
    pub fn from_container(container: &Container, now: Timestamp) -> Self {
        Self {
            id: container.id.clone(),
            names: vec![format!("/{}", container.name)],
            image: container.image.clone(),
            image_id: container.image_id.clone(),
            command: command_line(&container.command),
            created: unix_seconds(container.created_at),
            ports: container.host_ports.iter().map(SummaryPort::new).collect(),
            labels: container.labels.clone(),
            state: container.state_name().to_owned(),
            status: container.status_text(now),
            host_config: SummaryHostConfig {
                network_mode: network_mode(container),
            },
            network_settings: NetworkSettings {
                networks: networks(container),
            },
            mounts: container.mounts.clone(),
        }
    }
}

impl SummaryPort {
    fn new(port: &PortConfig) -> Self {
        Self {
            ip: String::from("0.0.0.0"),
            private_port: port.target_port,
            public_port: port.published_port,
            kind: protocol(port.protocol).to_owned(),
        }
    }
}

/// The command as Docker prints it: arguments with blanks are quoted.
fn command_line(command: &[String]) -> String {
    let quote = |argument: &String| {
        if argument.is_empty() || argument.contains([' ', '\t', '\n']) {
            format!("'{}'", argument.replace('\'', "'\\''"))
        } else {
            argument.clone()
        }
    };
    command.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn network_mode(container: &Container) -> String {
    container
        .networks
        .first()
        .map_or_else(|| String::from("none"), |network| network.network.clone())
}

/// `NetworkSettings.Networks`.
fn networks(container: &Container) -> BTreeMap<String, Value> {
    let entry = |network: &ContainerNetwork| {
        let gateway = network.gateway.map(|gateway| gateway.to_string());
        let aliases = Some(&network.aliases).filter(|aliases| !aliases.is_empty());
        let value = json!({
            "IPAMConfig": {"IPv4Address": network.address.to_string()},
            "Links": null,
            "Aliases": aliases,
            "MacAddress": network.mac_address,
            "DriverOpts": null,
            "GwPriority": 0,
            "NetworkID": network.network_id,
            "EndpointID": "",
            "Gateway": gateway.unwrap_or_default(),
            "IPAddress": network.address.to_string(),
            "IPPrefixLen": network.prefix_len,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": null,
        });
        (network.network.clone(), value)
    };
    container.networks.iter().map(entry).collect()
}

/// `/containers/{id}/json`: the members clients read of a task's container.
pub fn inspect(container: &Container) -> Value {
    let (path, arguments) = container
        .command
        .split_first()
        .map_or(("", &[][..]), |(path, rest)| (path.as_str(), rest));
    json!({
        "Id": container.id,
        "Created": rfc3339(container.created_at),
        "Path": path,
        "Args": arguments,
        "State": state(container),
        "Image": container.image_id,
        "Name": format!("/{}", container.name),
        "RestartCount": 0,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(container),
        "Mounts": container.mounts,
        "Config": {
            "Hostname": container.hostname,
            "Domainname": "",
            "User": container.user,
            "AttachStdin": false,
            "AttachStdout": false,
            "AttachStderr": false,
            "Tty": container.tty,
            "OpenStdin": container.open_stdin,
            "StdinOnce": false,
            "Env": container.env,
            "Cmd": container.command,
            "Image": container.image,
            "Volumes": null,
            "WorkingDir": container.working_dir,
            "Entrypoint": null,
            "Labels": container.labels,
            "StopSignal": container.stop_signal,
        },
        "NetworkSettings": {
            "SandboxID": "",
            "Ports": ports(container),
            "Networks": networks(container),
        },
    })
}

fn state(container: &Container) -> Value {
    let (pid, code, started_at, finished_at) = match container.state {
        ContainerState::Created => (0, 0, Timestamp::default(), Timestamp::default()),
        ContainerState::Running { pid, started_at } => (pid, 0, started_at, Timestamp::default()),
        ContainerState::Exited {
            code,
            started_at,
            finished_at,
        } => (0, code, started_at, finished_at),
    };
    json!({
        "Status": container.state_name(),
        "Running": container.is_running(),
        "Paused": false,
        "Restarting": false,
        "OOMKilled": false,
        "Dead": false,
        "Pid": pid,
        "ExitCode": code,
        "Error": container.error,
        "StartedAt": rfc3339(started_at),
        "FinishedAt": rfc3339(finished_at),
    })
}

fn host_config(container: &Container) -> Value {
    json!({
        "NetworkMode": network_mode(container),
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": false,
        "Privileged": false,
        "ReadonlyRootfs": container.read_only,
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NanoCpus": container.nano_cpus,
        "Memory": container.memory_bytes,
    })
}

fn ports(container: &Container) -> BTreeMap<String, Value> {
    let entry = |port: &PortConfig| {
        (
            format!("{}/{}", port.target_port, protocol(port.protocol)),
            json!([{"HostIp": "0.0.0.0", "HostPort": port.published_port.to_string()}]),
        )
    };
    container.host_ports.iter().map(entry).collect()
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
