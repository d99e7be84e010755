//! A task: one incarnation of a container in a slot of a service. A restart makes a new task.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Annotations, Attachment, Endpoint, Labels, Meta, Platform, PortConfig};
use crate::{
    id::{NetworkId, NodeId, ServiceId, TaskId},
    time::Timestamp,
};

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Identifier.
    pub id: TaskId,
    /// Version and times.
    pub meta: Meta,
    /// Copied from the service when the task was made; never changes.
    pub spec: TaskSpec,
    /// `spec_version` of the service when the task was made.
    pub spec_version: u64,
    /// The service.
    pub service: ServiceId,
    /// Name and labels of the service when the task was made.
    pub service_annotations: Annotations,
    /// Slot of a replicated service, from 1; 0 for a global service.
    pub slot: u64,
    /// The node; empty until placed.
    pub node: NodeId,
    /// Observed state; only grows.
    pub status: TaskStatus,
    /// The state the managers want the task to reach.
    pub desired_state: TaskState,
    /// Addresses, the ingress network's first.
    pub attachments: Vec<Attachment>,
    /// Published ports as allocated when the task was made.
    pub endpoint: Option<Endpoint>,
    /// Traffic for new connections avoids this task (it is about to stop).
    pub draining: bool,
    /// Moment before which a `Ready` replacement must not be started (restart delay); zero for none.
    pub start_after: Timestamp,
}

impl Task {
    /// Whether the managers want the task to be or become running.
    pub fn is_wanted(&self) -> bool {
        self.desired_state <= TaskState::Running
    }

    /// Name of the task's container: `service.slot.id`, with the node instead of the slot for a global service.
    pub fn container_name(&self) -> String {
        alloc::format!("{}.{}", self.name(), self.id)
    }

    /// Name of the task without its identifier: `service.slot`, as tables show it.
    pub fn name(&self) -> String {
        let service = &self.service_annotations.name;
        if self.slot == 0 {
            alloc::format!("{service}.{}", self.node)
        } else {
            alloc::format!("{service}.{}", self.slot)
        }
    }
}

/// States of a task in SwarmKit's order and with its numbers. A task's observed state only grows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u16)]
pub enum TaskState {
    /// Made by an orchestrator.
    #[default]
    New = 0,
    /// Resources allocated, awaiting placement.
    Pending = 64,
    /// Placed on a node.
    Assigned = 192,
    /// The agent took it.
    Accepted = 256,
    /// The agent prepares it (pulls the image, sets up the network).
    Preparing = 320,
    /// Prepared, not started.
    Ready = 384,
    /// Being started.
    Starting = 448,
    /// Runs.
    Running = 512,
    /// Ended with exit code 0.
    Complete = 576,
    /// Stopped on request.
    Shutdown = 640,
    /// Ended by itself with an error.
    Failed = 704,
    /// Could never start on that node.
    Rejected = 768,
    /// Wanted: stop, then forget.
    Remove = 800,
    /// Its node has been gone too long.
    Orphaned = 832,
}

impl TaskState {
    /// Every state, in order.
    pub const ALL: [Self; 14] = [
        Self::New,
        Self::Pending,
        Self::Assigned,
        Self::Accepted,
        Self::Preparing,
        Self::Ready,
        Self::Starting,
        Self::Running,
        Self::Complete,
        Self::Shutdown,
        Self::Failed,
        Self::Rejected,
        Self::Remove,
        Self::Orphaned,
    ];

    /// The name in the API, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }

    /// Whether a task in this observed state will never run again.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }
}

/// What is known of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// When this status was observed, on the reporter's clock.
    pub timestamp: Timestamp,
    /// The state.
    pub state: TaskState,
    /// What happened, for people ("started").
    pub message: String,
    /// Why it failed or waits; empty if it does not.
    pub err: String,
    /// The container, once there is one.
    pub container: Option<ContainerStatus>,
    /// Ports this task publishes on its own node (host mode).
    pub host_ports: Vec<PortConfig>,
}

/// The container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Container identifier: 64 hex digits.
    pub container_id: String,
    /// Process identifier on the node; 0 when not running.
    pub pid: u32,
    /// Exit code; 0 while running.
    pub exit_code: i32,
}

