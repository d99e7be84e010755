//! `/info` and `/version`: facts of the host and its place in a swarm.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use swarm_core::{id::NodeId, model::Labels, time::Timestamp};

use crate::{
    container::Container,
    image::Image,
    json::rfc3339,
    swarm::ClusterInfo,
    version::{CURRENT, MINIMUM},
};

/// Facts of a host that do not change while its agent runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Identifier of this installation, kept over restarts.
    pub id: String,
    /// Hostname.
    pub hostname: String,
    /// Version of the agent.
    pub agent_version: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// Name of the distribution.
    pub operating_system: String,
    /// Its version.
    pub os_version: String,
    /// `uname -m`, e.g. `x86_64`.
    pub architecture: String,
    /// Processors.
    pub cpus: u32,
    /// Bytes.
    pub memory_bytes: i64,
    /// Where state is kept.
    pub state_dir: String,
    /// Snapshotter of containerd.
    pub storage_driver: String,
    /// containerd's socket.
    pub containerd_address: String,
    /// containerd's namespace.
    pub containerd_namespace: String,
    /// containerd's version; empty while it is not reachable.
    pub containerd_version: String,
    /// runc's version; empty if unknown.
    pub runc_version: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Registries spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Labels from the agent's configuration.
    pub labels: Labels,
}

/// Where a host stands with regard to a swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MembershipState {
    /// In none.
    #[default]
    Inactive,
    /// Joining.
    Pending,
    /// A member.
    Active,
    /// A manager that awaits its key.
    Locked,
    /// A member that cannot work, see [`Membership::error`].
    Error,
}

/// A host's place in a swarm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// State.
    pub state: MembershipState,
    /// Identifier; empty outside a swarm.
    pub node_id: NodeId,
    /// Advertised address.
    pub node_addr: Option<IpAddr>,
    /// Runs a manager that answers.
    pub control_available: bool,
    /// Wants to run a manager (its role), whether it answers or not.
    pub manager: bool,
    /// Its certificate has expired.
    pub certificate_expired: bool,
    /// What is wrong; empty if nothing is.
    pub error: String,
    /// Managers the host knows.
    pub managers: Vec<(NodeId, SocketAddr)>,
}

impl Membership {
    /// Value of the `Swarm` header of `/_ping`.
    pub fn header(&self) -> &'static str {
        match (self.state, self.manager) {
            (MembershipState::Active, true) => "active/manager",
            (MembershipState::Active, false) => "active/worker",
            (state, _) => state_name(state),
        }
    }
}

/// A state's name.
pub fn state_name(state: MembershipState) -> &'static str {
    match state {
        MembershipState::Inactive => "inactive",
        MembershipState::Pending => "pending",
        MembershipState::Active => "active",
        MembershipState::Locked => "locked",
        MembershipState::Error => "error",
    }
}

/// `Swarm` of `/info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmInfo {
    /// Identifier of this node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Its address.
    pub node_addr: String,
    /// State.
    pub local_node_state: String,
    /// A manager answers.
    pub control_available: bool,
    /// What is wrong.
    pub error: String,
    /// Managers; `null` if none is known.
    pub remote_managers: Option<Vec<RemoteManager>>,
    /// Nodes of the cluster.
    #[serde(skip_serializing_if = "crate::json::is_default")]
    pub nodes: usize,
    /// Managers of the cluster.
    #[serde(skip_serializing_if = "crate::json::is_default")]
    pub managers: usize,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
}

/// A manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RemoteManager {
    /// Identifier.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Address.
    pub addr: String,
}

/// What a manager adds to `/info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The cluster.
    pub cluster: ClusterInfo,
    /// Nodes.
    pub nodes: usize,
    /// Managers.
    pub managers: usize,
}

impl SwarmInfo {
    /// This node's place; `cluster` is what its manager answered, or why it did not.
    pub fn new(membership: &Membership, cluster: Option<Result<ClusterFacts, String>>) -> Self {
        let manager = |(id, addr): &(NodeId, SocketAddr)| RemoteManager {
            node_id: id.to_string(),
            addr: addr.to_string(),
        };
        let managers: Vec<_> = membership.managers.iter().map(manager).collect();
        let mut info = Self {
            node_id: membership.node_id.to_string(),
            node_addr: membership
                .node_addr
                .map(|addr| addr.to_string())
                .unwrap_or_default(),
            local_node_state: state_name(membership.state).to_owned(),
            control_available: membership.control_available,
            error: membership.error.clone(),
            remote_managers: Some(managers).filter(|managers| !managers.is_empty()),
            ..Self::default()
        };
        match cluster {
            None => {}
            Some(Ok(facts)) => {
                info.nodes = facts.nodes;
                info.managers = facts.managers;
                info.cluster = Some(facts.cluster);
            }
            Some(Err(reason)) => info.error = reason,
        }
        info
    }
}

