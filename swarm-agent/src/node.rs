//! A host that is a member of a swarm: its data plane, worker, session and, on managers, the manager's process, started
//! together and ended together.

use std::{fs, io, sync::Arc, time::Duration};

use swarm_agent_datapath::{AttachMode, DataPath, DataPathConfig, DataPathError};
use swarm_agent_executor::Executor;
use swarm_agent_net::{
    NetError, Netlink, Sandboxes, addr::Underlay, dns::Upstreams, files::nameservers,
    netns::current_cookie,
};
use swarm_common::Addr;
use swarm_core::{datapath::LocalFacts, model::Role};
use swarm_proto::client::Hello;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use crate::{
    addresses,
    certificates::{self, CertificateError, Certificates, Renewing},
    config::Options,
    data_plane::{DataPlane, DataPlaneError},
    host_facts::HostFacts,
    logs::LogPublishing,
    node_key::{IdentityError, NodeKey},
    session::{Session, WantedRole},
    state::{KnownManager, NodeState, StateDir, StateError},
    supervisor::{ManagerCommand, Supervisor, SupervisorError},
    worker::{self, HostServices, Worker, spec::task_mtu},
};

/// How long tasks may take to end when the node leaves: the longest grace period plus room for clean-up.
const CLEAR_DEADLINE: Duration = Duration::from_secs(30);

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The node's certificate and key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The kernel's programs and maps.
    #[error(transparent)]
    DataPath(#[from] DataPathError),
    /// Interfaces and namespaces.
    #[error(transparent)]
    Network(#[from] NetError),
    /// The agent's own files.
    #[error(transparent)]
    State(#[from] StateError),
    /// The manager's process.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The data plane's thread.
    #[error(transparent)]
    Plane(#[from] DataPlaneError),
    /// The system refused something else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl NodeError {
    /// Whether the node's certificate has expired.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::Certificate(CertificateError::Expired { .. }))
    }
}

/// What every node of this agent is made with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) facts: HostFacts,
    pub(crate) state: StateDir,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) netlink: Netlink,
    pub(crate) key: Arc<NodeKey>,
}

