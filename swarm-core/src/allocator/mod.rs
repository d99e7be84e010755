//! Gives networks their subnet and VNI, services their virtual addresses and ports, tasks and nodes their addresses.
//! What is given is recorded in the objects themselves and is therefore replicated state: what is taken is read from the
//! store's indexes, nothing is rebuilt on a change of leader, and an address is free exactly when no live object holds it.

mod endpoint;
mod ipam;
mod ports;
mod task;
mod vni;

pub(crate) use endpoint::{allocate_node, allocate_service, is_allocated};
pub(crate) use ipam::allocate_network;
pub(crate) use ipam::subnets;
pub use ipam::{clashing_network, pool_is_exhausted};
pub use ports::{FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT};
pub(crate) use task::allocate_task;

use crate::{
    id::NetworkId,
    model::{Protocol, Subnet},
};

/// Why something could not be given; shown as the error of the tasks that wait for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// The pools are used up.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    )]
    NoSubnet,
    /// The wanted subnet overlaps another network's.
    #[error("subnet {subnet} overlaps with network {other}")]
    SubnetTaken {
        /// What was wanted.
        subnet: Subnet,
        /// Who has it.
        other: NetworkId,
    },
    /// All VXLAN identifiers are used up.
    #[error("no VXLAN network identifier is free")]
    NoVni,
    /// Every address of the subnet is held.
    #[error("could not find an available IP in network {network}: all of {subnet} are in use")]
    NoAddress {
        /// The network.
        network: NetworkId,
        /// Its subnet.
        subnet: Subnet,
    },
    /// The network is gone.
    #[error("network {network} not found")]
    NoNetwork {
        /// The network.
        network: NetworkId,
    },
    /// The network has no subnet yet.
    #[error("network {network} is not allocated")]
    NetworkPending {
        /// The network.
        network: NetworkId,
    },
    /// Ports are to be published but there is no ingress network.
    #[error("service needs ingress network, but no ingress network is present")]
    NoIngress,
    /// Every dynamic port is held.
    #[error("no port between {FIRST_DYNAMIC_PORT} and {LAST_DYNAMIC_PORT} is free")]
    NoPort,
    /// Another service has the port.
    #[error("port '{port}' is already in use")]
    PortTaken {
        /// Transport protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

#[cfg(test)]
mod tests;
