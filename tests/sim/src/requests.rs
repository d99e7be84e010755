//! What operators ask of managers, and the way there: any manager passes on to the leader, as `swarm-manager`'s `api/gate.rs`.

use std::{sync::Arc, time::Duration};

use openraft::AsyncRuntime as _;
use openraft_rt_sim::SimRuntime;
use swarm_core::{
    control::{self, Code, ControlError},
    id::NodeId,
    model::{
        Annotations, Availability, ContainerSpec, EndpointSpec, NetworkAttachmentConfig,
        NetworkSpec, PortConfig, PublishMode, Role, ServiceMode, ServiceSpec, TaskSpec,
    },
    store::{Store, Transaction},
    time::Timestamp,
};

use crate::{
    cluster::Cluster,
    ground::{Sabotage, within},
    manager::Process,
    network::HostId,
};

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(12);

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Read,
    CreateService {
        name: String,
        mode: ServiceMode,
        network: Option<String>,
        port: Option<u16>,
    },
    Scale {
        name: String,
        replicas: u64,
    },
    SetImage {
        name: String,
        image: String,
    },
    RemoveService {
        name: String,
    },
    CreateNetwork {
        name: String,
    },
    RemoveNetwork {
        name: String,
    },
    SetRole {
        node: NodeId,
        role: Role,
    },
    SetAvailability {
        node: NodeId,
        availability: Availability,
    },
    RotateToken {
        role: Role,
    },
    RemoveNode {
        node: NodeId,
    },
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The state at this index was read.
    Read(u64),
    /// This was written at that index.
    Written(u64, Transaction),
}

fn service_spec(store: &Store, request: &Request) -> Result<ServiceSpec, ControlError> {
    let Request::CreateService {
        name,
        mode,
        network,
        port,
    } = request
    else {
        return Err(ControlError::new(Code::Unknown, "not a service"));
    };
    let network = network
        .as_ref()
        .and_then(|name| store.network_by_name(name));
    let attachment = |network: &swarm_core::model::Network| NetworkAttachmentConfig {
        network: network.id.clone(),
        aliases: Vec::new(),
    };
    let ports = port.map(|published_port| PortConfig {
        name: String::new(),
        protocol: swarm_core::model::Protocol::Tcp,
        target_port: 80,
        published_port,
        publish_mode: PublishMode::Ingress,
    });
    Ok(ServiceSpec {
        annotations: named(name),
        task: TaskSpec {
            container: ContainerSpec {
                image: "nginx:1".to_owned(),
                registry_auth: format!("credentials-of-{name}."),
                ..ContainerSpec::default()
            },
            networks: network.map(attachment).into_iter().collect(),
            ..TaskSpec::default()
        },
        mode: *mode,
        endpoint: Some(EndpointSpec {
            ports: ports.into_iter().collect(),
            ..EndpointSpec::default()
        }),
        ..ServiceSpec::default()
    })
}

fn named(name: &str) -> Annotations {
    Annotations {
        name: name.to_owned(),
        ..Annotations::default()
    }
}

impl Process {
    /// Does what is asked, on the leader.
    pub(crate) async fn execute(&self, request: &Request) -> Result<Answer, ControlError> {
        if let Request::Read = request {
            let careless = self.cluster.ground.sabotage == Some(Sabotage::StaleReads);
            if !careless {
                self.linearize().await?;
            }
            return Ok(Answer::Read(self.store().read().index()));
        }
        let decide = |store: &Store, now: Timestamp| self.decide(store, now, request);
        let (index, transaction) = self.write(decide).await?;
        Ok(Answer::Written(index, transaction))
    }

    fn decide(
        &self,
        store: &Store,
        now: Timestamp,
        request: &Request,
    ) -> Result<Transaction, ControlError> {
        let mut dice = self.dice();
        match request {
            Request::Read => Ok(Transaction::new(now)),
            Request::CreateService { .. } => {
                let spec = service_spec(store, request)?;
                control::create_service(store, spec, now, &mut dice).map(|made| made.1)
            }
            Request::Scale { name, replicas } => update(store, name, now, |spec| {
                spec.mode = ServiceMode::Replicated {
                    replicas: *replicas,
                };
            }),
            Request::SetImage { name, image } => update(store, name, now, |spec| {
                image.clone_into(&mut spec.task.container.image);
            }),
            Request::RemoveService { name } => {
                let id = control::find_service(store, name)?.id.clone();
                control::remove_service(store, &id, now)
            }
            Request::CreateNetwork { name } => {
                let spec = NetworkSpec {
                    annotations: named(name),
                    driver: "overlay".to_owned(),
                    ..NetworkSpec::default()
                };
                control::create_network(store, spec, now, &mut dice).map(|made| made.1)
            }
            Request::RemoveNetwork { name } => {
                let id = control::find_network(store, name)?.id.clone();
                control::remove_network(store, &id, now)
            }
            Request::SetRole { node, role } => {
                self.update_node(store, node, now, |spec| spec.role = *role)
            }
            Request::SetAvailability { node, availability } => {
                self.update_node(store, node, now, |spec| spec.availability = *availability)
            }
            Request::RotateToken { role } => control::rotate_token(store, *role, now, &mut dice),
            Request::RemoveNode { node } => control::remove_node(store, node, true, now),
        }
    }
}

impl Process {
    fn update_node(
        &self,
        store: &Store,
        id: &NodeId,
        now: Timestamp,
        change: impl FnOnce(&mut swarm_core::model::NodeSpec),
    ) -> Result<Transaction, ControlError> {
        let node = control::find_node(store, id.as_str())?;
        let (version, mut spec) = (node.meta.version, node.spec.clone());
        change(&mut spec);
        control::update_node(store, id, version, spec, &self.unreachable(), now)
    }
}

fn update(
    store: &Store,
    name: &str,
    now: Timestamp,
    change: impl FnOnce(&mut ServiceSpec),
) -> Result<Transaction, ControlError> {
    let service = control::find_service(store, name)?;
    let mut spec = service.spec.clone();
    change(&mut spec);
    control::update_service(store, &service.id, service.meta.version, spec, false, now)
}

/// Asks from a host; `None` if it was refused or the outcome is not known.
pub(crate) async fn ask(cluster: &Arc<Cluster>, from: HostId, request: Request) -> Option<Answer> {
    let managers = cluster.managers();
    let first = *cluster.ground.pick(&managers)?;
    let network = &cluster.network;
    let exchange = async {
        network.stream(from, first).await.ok()?;
        let to = cluster.process(first)?.leader_host().await?;
        network.stream(first, to).await.ok()?;
        let leader = cluster
            .process(to)
            .filter(|leader| leader.leads().is_some())?;
        // Goes on when the client has gone.
        let serving = SimRuntime::spawn(async move { leader.execute(&request).await });
        let answer = serving.await.ok()?;
        if let Err(refusal) = &answer {
            cluster.ground.trace(format_args!("answer: {refusal}"));
        }
        network.stream(to, first).await.ok()?;
        network.stream(first, from).await.ok()?;
        answer.ok()
    };
    within(PATIENCE, exchange).await.flatten()
}
