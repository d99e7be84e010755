//! What users ask of the cluster, as the Engine API asks it.

use swarm_core::{
    ca::SigningRoot,
    control::{ControlError, TokenRotation},
    id::{NetworkId, NodeId, ServiceId},
    lock::SecretKey,
    model::{
        Cluster, ClusterSpec, Network, NetworkSpec, Node, NodeSpec, Service, ServiceSpec, Task,
        Version,
    },
};
use tonic::transport::Channel;
use zeroize::Zeroize as _;

use super::{CALL_TIMEOUT, collect, read, within};
use crate::{MAX_MESSAGE_BYTES, Wire, wire};

/// Task counts of a service, as `service ls` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCounts {
    /// The service.
    pub service: ServiceId,
    /// Tasks that run and should.
    pub running: u64,
    /// Tasks that should run.
    pub desired: u64,
    /// Tasks that ended as they should.
    pub completed: u64,
}

/// Client of `swarm.v1.Control`. Cheap to clone.
///
/// A `reference` is an identifier, a name or an unambiguous prefix of an identifier.
#[derive(Clone, Debug)]
pub struct ControlClient {
    inner: wire::control_client::ControlClient<Channel>,
}

impl ControlClient {
    /// Over a channel of [`crate::tls`].
    pub fn new(channel: Channel) -> Self {
        Self {
            inner: wire::control_client::ControlClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
        }
    }

    fn rpc(&self) -> wire::control_client::ControlClient<Channel> {
        self.inner.clone()
    }

