//! How this host becomes a member of a swarm and stops being one: init, join, leave (`roles` has promotion and demotion). One change at a time;
//! a change that fails leaves nothing behind.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError},
    time::Duration,
};

use swarm_agent_engine_api::{HostError, HostInit, HostJoin};
use swarm_core::{id::NodeId, model::Role};
use swarm_proto::{
    client::{
        CaClient, ControlClient, InitRequest, LocalClient, LogsClient, Phase as ManagerPhase,
    },
    tls::{self, Credentials, Csr, new_csr},
};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use crate::{
    joining::{Attempt, Issued, refused_token, remote_manager, source_towards},
    node::{Node, Parts},
    session::WantedRole,
    state::{KnownManager, NodeState, make_dir, write_atomic},
    supervisor::{ManagerCommand, Supervisor},
};

/// How long a new manager may take to open its socket.
const MANAGER_START_DEADLINE: Duration = Duration::from_secs(15);
/// Pause between looks at a manager that is starting.
const MANAGER_POLL: Duration = Duration::from_millis(20);

/// Whether this host is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Of no swarm.
    Inactive,
    /// It is being made one in the background; the text says why that takes long, if it does.
    Pending(String),
    /// It is.
    Active {
        /// Which node.
        node: NodeState,
        /// Its certificate no longer holds.
        expired: bool,
    },
    /// It was one, and could not be started again.
    Error(String),
}

pub(crate) enum Phase {
    Inactive,
    Pending(Attempt),
    Active(Box<Node>),
    Error(String),
}

impl Phase {
    fn membership(&self) -> Membership {
        match self {
            Self::Inactive => Membership::Inactive,
            Self::Pending(attempt) => Membership::Pending(attempt.trouble()),
            Self::Active(node) => {
                let managers = node.managers.borrow().clone();
                Membership::Active {
                    node: NodeState {
                        managers,
                        ..node.state.clone()
                    },
                    expired: (node.certificates.borrow().as_ref())
                        .is_some_and(|certificates| certificates.expired()),
                }
            }
            Self::Error(text) => Membership::Error(text.clone()),
        }
    }
}

/// The membership of this host.
pub(crate) struct Member {
    parts: Parts,
    pub(crate) phase: Mutex<Phase>,
    /// What `phase` last said: asked for while a change is under way.
    last: std::sync::Mutex<Membership>,
    roles: mpsc::UnboundedSender<WantedRole>,
}

impl Member {
    /// Starts as what an earlier agent of this host was.
    pub(crate) async fn resume(parts: Parts) -> Arc<Self> {
        let (roles, wishes) = mpsc::unbounded_channel();
        let phase = match parts.state.node() {
            Ok(None) => Phase::Inactive,
            Ok(Some(state)) => match resumed(&parts, state, roles.clone()).await {
                Ok(node) => Phase::Active(Box::new(node)),
                Err(error) => {
                    error!(%error, "node not started");
                    Phase::Error(error.to_string())
                }
            },
            Err(error) => Phase::Error(error.to_string()),
        };
        let last = std::sync::Mutex::new(phase.membership());
        let member = Arc::new(Self {
            parts,
            phase: Mutex::new(phase),
            last,
            roles,
        });
        tokio::spawn(Arc::clone(&member).follow_roles(wishes));
        member
    }

    /// What the agent was started with.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether this host is a member. Never waits for a change that is under way.
    pub(crate) fn membership(&self) -> Membership {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(phase) = self.phase.try_lock() {
            *last = phase.membership();
        }
        last.clone()
    }

    /// The control service of this host's manager.
    pub(crate) fn control(&self) -> ControlClient {
        ControlClient::new(tls::unix(&self.parts.options.manager_socket()))
    }

    /// The output of tasks, by this host's manager.
    pub(crate) fn logs(&self) -> LogsClient {
        LogsClient::new(tls::unix(&self.parts.options.manager_socket()))
    }

    /// This host's manager itself.
    pub(crate) fn local(&self) -> LocalClient {
        LocalClient::new(tls::unix(&self.parts.options.manager_socket()))
    }

