//! This manager as a process: its state on disk, its sockets, and the way from idle to running and back.

mod certificates;
mod process;

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use futures::{Stream, StreamExt as _};
use openraft::{Instant as _, async_runtime::watch::WatchReceiver as _};
use swarm_core::{
    control::{Code, ControlError, Reason},
    dispatch::RecentChanges,
    id::NodeId,
    lock::SecretKey,
    model::{Node, Reachability},
    store::Store,
};
use swarm_manager_replica::{
    compaction,
    drive::{self, DriveHandle},
    timing::UNREACHABLE_AFTER,
};
use swarm_proto::{
    Wire as _,
    client::{ManagerState, Phase},
    tls::{CredentialsError, Identity, TlsError},
    wire,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub(crate) use self::process::{listen, run};
use crate::{
    api::{listener::accept_remote, logs::Broker},
    lock::{self, KeyDesk},
    raft::{
        database::{StateDb, StateError, ThisMember, key},
        node::{Leadership, RaftNode, StartError},
        seal::KeyError,
    },
};

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Raft's state.
    pub(crate) state_dir: PathBuf,
    /// `node.key`, `node.crt`, `ca.crt`.
    pub(crate) certificates: PathBuf,
    /// Overrides the address that init or join stored.
    pub(crate) listen_addr: Option<SocketAddr>,
    /// Overrides where init or join said that others reach this manager.
    pub(crate) advertise_addr: Option<SocketAddr>,
}

/// Why the process cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// The state on disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// The certificate files.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is a state, but no certificate.
    #[error("{}: node.key, node.crt and ca.crt must be there", dir.display())]
    NoCredentials { dir: PathBuf },
    /// The certificate cannot be used.
    #[error("{}: {source}", dir.display())]
    Tls { dir: PathBuf, source: TlsError },
    /// Raft did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The unix socket.
    #[error("unix socket {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    /// The TCP port is taken or not ours (Docker's text).
    #[error(
        "manager stopped: failed to listen on remote API address: listen tcp {addr}: bind: {}",
        go_words(source)
    )]
    Listen { addr: SocketAddr, source: io::Error },
    /// Raft ended by itself: the disk is full, cannot be written, or holds what it must not.
    #[error("state directory {}: {reason}. What was confirmed is on disk; once the cause is mended, the manager goes on from there", dir.display())]
    Consensus { dir: PathBuf, reason: String },
    /// A server ended by itself.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
}

impl From<DaemonError> for ControlError {
    fn from(error: DaemonError) -> Self {
        let refusal = Self::new(Code::FailedPrecondition, error.to_string());
        match error {
            DaemonError::Listen { .. } => refusal.because(Reason::CannotListen),
            DaemonError::State(_)
            | DaemonError::Credentials(_)
            | DaemonError::NoCredentials { .. }
            | DaemonError::Tls { .. }
            | DaemonError::Start(_)
            | DaemonError::Socket { .. }
            | DaemonError::Consensus { .. }
            | DaemonError::Serve(_) => refusal,
        }
    }
}

/// An error of the system as Go says it: in lower case and without its number.
fn go_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// A manager that is a member of a cluster.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) raft: RaftNode,
    pub(crate) drive: DriveHandle,
    pub(crate) identity: Arc<Identity>,
    pub(crate) logs: Broker,
    /// Whose assignments the last changes concern.
    pub(crate) changes: Mutex<RecentChanges>,
    pub(crate) stop: CancellationToken,
}

impl Running {
    /// The node of this manager.
    pub(crate) fn node_id(&self) -> NodeId {
        self.identity.this_node().node_id
    }

    /// A node with who leads and who answers as seen right now.
    pub(crate) fn with_live_status(&self, mut node: Node) -> Node {
        let metrics = self.raft.raft().metrics().borrow_watched().clone();
        let Some(manager) = &mut node.manager else {
            return node;
        };
        manager.leader = metrics.current_leader == Some(manager.raft_id);
        let heard = metrics
            .heartbeat
            .as_ref()
            .and_then(|all| all.get(&manager.raft_id));
        let answers = heard.is_some_and(|last| {
            last.as_ref()
                .is_some_and(|moment| moment.elapsed() < UNREACHABLE_AFTER)
        });
        manager.reachability = if manager.leader || answers {
            Reachability::Reachable
        } else {
            Reachability::Unreachable
        };
        node
    }

