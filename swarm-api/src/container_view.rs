//! The API's two views of a container: the entry of a list and the inspection.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use swarm_core::{
    model::{Labels, PortConfig},
    time::Timestamp,
};

use crate::{
    container::{Container, ContainerMount, ContainerNetwork, ContainerState},
    endpoint::protocol,
    json::{is_default, rfc3339, unix_seconds},
};

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
        "Config": config(container),
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

/// What the process was started with.
fn config(container: &Container) -> Value {
    json!({
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
