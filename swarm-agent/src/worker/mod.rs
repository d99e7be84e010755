//! The worker: takes the node's assignments from a session, keeps the data path, the names and one runner per task in step
//! with them, remembers what must survive a restart, and reports states back. While no manager answers it goes on with
//! what it last knew.

mod local;
mod runner;
pub(crate) mod spec;

use std::{collections::BTreeMap, sync::Arc};

pub(crate) use local::LocalTasks;
use local::{LocalTask, free_local_address};
use runner::{Report, Runner, rejected};
use swarm_agent_executor::{ContainerId, Error as ExecutorError, Executor, Status};
use swarm_agent_net::{
    NetError, Netlink, Sandboxes,
    dns::{NameTable, NetworkNames, SharedNames, Upstreams},
    host_pair::{self, HostPair},
};
use swarm_core::{
    datapath::{self, LocalInterface, Owner},
    dispatch::{self, Assignment, AssignmentKey, Assignments, Delta},
    id::{NetworkId, TaskId},
    model::{Attachment, Network, Task, TaskState},
    worker::{ContainerState, adopt},
};
use swarm_proto::client::AgentEvent;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

use crate::{
    data_plane::{DataPlane, DataPlaneError},
    state::{StateDir, StateError},
};

/// What runners use of the host.
#[derive(Debug)]
pub(crate) struct HostServices {
    /// Runs containers.
    pub(crate) executor: Arc<dyn Executor>,
    /// Makes task networks.
    pub(crate) sandboxes: Sandboxes,
    /// Programs packets' ways.
    pub(crate) plane: DataPlane,
    /// The host's own interfaces.
    pub(crate) netlink: Netlink,
    /// Where names that are not ours are asked for.
    pub(crate) upstreams: Upstreams,
    /// Longest IP packet of a task, in bytes.
    pub(crate) task_mtu: u32,
}

/// Why the host has no way into the mesh.
#[derive(Debug, thiserror::Error)]
enum HostPairError {
    /// Its interfaces.
    #[error(transparent)]
    Network(#[from] NetError),
    /// Its place in the data path.
    #[error(transparent)]
    Plane(#[from] DataPlaneError),
}

/// What the worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A session was opened; reports go there.
    Connected(mpsc::UnboundedSender<AgentEvent>),
    /// The next generation of assignments.
    Assignments(Delta),
    /// End every task and forget everything; answered when all is gone.
    Clear(oneshot::Sender<()>),
}

/// A task's runner as the worker sees it.
#[derive(Debug)]
struct Handle {
    orders: watch::Sender<TaskState>,
    names: Arc<SharedNames>,
}

/// The worker.
#[derive(Debug)]
pub(crate) struct Worker {
    state: StateDir,
    host: Arc<HostServices>,
    assignments: Assignments,
    local: LocalTasks,
    running: BTreeMap<TaskId, Handle>,
    reports: mpsc::UnboundedSender<Report>,
    session: Option<mpsc::UnboundedSender<AgentEvent>>,
    /// The node's own address on the ingress network, once its interface exists.
    host_pair: Option<Attachment>,
    /// Answered when the last runner has ended.
    clearing: Option<oneshot::Sender<()>>,
}

impl Worker {
    /// Starts the worker with what an earlier agent remembered.
    pub(crate) async fn start(
        state: StateDir,
        host: Arc<HostServices>,
    ) -> Result<mpsc::UnboundedSender<Command>, StateError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (reports, outcomes) = mpsc::unbounded_channel();
        let mut worker = Self {
            assignments: state.assignments()?.into_iter().collect(),
            local: state.local_tasks()?,
            state,
            host,
            running: BTreeMap::new(),
            reports,
            session: None,
            host_pair: None,
            clearing: None,
        };
        worker.adopt().await;
        tokio::spawn(worker.run(inbox, outcomes));
        Ok(commands)
    }