    /// The cluster. The key of the certificate authority is empty, the token secrets are there.
    pub async fn cluster(&self) -> Result<Cluster, ControlError> {
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.get_cluster(wire::Empty {})).await?)
    }

    /// Replaces the cluster's settings and tokens, and begins to replace its root if the settings or `root` ask for it.
    pub async fn update_cluster(
        &self,
        version: Version,
        spec: &ClusterSpec,
        rotation: TokenRotation,
        root: Option<SigningRoot>,
    ) -> Result<Cluster, ControlError> {
        let root = root.unwrap_or_default();
        let request = wire::UpdateClusterRequest {
            version: version.to_wire(),
            spec: Some(spec.to_wire()),
            rotate_worker_token: rotation.worker,
            rotate_manager_token: rotation.manager,
            rotate_manager_unlock_key: rotation.unlock_key,
            signing_ca_cert: root.cert_pem,
            signing_ca_key: root.key_pem,
        };
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.update_cluster(request)).await?)
    }

    /// The key that unlocks a restarted manager; `None` while managers are not locked.
    pub async fn unlock_key(&self) -> Result<Option<SecretKey>, ControlError> {
        let mut rpc = self.rpc();
        let mut answer = within(CALL_TIMEOUT, rpc.get_unlock_key(wire::Empty {})).await?;
        let key = SecretKey::from_slice(&answer.unlock_key);
        answer.unlock_key.zeroize();
        Ok(key)
    }

    /// All nodes.
    pub async fn nodes(&self) -> Result<Vec<Node>, ControlError> {
        collect(self.rpc().list_nodes(wire::Empty {})).await
    }

    /// One node; its name is its hostname.
    pub async fn node(&self, reference: &str) -> Result<Node, ControlError> {
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.get_node(by(reference))).await?)
    }

    /// Replaces the operator's wishes for a node.
    pub async fn update_node(
        &self,
        id: &NodeId,
        version: Version,
        spec: &NodeSpec,
    ) -> Result<Node, ControlError> {
        let request = wire::UpdateNodeRequest {
            id: id.to_wire(),
            version: version.to_wire(),
            spec: Some(spec.to_wire()),
        };
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.update_node(request)).await?)
    }

    /// Removes a node that is down, or any with `force`.
    pub async fn remove_node(&self, reference: &str, force: bool) -> Result<(), ControlError> {
        let request = wire::RemoveNodeRequest {
            reference: reference.to_owned(),
            force,
        };
        let mut rpc = self.rpc();
        within(CALL_TIMEOUT, rpc.remove_node(request)).await?;
        Ok(())
    }

    /// All services.
    pub async fn services(&self) -> Result<Vec<Service>, ControlError> {
        collect(self.rpc().list_services(wire::Empty {})).await
    }

    /// Task counts of all services.
    pub async fn service_counts(&self) -> Result<Vec<ServiceCounts>, ControlError> {
        collect(self.rpc().list_service_statuses(wire::Empty {})).await
    }

    /// One service.
    pub async fn service(&self, reference: &str) -> Result<Service, ControlError> {
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.get_service(by(reference))).await?)
    }

    /// Makes a service.
    pub async fn create_service(&self, spec: &ServiceSpec) -> Result<Service, ControlError> {
        let request = wire::CreateServiceRequest {
            spec: Some(spec.to_wire()),
        };
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.create_service(request)).await?)
    }

    /// Replaces a service's specification; with `rollback` by its previous one, whatever `spec` says.
    pub async fn update_service(
        &self,
        id: &ServiceId,
        version: Version,
        spec: &ServiceSpec,
        rollback: bool,
    ) -> Result<Service, ControlError> {
        let request = wire::UpdateServiceRequest {
            id: id.to_wire(),
            version: version.to_wire(),
            spec: Some(spec.to_wire()),
            rollback,
        };
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.update_service(request)).await?)
    }

    /// Removes a service and its tasks.
    pub async fn remove_service(&self, reference: &str) -> Result<(), ControlError> {
        let mut rpc = self.rpc();
        within(CALL_TIMEOUT, rpc.remove_service(by(reference))).await?;
        Ok(())
    }

    /// All networks.
    pub async fn networks(&self) -> Result<Vec<Network>, ControlError> {
        collect(self.rpc().list_networks(wire::Empty {})).await
    }

    /// One network.
    pub async fn network(&self, reference: &str) -> Result<Network, ControlError> {
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.get_network(by(reference))).await?)
    }

    /// Makes a network.
    pub async fn create_network(&self, spec: &NetworkSpec) -> Result<Network, ControlError> {
        let request = wire::CreateNetworkRequest {
            spec: Some(spec.to_wire()),
        };
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.create_network(request)).await?)
    }

    /// Removes a network that nothing uses.
    pub async fn remove_network(&self, id: &NetworkId) -> Result<(), ControlError> {
        let mut rpc = self.rpc();
        within(CALL_TIMEOUT, rpc.remove_network(by(id.as_str()))).await?;
        Ok(())
    }

    /// All tasks.
    pub async fn tasks(&self) -> Result<Vec<Task>, ControlError> {
        let everything = wire::ListTasksRequest::default();
        collect(self.rpc().list_tasks(everything)).await
    }

    /// The tasks of a service.
    pub async fn tasks_of_service(&self, service: &ServiceId) -> Result<Vec<Task>, ControlError> {
        let request = wire::ListTasksRequest {
            service: service.to_wire(),
            node: String::new(),
        };
        collect(self.rpc().list_tasks(request)).await
    }

    /// The tasks placed on a node.
    pub async fn tasks_of_node(&self, node: &NodeId) -> Result<Vec<Task>, ControlError> {
        let request = wire::ListTasksRequest {
            service: String::new(),
            node: node.to_wire(),
        };
        collect(self.rpc().list_tasks(request)).await
    }

    /// One task.
    pub async fn task(&self, reference: &str) -> Result<Task, ControlError> {
        let mut rpc = self.rpc();
        read(within(CALL_TIMEOUT, rpc.get_task(by(reference))).await?)
    }
}

fn by(reference: &str) -> wire::Reference {
    wire::Reference {
        text: reference.to_owned(),
    }
}

impl Wire for ServiceCounts {
    type Message = wire::ServiceStatus;

    fn to_wire(&self) -> wire::ServiceStatus {
        wire::ServiceStatus {
            service: self.service.to_wire(),
            running: self.running,
            desired: self.desired,
            completed: self.completed,
        }
    }

    fn from_wire(message: wire::ServiceStatus) -> Result<Self, crate::ConvertError> {
        Ok(Self {
            service: Wire::from_wire(message.service)?,
            running: message.running,
            desired: message.desired,
            completed: message.completed,
        })
    }
}