/// A running member.
#[derive(Debug)]
pub(crate) struct Node {
    /// Which node it is.
    pub(crate) state: NodeState,
    /// What it is by now: its manager runs and has joined, or has ended and is forgotten. Its certificate says what it is to be.
    pub(crate) role: Role,
    /// Its certificate, shared with all its connections; `None` while the swarm is locked.
    pub(crate) certificates: watch::Receiver<Option<Arc<Certificates>>>,
    /// Where managers are.
    pub(crate) managers: watch::Receiver<Vec<KnownManager>>,
    /// Whether it has ever had a session: from the first one on the swarm knows what it is and that it is ready.
    pub(crate) begun: watch::Receiver<bool>,
    supervisor: Option<Supervisor>,
    /// Seals the private key as the manager says; on managers.
    sealing: Option<AbortOnDropHandle<()>>,
    plane: DataPlane,
    worker: mpsc::UnboundedSender<worker::Command>,
    session: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Node {
    /// Starts everything. A manager that was started before (to make or join the swarm) is taken over.
    pub(crate) async fn start(
        parts: &Parts,
        state: NodeState,
        manager: Option<Supervisor>,
        roles: mpsc::UnboundedSender<WantedRole>,
    ) -> Result<Self, NodeError> {
        let role = certified_role(&parts.key)?;
        let supervisor = match (role, manager) {
            (Role::Manager, None) => {
                let command = ManagerCommand::new(&parts.options, &parts.state)?;
                Some(Supervisor::start(command)?)
            }
            (Role::Manager, manager) => manager,
            (Role::Worker, _) => {
                end_manager(parts, None).await?; // a demotion that an earlier agent began
                None
            }
        };
        let underlay = parts.netlink.underlay(state.data_path_addr).await?;
        let plane = open_data_plane(parts, &state, &underlay).await?;
        let host = Arc::new(HostServices {
            executor: Arc::clone(&parts.executor),
            sandboxes: Sandboxes::open(parts.options.namespaces_dir())?,
            plane: plane.clone(),
            netlink: parts.netlink.clone(),
            upstreams: upstreams()?,
            task_mtu: task_mtu(underlay.mtu),
        });
        let worker = Worker::start(parts.state.clone(), host).await?;
        let mut node = Self::connect(parts, state, role, plane, worker, roles);
        node.manage(parts, supervisor);
        Ok(node)
    }

    /// Opens the session and follows what changes.
    fn connect(
        parts: &Parts,
        state: NodeState,
        role: Role,
        plane: DataPlane,
        worker: mpsc::UnboundedSender<worker::Command>,
        roles: mpsc::UnboundedSender<WantedRole>,
    ) -> Self {
        let (managers, known_managers) = watch::channel(state.managers.clone());
        let (stop, stopped) = watch::channel(false);
        let follow = addresses::follow(parts.netlink.clone(), plane.clone(), state.advertise_addr);
        tokio::spawn(until(stop.subscribe(), follow));
        let remember = remember_managers(parts.state.clone(), managers.subscribe());
        tokio::spawn(until(stop.subscribe(), remember));
        let (opened, certificates) = watch::channel(None);
        let (begins, begun) = watch::channel(false);
        let connection = Connection {
            key: Arc::clone(&parts.key),
            options: parts.options.clone(),
            opened,
            facts: parts.facts.clone(),
            state: state.clone(),
            executor: Arc::clone(&parts.executor),
            managers,
            worker: worker.clone(),
            roles,
            begins,
        };
        Self {
            state,
            role,
            certificates,
            managers: known_managers,
            begun,
            supervisor: None,
            sealing: None,
            plane,
            worker,
            session: tokio::spawn(connection.run(stopped)),
            stop,
        }
    }

    /// Keeps a started manager running, and the private key sealed as it says.
    pub(crate) fn manage(&mut self, parts: &Parts, supervisor: Option<Supervisor>) {
        let manager = || parts.options.local_manager();
        let follow = |_: &Supervisor| tokio::spawn(Arc::clone(&parts.key).follow(manager()));
        self.sealing = supervisor.as_ref().map(follow).map(AbortOnDropHandle::new);
        self.supervisor = supervisor;
    }

    /// Ends the manager and forgets Raft's state: a node that is promoted again joins as a new member. Only then is it a worker, so
    /// that what failed is tried again.
    pub(crate) async fn demote(&mut self, parts: &Parts) -> Result<(), StateError> {
        self.sealing = None;
        end_manager(parts, self.supervisor.take()).await?;
        self.role = Role::Worker;
        Ok(())
    }

    /// Ends the session, all tasks, the data plane and the manager, as far as they end. What stays is removed as remains.
    pub(crate) async fn leave(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.session.await {
            warn!(%error, "session ended badly");
        }
        let (done, cleared) = oneshot::channel();
        if self.worker.send(worker::Command::Clear(done)).is_ok()
            && timeout(CLEAR_DEADLINE, cleared).await.is_err()
        {
            warn!("tasks did not end within {CLEAR_DEADLINE:?}");
        }
        if let Err(error) = self.plane.destroy().await {
            warn!(%error, "the data plane did not go by itself");
        }
        if let Some(supervisor) = self.supervisor {
            supervisor.stop().await;
        }
    }

    /// Compares the kernel's maps with the plan and repairs them.
    pub(crate) async fn verify_data_path(&self) -> Result<String, NodeError> {
        Ok(self.plane.verify().await?)
    }
}

/// The role in the node's certificate. Refuses one that has expired, or whose key cannot be read and is no manager's to unlock.
fn certified_role(key: &NodeKey) -> Result<Role, NodeError> {
    let peer = key.peer()?;
    certificates::check(&peer)?;
    match key.identity() {
        Err(error) if error.is_locked() && peer.role == Role::Manager => {}
        read => drop(read?),
    }
    Ok(peer.role)
}

/// Ends the manager of a worker, adopted or not, and forgets its state.
async fn end_manager(parts: &Parts, supervisor: Option<Supervisor>) -> Result<(), StateError> {
    if let Some(supervisor) = supervisor {
        supervisor.stop().await;
    } else if let Ok(command) = ManagerCommand::new(&parts.options, &parts.state) {
        command.stop_running().await;
    }
    parts.state.forget_manager()
}

/// What talks to the managers of the swarm, once the node's private key is open.
struct Connection {
    key: Arc<NodeKey>,
    options: Options,
    opened: watch::Sender<Option<Arc<Certificates>>>,
    facts: HostFacts,
    state: NodeState,
    executor: Arc<dyn Executor>,
    managers: watch::Sender<Vec<KnownManager>>,
    worker: mpsc::UnboundedSender<worker::Command>,
    roles: mpsc::UnboundedSender<WantedRole>,
    begins: watch::Sender<bool>,
}

impl Connection {
    /// Keeps a session open, renews the certificate and publishes logs until `stop` becomes true. While the swarm is locked
    /// there is no certificate to open a session with; tasks and packets go on meanwhile.
    async fn run(self, mut stop: watch::Receiver<bool>) {
        let opened = tokio::select! {
            opened = self.key.unlocked() => opened,
            ended = stop.wait_for(|stop| *stop) => return drop(ended),
        };
        let certificates = opened
            .map_err(NodeError::from)
            .and_then(|(identity, _ca_pem)| {
                Ok(Certificates::of(&self.options, &self.key, identity)?)
            });
        match certificates {
            Ok(certificates) => self.talk(certificates, stop).await,
            Err(error) => error!(%error, "no session with the managers"),
        }
    }

