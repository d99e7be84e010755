//! What the API asks of this node: its facts, its place in a swarm, its containers and images. The agent implements it.

use core::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use swarm_api::{
    Refusal,
    address::InterfaceAddress,
    container::Container,
    image::{Image, ImageDigest},
    info::{HostFacts, Membership},
    logs::LogOptions,
    network::LocalNetwork,
};
use swarm_core::{
    control::ControlError,
    id::NodeId,
    lock::{InvalidUnlockKey, NOT_LOCKED, SecretKey},
    model::{Availability, ClusterSpec, Network, Subnet},
};

use crate::LogStream;

/// A cluster to be made on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInit {
    /// Where the manager listens.
    pub listen: SocketAddr,
    /// Where others reach it.
    pub advertise: SocketAddr,
    /// Address of the data path; `None` takes the advertised one.
    pub data_path: Option<IpAddr>,
    /// UDP port of the data path.
    pub data_path_port: u16,
    /// Settings.
    pub spec: ClusterSpec,
    /// Availability of this node.
    pub availability: Availability,
    /// Pools of overlay subnets; empty for the default one.
    pub address_pools: Vec<Subnet>,
    /// Prefix length of overlay subnets.
    pub subnet_size: u8,
    /// Rebuild a cluster of one from the state of this node's manager.
    pub force_new_cluster: bool,
}

/// A cluster to be joined by this node.
#[derive(Clone, PartialEq, Eq)]
pub struct HostJoin {
    /// Where a manager would listen.
    pub listen: SocketAddr,
    /// Where others would reach it; `None` leaves it to how the remote sees us.
    pub advertise: Option<SocketAddr>,
    /// Address of the data path; `None` takes the advertised one.
    pub data_path: Option<IpAddr>,
    /// Managers to ask, `host:port`.
    pub remotes: Vec<String>,
    /// The token as given; it decides the role.
    pub token: String,
    /// Availability of this node.
    pub availability: Availability,
}

impl std::fmt::Debug for HostJoin {
    /// Hides the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostJoin")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("remotes", &self.remotes)
            .finish_non_exhaustive()
    }
}

/// Why this node refused. The texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is in a swarm.
    #[error(
        "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one."
    )]
    AlreadyMember,
    /// It is in no swarm.
    #[error("This node is not part of a swarm")]
    NotMember,
    /// What was given to unlock with has not the form of a key.
    #[error("{}", InvalidUnlockKey::Form)]
    UnlockKeyForm,
    /// The unlock key is another one.
    #[error("{}", InvalidUnlockKey::Length)]
    UnlockKeyWrong,
    /// There is nothing to unlock.
    #[error("{NOT_LOCKED}")]
    NotLocked,
    /// The token has the wrong form.
    #[error("invalid join token")]
    InvalidToken,
    /// The remote's root is not the one the token names.
    #[error("remote CA does not match fingerprint. Expected: {expected}")]
    Fingerprint {
        /// SHA-256 in the token, 64 hex digits.
        expected: String,
    },
    /// No manager answered in time; the attempt goes on.
    #[error(
        "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the \"docker info\" command to see the current swarm status of your node."
    )]
    JoinTimeout,
    /// The container runs and was to be removed without force.
    #[error(
        "cannot remove container \"{name}\": container is running: stop the container before removing or force remove"
    )]
    ContainerRuns {
        /// What it was called.
        name: String,
    },
    /// The container went away.
    #[error("No such container: {reference}")]
    NoSuchContainer {
        /// What was asked for.
        reference: String,
    },
    /// The registry does not have that image.
    #[error("No such image: {reference}")]
    NoSuchImage {
        /// What was asked for.
        reference: String,
    },
    /// The registry wants other credentials.
    #[error("{reason}")]
    RegistryDenied {
        /// Its words.
        reason: String,
    },
    /// The reference is malformed.
    #[error("invalid reference format: {reference}")]
    InvalidReference {
        /// What was asked for.
        reference: String,
    },
    /// Something outside (registry, containerd, manager process) failed.
    #[error("{what}: {reason}")]
    Failed {
        /// What was attempted.
        what: String,
        /// Why it failed, with sources.
        reason: String,
    },
    /// The cluster refused.
    #[error("{}", Refusal::from(.0.clone()))]
    Cluster(#[from] ControlError),
}

impl HostError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::AlreadyMember | Self::NotMember | Self::JoinTimeout => 503,
            Self::InvalidToken | Self::Fingerprint { .. } | Self::Failed { .. } => 500,
            Self::ContainerRuns { .. } | Self::NotLocked => 409,
            Self::NoSuchContainer { .. } | Self::NoSuchImage { .. } => 404,
            Self::RegistryDenied { .. } | Self::UnlockKeyWrong => 401,
            Self::InvalidReference { .. } | Self::UnlockKeyForm => 400,
            Self::Cluster(error) => Refusal::from(error.clone()).status(),
        }
    }
}

/// This node.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Facts for `/info` and `/version`.
    async fn facts(&self) -> HostFacts;

    /// Place in a swarm, now.
    async fn membership(&self) -> Membership;

    /// Addresses of the host's interfaces, from which advertised addresses are chosen.
    async fn addresses(&self) -> Result<Vec<InterfaceAddress>, HostError>;

    /// Makes a cluster; returns when this node's manager serves.
    async fn init(&self, request: HostInit) -> Result<NodeId, HostError>;

    /// Joins a cluster; returns when this node is a member, or after Docker's 20 seconds with
    /// [`HostError::JoinTimeout`].
    async fn join(&self, request: HostJoin) -> Result<(), HostError>;

    /// Gives this host's locked manager the key, and returns when the manager has started.
    async fn unlock(&self, key: &SecretKey) -> Result<(), HostError>;

    /// Leaves the cluster: stops and removes its containers, the manager and all state. The API has checked that a
    /// manager leaves only when forced.
    async fn leave(&self) -> Result<(), HostError>;

    /// All containers of this node, stopped ones too, newest first.
    async fn containers(&self) -> Result<Vec<Container>, HostError>;

    /// A container's own log. Streams, moments and the last lines are chosen by the implementation.
    async fn container_logs(&self, id: &str, options: LogOptions) -> Result<LogStream, HostError>;

    /// Asks a container to stop and kills it after `seconds`; `None` takes its own grace period.
    async fn stop_container(&self, id: &str, seconds: Option<u64>) -> Result<(), HostError>;

    /// Sends a signal (name or number; empty is SIGKILL) to a container's first process.
    async fn kill_container(&self, id: &str, signal: &str) -> Result<(), HostError>;

    /// Removes a container; one that runs only with `force`.
    async fn remove_container(&self, id: &str, force: bool) -> Result<(), HostError>;

    /// Images on this node.
    async fn images(&self) -> Result<Vec<Image>, HostError>;

    /// What a registry says of a reference. `auth` is the client's `X-Registry-Auth`, empty for none.
    async fn image_digest(&self, reference: &str, auth: &str) -> Result<ImageDigest, HostError>;

    /// Networks of the cluster that reach this node, for nodes that cannot ask the cluster: the mesh's, and those of
    /// its tasks.
    async fn assigned_networks(&self) -> Result<Vec<Network>, HostError>;

    /// Networks of this node alone.
    async fn local_networks(&self) -> Result<Vec<LocalNetwork>, HostError>;
}
