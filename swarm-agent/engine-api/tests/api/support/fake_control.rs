//! The cluster in memory, with the lookups and refusals of the real one as far as the tests need them.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use swarm_agent_engine_api::{ControlPlane, LogSelector, LogStream, TaskScope, TokenRotation};
use swarm_api::{
    logs::LogOptions,
    service::ServiceStatus,
    swarm::{ClusterView, JoinTokens, SigningRoot},
};
use swarm_core::{
    control::{Code, ControlError, Reason},
    id::{NetworkId, NodeId, ServiceId},
    lock::SecretKey,
    model::{
        ClusterSpec, Network, NetworkSpec, Node, NodeSpec, Role, Service, ServiceMode, ServiceSpec,
        Task, Version,
    },
};

use super::world::{MANAGER_TOKEN, State, WORKER_TOKEN, World, tls};

pub(crate) struct FakeControl(pub(crate) Arc<World>);

type Result<T> = core::result::Result<T, ControlError>;

fn find<'a, T>(
    items: impl Iterator<Item = &'a T> + Clone,
    kind: &str,
    reference: &str,
    id: impl Fn(&T) -> String,
    name: impl Fn(&T) -> String,
) -> Result<&'a T> {
    if let Some(item) = items.clone().find(|item| id(item) == reference) {
        return Ok(item);
    }
    if let Some(item) = items.clone().find(|item| name(item) == reference) {
        return Ok(item);
    }
    let matches: Vec<_> = items
        .filter(|item| id(item).starts_with(reference))
        .collect();
    match matches.as_slice() {
        [item] => Ok(item),
        [] => Err(ControlError::new(
            Code::NotFound,
            format!("{kind} {reference} not found"),
        )),
        several => Err(ControlError::new(
            Code::InvalidArgument,
            format!(
                "{kind} {reference} is ambiguous ({} matches found)",
                several.len()
            ),
        )
        .because(Reason::Ambiguous)),
    }
}

fn check(seen: Version, current: Version) -> Result<()> {
    if seen == current {
        return Ok(());
    }
    Err(ControlError::new(Code::Aborted, "update out of sequence"))
}

impl FakeControl {
    fn service_in(state: &State, reference: &str) -> Result<Service> {
        let name = |service: &Service| service.spec.annotations.name.clone();
        find(
            state.services.values(),
            "service",
            reference,
            |service| service.id.to_string(),
            name,
        )
        .cloned()
    }
}

#[async_trait]
impl ControlPlane for FakeControl {
    async fn cluster(&self) -> Result<ClusterView> {
        Ok(ClusterView {
            cluster: self.0.lock().cluster.clone().unwrap(),
            join_tokens: JoinTokens {
                worker: WORKER_TOKEN.to_owned(),
                manager: MANAGER_TOKEN.to_owned(),
            },
            tls: tls(),
        })
    }

    async fn update_cluster(
        &self,
        version: Version,
        spec: ClusterSpec,
        rotation: TokenRotation,
        root: Option<SigningRoot>,
    ) -> Result<()> {
        let mut state = self.0.lock();
        let root = root.map_or("", |_| " with a root");
        state
            .asked
            .push(format!("update cluster {rotation:?}{root}"));
        let earlier = state.cluster.as_ref().unwrap().meta;
        check(version, earlier.version)?;
        let meta = state.written(Some(earlier));
        let cluster = state.cluster.as_mut().unwrap();
        cluster.spec = spec;
        cluster.meta = meta;
        Ok(())
    }

