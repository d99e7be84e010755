//! A node as the API shows it, and the part of it that operators change.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use swarm_core::model::{self, Annotations, Availability, Labels, NodeState, Reachability, Role};

use crate::{
    Refusal,
    json::{is_default, rfc3339},
    service::Version,
    task_spec::{Platform, Resources},
};

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// First write.
    pub created_at: String,
    /// Last write.
    pub updated_at: String,
    /// The operator's wishes.
    pub spec: NodeSpec,
    /// What its agent reported.
    pub description: NodeDescription,
    /// Observed.
    pub status: NodeStatus,
    /// Managers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager_status: Option<ManagerStatus>,
}

/// The operator's wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSpec {
    /// Name; usually empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// `worker` or `manager`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// `active`, `pause` or `drain`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub availability: String,
}

/// What an agent reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeDescription {
    /// Hostname.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Operating system and processor.
    pub platform: Platform,
    /// What it has.
    pub resources: Resources,
    /// Version and labels of the agent.
    pub engine: Engine,
    /// Certificate facts.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
}

/// Version and labels of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Engine {
    /// Version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub engine_version: String,
    /// Labels.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: Labels,
    /// Drivers of Docker's kinds; agents do not report any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Plugin>,
}

/// A driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Plugin {
    /// `Log`, `Network` or `Volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Which root is trusted and who issued the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TlsInfo {
    /// PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_root: String,
    /// DER, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_issuer_subject: String,
    /// DER, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_issuer_public_key: String,
}

/// Observed state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeStatus {
    /// `ready`, `down`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub addr: String,
}

/// The manager part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManagerStatus {
    /// Leads.
    #[serde(skip_serializing_if = "is_default")]
    pub leader: bool,
    /// `reachable`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reachability: String,
    /// Where it listens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub addr: String,
}

impl Node {
    /// The node.
    pub fn from_core(node: &model::Node) -> Self {
        Self {
            id: node.id.to_string(),
            version: node.meta.version.into(),
            created_at: rfc3339(node.meta.created_at),
            updated_at: rfc3339(node.meta.updated_at),
            spec: NodeSpec::from_core(&node.spec),
            description: node
                .description
                .as_ref()
                .map(NodeDescription::from_core)
                .unwrap_or_default(),
            status: NodeStatus::from_core(&node.status),
            manager_status: node.manager.as_ref().map(ManagerStatus::from_core),
        }
    }
}

impl NodeSpec {
    /// The core specification.
    pub fn into_core(self) -> Result<model::NodeSpec, Refusal> {
        Ok(model::NodeSpec {
            role: match self.role.to_ascii_lowercase().as_str() {
                "worker" => Role::Worker,
                "manager" => Role::Manager,
                _ => {
                    return Err(Refusal::Enumeration {
                        kind: "Role",
                        value: self.role,
                    });
                }
            },
            availability: availability_from_name(&self.availability)?,
            annotations: Annotations {
                name: self.name,
                labels: self.labels,
            },
        })
    }

    fn from_core(spec: &model::NodeSpec) -> Self {
        Self {
            name: spec.annotations.name.clone(),
            labels: spec.annotations.labels.clone(),
            role: String::from(role_name(spec.role)),
            availability: String::from(match spec.availability {
                Availability::Active => "active",
                Availability::Pause => "pause",
                Availability::Drain => "drain",
            }),
        }
    }
}

/// A role's name.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Worker => "worker",
        Role::Manager => "manager",
    }
}

/// The availability of that name.
pub fn availability_from_name(name: &str) -> Result<Availability, Refusal> {
    match name.to_ascii_lowercase().as_str() {
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        _ => Err(Refusal::Enumeration {
            kind: "Availability",
            value: name.to_owned(),
        }),
    }
}

impl NodeDescription {
    fn from_core(description: &model::NodeDescription) -> Self {
        Self {
            hostname: description.hostname.clone(),
            platform: Platform::from_core(&description.platform),
            resources: Resources::from_core(description.resources),
            engine: Engine {
                engine_version: description.engine_version.clone(),
                labels: description.engine_labels.clone(),
                plugins: Vec::new(),
            },
            tls_info: TlsInfo::from_core(&description.tls),
        }
    }
}

impl TlsInfo {
    pub(crate) fn from_core(tls: &model::NodeTls) -> Self {
        Self {
            trust_root: tls.trust_root.clone(),
            cert_issuer_subject: STANDARD.encode(&tls.issuer_subject),
            cert_issuer_public_key: STANDARD.encode(&tls.issuer_public_key),
        }
    }
}

impl NodeStatus {
    fn from_core(status: &model::NodeStatus) -> Self {
        Self {
            state: String::from(match status.state {
                NodeState::Unknown => "unknown",
                NodeState::Down => "down",
                NodeState::Ready => "ready",
                NodeState::Disconnected => "disconnected",
            }),
            message: status.message.clone(),
            addr: status.addr.map(|addr| addr.to_string()).unwrap_or_default(),
        }
    }
}

impl ManagerStatus {
    fn from_core(status: &model::ManagerStatus) -> Self {
        Self {
            leader: status.leader,
            reachability: String::from(match status.reachability {
                Reachability::Unknown => "unknown",
                Reachability::Unreachable => "unreachable",
                Reachability::Reachable => "reachable",
            }),
            addr: status.addr.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_and_availability_are_checked_in_dockers_words() {
        let spec = |role: &str, availability: &str| NodeSpec {
            role: role.to_owned(),
            availability: availability.to_owned(),
            ..NodeSpec::default()
        };
        let good = spec("Manager", "drain").into_core().unwrap();
        assert_eq!(
            (good.role, good.availability),
            (Role::Manager, Availability::Drain)
        );
        let refusal = |spec: NodeSpec| spec.into_core().unwrap_err().to_string();
        assert_eq!(refusal(spec("foo", "active")), "invalid Role: \"foo\"");
        assert_eq!(
            refusal(spec("worker", "foo")),
            "invalid Availability: \"foo\""
        );
    }
}
