//! Tasks and their templates.

use swarm_core::model::{
    ContainerSpec, ContainerStatus, DnsConfig, Mount, MountKind, NetworkAttachmentConfig,
    Placement, ResourceRequirements, RestartCondition, RestartPolicy, Task, TaskSpec, TaskState,
    TaskStatus, Ulimit,
};

use super::{ConvertError, Wire, from_list, list, optional, required, some, wire_enum};
use crate::wire;

wire_enum!(
    RestartCondition = RestartCondition {
        Any,
        OnFailure,
        None
    }
);
wire_enum!(
    TaskState = TaskState {
        New,
        Pending,
        Assigned,
        Accepted,
        Preparing,
        Ready,
        Starting,
        Running,
        Complete,
        Shutdown,
        Failed,
        Rejected,
        Remove,
        Orphaned,
    }
);

impl Wire for Task {
    type Message = wire::Task;

    fn to_wire(&self) -> wire::Task {
        wire::Task {
            id: self.id.to_wire(),
            meta: Some(self.meta.to_wire()),
            spec: Some(self.spec.to_wire()),
            spec_version: self.spec_version,
            service: self.service.to_wire(),
            service_annotations: Some(self.service_annotations.to_wire()),
            slot: self.slot,
            node: self.node.to_wire(),
            status: Some(self.status.to_wire()),
            desired_state: self.desired_state.to_wire(),
            attachments: list(&self.attachments),
            endpoint: some(self.endpoint.as_ref()),
            draining: self.draining,
            start_after_ns: self.start_after.to_wire(),
        }
    }

    fn from_wire(message: wire::Task) -> Result<Self, ConvertError> {
        Ok(Self {
            id: Wire::from_wire(message.id)?,
            meta: required(message.meta, "task.meta")?,
            spec: required(message.spec, "task.spec")?,
            spec_version: message.spec_version,
            service: Wire::from_wire(message.service)?,
            service_annotations: required(message.service_annotations, "task.service_annotations")?,
            slot: message.slot,
            node: Wire::from_wire(message.node)?,
            status: required(message.status, "task.status")?,
            desired_state: Wire::from_wire(message.desired_state)?,
            attachments: from_list(message.attachments)?,
            endpoint: optional(message.endpoint)?,
            draining: message.draining,
            start_after: Wire::from_wire(message.start_after_ns)?,
        })
    }
}

impl Wire for TaskStatus {
    type Message = wire::TaskStatus;

    fn to_wire(&self) -> wire::TaskStatus {
        wire::TaskStatus {
            timestamp_ns: self.timestamp.to_wire(),
            state: self.state.to_wire(),
            message: self.message.clone(),
            err: self.err.clone(),
            container: some(self.container.as_ref()),
            host_ports: list(&self.host_ports),
        }
    }

    fn from_wire(message: wire::TaskStatus) -> Result<Self, ConvertError> {
        Ok(Self {
            timestamp: Wire::from_wire(message.timestamp_ns)?,
            state: Wire::from_wire(message.state)?,
            message: message.message,
            err: message.err,
            container: optional(message.container)?,
            host_ports: from_list(message.host_ports)?,
        })
    }
}

impl Wire for ContainerStatus {
    type Message = wire::ContainerStatus;

    fn to_wire(&self) -> wire::ContainerStatus {
        wire::ContainerStatus {
            container_id: self.container_id.clone(),
            pid: self.pid,
            exit_code: self.exit_code,
        }
    }

    fn from_wire(message: wire::ContainerStatus) -> Result<Self, ConvertError> {
        Ok(Self {
            container_id: message.container_id,
            pid: message.pid,
            exit_code: message.exit_code,
        })
    }
}

impl Wire for TaskSpec {
    type Message = wire::TaskSpec;

    fn to_wire(&self) -> wire::TaskSpec {
        wire::TaskSpec {
            container: Some(self.container.to_wire()),
            resources: Some(self.resources.to_wire()),
            restart: some(self.restart.as_ref()),
            placement: Some(self.placement.to_wire()),
            networks: list(&self.networks),
            force_update: self.force_update,
        }
    }

    fn from_wire(message: wire::TaskSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            container: required(message.container, "task_spec.container")?,
            resources: required(message.resources, "task_spec.resources")?,
            restart: optional(message.restart)?,
            placement: required(message.placement, "task_spec.placement")?,
            networks: from_list(message.networks)?,
            force_update: message.force_update,
        })
    }
}

impl Wire for NetworkAttachmentConfig {
    type Message = wire::NetworkAttachmentConfig;

    fn to_wire(&self) -> wire::NetworkAttachmentConfig {
        wire::NetworkAttachmentConfig {
            network: self.network.to_wire(),
            aliases: self.aliases.clone(),
        }
    }

    fn from_wire(message: wire::NetworkAttachmentConfig) -> Result<Self, ConvertError> {
        Ok(Self {
            network: Wire::from_wire(message.network)?,
            aliases: message.aliases,
        })
    }
}

impl Wire for ContainerSpec {
    type Message = wire::ContainerSpec;

    fn to_wire(&self) -> wire::ContainerSpec {
        wire::ContainerSpec {
            image: self.image.clone(),
            labels: self.labels.clone(),
            command: self.command.clone(),
            args: self.args.clone(),
            hostname: self.hostname.clone(),
            env: self.env.clone(),
            dir: self.dir.clone(),
            user: self.user.clone(),
            groups: self.groups.clone(),
            tty: self.tty,
            open_stdin: self.open_stdin,
            read_only: self.read_only,
            init: self.init,
            stop_signal: self.stop_signal.clone(),
            stop_grace_period_ns: some(self.stop_grace_period.as_ref()),
            mounts: list(&self.mounts),
            hosts: self.hosts.clone(),
            dns: Some(self.dns.to_wire()),
            sysctls: self.sysctls.clone(),
            capability_add: self.capability_add.clone(),
            capability_drop: self.capability_drop.clone(),
            ulimits: list(&self.ulimits),
            registry_auth: self.registry_auth.clone(),
        }
    }