    async fn unlock_key(&self) -> Result<Option<SecretKey>> {
        Ok(self.0.lock().unlock_key.clone())
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.0.lock().nodes.values().cloned().collect())
    }

    async fn node(&self, reference: &str) -> Result<Node> {
        let state = self.0.lock();
        let name = |node: &Node| node.description.as_ref().unwrap().hostname.clone();
        find(
            state.nodes.values(),
            "node",
            reference,
            |node| node.id.to_string(),
            name,
        )
        .cloned()
    }

    async fn update_node(&self, id: &NodeId, version: Version, spec: NodeSpec) -> Result<()> {
        let mut state = self.0.lock();
        let current = state.nodes[id].clone();
        check(version, current.meta.version)?;
        if current.spec.role == Role::Manager && spec.role == Role::Worker {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                "attempting to demote the last manager of the swarm",
            ));
        }
        let meta = state.written(Some(current.meta));
        state.nodes.insert(
            id.clone(),
            Node {
                spec,
                meta,
                ..current
            },
        );
        Ok(())
    }

    async fn remove_node(&self, id: &NodeId, force: bool) -> Result<()> {
        if !force {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                format!("node {id} is not down and can't be removed"),
            ));
        }
        self.0.lock().nodes.remove(id);
        Ok(())
    }

    async fn services(&self) -> Result<Vec<Service>> {
        Ok(self.0.lock().services.values().cloned().collect())
    }

    async fn service_counts(&self) -> Result<BTreeMap<ServiceId, ServiceStatus>> {
        let state = self.0.lock();
        let count = |service: &Service| {
            let of_service = |task: &&Task| task.service == service.id;
            let running = state.tasks.values().filter(of_service).count();
            let desired_tasks = match service.spec.mode {
                ServiceMode::Replicated { replicas } => replicas,
                ServiceMode::Global => 1,
            };
            let status = ServiceStatus {
                running_tasks: u64::try_from(running).unwrap(),
                desired_tasks,
                completed_tasks: 0,
            };
            (service.id.clone(), status)
        };
        Ok(state.services.values().map(count).collect())
    }

    async fn service(&self, reference: &str) -> Result<Service> {
        Self::service_in(&self.0.lock(), reference)
    }

    async fn create_service(&self, spec: ServiceSpec) -> Result<ServiceId> {
        let mut state = self.0.lock();
        let name = &spec.annotations.name;
        if state
            .services
            .values()
            .any(|service| service.spec.annotations.name == *name)
        {
            return Err(ControlError::new(
                Code::AlreadyExists,
                format!("name conflicts with an existing object: service {name} already exists"),
            ));
        }
        let meta = state.written(None);
        let mut service = Service {
            id: state.new_id().parse().unwrap(),
            meta,
            spec,
            spec_version: 1,
            previous_spec: None,
            endpoint: None,
            update_status: None,
            pending_delete: false,
        };
        service.endpoint = Some(State::endpoint(&service));
        let id = service.id.clone();
        state.services.insert(id.clone(), service);
        state.reconcile(&id);
        Ok(id)
    }

    async fn update_service(
        &self,
        id: &ServiceId,
        version: Version,
        spec: ServiceSpec,
        rollback: bool,
    ) -> Result<()> {
        let mut state = self.0.lock();
        let current = state.services[id].clone();
        check(version, current.meta.version)?;
        let spec = if rollback {
            current.previous_spec.clone().ok_or_else(|| {
                ControlError::new(
                    Code::FailedPrecondition,
                    format!("service {id} does not have a previous spec"),
                )
            })?
        } else {
            spec
        };
        let same_tasks = spec.task == current.spec.task && spec.endpoint == current.spec.endpoint;
        let mut service = Service {
            meta: state.written(Some(current.meta)),
            previous_spec: Some(current.spec.clone()),
            spec_version: current.spec_version + u64::from(!same_tasks),
            spec,
            ..current
        };
        service.endpoint = Some(State::endpoint(&service));
        state.services.insert(id.clone(), service);
        state.reconcile(id);
        Ok(())
    }

    async fn remove_service(&self, id: &ServiceId) -> Result<()> {
        let mut state = self.0.lock();
        state.services.remove(id);
        state.tasks.retain(|_, task| task.service != *id);
        Ok(())
    }

    async fn tasks(&self, scope: TaskScope) -> Result<Vec<Task>> {
        let wanted = |task: &&Task| match &scope {
            TaskScope::All => true,
            TaskScope::Service(service) => task.service == *service,
            TaskScope::Node(node) => task.node == *node,
        };
        Ok(self
            .0
            .lock()
            .tasks
            .values()
            .filter(wanted)
            .cloned()
            .collect())
    }

    async fn task(&self, reference: &str) -> Result<Task> {
        let state = self.0.lock();
        let id = |task: &Task| task.id.to_string();
        find(state.tasks.values(), "task", reference, id, id).cloned()
    }

    async fn networks(&self) -> Result<Vec<Network>> {
        Ok(self.0.lock().networks.values().cloned().collect())
    }

    async fn network(&self, reference: &str) -> Result<Network> {
        let state = self.0.lock();
        let name = |network: &Network| network.spec.annotations.name.clone();
        find(
            state.networks.values(),
            "network",
            reference,
            |network| network.id.to_string(),
            name,
        )
        .cloned()
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId> {
        let mut state = self.0.lock();
        let name = &spec.annotations.name;
        if state
            .networks
            .values()
            .any(|network| network.spec.annotations.name == *name)
        {
            return Err(ControlError::new(
                Code::AlreadyExists,
                format!("network with name {name} already exists"),
            ));
        }
        let mut present = state.networks.values();
        if let Some(present) = present.find(|network| spec.ingress && network.spec.ingress) {
            let text = format!("ingress network ({}) is already present", present.id);
            let refusal = ControlError::new(Code::AlreadyExists, text);
            return Err(refusal.because(Reason::IngressPresent));
        }
        let id = state.new_id();
        Ok(state.add_network(&id, spec))
    }

    async fn remove_network(&self, id: &NetworkId) -> Result<()> {
        let mut state = self.0.lock();
        let user = state.services.values().find(|service| {
            service
                .spec
                .task
                .networks
                .iter()
                .any(|network| network.network == *id)
        });
        if let Some(service) = user {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                format!("network {id} is in use by service {}", service.id),
            ));
        }
        state.networks.remove(id);
        Ok(())
    }

    async fn logs(&self, selector: LogSelector, options: LogOptions) -> Result<LogStream> {
        let wanted = |line: &swarm_api::logs::LogLine| {
            let origin = line.origin.as_ref().unwrap();
            options.accepts(line)
                && match &selector {
                    LogSelector::Service(service) => origin.service == *service,
                    LogSelector::Task(task) => origin.task == *task,
                }
        };
        let mut lines: Vec<_> = self
            .0
            .lock()
            .log
            .iter()
            .filter(|line| wanted(line))
            .cloned()
            .collect();
        let keep = options
            .tail
            .map_or(lines.len(), |tail| usize::try_from(tail).unwrap());
        let skip = lines.len().saturating_sub(keep);
        lines.drain(..skip);
        Ok(stream::iter(lines).map(Ok).boxed())
    }
}