    /// Takes over what runs. Every interface is known to the data path before its first plan, so that no entry goes away and
    /// comes back under packets that are on their way.
    async fn adopt(&mut self) {
        self.adopt_containers().await;
        let tasks: Vec<Task> = dispatch::tasks(&self.assignments).cloned().collect();
        let mut runners: Vec<Runner> = tasks
            .into_iter()
            .filter_map(|task| self.runner(task))
            .collect();
        for runner in &mut runners {
            runner.adopt().await;
        }
        self.follow().await;
        for runner in runners {
            tokio::spawn(runner.run());
        }
    }

    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<Command>,
        mut outcomes: mpsc::UnboundedReceiver<Report>,
    ) {
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some(report) = outcomes.recv() => self.report(report),
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Connected(session) => {
                self.session = Some(session);
                let all = self
                    .local
                    .iter()
                    .map(|(id, task)| (id.clone(), task.status.clone()));
                let all: Vec<_> = all.collect();
                self.tell(AgentEvent::TaskStatuses(all));
            }
            Command::Assignments(delta) => {
                let (generation, snapshot) = (delta.generation, delta.snapshot);
                dispatch::apply(&mut self.assignments, delta);
                self.remember_assignments();
                if self.follow().await {
                    self.tell(AgentEvent::Programmed(generation));
                }
                if snapshot {
                    self.remove_strangers().await;
                }
            }
            Command::Clear(done) => {
                self.assignments.clear();
                self.session = None;
                self.follow().await;
                self.clearing = Some(done);
                self.finish_clearing();
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Status(task, local) => {
                self.tell(AgentEvent::TaskStatuses(vec![(
                    task.id.clone(),
                    local.status.clone(),
                )]));
                self.local.insert(task.id, local);
            }
            Report::Forgotten(task) => {
                self.local.remove(&task.id);
                self.running.remove(&task.id);
            }
        }
        self.remember_tasks();
        self.finish_clearing();
    }

    fn finish_clearing(&mut self) {
        if self.running.is_empty()
            && let Some(done) = self.clearing.take()
            && done.send(()).is_err()
        {
            warn!("nobody waits for the end of the tasks any more");
        }
    }

    /// Brings data path, names and runners in step with the assignments. Whether the kernel's maps are programmed.
    async fn follow(&mut self) -> bool {
        if let Err(problem) = self.follow_host_pair().await {
            error!(error = %problem, "this host's own way into the mesh is not set up");
        }
        let programmed = match self.host.plane.assign(self.assignments.clone()).await {
            Ok(()) => true,
            Err(problem) => {
                error!(error = %problem, "data path not programmed");
                false
            }
        };
        let tasks: Vec<Task> = dispatch::tasks(&self.assignments).cloned().collect();
        for task in tasks {
            self.order(task);
        }
        for (id, handle) in &self.running {
            match self.assignments.get(&AssignmentKey::Task(id.clone())) {
                Some(Assignment::Task(task)) => handle.names.replace(self.names(task)),
                Some(_) | None => {
                    handle.orders.send_replace(TaskState::Remove);
                }
            }
        }
        programmed
    }

    /// Gives the host its address on the ingress network, so that its own processes reach published ports.
    async fn follow_host_pair(&mut self) -> Result<(), HostPairError> {
        let wanted = match self.assignments.get(&AssignmentKey::IngressAddress) {
            Some(Assignment::IngressAddress(attachment)) => Some(attachment.clone()),
            Some(_) | None => None,
        };
        let Some(attachment) = wanted.filter(|wanted| self.host_pair.as_ref() != Some(wanted))
        else {
            return Ok(());
        };
        let key = AssignmentKey::Network(attachment.network.clone());
        let Some(Assignment::Network(Network {
            allocation: Some(allocation),
            ..
        })) = self.assignments.get(&key)
        else {
            return Ok(()); // it comes with a later generation
        };
        let (subnet, gateway) = (allocation.subnet, allocation.gateway);
        let pair = HostPair {
            address: attachment.address,
            prefix_len: attachment.prefix_len,
            mtu: self.host.task_mtu,
        };
        let indexes = host_pair::ensure(&self.host.netlink, pair).await?;
        let interface = LocalInterface {
            owner: Owner::Host,
            network: Some(attachment.network.clone()),
            address: attachment.address,
            subnet,
            gateway,
            ifindex: indexes.datapath,
        };
        self.host.plane.attach(Owner::Host, vec![interface]).await?;
        self.host_pair = Some(attachment);
        Ok(())
    }

    /// Passes the managers' wish on to the task's runner; a new task gets one.
    fn order(&mut self, task: Task) {
        if let Some(handle) = self.running.get(&task.id) {
            handle.orders.send_if_modified(|desired| {
                let changed = *desired != task.desired_state;
                *desired = task.desired_state;
                changed
            });
            return;
        }
        if let Some(runner) = self.runner(task) {
            tokio::spawn(runner.run());
        }
    }

    /// A runner for a task that has none yet; `None` if the node cannot take it on.
    fn runner(&mut self, task: Task) -> Option<Runner> {
        let local = match self.local.get(&task.id) {
            Some(known) => known.clone(),
            None => match self.take_on(&task) {
                Ok(local) => local,
                Err(err) => {
                    self.tell(AgentEvent::TaskStatuses(vec![(
                        task.id.clone(),
                        rejected(err),
                    )]));
                    return None;
                }
            },
        };
        let (orders, inbox) = watch::channel(task.desired_state);
        let names = Arc::new(SharedNames::new(self.names(&task)));
        self.running.insert(
            task.id.clone(),
            Handle {
                orders,
                names: Arc::clone(&names),
            },
        );
        Some(Runner {
            networks: self.networks(&task),
            task,
            local,
            names,
            orders: inbox,
            reports: self.reports.clone(),
            host: Arc::clone(&self.host),
            resolver: None,
        })
    }

    /// Gives a new task its container's identifier and, if it is on no overlay, an address.
    fn take_on(&mut self, task: &Task) -> Result<LocalTask, String> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
        let local_address = if task.attachments.is_empty() {
            let full = || String::from("no free address on the node-local network 172.17.0.0/16");
            Some(free_local_address(&self.local).ok_or_else(full)?)
        } else {
            None
        };
        let mut local = LocalTask::new(ContainerId::from_random(bytes).to_string(), local_address);
        if task.status.state > TaskState::Assigned {
            // This node lost its memory of a task that the managers have seen further: it must not run twice.
            local.status = task.status.clone();
            local.status.state = adopt(task.status.state, None);
        }
        self.local.insert(task.id.clone(), local.clone());
        self.remember_tasks();
        Ok(local)
    }

    fn networks(&self, task: &Task) -> BTreeMap<NetworkId, Network> {
        let of_task = task.attachments.iter().filter_map(|attachment| {
            let key = AssignmentKey::Network(attachment.network.clone());
            match self.assignments.get(&key) {
                Some(Assignment::Network(network)) => Some((network.id.clone(), network.clone())),
                Some(_) | None => None,
            }
        });
        of_task.collect()
    }

    fn names(&self, task: &Task) -> NameTable {
        let views = datapath::names(&self.assignments, task).into_iter();
        let networks = views.map(|view| NetworkNames {
            network: view.network,
            names: view
                .names
                .into_iter()
                .map(|(name, addresses)| (name, addresses.into_iter().map(Into::into).collect()))
                .collect(),
            reverse: view
                .reverse
                .into_iter()
                .map(|(address, name)| (address.into(), name))
                .collect(),
        });
        NameTable {
            networks: networks.collect(),
        }
    }

    fn tell(&self, event: AgentEvent) {
        if let Some(session) = &self.session
            && session.send(event).is_err()
        {
            // The session ended; the next one starts with all states.
            tracing::debug!("report kept for the next session");
        }
    }

    fn remember_assignments(&self) {
        let all: Vec<_> = self.assignments.iter().collect();
        if let Err(problem) = self.state.save_assignments(&all) {
            error!(error = %problem, "assignments not remembered: a restart without managers would lose them");
        }
    }

    fn remember_tasks(&self) {
        if let Err(problem) = self.state.save_local_tasks(&self.local) {
            error!(error = %problem, "task states not remembered");
        }
    }

    /// Finds out what became of the tasks while no agent watched.
    async fn adopt_containers(&mut self) {
        let containers = match self.host.executor.list().await {
            Ok(containers) => containers,
            Err(problem) => {
                error!(error = %problem, "containers not listed, tasks keep their last known state");
                return;
            }
        };
        let mut found = BTreeMap::new();
        for container in containers {
            let state = match container.status {
                Status::Created => ContainerState::Created,
                Status::Running { .. } => ContainerState::Running,
                // Waiting for it tells the exit code, or that it is lost.
                Status::Exited { .. } | Status::Lost { .. } => ContainerState::Exited { code: 0 },
            };
            found.insert(container.id.to_string(), state);
        }
        for local in self.local.values_mut() {
            let container = found.get(&local.container_id).copied();
            let state = adopt(local.status.state, container);
            if state == TaskState::Failed && local.status.state != TaskState::Failed {
                local.status.err = String::from("container vanished while the agent was away");
            }
            local.status.state = state;
        }
    }

    /// After a whole snapshot: removes containers and namespaces that belong to no task any more.
    async fn remove_strangers(&self) {
        let ours: Vec<&str> = self
            .local
            .values()
            .map(|local| local.container_id.as_str())
            .collect();
        let host = &self.host;
        let mut problems =
            remove_containers(host.executor.as_ref(), |id| !ours.contains(&id.as_str())).await;
        let known = |name: &str| self.local.contains_key(name);
        problems.extend(remove_namespaces(&host.sandboxes, |name| !known(name)).await);
        for problem in problems {
            warn!(problem, "something of a removed task stays");
        }
    }
}

