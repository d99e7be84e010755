//! What the API asks of the cluster. The agent implements it with its connection to a manager; refusals are the
//! cluster's own. A `reference` is an identifier, a name or an unambiguous prefix of an identifier.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::stream::BoxStream;
use swarm_api::{
    logs::{LogLine, LogOptions},
    service::ServiceStatus,
    swarm::{ClusterView, SigningRoot},
};
pub use swarm_core::control::TokenRotation;
use swarm_core::{
    control::ControlError,
    id::{NetworkId, NodeId, ServiceId, TaskId},
    lock::SecretKey,
    model::{
        ClusterSpec, Network, NetworkSpec, Node, NodeSpec, Service, ServiceSpec, Task, Version,
    },
};

/// Lines of a log as they come; an error ends it.
pub type LogStream = BoxStream<'static, Result<LogLine, ControlError>>;

/// Which tasks to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskScope {
    /// All of them.
    All,
    /// Those of a service.
    Service(ServiceId),
    /// Those placed on a node.
    Node(NodeId),
}

/// Whose log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSelector {
    /// All tasks of a service.
    Service(ServiceId),
    /// One task.
    Task(TaskId),
}

/// The cluster.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// The cluster, its join tokens and the root it trusts.
    async fn cluster(&self) -> Result<ClusterView, ControlError>;

    /// Replaces the settings and, on request, tokens; begins to replace the root if the settings or `root` ask for it.
    async fn update_cluster(
        &self,
        version: Version,
        spec: ClusterSpec,
        rotation: TokenRotation,
        root: Option<SigningRoot>,
    ) -> Result<(), ControlError>;

    /// The key that unlocks a restarted manager; `None` while managers are not locked.
    async fn unlock_key(&self) -> Result<Option<SecretKey>, ControlError>;

    /// All nodes.
    async fn nodes(&self) -> Result<Vec<Node>, ControlError>;

    /// One node; its name is its hostname.
    async fn node(&self, reference: &str) -> Result<Node, ControlError>;

    /// Replaces the operator's wishes for a node.
    async fn update_node(
        &self,
        id: &NodeId,
        version: Version,
        spec: NodeSpec,
    ) -> Result<(), ControlError>;

    /// Removes a node that is down, or any worker with `force`.
    async fn remove_node(&self, id: &NodeId, force: bool) -> Result<(), ControlError>;

    /// All services.
    async fn services(&self) -> Result<Vec<Service>, ControlError>;

    /// Task counts of all services.
    async fn service_counts(&self) -> Result<BTreeMap<ServiceId, ServiceStatus>, ControlError>;

    /// One service.
    async fn service(&self, reference: &str) -> Result<Service, ControlError>;

    /// Makes a service.
    async fn create_service(&self, spec: ServiceSpec) -> Result<ServiceId, ControlError>;

    /// Replaces a service's specification; with `rollback` by its previous one, whatever `spec` says.
    async fn update_service(
        &self,
        id: &ServiceId,
        version: Version,
        spec: ServiceSpec,
        rollback: bool,
    ) -> Result<(), ControlError>;

    /// Removes a service and its tasks.
    async fn remove_service(&self, id: &ServiceId) -> Result<(), ControlError>;

    /// Tasks.
    async fn tasks(&self, scope: TaskScope) -> Result<Vec<Task>, ControlError>;

    /// One task.
    async fn task(&self, reference: &str) -> Result<Task, ControlError>;

    /// All networks of the cluster.
    async fn networks(&self) -> Result<Vec<Network>, ControlError>;

    /// One network.
    async fn network(&self, reference: &str) -> Result<Network, ControlError>;

    /// Makes a network.
    async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId, ControlError>;

    /// Removes a network that nothing uses.
    async fn remove_network(&self, id: &NetworkId) -> Result<(), ControlError>;

    /// Output of tasks, wherever they run. Streams, moments and the last lines are chosen by the implementation, since
    /// only the nodes know them.
    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<LogStream, ControlError>;
}