    /// The managers that do not answer the leader, which must be this one.
    pub(crate) fn unreachable_managers(&self, store: &Store) -> BTreeSet<NodeId> {
        let live = store
            .nodes()
            .map(|node| self.with_live_status(node.clone()));
        live.filter(|node| {
            let manager = node.manager.as_ref();
            manager.is_some_and(|manager| manager.reachability == Reachability::Unreachable)
        })
        .map(|node| node.id)
        .collect()
    }
}

/// The manager, member or not.
#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) settings: Settings,
    running: ArcSwapOption<Running>,
    /// One init, join, leave or unlock at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// The state on disk awaits the unlock key.
    locked: AtomicBool,
    /// Between the keys of the state on disk and the agent, which seals the node's private key.
    pub(crate) desk: KeyDesk,
    error: Mutex<Option<String>>,
    /// Why the process cannot go on, once it cannot.
    failure: tokio::sync::watch::Sender<Option<String>>,
    stop: CancellationToken,
}

impl Manager {
    pub(crate) fn new(settings: Settings, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            settings,
            running: ArcSwapOption::empty(),
            changing: tokio::sync::Mutex::new(()),
            locked: AtomicBool::new(false),
            desk: KeyDesk::default(),
            error: Mutex::new(None),
            failure: tokio::sync::watch::Sender::new(None),
            stop,
        })
    }

    /// Whether the state on disk awaits the unlock key.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    /// The running member; a refusal while idle or locked.
    pub(crate) fn running(&self) -> Result<Arc<Running>, ControlError> {
        self.running.load_full().ok_or_else(|| {
            if self.is_locked() {
                return ControlError::new(Code::Unavailable, lock::LOCKED);
            }
            ControlError::new(
                Code::FailedPrecondition,
                "this manager is not part of a swarm",
            )
        })
    }

    /// What `Local.Status` tells.
    pub(crate) fn state(&self) -> ManagerState {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = self.running.load_full() else {
            return ManagerState {
                phase: if self.is_locked() {
                    Phase::Locked
                } else {
                    Phase::Idle
                },
                raft_id: 0,
                node_id: None,
                leader: false,
                leader_addr: None,
                error: error.clone(),
            };
        };
        let this = running.raft.this();
        let leadership = running.raft.leadership();
        ManagerState {
            phase: Phase::Running,
            raft_id: this.raft_id,
            node_id: Some(running.node_id()),
            leader: matches!(leadership, Leadership::Here { .. }),
            leader_addr: match leadership {
                Leadership::Here { .. } => this.member.addr.parse().ok(),
                Leadership::Elsewhere(member) => member.addr.parse().ok(),
                Leadership::Nobody => None,
            },
            error: error.clone(),
        }
    }

    /// What seals the node's private key, now and after each change, until this process stops.
    pub(crate) fn watch_node_keys(
        &self,
    ) -> impl Stream<Item = Result<wire::NodeKeys, Status>> + use<> {
        self.desk
            .watch()
            .map(|keys| Ok(keys.to_wire()))
            .take_until(self.stop.clone().cancelled_owned())
    }

    /// Notes what is wrong, for `Local.Status`.
    fn note(&self, what: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Continues with the state on disk, if there is one and it is not locked.
    async fn resume_unless_locked(self: &Arc<Self>) -> Result<(), DaemonError> {
        match self.resume(None).await {
            Err(DaemonError::State(StateError::Key(KeyError::Locked { .. }))) => {
                self.locked.store(true, Ordering::Release);
                tracing::info!("the state on disk is locked, waiting for the unlock key");
                Ok(())
            }
            resumed => resumed,
        }
    }

    /// Opens the locked state with the operator's key and continues with it. On a refusal nothing changes.
    pub(crate) async fn unlock(self: &Arc<Self>, key: &SecretKey) -> Result<(), ControlError> {
        let _alone = self.changing.lock().await;
        if !self.is_locked() {
            return Err(ControlError::new(
                Code::FailedPrecondition,
                lock::NOT_LOCKED,
            ));
        }
        match self.resume(Some(key)).await {
            Ok(()) => {
                self.locked.store(false, Ordering::Release);
                tracing::info!("unlocked");
                Ok(())
            }
            Err(DaemonError::State(StateError::Key(error @ KeyError::WrongKey))) => {
                Err(ControlError::new(Code::Unauthenticated, error.to_string()))
            }
            Err(error) => Err(ControlError::new(
                Code::Unknown,
                format!("swarm component could not be started: {error}"),
            )),
        }
    }

    /// Whether this manager is part of a swarm.
    pub(crate) fn is_member(&self) -> bool {
        self.running.load().is_some() || self.is_locked()
    }

    /// Ends the process, with this reason.
    pub(crate) fn fail(&self, reason: String) {
        self.note(Some(reason.clone()));
        self.failure.send_replace(Some(reason));
    }

    /// Resolves when Raft ended by itself.
    async fn failed(&self) -> DaemonError {
        let mut failure = self.failure.subscribe();
        let reason = match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_closed) => std::future::pending().await,
        };
        DaemonError::Consensus {
            dir: self.settings.state_dir.clone(),
            reason,
        }
    }

    /// Continues with the state on disk, if there is one.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        key: Option<&SecretKey>,
    ) -> Result<(), DaemonError> {
        if !StateDb::exists(&self.settings.state_dir)? {
            return Ok(());
        }
        let db = StateDb::unlock(&self.settings.state_dir, key)?;
        let stored: Option<ThisMember> = db.meta(key::MEMBER).map_err(|error| db.damaged(error))?;
        let Some(mut this) = stored else {
            return Ok(()); // init or join ended before it counted
        };
        if let Some(addr) = self.settings.listen_addr {
            this.listen_addr = addr;
        }
        if let Some(addr) = self.settings.advertise_addr {
            this.member.addr = addr.to_string();
            db.put_meta(key::MEMBER, &this)
                .map_err(|error| db.damaged(error))?;
        }
        let listener = listen(this.listen_addr).await?;
        let credentials = self.credentials(&db.sealer().node_keys())?;
        let identity = self.identity(&credentials)?;
        let raft = RaftNode::start(&db, this, Arc::clone(&identity)).await?;
        let running = self.serve(raft, identity, listener)?;
        let announce = Self::announce_address(Arc::clone(&running));
        tokio::spawn(running.stop.clone().run_until_cancelled_owned(announce));
        tracing::info!("continuing with the state on disk");
        Ok(())
    }

    /// Opens the TCP port for a started Raft; from here on this manager is a member.
    pub(crate) fn serve(
        self: &Arc<Self>,
        raft: RaftNode,
        identity: Arc<Identity>,
        listener: TcpListener,
    ) -> Result<Arc<Running>, DaemonError> {
        let stop = self.stop.child_token();
        let incoming = accept_remote(listener, &identity, stop.clone()).map_err(|source| {
            DaemonError::Tls {
                dir: self.settings.certificates.clone(),
                source,
            }
        })?;
        let (drive, leading) = drive::new((*raft).clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(leading.run()));
        let running = Arc::new(Running {
            drive,
            raft,
            identity,
            logs: Broker::default(),
            changes: Mutex::default(),
            stop: stop.clone(),
        });
        self.running.store(Some(Arc::clone(&running)));
        let manager = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = process::serve(Arc::clone(&manager), incoming, stop).await {
                tracing::error!(%error, "the TCP port is no longer served");
                manager.note(Some(error.to_string()));
            }
        });
        let compaction = compaction::run((*running.raft).clone());
        tokio::spawn(running.stop.clone().run_until_cancelled_owned(compaction));
        let keep = lock::keep(Arc::clone(self), Arc::clone(&running));
        tokio::spawn(running.stop.clone().run_until_cancelled_owned(keep));
        let (manager, raft) = (Arc::clone(self), running.raft.clone());
        let watch = async move {
            manager.fail(raft.failure().await);
        };
        tokio::spawn(running.stop.clone().run_until_cancelled_owned(watch));
        Ok(running)
    }

    /// Stops being a member; what is on disk stays unless `forget`.
    pub(crate) async fn halt(&self, forget: bool) {
        if let Some(running) = self.running.swap(None) {
            running.stop.cancel();
            running.raft.stop().await;
        }
        self.desk.close();
        if !forget {
            return;
        }
        match StateDb::remove(&self.settings.state_dir) {
            Ok(()) => self.locked.store(false, Ordering::Release),
            Err(error) => {
                tracing::error!(%error, "the state of the swarm that was left is still on disk");
                self.note(Some(error.to_string()));
            }
        }
    }
}