/// Removes these containers of tasks; gives what went wrong.
pub(crate) async fn remove_containers(
    executor: &dyn Executor,
    unwanted: impl Fn(&ContainerId) -> bool,
) -> Vec<String> {
    let containers = match executor.list().await {
        Ok(containers) => containers,
        Err(error) => return vec![format!("containers not listed: {error}")],
    };
    let mut problems = Vec::new();
    for container in containers {
        let id = container.id;
        if !container.spec.labels.contains_key(spec::TASK_LABEL) || !unwanted(&id) {
            continue;
        }
        match executor.delete(&id, true).await {
            Ok(()) | Err(ExecutorError::NoSuchContainer { .. }) => {}
            Err(error) => problems.push(format!("container {id}: {error}")),
        }
    }
    problems
}

/// Removes these namespaces of tasks; gives what went wrong.
pub(crate) async fn remove_namespaces(
    sandboxes: &Sandboxes,
    unwanted: impl Fn(&str) -> bool,
) -> Vec<String> {
    let names = match sandboxes.list() {
        Ok(names) => names,
        Err(error) => return vec![format!("namespaces not listed: {error}")],
    };
    let mut problems = Vec::new();
    for name in names.iter().filter(|name| unwanted(name)) {
        if let Err(error) = sandboxes.remove(name).await {
            problems.push(format!("namespace {name}: {error}"));
        }
    }
    problems
}
