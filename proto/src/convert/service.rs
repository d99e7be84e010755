//! Services.

use swarm_core::model::{
    Endpoint, EndpointMode, EndpointSpec, FailureAction, PortConfig, Protocol, PublishMode,
    Service, ServiceMode, ServiceSpec, UpdateConfig, UpdateOrder, UpdateState, UpdateStatus,
};

use super::{
    ConvertError, Wire, from_list, list, optional, required, scalar::narrow, some, wire_enum,
};
use crate::wire;

wire_enum!(
    FailureAction = FailureAction {
        Pause,
        Continue,
        Rollback
    }
);
wire_enum!(
    UpdateOrder = UpdateOrder {
        StopFirst,
        StartFirst
    }
);
wire_enum!(EndpointMode = EndpointMode { Vip, DnsRoundRobin });
wire_enum!(Protocol = Protocol { Tcp, Udp, Sctp });
wire_enum!(PublishMode = PublishMode { Ingress, Host });
wire_enum!(
    UpdateState = UpdateState {
        Updating,
        Paused,
        Completed,
        RollbackStarted,
        RollbackPaused,
        RollbackCompleted,
    }
);

impl Wire for Service {
    type Message = wire::Service;

    fn to_wire(&self) -> wire::Service {
        wire::Service {
            id: self.id.to_wire(),
            meta: Some(self.meta.to_wire()),
            spec: Some(self.spec.to_wire()),
            spec_version: self.spec_version,
            previous_spec: some(self.previous_spec.as_ref()),
            endpoint: some(self.endpoint.as_ref()),
            update_status: some(self.update_status.as_ref()),
            pending_delete: self.pending_delete,
        }
    }

    fn from_wire(message: wire::Service) -> Result<Self, ConvertError> {
        Ok(Self {
            id: Wire::from_wire(message.id)?,
            meta: required(message.meta, "service.meta")?,
            spec: required(message.spec, "service.spec")?,
            spec_version: message.spec_version,
            previous_spec: optional(message.previous_spec)?,
            endpoint: optional(message.endpoint)?,
            update_status: optional(message.update_status)?,
            pending_delete: message.pending_delete,
        })
    }
}

impl Wire for ServiceSpec {
    type Message = wire::ServiceSpec;

    fn to_wire(&self) -> wire::ServiceSpec {
        wire::ServiceSpec {
            annotations: Some(self.annotations.to_wire()),
            task: Some(self.task.to_wire()),
            mode: Some(self.mode.to_wire()),
            update: some(self.update.as_ref()),
            rollback: some(self.rollback.as_ref()),
            endpoint: some(self.endpoint.as_ref()),
        }
    }

    fn from_wire(message: wire::ServiceSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            annotations: required(message.annotations, "service_spec.annotations")?,
            task: required(message.task, "service_spec.task")?,
            mode: required(message.mode, "service_spec.mode")?,
            update: optional(message.update)?,
            rollback: optional(message.rollback)?,
            endpoint: optional(message.endpoint)?,
        })
    }
}

impl Wire for ServiceMode {
    type Message = wire::service_spec::Mode;

    fn to_wire(&self) -> wire::service_spec::Mode {
        match *self {
            Self::Replicated { replicas } => {
                wire::service_spec::Mode::Replicated(wire::ReplicatedMode { replicas })
            }
            Self::Global => wire::service_spec::Mode::Global(wire::GlobalMode {}),
        }
    }

    fn from_wire(message: wire::service_spec::Mode) -> Result<Self, ConvertError> {
        Ok(match message {
            wire::service_spec::Mode::Replicated(wire::ReplicatedMode { replicas }) => {
                Self::Replicated { replicas }
            }
            wire::service_spec::Mode::Global(wire::GlobalMode {}) => Self::Global,
        })
    }
}

impl Wire for UpdateConfig {
    type Message = wire::UpdateConfig;

    fn to_wire(&self) -> wire::UpdateConfig {
        wire::UpdateConfig {
            parallelism: self.parallelism,
            delay_ns: self.delay.to_wire(),
            failure_action: self.failure_action.to_wire(),
            monitor_ns: self.monitor.to_wire(),
            max_failure_ratio_ppm: self.max_failure_ratio_ppm,
            order: self.order.to_wire(),
        }
    }

    fn from_wire(message: wire::UpdateConfig) -> Result<Self, ConvertError> {
        Ok(Self {
            parallelism: message.parallelism,
            delay: Wire::from_wire(message.delay_ns)?,
            failure_action: Wire::from_wire(message.failure_action)?,
            monitor: Wire::from_wire(message.monitor_ns)?,
            max_failure_ratio_ppm: message.max_failure_ratio_ppm,
            order: Wire::from_wire(message.order)?,
        })
    }
}

impl Wire for EndpointSpec {
    type Message = wire::EndpointSpec;

    fn to_wire(&self) -> wire::EndpointSpec {
        wire::EndpointSpec {
            mode: self.mode.to_wire(),
            ports: list(&self.ports),
        }
    }

    fn from_wire(message: wire::EndpointSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            mode: Wire::from_wire(message.mode)?,
            ports: from_list(message.ports)?,
        })
    }
}

impl Wire for PortConfig {
    type Message = wire::PortConfig;

    fn to_wire(&self) -> wire::PortConfig {
        wire::PortConfig {
            name: self.name.clone(),
            protocol: self.protocol.to_wire(),
            target_port: self.target_port.into(),
            published_port: self.published_port.into(),
            publish_mode: self.publish_mode.to_wire(),
        }
    }

    fn from_wire(message: wire::PortConfig) -> Result<Self, ConvertError> {
        Ok(Self {
            name: message.name,
            protocol: Wire::from_wire(message.protocol)?,
            target_port: narrow(message.target_port, "target_port")?,
            published_port: narrow(message.published_port, "published_port")?,
            publish_mode: Wire::from_wire(message.publish_mode)?,
        })
    }
}

impl Wire for Endpoint {
    type Message = wire::Endpoint;

    fn to_wire(&self) -> wire::Endpoint {
        wire::Endpoint {
            spec: Some(self.spec.to_wire()),
            ports: list(&self.ports),
            virtual_ips: list(&self.virtual_ips),
        }
    }

    fn from_wire(message: wire::Endpoint) -> Result<Self, ConvertError> {
        Ok(Self {
            spec: required(message.spec, "endpoint.spec")?,
            ports: from_list(message.ports)?,
            virtual_ips: from_list(message.virtual_ips)?,
        })
    }
}

impl Wire for UpdateStatus {
    type Message = wire::UpdateStatus;

    fn to_wire(&self) -> wire::UpdateStatus {
        wire::UpdateStatus {
            state: self.state.to_wire(),
            started_at_ns: self.started_at.to_wire(),
            completed_at_ns: some(self.completed_at.as_ref()),
            message: self.message.clone(),
        }
    }

    fn from_wire(message: wire::UpdateStatus) -> Result<Self, ConvertError> {
        Ok(Self {
            state: Wire::from_wire(message.state)?,
            started_at: Wire::from_wire(message.started_at_ns)?,
            completed_at: optional(message.completed_at_ns)?,
            message: message.message,
        })
    }
}
