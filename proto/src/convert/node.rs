//! Nodes.

use swarm_core::model::{
    Availability, ManagerStatus, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, NodeTls,
    Platform, Reachability, Resources, Role,
};

use super::{ConvertError, Wire, ip_from_wire, ip_to_wire, optional, required, some, wire_enum};
use crate::wire;

wire_enum!(Role = Role { Worker, Manager });
wire_enum!(
    Availability = Availability {
        Active,
        Pause,
        Drain
    }
);
wire_enum!(
    NodeState = NodeState {
        Unknown,
        Down,
        Ready,
        Disconnected
    }
);
wire_enum!(
    Reachability = Reachability {
        Unknown,
        Unreachable,
        Reachable
    }
);

impl Wire for Node {
    type Message = wire::Node;

    fn to_wire(&self) -> wire::Node {
        wire::Node {
            id: self.id.to_wire(),
            meta: Some(self.meta.to_wire()),
            spec: Some(self.spec.to_wire()),
            description: some(self.description.as_ref()),
            status: Some(self.status.to_wire()),
            manager: some(self.manager.as_ref()),
            attachment: some(self.attachment.as_ref()),
        }
    }

    fn from_wire(message: wire::Node) -> Result<Self, ConvertError> {
        Ok(Self {
            id: Wire::from_wire(message.id)?,
            meta: required(message.meta, "node.meta")?,
            spec: required(message.spec, "node.spec")?,
            description: optional(message.description)?,
            status: required(message.status, "node.status")?,
            manager: optional(message.manager)?,
            attachment: optional(message.attachment)?,
        })
    }
}

impl Wire for NodeSpec {
    type Message = wire::NodeSpec;

    fn to_wire(&self) -> wire::NodeSpec {
        wire::NodeSpec {
            annotations: Some(self.annotations.to_wire()),
            role: self.role.to_wire(),
            availability: self.availability.to_wire(),
        }
    }

    fn from_wire(message: wire::NodeSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            annotations: required(message.annotations, "node_spec.annotations")?,
            role: Wire::from_wire(message.role)?,
            availability: Wire::from_wire(message.availability)?,
        })
    }
}

impl Wire for NodeStatus {
    type Message = wire::NodeStatus;

    fn to_wire(&self) -> wire::NodeStatus {
        wire::NodeStatus {
            state: self.state.to_wire(),
            message: self.message.clone(),
            addr: ip_to_wire(self.addr),
            data_path_addr: ip_to_wire(self.data_path_addr),
            since_ns: self.since.to_wire(),
            programmed_generation: self.programmed_generation,
        }
    }

    fn from_wire(message: wire::NodeStatus) -> Result<Self, ConvertError> {
        Ok(Self {
            state: Wire::from_wire(message.state)?,
            message: message.message,
            addr: ip_from_wire(message.addr)?,
            data_path_addr: ip_from_wire(message.data_path_addr)?,
            since: Wire::from_wire(message.since_ns)?,
            programmed_generation: message.programmed_generation,
        })
    }
}

impl Wire for NodeDescription {
    type Message = wire::NodeDescription;

    fn to_wire(&self) -> wire::NodeDescription {
        wire::NodeDescription {
            hostname: self.hostname.clone(),
            platform: Some(self.platform.to_wire()),
            resources: Some(self.resources.to_wire()),
            engine_version: self.engine_version.clone(),
            engine_labels: self.engine_labels.clone(),
            tls: Some(self.tls.to_wire()),
        }
    }

    fn from_wire(message: wire::NodeDescription) -> Result<Self, ConvertError> {
        Ok(Self {
            hostname: message.hostname,
            platform: required(message.platform, "node_description.platform")?,
            resources: required(message.resources, "node_description.resources")?,
            engine_version: message.engine_version,
            engine_labels: message.engine_labels,
            tls: required(message.tls, "node_description.tls")?,
        })
    }
}

impl Wire for Platform {
    type Message = wire::Platform;

    fn to_wire(&self) -> wire::Platform {
        wire::Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
        }
    }

    fn from_wire(message: wire::Platform) -> Result<Self, ConvertError> {
        Ok(Self {
            architecture: message.architecture,
            os: message.os,
        })
    }
}

impl Wire for Resources {
    type Message = wire::Resources;

    fn to_wire(&self) -> wire::Resources {
        wire::Resources {
            nano_cpus: self.nano_cpus,
            memory_bytes: self.memory_bytes,
        }
    }

    fn from_wire(message: wire::Resources) -> Result<Self, ConvertError> {
        Ok(Self {
            nano_cpus: message.nano_cpus,
            memory_bytes: message.memory_bytes,
        })
    }
}

impl Wire for NodeTls {
    type Message = wire::NodeTls;

    fn to_wire(&self) -> wire::NodeTls {
        wire::NodeTls {
            trust_root: self.trust_root.clone(),
            issuer_subject: self.issuer_subject.clone(),
            issuer_public_key: self.issuer_public_key.clone(),
        }
    }

    fn from_wire(message: wire::NodeTls) -> Result<Self, ConvertError> {
        Ok(Self {
            trust_root: message.trust_root,
            issuer_subject: message.issuer_subject,
            issuer_public_key: message.issuer_public_key,
        })
    }
}

impl Wire for ManagerStatus {
    type Message = wire::ManagerStatus;

    fn to_wire(&self) -> wire::ManagerStatus {
        wire::ManagerStatus {
            raft_id: self.raft_id,
            addr: self.addr.to_wire(),
            leader: self.leader,
            reachability: self.reachability.to_wire(),
        }
    }

    fn from_wire(message: wire::ManagerStatus) -> Result<Self, ConvertError> {
        Ok(Self {
            raft_id: message.raft_id,
            addr: Wire::from_wire(message.addr)?,
            leader: message.leader,
            reachability: Wire::from_wire(message.reachability)?,
        })
    }
}
