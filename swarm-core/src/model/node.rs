//! A node: one host with an agent, perhaps a manager.

use alloc::{string::String, vec::Vec};
use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Annotations, Attachment, Labels, Meta, Resources};
use crate::{id::NodeId, time::Timestamp};

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Common name of the node's certificate.
    pub id: NodeId,
    /// Version and times.
    pub meta: Meta,
    /// The operator's wishes.
    pub spec: NodeSpec,
    /// What the agent reported about its host; `None` until it first connected.
    pub description: Option<NodeDescription>,
    /// What the dispatcher knows of the node.
    pub status: NodeStatus,
    /// Set on managers.
    pub manager: Option<ManagerStatus>,
    /// The node's own address on the ingress network, from which its processes reach published ports.
    pub attachment: Option<Attachment>,
}

/// The operator's wishes for a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Name (usually empty: the hostname stands for it) and labels.
    pub annotations: Annotations,
    /// Wanted role.
    pub role: Role,
    /// Whether tasks may be placed here.
    pub availability: Availability,
}

/// The role of a node; the organisational unit of its certificate.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Role {
    /// Runs tasks.
    #[default]
    Worker,
    /// Runs tasks and a manager.
    Manager,
}

/// Whether tasks may be placed on a node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Availability {
    /// May get tasks.
    #[default]
    Active,
    /// Keeps its tasks and gets no new ones.
    Pause,
    /// Its tasks are shut down and replaced elsewhere.
    Drain,
}

/// What the dispatcher knows of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Observed state.
    pub state: NodeState,
    /// Why it is in that state, for people.
    pub message: String,
    /// Address the agent's session comes from.
    pub addr: Option<IpAddr>,
    /// Address of the node on the underlay: source and destination of VXLAN packets.
    pub data_path_addr: Option<IpAddr>,
    /// When the state last changed.
    pub since: Timestamp,
    /// Highest assignment generation the agent reported as programmed into its kernel.
    pub programmed_generation: u64,
}

/// Observed state of a node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum NodeState {
    /// Not heard from since it was made or since the leader changed.
    #[default]
    Unknown,
    /// Missed its heartbeats or left.
    Down,
    /// Has a session.
    Ready,
    /// Was ready and closed its session on purpose.
    Disconnected,
}

/// What an agent reports about its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// The host's name.
    pub hostname: String,
    /// Operating system and processor.
    pub platform: Platform,
    /// What the host has.
    pub resources: Resources,
    /// Version of the agent.
    pub engine_version: String,
    /// Labels from the agent's configuration.
    pub engine_labels: Labels,
    /// Certificate facts shown in `node inspect`.
    pub tls: NodeTls,
}

/// Operating system and processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Processor as `uname -m` prints it, e.g. `x86_64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// Which root the node trusts and who issued its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTls {
    /// Trusted root, PEM.
    pub trust_root: String,
    /// Issuer's subject, DER.
    pub issuer_subject: Vec<u8>,
    /// Issuer's public key, DER (SubjectPublicKeyInfo).
    pub issuer_public_key: Vec<u8>,
}

/// The manager part of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Raft member number; never used again for another member.
    pub raft_id: u64,
    /// Where other nodes reach the manager.
    pub addr: SocketAddr,
    /// Whether it leads, as the store last knew; the API overlays the live view.
    pub leader: bool,
    /// Whether the leader reaches it.
    pub reachability: Reachability,
}

impl ManagerStatus {
    /// A member that answers and does not lead, as far as the store knows.
    pub fn new(raft_id: u64, addr: SocketAddr) -> Self {
        Self {
            raft_id,
            addr,
            leader: false,
            reachability: Reachability::Reachable,
        }
    }
}

/// Whether the leader reaches a manager.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Reachability {
    /// Not known yet.
    #[default]
    Unknown,
    /// Did not answer.
    Unreachable,
    /// Answers.
    Reachable,
}

impl Node {
    /// The role that the node may take now. A manager that is to be a worker stays one until it is out of Raft: its vote
    /// may be needed for its own removal.
    pub fn role_now(&self) -> Role {
        match self.manager {
            Some(_) => Role::Manager,
            None => self.spec.role,
        }
    }
}
