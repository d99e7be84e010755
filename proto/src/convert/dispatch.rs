//! Assignments: what a node must run and know.

use swarm_core::dispatch::{Assignment, AssignmentKey, EndpointInfo, Peer, ServiceInfo};

use super::{ConvertError, Wire, from_list, list};
use crate::wire;

impl Wire for Assignment {
    type Message = wire::Assignment;

    fn to_wire(&self) -> wire::Assignment {
        use wire::assignment::Kind;
        wire::Assignment {
            kind: Some(match self {
                Self::Task(task) => Kind::Task(task.to_wire()),
                Self::Network(network) => Kind::Network(network.to_wire()),
                Self::Endpoint(endpoint) => Kind::Endpoint(endpoint.to_wire()),
                Self::Service(service) => Kind::Service(service.to_wire()),
                Self::Peer(peer) => Kind::Peer(peer.to_wire()),
                Self::IngressAddress(address) => Kind::IngressAddress(address.to_wire()),
            }),
        }
    }

    fn from_wire(message: wire::Assignment) -> Result<Self, ConvertError> {
        use wire::assignment::Kind;
        let kind = message.kind.ok_or(ConvertError::Missing {
            field: "assignment.kind",
        })?;
        Ok(match kind {
            Kind::Task(task) => Self::Task(Wire::from_wire(task)?),
            Kind::Network(network) => Self::Network(Wire::from_wire(network)?),
            Kind::Endpoint(endpoint) => Self::Endpoint(Wire::from_wire(endpoint)?),
            Kind::Service(service) => Self::Service(Wire::from_wire(service)?),
            Kind::Peer(peer) => Self::Peer(Wire::from_wire(peer)?),
            Kind::IngressAddress(address) => Self::IngressAddress(Wire::from_wire(address)?),
        })
    }
}

impl Wire for AssignmentKey {
    type Message = wire::AssignmentKey;

    fn to_wire(&self) -> wire::AssignmentKey {
        use wire::assignment_key::Kind;
        wire::AssignmentKey {
            kind: Some(match self {
                Self::Task(id) => Kind::Task(id.to_wire()),
                Self::Network(id) => Kind::Network(id.to_wire()),
                Self::Endpoint(network, address) => Kind::Endpoint(wire::EndpointKey {
                    network: network.to_wire(),
                    address: address.to_wire(),
                }),
                Self::Service(id) => Kind::Service(id.to_wire()),
                Self::Peer(id) => Kind::Peer(id.to_wire()),
                Self::IngressAddress => Kind::IngressAddress(wire::Empty {}),
            }),
        }
    }

    fn from_wire(message: wire::AssignmentKey) -> Result<Self, ConvertError> {
        use wire::assignment_key::Kind;
        let kind = message.kind.ok_or(ConvertError::Missing {
            field: "assignment_key.kind",
        })?;
        Ok(match kind {
            Kind::Task(id) => Self::Task(Wire::from_wire(id)?),
            Kind::Network(id) => Self::Network(Wire::from_wire(id)?),
            Kind::Endpoint(key) => {
                Self::Endpoint(Wire::from_wire(key.network)?, Wire::from_wire(key.address)?)
            }
            Kind::Service(id) => Self::Service(Wire::from_wire(id)?),
            Kind::Peer(id) => Self::Peer(Wire::from_wire(id)?),
            Kind::IngressAddress(wire::Empty {}) => Self::IngressAddress,
        })
    }
}

/// An identifier that may be absent: the empty text then.
fn text_of<T: AsRef<str>>(id: Option<&T>) -> String {
    id.map(|known| known.as_ref().to_owned())
        .unwrap_or_default()
}

/// An identifier that may be absent: the empty text then.
fn id_of<T: Wire<Message = String>>(text: String) -> Result<Option<T>, ConvertError> {
    if text.is_empty() {
        return Ok(None);
    }
    T::from_wire(text).map(Some)
}

impl Wire for EndpointInfo {
    type Message = wire::EndpointInfo;

    fn to_wire(&self) -> wire::EndpointInfo {
        wire::EndpointInfo {
            network: self.network.to_wire(),
            address: self.address.to_wire(),
            node: self.node.to_wire(),
            task: text_of(self.task.as_ref()),
            service: text_of(self.service.as_ref()),
            names: self.names.clone(),
            serving: self.serving,
            draining: self.draining,
        }
    }

    fn from_wire(message: wire::EndpointInfo) -> Result<Self, ConvertError> {
        Ok(Self {
            network: Wire::from_wire(message.network)?,
            address: Wire::from_wire(message.address)?,
            node: Wire::from_wire(message.node)?,
            task: id_of(message.task)?,
            service: id_of(message.service)?,
            names: message.names,
            serving: message.serving,
            draining: message.draining,
        })
    }
}

impl Wire for ServiceInfo {
    type Message = wire::ServiceInfo;

    fn to_wire(&self) -> wire::ServiceInfo {
        wire::ServiceInfo {
            id: self.id.to_wire(),
            name: self.name.clone(),
            mode: self.mode.to_wire(),
            virtual_ips: list(&self.virtual_ips),
            ports: list(&self.ports),
        }
    }

    fn from_wire(message: wire::ServiceInfo) -> Result<Self, ConvertError> {
        Ok(Self {
            id: Wire::from_wire(message.id)?,
            name: message.name,
            mode: Wire::from_wire(message.mode)?,
            virtual_ips: from_list(message.virtual_ips)?,
            ports: from_list(message.ports)?,
        })
    }
}

impl Wire for Peer {
    type Message = wire::Peer;

    fn to_wire(&self) -> wire::Peer {
        wire::Peer {
            node: self.node.to_wire(),
            hostname: self.hostname.clone(),
            data_path_addr: self.data_path_addr.to_wire(),
        }
    }

    fn from_wire(message: wire::Peer) -> Result<Self, ConvertError> {
        Ok(Self {
            node: Wire::from_wire(message.node)?,
            hostname: message.hostname,
            data_path_addr: Wire::from_wire(message.data_path_addr)?,
        })
    }
}
