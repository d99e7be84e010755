//! Networks and attachments.

use std::net::Ipv4Addr;

use swarm_core::model::{Attachment, IpamConfig, Network, NetworkAllocation, NetworkSpec};

use super::{ConvertError, Wire, from_list, list, optional, required, scalar::narrow, some};
use crate::wire;

impl Wire for Network {
    type Message = wire::Network;

    fn to_wire(&self) -> wire::Network {
        wire::Network {
            id: self.id.to_wire(),
            meta: Some(self.meta.to_wire()),
            spec: Some(self.spec.to_wire()),
            allocation: some(self.allocation.as_ref()),
        }
    }

    fn from_wire(message: wire::Network) -> Result<Self, ConvertError> {
        Ok(Self {
            id: Wire::from_wire(message.id)?,
            meta: required(message.meta, "network.meta")?,
            spec: required(message.spec, "network.spec")?,
            allocation: optional(message.allocation)?,
        })
    }
}

impl Wire for NetworkSpec {
    type Message = wire::NetworkSpec;

    fn to_wire(&self) -> wire::NetworkSpec {
        wire::NetworkSpec {
            annotations: Some(self.annotations.to_wire()),
            driver: self.driver.clone(),
            options: self.options.clone(),
            internal: self.internal,
            attachable: self.attachable,
            ingress: self.ingress,
            ipam: list(&self.ipam),
        }
    }

    fn from_wire(message: wire::NetworkSpec) -> Result<Self, ConvertError> {
        Ok(Self {
            annotations: required(message.annotations, "network_spec.annotations")?,
            driver: message.driver,
            options: message.options,
            internal: message.internal,
            attachable: message.attachable,
            ingress: message.ingress,
            ipam: from_list(message.ipam)?,
        })
    }
}

impl Wire for IpamConfig {
    type Message = wire::IpamConfig;

    fn to_wire(&self) -> wire::IpamConfig {
        wire::IpamConfig {
            subnet: Some(self.subnet.to_wire()),
            gateway: some(self.gateway.as_ref()).unwrap_or_default(),
        }
    }

    fn from_wire(message: wire::IpamConfig) -> Result<Self, ConvertError> {
        let gateway = Some(message.gateway).filter(|bytes| !bytes.is_empty());
        Ok(Self {
            subnet: required(message.subnet, "ipam_config.subnet")?,
            gateway: optional::<Ipv4Addr>(gateway)?,
        })
    }
}

impl Wire for NetworkAllocation {
    type Message = wire::NetworkAllocation;

    fn to_wire(&self) -> wire::NetworkAllocation {
        wire::NetworkAllocation {
            vni: self.vni,
            subnet: Some(self.subnet.to_wire()),
            gateway: self.gateway.to_wire(),
            next_host: self.next_host,
        }
    }

    fn from_wire(message: wire::NetworkAllocation) -> Result<Self, ConvertError> {
        Ok(Self {
            vni: message.vni,
            subnet: required(message.subnet, "network_allocation.subnet")?,
            gateway: Wire::from_wire(message.gateway)?,
            next_host: message.next_host,
        })
    }
}

impl Wire for Attachment {
    type Message = wire::Attachment;

    fn to_wire(&self) -> wire::Attachment {
        wire::Attachment {
            network: self.network.to_wire(),
            address: self.address.to_wire(),
            prefix_len: self.prefix_len.into(),
            aliases: self.aliases.clone(),
        }
    }

    fn from_wire(message: wire::Attachment) -> Result<Self, ConvertError> {
        Ok(Self {
            network: Wire::from_wire(message.network)?,
            address: Wire::from_wire(message.address)?,
            prefix_len: narrow(message.prefix_len, "prefix_len")?,
            aliases: message.aliases,
        })
    }
}
