//! A service: the wish for a number of equal tasks, and what stands in front of them.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Annotations, Attachment, Meta, TaskSpec};
use crate::{id::ServiceId, time::Timestamp};

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Identifier.
    pub id: ServiceId,
    /// Version and times.
    pub meta: Meta,
    /// The user's wishes.
    pub spec: ServiceSpec,
    /// Grows with every change of `spec`; a task made from an older one is not up to date.
    pub spec_version: u64,
    /// The specification before the last update, for `service rollback`.
    pub previous_spec: Option<ServiceSpec>,
    /// What the allocator decided; `None` until then.
    pub endpoint: Option<Endpoint>,
    /// Progress of the last update; `None` if none was needed.
    pub update_status: Option<UpdateStatus>,
    /// The service is being removed: its tasks are shut down, then the object goes.
    pub pending_delete: bool,
}

/// The user's wishes for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// Template of its tasks.
    pub task: TaskSpec,
    /// How many tasks and where.
    pub mode: ServiceMode,
    /// How an update replaces tasks; `None` means the defaults.
    pub update: Option<UpdateConfig>,
    /// How a rollback replaces tasks; `None` means the defaults.
    pub rollback: Option<UpdateConfig>,
    /// How clients reach the service; `None` means a virtual IP and no published port.
    pub endpoint: Option<EndpointSpec>,
}

impl ServiceSpec {
    /// A number of tasks of an image, everything else as by default.
    pub fn replicated(name: &str, image: &str, replicas: u64) -> Self {
        let mut spec = Self {
            mode: ServiceMode::Replicated { replicas },
            ..Self::default()
        };
        spec.annotations.name = String::from(name);
        spec.task.container.image = String::from(image);
        spec
    }
}

/// How many tasks a service has and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    /// A number of tasks spread over the nodes.
    Replicated {
        /// Wanted tasks.
        replicas: u64,
    },
    /// One task on every eligible node.
    Global,
}

impl Default for ServiceMode {
    fn default() -> Self {
        Self::Replicated { replicas: 1 }
    }
}

/// How an update (or rollback) replaces tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Tasks replaced at a time; 0 means all at once.
    pub parallelism: u64,
    /// Pause between replacements.
    pub delay: Duration,
    /// What to do when a new task fails.
    pub failure_action: FailureAction,
    /// How long a new task is watched for failure.
    pub monitor: Duration,
    /// Share of failed tasks in millionths (0 to 1,000,000) that is tolerated.
    pub max_failure_ratio_ppm: u32,
    /// Whether the old or the new task goes first.
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    /// Docker Swarm's defaults.
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::Pause,
            monitor: Duration::from_secs(5),
            max_failure_ratio_ppm: 0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// What to do when a task of an update fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureAction {
    /// Stop the update and wait for the user.
    #[default]
    Pause,
    /// Go on.
    Continue,
    /// Return to the previous specification.
    Rollback,
}

/// Whether the old or the new task goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// Stop the old task, then start the new one.
    #[default]
    StopFirst,
    /// Start the new task, then stop the old one.
    StartFirst,
}

/// How clients reach a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Virtual IP or plain DNS.
    pub mode: EndpointMode,
    /// Published ports.
    pub ports: Vec<PortConfig>,
}

/// How a service's name resolves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointMode {
    /// To a virtual IP that is balanced in the data path.
    #[default]
    Vip,
    /// To the addresses of all tasks.
    DnsRoundRobin,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortConfig {
    /// Name, free text of the API.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port inside the task.
    pub target_port: u16,
    /// Port on the nodes; 0 lets the allocator choose from 30000-32767.
    pub published_port: u16,
    /// On every node or only where a task runs.
    pub publish_mode: PublishMode,
}

/// Transport protocol of a port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Where a port is published.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum PublishMode {
    /// On every node (the routing mesh).
    #[default]
    Ingress,
    /// Only on the nodes that run a task.
    Host,
}

/// What the allocator decided for a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The specification this was allocated for.
    pub spec: EndpointSpec,
    /// Published ports with numbers filled in.
    pub ports: Vec<PortConfig>,
    /// Virtual IPs, the ingress network's first.
    pub virtual_ips: Vec<Attachment>,
}

/// Progress of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// For people.
    pub message: String,
}

/// Where an update stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateState {
    /// Tasks are being replaced.
    Updating,
    /// Stopped after a failure.
    Paused,
    /// All tasks are replaced.
    Completed,
    /// Returning to the previous specification.
    RollbackStarted,
    /// The rollback itself failed.
    RollbackPaused,
    /// Returned to the previous specification.
    RollbackCompleted,
}