    async fn talk(self, certificates: Arc<Certificates>, stop: watch::Receiver<bool>) {
        self.opened.send_replace(Some(Arc::clone(&certificates)));
        let identity = certificates.identity();
        let publishing = LogPublishing {
            node: self.state.node_id,
            identity: Arc::clone(identity),
            managers: self.managers.subscribe(),
            executor: self.executor,
        };
        tokio::spawn(publishing.run(stop.clone()));
        let (trust, wishes) = watch::channel(None);
        let renewing = Renewing {
            certificates: Arc::clone(&certificates),
            managers: self.managers.subscribe(),
            wishes,
        };
        tokio::spawn(renewing.run(stop.clone()));
        let session = Session {
            identity: Arc::clone(identity),
            hello: Hello {
                description: self.facts.description(identity.facts()),
                data_path_addr: Some(self.state.data_path_addr),
            },
            facts: certificates.facts(),
            trust,
            managers: self.managers,
            worker: self.worker,
            roles: self.roles,
            begun: self.begins,
        };
        session.run(stop).await;
    }
}

/// Runs something until the node stops, or is gone.
async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        ended = stop.wait_for(|stop| *stop) => drop(ended),
    }
}

/// Writes down where the managers are whenever a session told.
async fn remember_managers(state: StateDir, mut managers: watch::Receiver<Vec<KnownManager>>) {
    while managers.changed().await.is_ok() {
        let known = managers.borrow_and_update().clone();
        if let Err(error) = state.save_managers(&known) {
            warn!(%error, "where the managers are is not remembered");
        }
    }
}

async fn open_data_plane(
    parts: &Parts,
    state: &NodeState,
    underlay: &Underlay,
) -> Result<DataPlane, NodeError> {
    let programs = swarm_common::config::Config {
        host_netns_cookie: current_cookie()?,
        node_addr: Addr::from(state.data_path_addr),
        underlay_ifindex: underlay.ifindex,
        underlay_mtu: underlay.mtu,
        underlay_prefix_len: underlay.prefix_len.into(),
        data_path_port: state.data_path_port,
        ..swarm_common::config::Config::UNSET
    };
    let config = DataPathConfig {
        bpffs: parts.options.bpffs.clone(),
        cgroup_root: parts.options.cgroup_root(),
        programs,
        attach: AttachMode::default(),
    };
    let datapath = DataPath::open(config)?;
    let addresses = addresses::of_host(&parts.netlink).await?;
    let facts = LocalFacts {
        node: state.node_id.clone(),
        addresses,
        interfaces: Vec::new(),
    };
    Ok(DataPlane::start(datapath, facts)?)
}

fn upstreams() -> Result<Upstreams, io::Error> {
    match fs::read_to_string("/etc/resolv.conf") {
        Ok(text) => Ok(Upstreams::from_nameservers(nameservers(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Upstreams::new([])),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
impl Node {
    /// A node of which only the membership is there.
    pub(crate) fn bare(
        state: NodeState,
        role: Role,
        certificates: Option<Arc<Certificates>>,
    ) -> Self {
        let (_, managers) = watch::channel(state.managers.clone());
        let (_, certificates) = watch::channel(certificates);
        let (_, begun) = watch::channel(true);
        let (worker, _) = mpsc::unbounded_channel();
        Self {
            state,
            role,
            certificates,
            managers,
            begun,
            supervisor: None,
            sealing: None,
            plane: DataPlane::scripted([]),
            worker,
            session: tokio::spawn(async {}),
            stop: watch::Sender::default(),
        }
    }
}