/// Template of a service's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The container.
    pub container: ContainerSpec,
    /// Limits and reservations.
    pub resources: ResourceRequirements,
    /// What happens when a task ends; `None` means the defaults.
    pub restart: Option<RestartPolicy>,
    /// Where tasks may run.
    pub placement: Placement,
    /// Networks beside ingress, in the user's order.
    pub networks: Vec<NetworkAttachmentConfig>,
    /// Grows when the user forces an update of unchanged tasks.
    pub force_update: u64,
}

/// Wanted attachment to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachmentConfig {
    /// The network.
    pub network: NetworkId,
    /// More names for the service on this network.
    pub aliases: Vec<String>,
}

/// The container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Image reference as the user gave it, perhaps with a digest.
    pub image: String,
    /// Container labels.
    pub labels: Labels,
    /// Replaces the image's ENTRYPOINT.
    pub command: Vec<String>,
    /// Replaces the image's CMD.
    pub args: Vec<String>,
    /// Hostname inside; empty means the short container identifier.
    pub hostname: String,
    /// `NAME=value` pairs.
    pub env: Vec<String>,
    /// Working directory.
    pub dir: String,
    /// `user[:group]`.
    pub user: String,
    /// Additional groups.
    pub groups: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Root filesystem read-only.
    pub read_only: bool,
    /// Run an init process as PID 1; `None` leaves it to the node (no).
    pub init: Option<bool>,
    /// Signal that asks the process to stop; empty means the image's or SIGTERM.
    pub stop_signal: String,
    /// Time between the stop signal and SIGKILL; `None` means 10 s.
    pub stop_grace_period: Option<Duration>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Extra `/etc/hosts` lines in the form `address name...`.
    pub hosts: Vec<String>,
    /// Resolver settings.
    pub dns: DnsConfig,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities beyond the default set.
    pub capability_add: Vec<String>,
    /// Capabilities taken from the default set.
    pub capability_drop: Vec<String>,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Registry credentials as the client sent them (base64url JSON); never returned by the API.
    pub registry_auth: String,
}

/// Time between the stop signal and SIGKILL when the user gave none.
pub const DEFAULT_STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// Resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Upstream servers instead of the node's.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options of resolv.conf.
    pub options: Vec<String>,
}

/// A limit of setrlimit(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A mount inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// The path.
        source: String,
        /// Propagation (`rprivate`, `rshared`, ...); empty means `rprivate`.
        propagation: String,
    },
    /// A named or anonymous volume of the node.
    Volume {
        /// Name; empty makes an anonymous volume.
        source: String,
        /// Do not copy the image's content into a new volume.
        no_copy: bool,
        /// Labels of the volume if it is made.
        labels: Labels,
    },
    /// Memory.
    Tmpfs {
        /// Size limit in bytes; 0 for none.
        size_bytes: u64,
        /// Permission bits; 0 means 1777.
        mode: u32,
    },
}

/// Limits and reservations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRequirements {
    /// What the kernel enforces.
    pub limits: Resources,
    /// Processes; 0 for no limit.
    pub pids_limit: i64,
    /// What the scheduler sets aside.
    pub reservations: Resources,
}

/// Processor and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time in billionths of a core.
    pub nano_cpus: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
}

/// What happens when a task ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// When to restart.
    pub condition: RestartCondition,
    /// Pause before the replacement starts.
    pub delay: Duration,
    /// Restarts within `window` (or ever); 0 for no limit.
    pub max_attempts: u64,
    /// Span over which attempts count; zero for ever.
    pub window: Duration,
}

impl Default for RestartPolicy {
    /// Docker Swarm's defaults.
    fn default() -> Self {
        Self {
            condition: RestartCondition::Any,
            delay: Duration::from_secs(5),
            max_attempts: 0,
            window: Duration::ZERO,
        }
    }
}

/// When a task is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartCondition {
    /// Whenever it ended.
    #[default]
    Any,
    /// When it failed.
    OnFailure,
    /// Never.
    None,
}

/// Where tasks may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Expressions such as `node.role==worker`; all must hold.
    pub constraints: Vec<String>,
    /// Labels over whose values tasks are spread evenly (`node.labels.zone`).
    pub spread: Vec<String>,
    /// Tasks of the service per node; 0 for no limit.
    pub max_replicas: u64,
    /// Acceptable platforms; empty accepts all.
    pub platforms: Vec<Platform>,
}
