//! A service as the API shows it: its specifications, its endpoint, the progress of its update and its counts.

use serde::{Deserialize, Serialize};
use swarm_core::model::{self, UpdateState};

use crate::{endpoint::Endpoint, json::rfc3339, service_spec::ServiceSpec};

/// Raft index of the last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// The index.
    #[serde(skip_serializing_if = "crate::json::is_default")]
    pub index: u64,
}

impl From<model::Version> for Version {
    fn from(version: model::Version) -> Self {
        Self { index: version.0 }
    }
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Service {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: Version,
    /// First write.
    pub created_at: String,
    /// Last write.
    pub updated_at: String,
    /// Specification.
    pub spec: ServiceSpec,
    /// Specification before the last update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_spec: Option<ServiceSpec>,
    /// What was allocated.
    pub endpoint: Endpoint,
    /// Progress of the last update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_status: Option<UpdateStatus>,
    /// Counts, on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_status: Option<ServiceStatus>,
}

/// Progress of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateStatus {
    /// `updating`, `paused`, ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// End.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Counts of a service's tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceStatus {
    /// Running now.
    pub running_tasks: u64,
    /// Wanted.
    pub desired_tasks: u64,
    /// Completed (jobs only).
    pub completed_tasks: u64,
}

/// Answer to a creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceCreated {
    /// The new service.
    #[serde(rename = "ID")]
    pub id: String,
    /// Printed by clients; `null` if there are none.
    pub warnings: Option<Vec<String>>,
}

/// Answer to an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceUpdated {
    /// Printed by clients; `null` if there are none.
    pub warnings: Option<Vec<String>>,
}

impl Service {
    /// The service; `insert_defaults` fills in what the user left out.
    pub fn from_core(service: &model::Service, insert_defaults: bool) -> Self {
        Self {
            id: service.id.to_string(),
            version: service.meta.version.into(),
            created_at: rfc3339(service.meta.created_at),
            updated_at: rfc3339(service.meta.updated_at),
            spec: ServiceSpec::from_core(&service.spec, insert_defaults),
            previous_spec: service
                .previous_spec
                .as_ref()
                .map(|spec| ServiceSpec::from_core(spec, insert_defaults)),
            endpoint: Endpoint::from_core(service.endpoint.as_ref()),
            update_status: service.update_status.as_ref().map(UpdateStatus::from_core),
            service_status: None,
        }
    }
}

impl UpdateStatus {
    fn from_core(status: &model::UpdateStatus) -> Self {
        Self {
            state: String::from(match status.state {
                UpdateState::Updating => "updating",
                UpdateState::Paused => "paused",
                UpdateState::Completed => "completed",
                UpdateState::RollbackStarted => "rollback_started",
                UpdateState::RollbackPaused => "rollback_paused",
                UpdateState::RollbackCompleted => "rollback_completed",
            }),
            started_at: Some(rfc3339(status.started_at)),
            completed_at: status.completed_at.map(rfc3339),
            message: status.message.clone(),
        }
    }
}
