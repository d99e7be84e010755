//! What users ask of the cluster. Every call runs on the leader (see `gate`): reads wait until everything committed before
//! them is applied, writes are decided by core and committed.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use swarm_core::{
    control::{self, Code, ControlError},
    id::{NetworkId, NodeId, ServiceId},
    model::{
        Cluster, ClusterSpec, Network, NetworkSpec, Node, NodeSpec, Service, ServiceMode,
        ServiceSpec, Task, TaskState, Version,
    },
    store::{Store, Transaction},
    time::Timestamp,
};
use swarm_manager_replica::write;
use swarm_proto::{
    Wire,
    client::ServiceCounts,
    convert::required,
    wire::{self, control_server::Control},
};
use tonic::{Request, Response, Status};

use super::{malformed, refuse};
use crate::{
    ca::{given_root, root_change},
    clock::{SystemRandom, now},
    daemon::{Manager, Running},
};

/// The control service.
#[derive(Clone, Debug)]
pub(crate) struct ControlApi {
    manager: Arc<Manager>,
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ControlApi {
    pub(crate) fn new(manager: Arc<Manager>) -> Self {
        Self { manager }
    }

    /// Reads a state that holds every write acknowledged before the call.
    async fn read<T>(
        &self,
        look: impl FnOnce(&Store, &Running) -> Result<T, ControlError>,
    ) -> Result<T, Status> {
        let running = self.manager.running().map_err(refuse)?;
        running.raft.linearize().await.map_err(refuse)?;
        let store = running.raft.store().read();
        look(&store, &running).map_err(refuse)
    }

    async fn list<T: Wire>(
        &self,
        pick: impl FnOnce(&Store, &Running) -> Vec<T>,
    ) -> Result<Response<Items<T::Message>>, Status>
    where
        T::Message: Send + 'static,
    {
        let objects = self.read(|store, running| Ok(pick(store, running))).await?;
        let messages: Vec<_> = objects.iter().map(|object| Ok(object.to_wire())).collect();
        Ok(Response::new(Box::pin(futures::stream::iter(messages))))
    }

    /// Decides and commits. A request that names no version is decided again when somebody else wrote first.
    async fn write<T: Send>(
        &self,
        once: bool,
        decide: impl Fn(&Store, Timestamp) -> Result<(T, Transaction), ControlError> + Send + Sync,
    ) -> Result<T, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let written = write(&running.raft, once, decide).await;
        Ok(written.map_err(refuse)?.result)
    }

    fn stored<T: Wire>(
        &self,
        pick: impl FnOnce(&Store) -> Option<T>,
    ) -> Result<Response<T::Message>, Status> {
        let running = self.manager.running().map_err(refuse)?;
        let store = running.raft.store().read();
        let object = pick(&store).ok_or_else(|| {
            refuse(ControlError::new(
                Code::NotFound,
                "the object was removed right after it was written",
            ))
        })?;
        Ok(Response::new(object.to_wire()))
    }
}

#[tonic::async_trait]
impl Control for ControlApi {
    type ListNodesStream = Items<wire::Node>;
    type ListServicesStream = Items<wire::Service>;
    type ListServiceStatusesStream = Items<wire::ServiceStatus>;
    type ListNetworksStream = Items<wire::Network>;
    type ListTasksStream = Items<wire::Task>;

