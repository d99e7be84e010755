//! The assignment set of one node: everything its agent needs to run its tasks and program its data path, and nothing
//! of other nodes' secrets. Sets are compared item by item, so a delta is the items that changed and the keys that went.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::{
    id::{NetworkId, NodeId, ServiceId, TaskId},
    model::{Attachment, EndpointMode, Network, PortConfig, Task},
};

/// Identifies an item of an assignment set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AssignmentKey {
    /// A task of this node.
    Task(TaskId),
    /// A network that one of its tasks (or the mesh) uses.
    Network(NetworkId),
    /// A live task anywhere on one of those networks.
    Endpoint(NetworkId, Ipv4Addr),
    /// A service on one of those networks, or one with published ports.
    Service(ServiceId),
    /// Another node of the data path.
    Peer(NodeId),
    /// This node's own address on the ingress network.
    IngressAddress,
}

/// An item of an assignment set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "items live in one map and are moved rarely"
)]
pub enum Assignment {
    /// See [`AssignmentKey::Task`].
    Task(Task),
    /// See [`AssignmentKey::Network`].
    Network(Network),
    /// See [`AssignmentKey::Endpoint`].
    Endpoint(EndpointInfo),
    /// See [`AssignmentKey::Service`].
    Service(ServiceInfo),
    /// See [`AssignmentKey::Peer`].
    Peer(Peer),
    /// See [`AssignmentKey::IngressAddress`].
    IngressAddress(Attachment),
}

/// A live task (or a node's own ingress address) as others on its network see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// The network.
    pub network: NetworkId,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Where it runs.
    pub node: NodeId,
    /// The task; `None` for a node's own ingress address.
    pub task: Option<TaskId>,
    /// The service; `None` for a node's own ingress address.
    pub service: Option<ServiceId>,
    /// Names that resolve to it (container name, `service.slot.task`, hostname).
    pub names: Vec<String>,
    /// Runs and is healthy, so it takes new connections unless it is draining.
    pub serving: bool,
    /// About to stop: keeps its connections, gets no new ones.
    pub draining: bool,
}

/// A service as a node that meets it in names, virtual IPs or published ports needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Identifier.
    pub id: ServiceId,
    /// Name, as it resolves.
    pub name: String,
    /// Virtual IP or plain DNS.
    pub mode: EndpointMode,
    /// Virtual IPs; the aliases of each are the service's on that network.
    pub virtual_ips: Vec<Attachment>,
    /// Published ports.
    pub ports: Vec<PortConfig>,
}

/// Another node of the data path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Its hostname, for people.
    pub hostname: String,
    /// Its address on the underlay.
    pub data_path_addr: IpAddr,
}

/// The assignment set of one node.
pub type Assignments = BTreeMap<AssignmentKey, Assignment>;

/// The tasks of a set.
pub fn tasks(assignments: &Assignments) -> impl Iterator<Item = &Task> {
    assignments.values().filter_map(|item| match item {
        Assignment::Task(task) => Some(task),
        Assignment::Network(_)
        | Assignment::Endpoint(_)
        | Assignment::Service(_)
        | Assignment::Peer(_)
        | Assignment::IngressAddress(_) => None,
    })
}

/// The difference between two assignment sets; generation 1 is the first snapshot of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Number of the set this leads to.
    pub generation: u64,
    /// Whether the agent must forget everything it had before.
    pub snapshot: bool,
    /// New or changed items.
    pub upserts: Vec<Assignment>,
    /// Keys of items that went.
    pub removals: Vec<AssignmentKey>,
}