    /// Compares the kernel's maps with the plan and repairs them.
    pub(crate) async fn verify_data_path(&self) -> Result<String, HostError> {
        match &*self.phase.lock().await {
            Phase::Active(node) => {
                let verified = node.verify_data_path().await;
                verified.map_err(|error| failed("verifying the data path", &error))
            }
            Phase::Inactive | Phase::Pending(_) | Phase::Error(_) => Err(HostError::NotMember),
        }
    }

    /// Makes a swarm of one.
    pub(crate) async fn init(&self, request: HostInit) -> Result<NodeId, HostError> {
        let mut phase = self.phase.lock().await;
        if request.force_new_cluster && !matches!(*phase, Phase::Inactive) {
            return self.force_new_cluster(&mut phase, &request).await;
        }
        if !matches!(*phase, Phase::Inactive) {
            return Err(HostError::AlreadyMember);
        }
        match self.initialize(&request).await {
            Ok(node) => {
                let id = node.state.node_id.clone();
                *phase = Phase::Active(Box::new(node));
                Ok(id)
            }
            Err(error) => {
                self.forget().await;
                Err(error)
            }
        }
    }

    /// Has this host's manager make a cluster of one from its state. Tasks and packets go on meanwhile; the node keeps its identity.
    async fn force_new_cluster(
        &self,
        phase: &mut Phase,
        request: &HostInit,
    ) -> Result<NodeId, HostError> {
        match phase {
            Phase::Active(node) if node.state.role == Role::Manager => {
                node.state = self.rebuild(node.state.clone(), request).await?;
                Ok(node.state.node_id.clone())
            }
            Phase::Error(_) => {
                let state = self.parts.state.node();
                let state = state.map_err(|error| failed("reading the node's state", &error))?;
                let state = state.ok_or(HostError::NotMember)?;
                let supervisor = self.start_manager()?;
                let state = self.rebuild(state, request).await?;
                let node = self.activate(state, Some(supervisor)).await?;
                let id = node.state.node_id.clone();
                *phase = Phase::Active(Box::new(node));
                Ok(id)
            }
            Phase::Inactive | Phase::Pending(_) | Phase::Active(_) => Err(HostError::AlreadyMember),
        }
    }

    async fn rebuild(
        &self,
        mut state: NodeState,
        request: &HostInit,
    ) -> Result<NodeState, HostError> {
        self.await_manager().await?;
        let data_path = state.data_path_addr;
        let init = init_request(
            request,
            String::new(),
            data_path,
            &self.parts.facts.hostname,
        );
        let made = self.local().init(&init).await?;
        state.listen_addr = request.listen;
        state.advertise_addr = request.advertise;
        state.managers = vec![KnownManager {
            node_id: made.node_id,
            addr: request.advertise,
        }];
        let saved = self.parts.state.save_node(&state);
        saved.map_err(|error| failed("remembering the node", &error))?;
        Ok(state)
    }

    async fn initialize(&self, request: &HostInit) -> Result<Node, HostError> {
        // An agent that died while it made or joined a swarm left a manager whose cluster nobody was told of.
        let leftover = self.parts.options.manager_state_dir().join("raft.redb");
        if request.force_new_cluster && leftover.exists() {
            let reason = format!(
                "{} is there, but not which node this is; see swarm-manager recover",
                leftover.display()
            );
            return Err(failed_text("rebuilding the cluster", &reason));
        }
        self.forget().await;
        let csr = self.write_key()?;
        let supervisor = self.start_manager()?;
        match self.bootstrap(request, csr).await {
            Ok(state) => self.activate(state, Some(supervisor)).await,
            Err(error) => {
                supervisor.stop().await;
                Err(error)
            }
        }
    }

    /// Has the started manager make the cluster, and keeps the certificate it gives.
    async fn bootstrap(&self, request: &HostInit, csr: Csr) -> Result<NodeState, HostError> {
        self.await_manager().await?;
        let data_path = request.data_path.unwrap_or_else(|| request.advertise.ip());
        let made = self
            .local()
            .init(&init_request(
                request,
                csr.csr_pem,
                data_path,
                &self.parts.facts.hostname,
            ))
            .await?;
        let credentials = Credentials {
            key_pem: csr.key_pem,
            cert_chain_pem: made.cert_chain_pem,
            ca_pem: made.ca_pem,
        };
        self.save_credentials(&credentials, Role::Manager)?;
        let own = KnownManager {
            node_id: made.node_id.clone(),
            addr: request.advertise,
        };
        Ok(NodeState {
            node_id: made.node_id,
            role: Role::Manager,
            listen_addr: request.listen,
            advertise_addr: request.advertise,
            data_path_addr: data_path,
            data_path_port: request.data_path_port,
            managers: vec![own],
        })
    }

