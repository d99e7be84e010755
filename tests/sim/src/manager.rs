//! A manager process: `swarm_manager_replica` on a simulated host, and what dies with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use openraft::async_runtime::watch::WatchReceiver as _;
use swarm_core::{
    ca::RemovedNodes,
    control::{Code, ControlError},
    id::{NodeId, Random},
    store::{Store, Transaction},
    time::Timestamp,
};
use swarm_manager_replica::{
    Leadership, LogStore, Platform, Written, compaction, config,
    drive::{self, DriveHandle},
    timing::{LEADER_PATIENCE, REACH_TIMEOUT},
    write,
};

use crate::{
    cluster::Cluster,
    ground::{Dice, lock, spawn, within},
    invariants::one_leader,
    network::HostId,
    raft::{
        database::StateDb,
        observed::Observed,
        transport::Transport,
        types::{RaftId, TypeConfig},
    },
    session::Session,
};

/// The consensus of a simulated manager.
pub(crate) type RaftNode = swarm_manager_replica::RaftNode<Seat>;

/// What a simulated manager runs on: a host.
#[derive(Clone)]
pub(crate) struct Seat {
    cluster: Arc<Cluster>,
    host: HostId,
}

impl Platform for Seat {
    type Types = TypeConfig;
    type Machine = Observed;

    fn now(&self) -> Timestamp {
        self.cluster.host(self.host).now()
    }

    fn random(&self) -> impl Random {
        Dice(&self.cluster.ground)
    }
}

/// A running manager.
pub(crate) struct Process {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) host: HostId,
    pub(crate) raft_id: RaftId,
    pub(crate) raft: RaftNode,
    pub(crate) drive: DriveHandle,
    pub(crate) sessions: Mutex<BTreeMap<NodeId, Session>>,
    db: StateDb,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "manager {} on host {}", self.raft_id, self.host)
    }
}

impl Process {
    /// Starts the manager of a host with what is on its disk.
    pub(crate) async fn start(
        cluster: &Arc<Cluster>,
        host: HostId,
        raft_id: RaftId,
    ) -> Result<Arc<Self>, String> {
        let at = cluster.host(host);
        let db = at.disk.open();
        let (history, sabotage) = (Arc::clone(&cluster.history), cluster.ground.sabotage);
        let machine = Observed::open(db.clone(), raft_id, history, sabotage);
        let machine = machine.map_err(|error| error.to_string())?;
        let store = machine.shared();
        let transport = Transport {
            cluster: Arc::clone(cluster),
            host,
            node_id: at.node_id.clone(),
            db: db.clone(),
        };
        let config = config().map_err(|error| error.to_string())?;
        let log = LogStore(db.clone());
        let raft = openraft::Raft::new(raft_id, config, transport, log, machine);
        let raft = raft.await.map_err(|error| error.to_string())?;
        let seat = Seat {
            cluster: Arc::clone(cluster),
            host,
        };
        let raft = RaftNode::new(seat, raft, store, raft_id, at.as_member()).await;
        let raft = raft.map_err(|error| error.to_string())?;
        let (drive, leading) = drive::new(raft.clone());
        let process = Arc::new(Self {
            cluster: Arc::clone(cluster),
            host,
            raft_id,
            raft: raft.clone(),
            drive,
            sessions: Mutex::default(),
            db,
        });
        cluster.ground.trace(format_args!("start {process:?}"));
        cluster.set_process(host, Some(Arc::clone(&process)));
        spawn(Arc::clone(&process).watch_leadership());
        spawn(leading.run());
        spawn(compaction::run(raft));
        Ok(process)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.db.is_alive()
    }

    pub(crate) fn store(&self) -> &swarm_manager_replica::SharedStore {
        self.raft.store()
    }

    /// The term in which this manager leads, as far as it knows.
    pub(crate) fn leads(&self) -> Option<u64> {
        match self.raft.leadership() {
            Leadership::Here { term } if self.is_alive() => Some(term),
            Leadership::Here { .. } | Leadership::Elsewhere(_) | Leadership::Nobody => None,
        }
    }