    fn from_wire(message: wire::ContainerSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            image: message.image,
            labels: message.labels,
            command: message.command,
            args: message.args,
            hostname: message.hostname,
            env: message.env,
            dir: message.dir,
            user: message.user,
            groups: message.groups,
            tty: message.tty,
            open_stdin: message.open_stdin,
            read_only: message.read_only,
            init: message.init,
            stop_signal: message.stop_signal,
            stop_grace_period: optional(message.stop_grace_period_ns)?,
            mounts: from_list(message.mounts)?,
            hosts: message.hosts,
            dns: required(message.dns, "container_spec.dns")?,
            sysctls: message.sysctls,
            capability_add: message.capability_add,
            capability_drop: message.capability_drop,
            ulimits: from_list(message.ulimits)?,
            registry_auth: message.registry_auth,
        })
    }
}

impl Wire for DnsConfig {
    type Message = wire::DnsConfig;

    fn to_wire(&self) -> wire::DnsConfig {
        wire::DnsConfig {
            nameservers: self.nameservers.clone(),
            search: self.search.clone(),
            options: self.options.clone(),
        }
    }

    fn from_wire(message: wire::DnsConfig) -> Result<Self, ConvertError> {
        Ok(Self {
            nameservers: message.nameservers,
            search: message.search,
            options: message.options,
        })
    }
}

impl Wire for Ulimit {
    type Message = wire::Ulimit;

    fn to_wire(&self) -> wire::Ulimit {
        wire::Ulimit {
            name: self.name.clone(),
            soft: self.soft,
            hard: self.hard,
        }
    }

    fn from_wire(message: wire::Ulimit) -> Result<Self, ConvertError> {
        Ok(Self {
            name: message.name,
            soft: message.soft,
            hard: message.hard,
        })
    }
}

impl Wire for Mount {
    type Message = wire::Mount;

    fn to_wire(&self) -> wire::Mount {
        wire::Mount {
            target: self.target.clone(),
            read_only: self.read_only,
            kind: Some(self.kind.to_wire()),
        }
    }

    fn from_wire(message: wire::Mount) -> Result<Self, ConvertError> {
        Ok(Self {
            target: message.target,
            read_only: message.read_only,
            kind: required(message.kind, "mount.kind")?,
        })
    }
}

impl Wire for MountKind {
    type Message = wire::mount::Kind;

    fn to_wire(&self) -> wire::mount::Kind {
        match self.clone() {
            Self::Bind {
                source,
                propagation,
            } => wire::mount::Kind::Bind(wire::BindMount {
                source,
                propagation,
            }),
            Self::Volume {
                source,
                no_copy,
                labels,
            } => wire::mount::Kind::Volume(wire::VolumeMount {
                source,
                no_copy,
                labels,
            }),
            Self::Tmpfs { size_bytes, mode } => {
                wire::mount::Kind::Tmpfs(wire::TmpfsMount { size_bytes, mode })
            }
        }
    }

    fn from_wire(message: wire::mount::Kind) -> Result<Self, ConvertError> {
        Ok(match message {
            wire::mount::Kind::Bind(bind) => Self::Bind {
                source: bind.source,
                propagation: bind.propagation,
            },
            wire::mount::Kind::Volume(volume) => Self::Volume {
                source: volume.source,
                no_copy: volume.no_copy,
                labels: volume.labels,
            },
            wire::mount::Kind::Tmpfs(tmpfs) => Self::Tmpfs {
                size_bytes: tmpfs.size_bytes,
                mode: tmpfs.mode,
            },
        })
    }
}

impl Wire for ResourceRequirements {
    type Message = wire::ResourceRequirements;

    fn to_wire(&self) -> wire::ResourceRequirements {
        wire::ResourceRequirements {
            limits: Some(self.limits.to_wire()),
            pids_limit: self.pids_limit,
            reservations: Some(self.reservations.to_wire()),
        }
    }

    fn from_wire(message: wire::ResourceRequirements) -> Result<Self, ConvertError> {
        Ok(Self {
            limits: required(message.limits, "resource_requirements.limits")?,
            pids_limit: message.pids_limit,
            reservations: required(message.reservations, "resource_requirements.reservations")?,
        })
    }
}

impl Wire for RestartPolicy {
    type Message = wire::RestartPolicy;

    fn to_wire(&self) -> wire::RestartPolicy {
        wire::RestartPolicy {
            condition: self.condition.to_wire(),
            delay_ns: self.delay.to_wire(),
            max_attempts: self.max_attempts,
            window_ns: self.window.to_wire(),
        }
    }

    fn from_wire(message: wire::RestartPolicy) -> Result<Self, ConvertError> {
        Ok(Self {
            condition: Wire::from_wire(message.condition)?,
            delay: Wire::from_wire(message.delay_ns)?,
            max_attempts: message.max_attempts,
            window: Wire::from_wire(message.window_ns)?,
        })
    }
}

impl Wire for Placement {
    type Message = wire::Placement;

    fn to_wire(&self) -> wire::Placement {
        wire::Placement {
            constraints: self.constraints.clone(),
            spread: self.spread.clone(),
            max_replicas: self.max_replicas,
            platforms: list(&self.platforms),
        }
    }

    fn from_wire(message: wire::Placement) -> Result<Self, ConvertError> {
        Ok(Self {
            constraints: message.constraints,
            spread: message.spread,
            max_replicas: message.max_replicas,
            platforms: from_list(message.platforms)?,
        })
    }
}