    /// Gets a certificate against the token. Asked for once only: each one is another node in the cluster's list.
    pub(crate) async fn get_certificate(
        &self,
        remote: &str,
        request: &HostJoin,
    ) -> Result<Issued, HostError> {
        let csr = self.write_key()?;
        let issued = CaClient::join(remote, &request.token, &csr, request.availability)
            .await
            .map_err(|error| refused_token(error, &request.token))?;
        let (node_id, role) = (issued.node_id.clone(), issued.role);
        let data_path_port = issued.data_path_port;
        self.save_credentials(&issued.into_credentials(csr.key_pem), role)?;
        Ok(Issued {
            node_id,
            role,
            data_path_port,
        })
    }

    /// Joins through one manager with the certificate that was issued.
    pub(crate) async fn join_at(
        &self,
        remote: &str,
        request: &HostJoin,
        issued: &Issued,
    ) -> Result<Node, HostError> {
        let advertise = match request.advertise {
            Some(address) => address,
            None => source_towards(remote)
                .map(|ip| SocketAddr::new(ip, request.listen.port()))
                .ok_or_else(|| failed_text("choosing an address to advertise", remote))?,
        };
        let Issued {
            node_id,
            role,
            data_path_port,
        } = issued.clone();
        let (manager, managers) = match role {
            Role::Worker => (None, remote_manager(remote).await),
            Role::Manager => {
                let supervisor = self
                    .join_managers(remote, request.listen, advertise)
                    .await?;
                let own = KnownManager {
                    node_id: node_id.clone(),
                    addr: advertise,
                };
                (Some(supervisor), vec![own])
            }
        };
        let state = NodeState {
            node_id,
            role,
            listen_addr: request.listen,
            advertise_addr: advertise,
            data_path_addr: request.data_path.unwrap_or_else(|| advertise.ip()),
            data_path_port,
            managers,
        };
        self.activate(state, manager).await
    }

    /// Starts a manager and has it join the others.
    pub(crate) async fn join_managers(
        &self,
        remote: &str,
        listen: SocketAddr,
        advertise: SocketAddr,
    ) -> Result<Supervisor, HostError> {
        let supervisor = self.start_manager()?;
        let joined = async {
            self.await_manager().await?;
            if self.has_joined().await? {
                return Ok(());
            }
            let remotes = [remote.to_owned()];
            Ok(self.local().join(&remotes, listen, advertise).await?)
        };
        match joined.await {
            Ok(()) => Ok(supervisor),
            Err(error) => {
                supervisor.stop().await;
                Err(error)
            }
        }
    }

    async fn activate(
        &self,
        state: NodeState,
        manager: Option<Supervisor>,
    ) -> Result<Node, HostError> {
        self.parts
            .state
            .save_node(&state)
            .map_err(|error| failed("remembering the node", &error))?;
        let id = state.node_id.clone();
        let node = Node::start(&self.parts, state, manager, self.roles.clone())
            .await
            .map_err(|error| failed("starting the node", &error))?;
        info!(node = %id, "member of the swarm");
        Ok(node)
    }

    /// Leaves the swarm. Whether a manager may was checked before.
    pub(crate) async fn leave(&self) -> Result<(), HostError> {
        let mut phase = self.phase.lock().await;
        match std::mem::replace(&mut *phase, Phase::Inactive) {
            Phase::Inactive => return Err(HostError::NotMember),
            Phase::Active(node) => {
                if node.state.role == Role::Manager
                    && let Err(error) = self.local().leave(true).await
                {
                    warn!(%error, "other managers were not told");
                }
                let left = node.leave(&self.parts.netlink).await;
                left.map_err(|error| failed("leaving the swarm", &error))?;
            }
            Phase::Pending(attempt) => attempt.end().await,
            Phase::Error(_) => {}
        }
        self.forget().await;
        Ok(())
    }

