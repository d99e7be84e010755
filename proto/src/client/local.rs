//! What an agent tells the manager it started, over the manager's unix socket.

use std::net::{IpAddr, SocketAddr};

use futures::{StreamExt as _, stream::BoxStream};
use swarm_core::{
    control::ControlError,
    id::NodeId,
    lock::{KeyId, SecretKey},
    model::{Availability, ClusterSpec, Subnet},
};
use tonic::transport::Channel;

use super::{CALL_TIMEOUT, MEMBERSHIP_TIMEOUT, read, unreadable, within};
use crate::{
    ConvertError, Wire,
    convert::{from_list, ip_from_wire, ip_to_wire, list, required, wire_enum},
    status,
    tls::NodeKeys,
    wire,
};

/// How to make a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitRequest {
    /// Certificate request, PEM; the agent keeps the key, in the certificates folder.
    pub csr_pem: String,
    /// Where to listen for other nodes.
    pub listen_addr: SocketAddr,
    /// Where other nodes reach this manager.
    pub advertise_addr: SocketAddr,
    /// Address for VXLAN; `None` means the address of `advertise_addr`.
    pub data_path_addr: Option<IpAddr>,
    /// The host's name.
    pub hostname: String,
    /// Cluster settings.
    pub spec: ClusterSpec,
    /// Keep the objects of the state on disk and forget all other managers.
    pub force_new_cluster: bool,
    /// Pools for subnets; empty means Docker's default.
    pub default_address_pools: Vec<Subnet>,
    /// Prefix length of subnets cut from the pools.
    pub subnet_size: u8,
    /// UDP port of the data path.
    pub data_path_port: u16,
    /// Availability of the first node.
    pub availability: Availability,
}

/// What came of [`LocalClient::init`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initialized {
    /// The first node.
    pub node_id: NodeId,
    /// Leaf first, PEM.
    pub cert_chain_pem: String,
    /// Root to trust, PEM.
    pub ca_pem: String,
}

/// What a manager is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for init or join.
    Idle,
    /// Has a state and serves.
    Running,
    /// Has a state that is sealed with a key it was not given.
    Locked,
}

/// What a manager says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerState {
    /// What it is doing.
    pub phase: Phase,
    /// Its Raft member number; 0 while idle.
    pub raft_id: u64,
    /// Its node; `None` while idle.
    pub node_id: Option<NodeId>,
    /// It leads.
    pub leader: bool,
    /// Where the leader is, if there is one.
    pub leader_addr: Option<SocketAddr>,
    /// What is wrong, for people.
    pub error: Option<String>,
}

/// Client of `swarm.v1.Local`.
#[derive(Clone, Debug)]
pub struct LocalClient {
    inner: wire::local_client::LocalClient<Channel>,
}

impl LocalClient {
    /// Over [`crate::tls::unix`].
    pub fn new(channel: Channel) -> Self {
        Self {
            inner: wire::local_client::LocalClient::new(channel),
        }
    }

    /// Makes a cluster. `node.key` must be in the certificates folder before.
    pub async fn init(&self, request: &InitRequest) -> Result<Initialized, ControlError> {
        let mut rpc = self.inner.clone();
        read(within(MEMBERSHIP_TIMEOUT, rpc.init(request.to_wire())).await?)
    }

    /// Joins the managers at `remote_addrs`. The certificate files must be in place.
    pub async fn join(
        &self,
        remote_addrs: &[String],
        listen_addr: SocketAddr,
        advertise_addr: SocketAddr,
    ) -> Result<(), ControlError> {
        let request = wire::JoinClusterRequest {
            remote_addrs: remote_addrs.to_vec(),
            listen_addr: listen_addr.to_wire(),
            advertise_addr: advertise_addr.to_wire(),
        };
        let mut rpc = self.inner.clone();
        within(MEMBERSHIP_TIMEOUT, rpc.join(request)).await?;
        Ok(())
    }

    /// Leaves the managers. Refused for the last one, or where the majority would be lost, unless `force`.
    pub async fn leave(&self, force: bool) -> Result<(), ControlError> {
        let mut rpc = self.inner.clone();
        within(
            MEMBERSHIP_TIMEOUT,
            rpc.leave(wire::LeaveClusterRequest { force }),
        )
        .await?;
        Ok(())
    }

    /// Opens the state of a locked manager.
    pub async fn unlock(&self, key: &SecretKey) -> Result<(), ControlError> {
        let mut rpc = self.inner.clone();
        let request = wire::UnlockRequest {
            unlock_key: key.bytes().to_vec(),
        };
        within(MEMBERSHIP_TIMEOUT, rpc.unlock(request)).await?;
        Ok(())
    }