/// Docker's warnings about a cluster's size, shown by `docker info`.
pub fn warnings(swarm: &SwarmInfo) -> Vec<String> {
    if swarm.managers != 2 {
        return Vec::new();
    }
    vec![String::from(
        "WARNING: Running Swarm in a two-manager configuration. This configuration provides\n         no fault tolerance, and poses a high risk to lose control over the cluster.\n         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n         Swarm for fault-tolerance.",
    )]
}

/// How much this node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Containers that run.
    pub running: usize,
    /// Containers that do not.
    pub stopped: usize,
    /// Images.
    pub images: usize,
}

impl Counts {
    /// Counts them.
    pub fn new(containers: &[Container], images: &[Image]) -> Self {
        let running = containers
            .iter()
            .filter(|container| container.is_running())
            .count();
        Self {
            running,
            stopped: containers.len() - running,
            images: images.len(),
        }
    }
}

/// The body of `/info`.
pub fn info(
    facts: &HostFacts,
    swarm: &SwarmInfo,
    counts: Counts,
    warnings: &[String],
    now: Timestamp,
) -> Value {
    let warnings = Some(warnings).filter(|warnings| !warnings.is_empty());
    let labels: Vec<String> = facts
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "ID": facts.id,
        "Containers": counts.running + counts.stopped,
        "ContainersRunning": counts.running,
        "ContainersPaused": 0,
        "ContainersStopped": counts.stopped,
        "Images": counts.images,
        "Driver": facts.storage_driver,
        "DriverStatus": null,
        "Plugins": {"Volume": ["local"], "Network": ["overlay"], "Authorization": null, "Log": ["json-file"]},
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
        "IPv4Forwarding": true,
        "Debug": false,
        "NFd": 0,
        "OomKillDisable": false,
        "NGoroutines": 0,
        "SystemTime": rfc3339(now),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": facts.cgroup_version,
        "NEventsListener": 0,
        "KernelVersion": facts.kernel_version,
        "OperatingSystem": facts.operating_system,
        "OSVersion": facts.os_version,
        "OSType": "linux",
        "Architecture": facts.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": registries(facts),
        "NCPU": facts.cpus,
        "MemTotal": facts.memory_bytes,
        "GenericResources": null,
        "DockerRootDir": facts.state_dir,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": facts.hostname,
        "Labels": labels,
        "ExperimentalBuild": false,
        "ServerVersion": facts.agent_version,
        "Runtimes": {"runc": {"path": "runc"}},
        "DefaultRuntime": "runc",
        "Swarm": swarm,
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": {"ID": facts.containerd_version},
        "RuncCommit": {"ID": known(&facts.runc_version)},
        "InitCommit": {"ID": known("")},
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "Containerd": {"Address": facts.containerd_address, "Namespaces": {"Containers": facts.containerd_namespace, "Plugins": ""}},
        "Warnings": warnings,
    })
}

/// A version, or Docker's letters for one that nobody tells.
fn known(version: &str) -> &str {
    if version.is_empty() { "N/A" } else { version }
}

fn registries(facts: &HostFacts) -> Value {
    let insecure: serde_json::Map<String, Value> = facts
        .insecure_registries
        .iter()
        .map(|name| {
            let config = json!({"Name": name, "Mirrors": [], "Secure": false, "Official": false});
            (name.clone(), config)
        })
        .collect();
    json!({"InsecureRegistryCIDRs": [], "IndexConfigs": insecure, "Mirrors": null})
}

/// Go's name of a processor, which `/version` and registries use.
pub fn go_architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The body of `/version`.
pub fn version(facts: &HostFacts) -> Value {
    let architecture = go_architecture(&facts.architecture);
    let mut components = vec![json!({
        "Name": "Engine",
        "Version": facts.agent_version,
        "Details": {
            "ApiVersion": CURRENT.to_string(),
            "Arch": architecture,
            "BuildTime": "",
            "Experimental": "false",
            "GitCommit": "",
            "GoVersion": "",
            "KernelVersion": facts.kernel_version,
            "MinAPIVersion": MINIMUM.to_string(),
            "Os": "linux",
        },
    })];
    for (name, version) in [
        ("containerd", &facts.containerd_version),
        ("runc", &facts.runc_version),
    ] {
        if !version.is_empty() {
            // Nobody here knows of which commit it was built.
            components.push(json!({"Name": name, "Version": version, "Details": {}}));
        }
    }
    json!({
        "Platform": {"Name": "swarm-agent"},
        "Components": components,
        "Version": facts.agent_version,
        "ApiVersion": CURRENT.to_string(),
        "MinAPIVersion": MINIMUM.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": facts.kernel_version,
        "BuildTime": "",
    })
}
