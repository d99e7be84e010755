//! A network and what attaches to it.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Annotations, Meta, Subnet};
use crate::id::NetworkId;

/// VNI of the ingress network, and the first one given out.
pub const FIRST_VNI: u32 = 4096;
/// Name of the ingress network.
pub const INGRESS_NETWORK: &str = "ingress";

/// An overlay network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Identifier.
    pub id: NetworkId,
    /// Version and times.
    pub meta: Meta,
    /// The user's wishes.
    pub spec: NetworkSpec,
    /// What the allocator decided; `None` until then.
    pub allocation: Option<NetworkAllocation>,
}

/// The user's wishes for a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// Driver, always `overlay` for swarm networks.
    pub driver: String,
    /// Driver options (`-o k=v`).
    pub options: BTreeMap<String, String>,
    /// No route to the outside.
    pub internal: bool,
    /// Containers outside services may attach.
    pub attachable: bool,
    /// This is the routing mesh's network.
    pub ingress: bool,
    /// Wanted subnets; empty lets the allocator choose one.
    pub ipam: Vec<IpamConfig>,
}

/// One wanted subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    /// The subnet.
    pub subnet: Subnet,
    /// The gateway; `None` means the first address.
    pub gateway: Option<Ipv4Addr>,
}

/// What the allocator decided for a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAllocation {
    /// VXLAN network identifier (24 bits).
    pub vni: u32,
    /// The network's subnet.
    pub subnet: Subnet,
    /// Gateway inside the subnet, answered by the data path.
    pub gateway: Ipv4Addr,
    /// Host part where the next search for a free address starts; freed addresses are used again only after a wrap.
    pub next_host: u32,
}

/// An address on a network, held by a task, a service (its virtual IP) or a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// The network.
    pub network: NetworkId,
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length of the network's subnet.
    pub prefix_len: u8,
    /// Names of the task on this network beside its own and its service's.
    pub aliases: Vec<String>,
}