    /// Who leads, as far as this manager knows, once somebody does that is heard here.
    pub(crate) async fn leader_host(&self) -> Option<HostId> {
        match self.raft.await_speaking_leader(LEADER_PATIENCE).await {
            Leadership::Here { .. } => Some(self.host),
            Leadership::Elsewhere(member) => self.cluster.host_at(&member),
            Leadership::Nobody => None,
        }
    }

    /// Tells the invariant who leads.
    async fn watch_leadership(self: Arc<Self>) {
        let mut metrics = self.raft.raft().server_metrics();
        let life = self.cluster.ground.below(u64::MAX);
        let mut led = None;
        loop {
            let now = metrics.borrow_watched().clone();
            let leads = now.state == openraft::ServerState::Leader && self.is_alive();
            let term = leads.then_some((now.vote.leader_id.term, now.vote.leader_id.node_id));
            if let Some(term) = term {
                let mut history = lock(&self.cluster.history.inner);
                let verdict = one_leader::note(&mut history, term, self.raft_id, life);
                history.judge(verdict);
            }
            if led != term {
                let ground = &self.cluster.ground;
                ground.trace(format_args!("{self:?} leads {led:?} -> {term:?}"));
                led = term;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// What a process says that died meanwhile is heard by nobody.
    fn spoken<T>(&self, outcome: Result<T, ControlError>) -> Result<T, ControlError> {
        if self.is_alive() {
            return outcome;
        }
        Err(ControlError::new(Code::Unavailable, "the manager died"))
    }

    pub(crate) async fn linearize(&self) -> Result<(), ControlError> {
        self.spoken(self.raft.linearize().await)
    }

    /// Decides and commits as the control API does; gives the place, which is 0 if there was nothing to write, and what was
    /// written there.
    pub(crate) async fn write(
        &self,
        decide: impl Fn(&Store, Timestamp) -> Result<Transaction, ControlError> + Send + Sync,
    ) -> Result<(u64, Transaction), ControlError> {
        let decide = |store: &Store, now| {
            let transaction = decide(store, now)?;
            Ok((transaction.clone(), transaction))
        };
        let written = write(&self.raft, false, decide).await;
        let Written { result, index } = self.spoken(written)?;
        Ok((index.unwrap_or(0), result))
    }

    /// Nodes of members that do not answer.
    pub(crate) fn unreachable(&self) -> BTreeSet<NodeId> {
        let members = self.raft.members().into_values();
        let runs = |host| self.cluster.process(host).is_some();
        members
            .filter(|member| !self.cluster.host_at(member).is_some_and(runs))
            .filter_map(|member| member.node_id.parse().ok())
            .collect()
    }

    /// Hands the leadership to another voter that is up to date.
    pub(crate) async fn hand_over(&self) {
        let heir = self.raft.hand_over().await;
        let trace = format_args!("{self:?} hands over to {heir:?}");
        self.cluster.ground.trace(trace);
    }

    /// Gives a node that is to be a manager a number (`raft_id` 0), or makes it a voter; says which nodes were removed, and up to
    /// which place in the log that is all of them.
    pub(crate) async fn join(
        &self,
        host: HostId,
        raft_id: RaftId,
    ) -> Result<(RaftId, RemovedNodes, u64), ControlError> {
        let joining = self.cluster.host(host);
        let (node, addr) = (&joining.node_id, joining.manager_addr());
        let reachable = self.reach(host);
        let number = self.spoken(self.raft.join(node, addr, raft_id, reachable).await)?;
        let (index, removed) = (self.store().read().index(), self.store().removed_nodes());
        Ok((number, removed, index))
    }

    /// Asks the joining manager for an answer.
    async fn reach(&self, host: HostId) -> Result<(), ControlError> {
        let network = &self.cluster.network;
        let asked = async {
            network.stream(self.host, host).await.ok()?;
            self.cluster.process(host)?;
            network.stream(host, self.host).await.ok()
        };
        let answer = within(REACH_TIMEOUT, asked).await.flatten();
        answer.ok_or_else(|| ControlError::new(Code::FailedPrecondition, "no answer"))
    }

    /// Randomness for core.
    pub(crate) fn dice(&self) -> Dice<'_> {
        Dice(&self.cluster.ground)
    }
}