    async fn get_cluster(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::Cluster>, Status> {
        let cluster = self.read(|store, _| cluster(store)).await?;
        Ok(Response::new(cluster.to_wire()))
    }

    async fn update_cluster(
        &self,
        request: Request<wire::UpdateClusterRequest>,
    ) -> Result<Response<wire::Cluster>, Status> {
        let request = request.into_inner();
        let spec: ClusterSpec = required(request.spec, "spec").map_err(malformed)?;
        let rotate = control::TokenRotation {
            worker: request.rotate_worker_token,
            manager: request.rotate_manager_token,
            unlock_key: request.rotate_manager_unlock_key,
        };
        let version = Version(request.version);
        let given = given_root(&request.signing_ca_cert, &request.signing_ca_key, now())
            .map_err(|error| ControlError::new(Code::InvalidArgument, error.to_string()))
            .map_err(refuse)?;
        self.write(true, |store, now| {
            let present = cluster(store)?;
            let update = control::ClusterUpdate {
                version,
                spec: spec.clone(),
                rotate,
                root: root_change(&present, spec.ca_force_rotate, given.as_ref())?,
            };
            control::update_cluster(store, update, now, &mut SystemRandom).map(|txn| ((), txn))
        })
        .await?;
        self.stored(|store| store.cluster().cloned())
    }

    async fn get_unlock_key(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<wire::UnlockKey>, Status> {
        let lock = self.read(|store, _| Ok(cluster(store)?.lock)).await?;
        let key = lock.key.map(|key| key.bytes().to_vec());
        Ok(Response::new(wire::UnlockKey {
            unlock_key: key.unwrap_or_default(),
        }))
    }

    async fn list_nodes(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<Items<wire::Node>>, Status> {
        self.list(|store, running| {
            let nodes = store.nodes().cloned();
            nodes.map(|node| running.with_live_status(node)).collect()
        })
        .await
    }

    async fn get_node(
        &self,
        request: Request<wire::Reference>,
    ) -> Result<Response<wire::Node>, Status> {
        let reference = request.into_inner().text;
        let node: Node = self
            .read(|store, running| {
                control::find_node(store, &reference)
                    .map(|node| running.with_live_status(node.clone()))
            })
            .await?;
        Ok(Response::new(node.to_wire()))
    }

    async fn update_node(
        &self,
        request: Request<wire::UpdateNodeRequest>,
    ) -> Result<Response<wire::Node>, Status> {
        let request = request.into_inner();
        let id = NodeId::from_wire(request.id).map_err(malformed)?;
        let spec: NodeSpec = required(request.spec, "spec").map_err(malformed)?;
        let version = Version(request.version);
        let running = self.manager.running().map_err(refuse)?;
        self.write(true, |store, now| {
            let silent = running.unreachable_managers(store);
            control::update_node(store, &id, version, spec.clone(), &silent, now)
                .map(|txn| ((), txn))
        })
        .await?;
        self.stored(|store| store.node(&id).cloned())
    }

    async fn remove_node(
        &self,
        request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::Empty>, Status> {
        let request = request.into_inner();
        self.write(false, |store, now| {
            let id = control::find_node(store, &request.reference)?.id.clone();
            control::remove_node(store, &id, request.force, now).map(|txn| ((), txn))
        })
        .await?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn list_services(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<Items<wire::Service>>, Status> {
        self.list(|store, _| store.services().cloned().collect::<Vec<Service>>())
            .await
    }

    async fn list_service_statuses(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<Items<wire::ServiceStatus>>, Status> {
        self.list(|store, _| {
            let services = store.services();
            services.map(|service| counts(store, service)).collect()
        })
        .await
    }

    async fn get_service(
        &self,
        request: Request<wire::Reference>,
    ) -> Result<Response<wire::Service>, Status> {
        let reference = request.into_inner().text;
        let service: Service = self
            .read(|store, _| control::find_service(store, &reference).cloned())
            .await?;
        Ok(Response::new(service.to_wire()))
    }

    async fn create_service(
        &self,
        request: Request<wire::CreateServiceRequest>,
    ) -> Result<Response<wire::Service>, Status> {
        let spec: ServiceSpec = required(request.into_inner().spec, "spec").map_err(malformed)?;
        let id = self
            .write(false, |store, now| {
                control::create_service(store, spec.clone(), now, &mut SystemRandom)
            })
            .await?;
        self.stored(|store| store.service(&id).cloned())
    }

    async fn update_service(
        &self,
        request: Request<wire::UpdateServiceRequest>,
    ) -> Result<Response<wire::Service>, Status> {
        let request = request.into_inner();
        let id = ServiceId::from_wire(request.id).map_err(malformed)?;
        let spec: ServiceSpec = required(request.spec, "spec").map_err(malformed)?;
        let (version, rollback) = (Version(request.version), request.rollback);
        self.write(true, |store, now| {
            control::update_service(store, &id, version, spec.clone(), rollback, now)
                .map(|txn| ((), txn))
        })
        .await?;
        self.stored(|store| store.service(&id).cloned())
    }

    async fn remove_service(
        &self,
        request: Request<wire::Reference>,
    ) -> Result<Response<wire::Empty>, Status> {
        let reference = request.into_inner().text;
        self.write(false, |store, now| {
            let id = control::find_service(store, &reference)?.id.clone();
            control::remove_service(store, &id, now).map(|txn| ((), txn))
        })
        .await?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn list_networks(
        &self,
        _request: Request<wire::Empty>,
    ) -> Result<Response<Items<wire::Network>>, Status> {
        self.list(|store, _| store.networks().cloned().collect::<Vec<Network>>())
            .await
    }

    async fn get_network(
        &self,
        request: Request<wire::Reference>,
    ) -> Result<Response<wire::Network>, Status> {
        let reference = request.into_inner().text;
        let network: Network = self
            .read(|store, _| control::find_network(store, &reference).cloned())
            .await?;
        Ok(Response::new(network.to_wire()))
    }

    async fn create_network(
        &self,
        request: Request<wire::CreateNetworkRequest>,
    ) -> Result<Response<wire::Network>, Status> {
        let spec: NetworkSpec = required(request.into_inner().spec, "spec").map_err(malformed)?;
        let id: NetworkId = self
            .write(false, |store, now| {
                control::create_network(store, spec.clone(), now, &mut SystemRandom)
            })
            .await?;
        self.stored(|store| store.network(&id).cloned())
    }

    async fn remove_network(
        &self,
        request: Request<wire::Reference>,
    ) -> Result<Response<wire::Empty>, Status> {
        let reference = request.into_inner().text;
        self.write(false, |store, now| {
            let id = control::find_network(store, &reference)?.id.clone();
            control::remove_network(store, &id, now).map(|txn| ((), txn))
        })
        .await?;
        Ok(Response::new(wire::Empty {}))
    }

    async fn list_tasks(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<Items<wire::Task>>, Status> {
        let request = request.into_inner();
        let service = ServiceId::from_wire(request.service).map_err(malformed)?;
        let node = NodeId::from_wire(request.node).map_err(malformed)?;
        self.list(|store, _| {
            let matching = |task: &&Task| node.is_empty() || task.node == node;
            if service.is_empty() && node.is_empty() {
                store.tasks().cloned().collect()
            } else if service.is_empty() {
                store.tasks_of_node(&node).cloned().collect()
            } else {
                let tasks = store.tasks_of_service(&service);
                tasks.filter(matching).cloned().collect::<Vec<Task>>()
            }
        })
        .await
    }

    async fn get_task(
        &self,
        request: Request<wire::Reference>,
    ) -> Result<Response<wire::Task>, Status> {
        let reference = request.into_inner().text;
        let task: Task = self
            .read(|store, _| control::find_task(store, &reference).cloned())
            .await?;
        Ok(Response::new(task.to_wire()))
    }
}

fn cluster(store: &Store) -> Result<Cluster, ControlError> {
    store.cluster().cloned().ok_or_else(|| {
        ControlError::new(
            Code::Unavailable,
            "the cluster object is not replicated yet",
        )
    })
}

/// The counts of `service ls`: running and wanted, wanted, done.
fn counts(store: &Store, service: &Service) -> ServiceCounts {
    let mut counts = ServiceCounts {
        service: service.id.clone(),
        running: 0,
        desired: 0,
        completed: 0,
    };
    for task in store.tasks_of_service(&service.id) {
        let wanted = task.desired_state <= TaskState::Running;
        counts.running += u64::from(task.status.state == TaskState::Running && wanted);
        counts.desired += u64::from(wanted && !task.status.state.is_terminal());
        counts.completed += u64::from(task.status.state == TaskState::Complete);
    }
    if let ServiceMode::Replicated { replicas } = service.spec.mode {
        counts.desired = replicas;
    }
    counts
}
