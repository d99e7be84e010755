//! A host that is a member of a swarm: its data plane, worker, session and, on managers, the manager's process, started
//! together and ended together.

use std::{fs, io, sync::Arc, time::Duration};

use swarm_agent_datapath::{AttachMode, DataPath, DataPathConfig, DataPathError};
use swarm_agent_executor::Executor;
use swarm_agent_net::{
    NetError, Netlink, Sandboxes, dns::Upstreams, files::nameservers, host_pair,
    netns::current_cookie,
};
use swarm_common::Addr;
use swarm_core::{datapath::LocalFacts, model::Role};
use swarm_proto::{
    client::{Hello, LocalClient},
    tls::{self, Credentials, CredentialsError},
};
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
    worker::{self, HostServices, Worker},
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
    /// A change of its files was interrupted and cannot be finished.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
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
    /// Its certificate, shared with all its connections; `None` while the swarm is locked.
    pub(crate) certificates: watch::Receiver<Option<Arc<Certificates>>>,
    /// Where managers are.
    pub(crate) managers: watch::Receiver<Vec<KnownManager>>,
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
        Credentials::recover(&parts.options.certificates_dir())?;
        match parts.key.identity() {
            Err(error) if error.is_locked() && state.role == Role::Manager => {}
            read => certificates::check(&read?.0)?,
        }
        let supervisor = match (state.role, manager) {
            (Role::Manager, None) => Some(Supervisor::start(ManagerCommand::new(&parts.options)?)?),
            (Role::Manager | Role::Worker, manager) => manager,
        };
        let plane = open_data_plane(parts, &state).await?;
        let host = Arc::new(HostServices {
            executor: Arc::clone(&parts.executor),
            sandboxes: Sandboxes::open(parts.options.run_dir.join("netns"))?,
            plane: plane.clone(),
            netlink: parts.netlink.clone(),
            upstreams: upstreams()?,
        });
        let follow = addresses::follow(parts.netlink.clone(), plane.clone(), state.advertise_addr);
        let worker = Worker::start(parts.state.clone(), host).await?;
        let (managers, known_managers) = watch::channel(state.managers.clone());
        let (stop, stopped) = watch::channel(false);
        let known_changes = managers.subscribe();
        let (opened, certificates) = watch::channel(None);
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
        };
        tokio::spawn(until(stop.subscribe(), follow));
        let remember = remember_managers(parts.state.clone(), known_changes);
        tokio::spawn(until(stop.subscribe(), remember));
        let mut node = Self {
            state,
            certificates,
            managers: known_managers,
            supervisor: None,
            sealing: None,
            plane,
            worker,
            session: tokio::spawn(connection.run(stopped)),
            stop,
        };
        node.manage(parts, supervisor);
        Ok(node)
    }

    fn manage(&mut self, parts: &Parts, supervisor: Option<Supervisor>) {
        let manager = || LocalClient::new(tls::unix(&parts.options.manager_socket()));
        let follow = |_: &Supervisor| tokio::spawn(Arc::clone(&parts.key).follow(manager()));
        self.sealing = supervisor.as_ref().map(follow).map(AbortOnDropHandle::new);
        self.supervisor = supervisor;
    }

    /// Ends the session and all tasks, and takes the data plane down: the node leaves the swarm.
    pub(crate) async fn leave(self, netlink: &Netlink) -> Result<(), NodeError> {
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
        self.plane.destroy().await?;
        host_pair::remove(netlink).await?;
        if let Some(supervisor) = self.supervisor {
            supervisor.stop().await;
        }
        Ok(())
    }

    /// Compares the kernel's maps with the plan and repairs them.
    pub(crate) async fn verify_data_path(&self) -> Result<String, NodeError> {
        Ok(self.plane.verify().await?)
    }

    /// Takes a started manager over: the node was promoted.
    pub(crate) fn promoted(&mut self, parts: &Parts, supervisor: Supervisor) {
        self.state.role = Role::Manager;
        self.manage(parts, Some(supervisor));
    }

    /// Gives the manager back: the node was demoted.
    pub(crate) fn demoted(&mut self) -> Option<Supervisor> {
        self.state.role = Role::Worker;
        self.sealing = None;
        self.supervisor.take()
    }
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

async fn open_data_plane(parts: &Parts, state: &NodeState) -> Result<DataPlane, NodeError> {
    let underlay = parts.netlink.underlay(state.data_path_addr).await?;
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