    /// Whether the manager here is a member already: an earlier agent had it join and ended before it could write that
    /// down. One that the cluster knows no more is made to forget it.
    pub(crate) async fn has_joined(&self) -> Result<bool, HostError> {
        let state = self.local().status().await?;
        let (ManagerPhase::Running, Some(node)) = (state.phase, state.node_id) else {
            return Ok(false);
        };
        let recorded = self.control().node(node.as_str()).await?.manager;
        let member = recorded.is_some_and(|manager| manager.raft_id == state.raft_id);
        if !member {
            self.local().leave(true).await?;
        }
        Ok(member)
    }

    pub(crate) fn start_manager(&self) -> Result<Supervisor, HostError> {
        ManagerCommand::new(&self.parts.options)
            .and_then(Supervisor::start)
            .map_err(|error| failed("starting the manager", &error))
    }

    /// Waits until the manager answers on its socket.
    async fn await_manager(&self) -> Result<(), HostError> {
        let deadline = Instant::now() + MANAGER_START_DEADLINE;
        loop {
            match self.local().status().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let log = self.parts.options.state_dir.join("manager.log");
                    let reason = format!("{error}; see {}", log.display());
                    return Err(failed_text("starting the manager", &reason));
                }
                Err(_) => sleep(MANAGER_POLL).await,
            }
        }
    }

    /// Makes the node's key where the manager finds it.
    fn write_key(&self) -> Result<Csr, HostError> {
        let directory = self.parts.options.certificates_dir();
        let csr = new_csr().map_err(|error| failed("making a key", &error))?;
        let path = directory.join(tls::KEY_FILE);
        make_dir(&directory, 0o750)
            .and_then(|()| write_atomic(&path, csr.key_pem.as_bytes(), 0o640))
            .map_err(|error| failed("keeping the key", &error))?;
        Ok(csr)
    }

    fn save_credentials(&self, credentials: &Credentials, role: Role) -> Result<(), HostError> {
        let saved = self.parts.key.save(credentials, role);
        saved.map_err(|error| failed("keeping the certificate", &error))?;
        ManagerCommand::new(&self.parts.options)
            .and_then(|command| command.prepare())
            .map_err(|error| failed("handing the certificate to the manager", &error))
    }

    pub(crate) async fn forget(&self) {
        if let Ok(command) = ManagerCommand::new(&self.parts.options) {
            command.stop_running().await;
        }
        self.parts.key.forget();
        if let Err(error) = self.parts.state.forget() {
            error!(%error, "the swarm's files stay");
        }
    }
}

fn init_request(
    request: &HostInit,
    csr_pem: String,
    data_path: IpAddr,
    hostname: &str,
) -> InitRequest {
    InitRequest {
        csr_pem,
        listen_addr: request.listen,
        advertise_addr: request.advertise,
        data_path_addr: Some(data_path),
        hostname: hostname.to_owned(),
        spec: request.spec.clone(),
        force_new_cluster: request.force_new_cluster,
        default_address_pools: request.address_pools.clone(),
        subnet_size: request.subnet_size,
        data_path_port: request.data_path_port,
        availability: request.availability,
    }
}

/// Starts the node as it was, or at the address that the command line says it came to.
async fn resumed(
    parts: &Parts,
    mut state: NodeState,
    roles: mpsc::UnboundedSender<WantedRole>,
) -> Result<Node, HostError> {
    let moved = parts.options.moved_to().transpose();
    let moved = moved.map_err(|error| failed("--advertise-addr", &error))?;
    if let Some(addr) = moved.filter(|addr| *addr != state.advertise_addr) {
        info!(from = %state.advertise_addr, to = %addr, "this node has moved");
        // A manager that outlived the last agent still says the old address.
        if let Ok(command) = ManagerCommand::new(&parts.options) {
            command.stop_running().await;
        }
        state.move_to(addr);
        let saved = parts.state.save_node(&state);
        saved.map_err(|error| failed("remembering the address", &error))?;
    }
    let started = Node::start(parts, state, None, roles).await;
    started.map_err(|error| failed("starting the node", &error))
}

pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> HostError {
    failed_text(what, &error.to_string())
}

pub(crate) fn failed_text(what: &str, reason: &str) -> HostError {
    HostError::Failed {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}