    /// What seals the node's private key on disk: as it is now, and after each change.
    pub async fn watch_node_keys(
        &self,
    ) -> Result<BoxStream<'static, Result<NodeKeys, ControlError>>, ControlError> {
        let mut rpc = self.inner.clone();
        let all = within(CALL_TIMEOUT, rpc.watch_node_keys(wire::Empty {})).await?;
        Ok(all
            .map(|message| match message {
                Ok(message) => NodeKeys::from_wire(message).map_err(|error| unreadable(&error)),
                Err(refusal) => Err(status::from_status(&refusal)),
            })
            .boxed())
    }

    /// Tells the manager what the node's private key on disk is sealed with now; `None` for in plain.
    pub async fn node_key_sealed(&self, with: Option<KeyId>) -> Result<(), ControlError> {
        let mut rpc = self.inner.clone();
        let request = wire::NodeKeySealedRequest {
            sealed_with: with.map_or(0, |id| id.0),
        };
        within(CALL_TIMEOUT, rpc.node_key_sealed(request)).await?;
        Ok(())
    }

    /// Has the manager use the certificate files as they are now.
    pub async fn reload_certificates(&self) -> Result<(), ControlError> {
        let mut rpc = self.inner.clone();
        within(CALL_TIMEOUT, rpc.reload_certificates(wire::Empty {})).await?;
        Ok(())
    }

    /// What the manager is doing.
    pub async fn status(&self) -> Result<ManagerState, ControlError> {
        let mut rpc = self.inner.clone();
        read(within(CALL_TIMEOUT, rpc.status(wire::Empty {})).await?)
    }
}

wire_enum!(
    Phase = Phase {
        Idle,
        Running,
        Locked
    }
);

impl Wire for InitRequest {
    type Message = wire::InitRequest;

    fn to_wire(&self) -> wire::InitRequest {
        wire::InitRequest {
            csr_pem: self.csr_pem.clone(),
            listen_addr: self.listen_addr.to_wire(),
            advertise_addr: self.advertise_addr.to_wire(),
            data_path_addr: ip_to_wire(self.data_path_addr),
            hostname: self.hostname.clone(),
            spec: Some(self.spec.to_wire()),
            force_new_cluster: self.force_new_cluster,
            default_address_pools: list(&self.default_address_pools),
            subnet_size: self.subnet_size.into(),
            data_path_port: self.data_path_port.into(),
            availability: self.availability.to_wire(),
        }
    }

    fn from_wire(message: wire::InitRequest) -> Result<Self, ConvertError> {
        let out_of_range = |field, value: u32| ConvertError::OutOfRange {
            field,
            value: value.into(),
        };
        Ok(Self {
            csr_pem: message.csr_pem,
            listen_addr: Wire::from_wire(message.listen_addr)?,
            advertise_addr: Wire::from_wire(message.advertise_addr)?,
            data_path_addr: ip_from_wire(message.data_path_addr)?,
            hostname: message.hostname,
            spec: required(message.spec, "init_request.spec")?,
            force_new_cluster: message.force_new_cluster,
            default_address_pools: from_list(message.default_address_pools)?,
            subnet_size: u8::try_from(message.subnet_size)
                .map_err(|_| out_of_range("subnet_size", message.subnet_size))?,
            data_path_port: u16::try_from(message.data_path_port)
                .map_err(|_| out_of_range("data_path_port", message.data_path_port))?,
            availability: Wire::from_wire(message.availability)?,
        })
    }
}

impl Wire for Initialized {
    type Message = wire::InitReply;

    fn to_wire(&self) -> wire::InitReply {
        wire::InitReply {
            node_id: self.node_id.to_wire(),
            cert_chain_pem: self.cert_chain_pem.clone(),
            ca_pem: self.ca_pem.clone(),
        }
    }

    fn from_wire(message: wire::InitReply) -> Result<Self, ConvertError> {
        Ok(Self {
            node_id: Wire::from_wire(message.node_id)?,
            cert_chain_pem: message.cert_chain_pem,
            ca_pem: message.ca_pem,
        })
    }
}

impl Wire for ManagerState {
    type Message = wire::ManagerState;

    fn to_wire(&self) -> wire::ManagerState {
        wire::ManagerState {
            phase: self.phase.to_wire(),
            raft_id: self.raft_id,
            node_id: self.node_id.as_ref().map(Wire::to_wire).unwrap_or_default(),
            leader: self.leader,
            leader_addr: self
                .leader_addr
                .as_ref()
                .map(Wire::to_wire)
                .unwrap_or_default(),
            error: self.error.clone().unwrap_or_default(),
        }
    }

    fn from_wire(message: wire::ManagerState) -> Result<Self, ConvertError> {
        let known = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            phase: Wire::from_wire(message.phase)?,
            raft_id: message.raft_id,
            node_id: known(message.node_id).map(NodeId::from_wire).transpose()?,
            leader: message.leader,
            leader_addr: known(message.leader_addr)
                .map(SocketAddr::from_wire)
                .transpose()?,
            error: known(message.error),
        })
    }
}
