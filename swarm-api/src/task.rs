//! A task as the API shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use swarm_core::{
    id::NetworkId,
    model::{self, Labels},
};

use crate::{
    endpoint::PortConfig,
    json::{is_default, rfc3339},
    service::Version,
    swarm_network::SwarmNetwork,
    task_spec::TaskSpec,
};

/// A task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Task {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// First write.
    pub created_at: String,
    /// Last write.
    pub updated_at: String,
    /// Always empty: labels belong to services and containers.
    pub labels: Labels,
    /// Copied from the service.
    pub spec: TaskSpec,
    /// The service.
    #[serde(rename = "ServiceID", skip_serializing_if = "String::is_empty")]
    pub service_id: String,
    /// Slot of a replicated service.
    #[serde(skip_serializing_if = "is_default")]
    pub slot: u64,
    /// The node, once placed.
    #[serde(rename = "NodeID", skip_serializing_if = "String::is_empty")]
    pub node_id: String,
    /// Observed.
    pub status: TaskStatus,
    /// Wanted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub desired_state: String,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks_attachments: Vec<NetworkAttachment>,
    /// Always `null`: cluster volumes do not exist here.
    pub volumes: Option<Value>,
}

/// What is known of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskStatus {
    /// When it was observed.
    pub timestamp: String,
    /// The state.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Why it failed or waits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub err: String,
    /// Its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_status: Option<ContainerStatus>,
    /// Ports on its own node.
    pub port_status: PortStatus,
}

/// The container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerStatus {
    /// Identifier.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Process.
    #[serde(rename = "PID")]
    pub pid: u32,
    /// Exit code.
    pub exit_code: i32,
}

/// Ports on the task's own node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortStatus {
    /// The ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
}

/// A task's address on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkAttachment {
    /// The network.
    pub network: SwarmNetwork,
    /// `address/prefix`.
    pub addresses: Vec<String>,
}

impl Task {
    /// The task; networks that are gone are shown by their identifier only.
    pub fn from_core(task: &model::Task, networks: &BTreeMap<NetworkId, model::Network>) -> Self {
        let attachment = |attachment: &model::Attachment| NetworkAttachment {
            network: networks.get(&attachment.network).map_or_else(
                || SwarmNetwork {
                    id: attachment.network.to_string(),
                    ..SwarmNetwork::default()
                },
                SwarmNetwork::from_core,
            ),
            addresses: vec![format!("{}/{}", attachment.address, attachment.prefix_len)],
        };
        Self {
            id: task.id.to_string(),
            version: task.meta.version.into(),
            created_at: rfc3339(task.meta.created_at),
            updated_at: rfc3339(task.meta.updated_at),
            labels: Labels::new(),
            spec: TaskSpec::from_core(&task.spec, false),
            service_id: task.service.to_string(),
            slot: task.slot,
            node_id: task.node.to_string(),
            status: TaskStatus::from_core(&task.status),
            desired_state: String::from(task.desired_state.name()),
            networks_attachments: task.attachments.iter().map(attachment).collect(),
            volumes: None,
        }
    }
}

impl TaskStatus {
    fn from_core(status: &model::TaskStatus) -> Self {
        Self {
            timestamp: rfc3339(status.timestamp),
            state: String::from(status.state.name()),
            message: status.message.clone(),
            err: status.err.clone(),
            container_status: status.container.as_ref().map(|container| ContainerStatus {
                container_id: container.container_id.clone(),
                pid: container.pid,
                exit_code: container.exit_code,
            }),
            port_status: PortStatus {
                ports: status
                    .host_ports
                    .iter()
                    .map(PortConfig::from_core)
                    .collect(),
            },
        }
    }
}
