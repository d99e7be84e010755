//! Drives one task on this node: asks `worker::task_step` what to do, does it, reports the outcome, until the task is to be
//! forgotten. Every step can be repeated, because an agent may die in any of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use swarm_agent_executor::{ContainerId, Error as ExecutorError, Exit};
use swarm_agent_net::{
    AppliedSandbox, NetError,
    dns::{self, Resolver, SharedNames},
};
use swarm_core::{
    datapath::{LocalInterface, Owner},
    id::NetworkId,
    model::{ContainerStatus, Network, PublishMode, Subnet, Task, TaskState, TaskStatus},
    worker::{Action, Outcome, conclude, task_step},
};
use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::{
    HostServices,
    local::LocalTask,
    spec::{LOCAL_GATEWAY, LOCAL_PREFIX_LEN, container_spec, pull_request, sandbox},
};
use crate::{clock::now, data_plane::DataPlaneError};

/// Why a step failed; the text ends up in `service ps`.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Container(#[from] ExecutorError),
    #[error("cannot set up the task's network: {0}")]
    Network(#[from] NetError),
    #[error("cannot program the data path: {0}")]
    DataPath(#[from] DataPlaneError),
}

/// What a runner tells the worker.
#[derive(Debug)]
pub(crate) enum Report {
    /// The task's status changed.
    Status(Task, LocalTask),
    /// The task is gone from this node.
    Forgotten(Task),
}

/// One task's runner.
pub(crate) struct Runner {
    /// The task as assigned.
    pub(crate) task: Task,
    /// What is known of it.
    pub(crate) local: LocalTask,
    /// Its networks.
    pub(crate) networks: BTreeMap<NetworkId, Network>,
    /// What its resolver answers.
    pub(crate) names: Arc<SharedNames>,
    /// What the managers want.
    pub(crate) orders: watch::Receiver<TaskState>,
    /// Where to report.
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    /// The host's services.
    pub(crate) host: Arc<HostServices>,
    /// The task's resolver, while it has a network.
    pub(crate) resolver: Option<Resolver>,
}

impl Runner {
    /// Takes the network of a task that an earlier agent started into the data path.
    pub(crate) async fn adopt(&mut self) {
        let state = self.local.status.state;
        if state >= TaskState::Ready
            && !state.is_terminal()
            && let Err(error) = self.connect().await
        {
            warn!(task = %self.task.id, %error, "adopted task has no network");
        }
    }

    /// Runs until the task is to be forgotten or the worker is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let desired = *self.orders.borrow_and_update();
            let state = self.local.status.state;
            if state.is_terminal() && desired >= TaskState::Remove {
                self.forget().await;
                return;
            }
            let action = task_step(state, desired);
            let outcome = match action {
                Action::Rest => {
                    if self.orders.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Action::Advance(_) => Outcome::Done,
                Action::Prepare => match self.unless_stopped(Self::prepare).await {
                    Some(outcome) => outcome,
                    None => continue,
                },
                Action::Start => self.start().await,
                Action::Wait => match self.unless_stopped(Self::wait).await {
                    Some(outcome) => outcome,
                    None => continue,
                },
                Action::Shutdown => self.shutdown().await,
            };
            if let Outcome::Exited { code } = outcome {
                self.container_status().exit_code = code;
            }
            if let Some((state, message, err)) = conclude(action, outcome) {
                self.report(state, message, err).await;
            }
        }
    }

    /// Does `step`, but gives up when the managers' wish becomes a stop.
    async fn unless_stopped(
        &mut self,
        step: impl AsyncFnOnce(&mut Self) -> Outcome,
    ) -> Option<Outcome> {
        let mut orders = self.orders.clone();
        tokio::select! {
            outcome = step(self) => Some(outcome),
            stop = orders.wait_for(|desired| *desired >= TaskState::Shutdown) => {
                drop(stop);
                None
            }
        }
    }

    async fn prepare(&mut self) -> Outcome {
        let result = async {
            self.host.executor.pull(&pull_request(&self.task)).await?;
            let applied = self.connect().await?;
            let id = self.container_id()?;
            let addresses: Vec<IpAddr> = self.addresses().map(IpAddr::V4).collect();
            let spec = container_spec(&self.task, &id, applied.netns_path, &addresses);
            match self.host.executor.create(&id, &spec).await {
                // Made by an agent that died before it could say so.
                Ok(()) | Err(ExecutorError::ContainerExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.container_status().container_id = id.to_string();
            Ok::<_, StepError>(())
        };
        done(result.await)
    }

    /// Makes the task's namespace, its veths, their place in the data path, and its resolver.
    async fn connect(&mut self) -> Result<AppliedSandbox, StepError> {
        let wanted = sandbox(
            &self.task,
            &self.networks,
            self.local.local_address,
            self.host.task_mtu,
        );
        let applied = self.host.sandboxes.apply(&wanted).await?;
        let interfaces = self.interfaces(&applied);
        self.host
            .plane
            .attach(Owner::Task(self.task.id.clone()), interfaces)
            .await?;
        if self.resolver.is_none()
            && let Some(namespace) = self.host.sandboxes.namespace(&wanted.name)?
        {
            let upstreams = match self.task.spec.container.dns.nameservers.as_slice() {
                [] => self.host.upstreams.clone(),
                own => {
                    let servers = own.iter().filter_map(|server| dns_server(server));
                    self.host.upstreams.with_servers(servers)
                }
            };
            let names: Arc<SharedNames> = Arc::clone(&self.names);
            self.resolver = Some(Resolver::start(&namespace, names, upstreams).await?);
        }
        Ok(applied)
    }

    fn interfaces(&self, applied: &AppliedSandbox) -> Vec<LocalInterface> {
        let owner = Owner::Task(self.task.id.clone());
        let local = self.local.local_address.map(|address| {
            let subnet = Subnet {
                address: Ipv4Addr::new(172, 17, 0, 0),
                prefix_len: LOCAL_PREFIX_LEN,
            };
            (None, address, subnet, LOCAL_GATEWAY)
        });
        let overlays = self.task.attachments.iter().filter_map(|attachment| {
            let allocation = self.networks.get(&attachment.network)?.allocation?;
            let network = Some(attachment.network.clone());
            Some((
                network,
                attachment.address,
                allocation.subnet,
                allocation.gateway,
            ))
        });
        let wanted: Vec<_> = overlays.chain(local).collect();
        wanted
            .into_iter()
            .zip(&applied.interfaces)
            .map(
                |((network, address, subnet, gateway), interface)| LocalInterface {
                    owner: owner.clone(),
                    network,
                    address,
                    subnet,
                    gateway,
                    ifindex: interface.host_ifindex,
                },
            )
            .collect()
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let overlays = self
            .task
            .attachments
            .iter()
            .map(|attachment| attachment.address);
        overlays.chain(self.local.local_address)
    }

    async fn start(&mut self) -> Outcome {
        let result = async {
            let id = self.container_id()?;
            let pid = self.host.executor.start(&id).await?;
            self.container_status().pid = pid;
            Ok::<_, StepError>(())
        };
        let outcome = done(result.await);
        if outcome == Outcome::Done {
            let ports = self
                .task
                .endpoint
                .iter()
                .flat_map(|endpoint| &endpoint.ports);
            let host_mode = ports.filter(|port| port.publish_mode == PublishMode::Host);
            self.local.status.host_ports = host_mode.cloned().collect();
        }
        outcome
    }

    async fn wait(&mut self) -> Outcome {
        let result = async {
            let id = self.container_id()?;
            Ok::<_, StepError>(self.host.executor.wait(&id).await?)
        };
        match result.await {
            Ok(exit) => exited(&exit),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn shutdown(&mut self) -> Outcome {
        let result = async {
            let id = self.container_id()?;
            match self.host.executor.stop(&id, None).await {
                Ok(exit) => {
                    self.container_status().exit_code = i32::try_from(exit.code).unwrap_or(-1);
                }
                Err(ExecutorError::NoSuchContainer { .. } | ExecutorError::NotRunning { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            Ok::<_, StepError>(())
        };
        done(result.await)
    }

    /// Records and reports a state; a dead task gives its network back at once.
    async fn report(&mut self, state: TaskState, message: &str, err: String) {
        if state.is_terminal() {
            self.container_status().pid = 0;
            self.local.status.host_ports.clear();
            if let Err(error) = self.disconnect().await {
                warn!(task = %self.task.id, %error, "network of a dead task stays");
            }
        }
        let status = &mut self.local.status;
        status.state = state;
        status.timestamp = now();
        message.clone_into(&mut status.message);
        status.err = err;
        debug!(task = %self.task.id, name = self.task.name(), ?state, err = status.err, "task");
        self.send(Report::Status(self.task.clone(), self.local.clone()));
    }

    async fn disconnect(&mut self) -> Result<(), StepError> {
        if let Some(resolver) = self.resolver.take() {
            resolver.stop().await;
        }
        self.host
            .plane
            .detach(Owner::Task(self.task.id.clone()))
            .await?;
        self.host.sandboxes.remove(self.task.id.as_str()).await?;
        Ok(())
    }

    /// Removes what is left of a dead task: its container with its log.
    async fn forget(&mut self) {
        let result = async {
            self.disconnect().await?;
            let id = self.container_id()?;
            match self.host.executor.delete(&id, true).await {
                Ok(()) | Err(ExecutorError::NoSuchContainer { .. }) => Ok::<_, StepError>(()),
                Err(error) => Err(error.into()),
            }
        };
        if let Err(error) = result.await {
            warn!(task = %self.task.id, %error, "something of a removed task stays");
        }
        self.send(Report::Forgotten(self.task.clone()));
    }

    fn send(&self, report: Report) {
        if self.reports.send(report).is_err() {
            debug!(task = %self.task.id, "the worker is gone");
        }
    }

    fn container_id(&self) -> Result<ContainerId, ExecutorError> {
        ContainerId::new(self.local.container_id.clone())
    }

    fn container_status(&mut self) -> &mut ContainerStatus {
        let container_id = self.local.container_id.clone();
        let fresh = || ContainerStatus {
            container_id,
            ..ContainerStatus::default()
        };
        self.local.status.container.get_or_insert_with(fresh)
    }
}

/// The status of a task that could not even be taken on.
pub(crate) fn rejected(err: String) -> TaskStatus {
    TaskStatus {
        timestamp: now(),
        state: TaskState::Rejected,
        message: String::from("preparing"),
        err,
        ..TaskStatus::default()
    }
}

/// An upstream server as `--dns` names it.
fn dns_server(text: &str) -> Option<SocketAddr> {
    let address: IpAddr = text.parse().ok()?;
    Some(SocketAddr::new(address, dns::RESOLVER_PORT))
}

fn done(result: Result<(), StepError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        // Docker's words for a container that was made and does not start.
        Err(StepError::Container(error @ ExecutorError::Start { .. })) => {
            Outcome::Failed(format!("starting container failed: {error}"))
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn exited(exit: &Exit) -> Outcome {
    match &exit.error {
        Some(error) => Outcome::Failed(error.clone()),
        None => Outcome::Exited {
            code: i32::try_from(exit.code).unwrap_or(-1),
        },
    }
}
