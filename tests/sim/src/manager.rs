//! A manager process: consensus, what it answers, and what the leader does besides. Follows `swarm-manager`'s `raft/node.rs`,
//! `api/control.rs` and `api/raft.rs` on simulated time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use openraft::{
    ChangeMembers, Config, ReadPolicy, SnapshotPolicy, async_runtime::watch::WatchReceiver as _,
};
use swarm_core::{
    control::{self, Code, ControlError, RaftMember},
    id::NodeId,
    model::{ManagerStatus, Reachability, Role},
    store::{Store, Transaction},
    time::Timestamp,
};
use tokio::sync::mpsc;

use crate::{
    cluster::Cluster,
    drive::{self, Event},
    ground::{Dice, lock, spawn, within},
    invariants::one_leader,
    network::HostId,
    raft::{
        database::StateDb,
        log_store::LogStore,
        observed::Observed,
        state_machine::SharedStore,
        transport::Transport,
        types::{Command, Member, Raft, RaftId},
    },
    session::Session,
};

/// As in the manager.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(20);
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);
/// Smaller than the manager's, so that snapshots happen.
const SNAPSHOT_INTERVAL: u64 = 60;
const KEEP_ENTRIES: u64 = 20;
/// Attempts to decide and write when others write the same objects in between.
const WRITE_ATTEMPTS: u32 = 4;

/// A running manager.
pub(crate) struct Process {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) host: HostId,
    pub(crate) raft_id: RaftId,
    pub(crate) raft: Raft,
    pub(crate) store: SharedStore,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) sessions: Mutex<BTreeMap<NodeId, Session>>,
    /// One change of the members at a time.
    pub(crate) members: tokio::sync::Mutex<()>,
    db: StateDb,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "manager {} on host {}", self.raft_id, self.host)
    }
}

fn no_leader() -> ControlError {
    ControlError::new(Code::Unavailable, "no leader")
}

fn too_late() -> ControlError {
    ControlError::new(Code::DeadlineExceeded, "no majority in time")
}

fn refused(error: impl std::fmt::Display) -> ControlError {
    ControlError::new(Code::Unavailable, error.to_string())
}

fn config() -> Config {
    Config {
        cluster_name: "swarm".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 300,
        election_timeout_max: 600,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_INTERVAL),
        max_in_snapshot_log_to_keep: KEEP_ENTRIES,
        ..Config::default()
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
        let history = Arc::clone(&cluster.history);
        let machine = Observed::open(db.clone(), raft_id, history).map_err(|e| e.to_string())?;
        let store = machine.shared();
        let transport = Transport {
            cluster: Arc::clone(cluster),
            host,
            node_id: at.node_id.to_string(),
            db: db.clone(),
        };
        let config = config().validate().map_err(|error| error.to_string())?;
        let log = LogStore::new(db.clone());
        let raft = Raft::new(raft_id, Arc::new(config), transport, log, machine)
            .await
            .map_err(|error| error.to_string())?;
        let (events, inbox) = mpsc::channel(4096);
        let process = Arc::new(Self {
            cluster: Arc::clone(cluster),
            host,
            raft_id,
            raft,
            store,
            events,
            sessions: Mutex::default(),
            members: tokio::sync::Mutex::default(),
            db,
        });
        cluster.ground.trace(format_args!("start {process:?}"));
        cluster.set_process(host, Some(Arc::clone(&process)));
        spawn(Arc::clone(&process).watch_leadership());
        drive::start(Arc::clone(&process), inbox);
        Ok(process)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.db.is_alive()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cluster.host(self.host).now()
    }

    /// The term in which this manager leads, as far as it knows.
    pub(crate) fn leads(&self) -> Option<u64> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let here = metrics.current_leader == Some(self.raft_id)
            && metrics.state == openraft::ServerState::Leader;
        (here && self.is_alive()).then_some(metrics.vote.leader_id.term)
    }

    /// Who leads, as far as this manager knows.
    pub(crate) fn leader_host(&self) -> Option<HostId> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let leader = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&leader);
        member.map(|member| member.addr)
    }

    /// Tells the invariant who leads.
    async fn watch_leadership(self: Arc<Self>) {
        let mut metrics = self.raft.server_metrics();
        let life = self.cluster.ground.below(u64::MAX);
        loop {
            let now = metrics.borrow_watched().clone();
            if now.state == openraft::ServerState::Leader && self.is_alive() {
                let leader = now.vote.leader_id;
                let term = (leader.term, leader.node_id);
                let mut history = lock(&self.cluster.history.inner);
                let verdict = one_leader::note(&mut history, term, self.raft_id, life);
                history.judge(verdict);
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Commits a transaction; gives its place, which is 0 if there was nothing to write.
    pub(crate) async fn propose(&self, transaction: Transaction) -> Result<u64, ControlError> {
        if transaction.is_empty() {
            return Ok(0);
        }
        let write = self.raft.client_write(Command(transaction));
        match within(WRITE_TIMEOUT, write).await {
            _ if !self.is_alive() => Err(refused("the manager died")),
            Some(Ok(written)) => written.data.map(|()| written.log_id.index),
            Some(Err(error)) => Err(refused(error)),
            None => Err(too_late()),
        }
    }

    pub(crate) async fn linearize(&self) -> Result<(), ControlError> {
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match within(WRITE_TIMEOUT, read).await {
            _ if !self.is_alive() => Err(refused("the manager died")),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(refused(error)),
            None => Err(too_late()),
        }
    }

    /// Decides and commits as the control API does; gives the place and what was written there.
    pub(crate) async fn write(
        &self,
        decide: impl Fn(&Store, Timestamp) -> Result<Transaction, ControlError>,
    ) -> Result<(u64, Transaction), ControlError> {
        self.linearize().await?;
        let mut attempt = 1;
        loop {
            let transaction = decide(&self.store.read(), self.now())?;
            match self.propose(transaction.clone()).await {
                Ok(index) => return Ok((index, transaction)),
                Err(error) if error.code == Code::Unknown && attempt < WRITE_ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn voters(&self) -> BTreeMap<RaftId, Member> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership().clone();
        membership
            .voter_ids()
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .collect()
    }

    /// Voters and learners.
    fn members_of_raft(&self) -> BTreeMap<RaftId, Member> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership().clone();
        let members = membership.nodes().map(|(id, member)| (*id, member.clone()));
        members.collect()
    }

    /// Raft's members as core knows them.
    pub(crate) fn raft_members(&self) -> Vec<RaftMember> {
        let voters = self.voters();
        let members = self.members_of_raft().into_iter();
        members
            .filter_map(|(raft_id, member)| {
                Some(RaftMember {
                    raft_id,
                    node: member.node_id.parse().ok()?,
                    addr: self.cluster.host(member.addr).manager_addr(),
                    voter: voters.contains_key(&raft_id),
                })
            })
            .collect()
    }

    /// Nodes of members that do not answer.
    pub(crate) fn unreachable(&self) -> BTreeSet<NodeId> {
        let members = self.members_of_raft().into_values();
        members
            .filter(|member| self.cluster.process(member.addr).is_none())
            .filter_map(|member| member.node_id.parse().ok())
            .collect()
    }

    async fn add_voter(&self, id: RaftId, member: Member) -> Result<(), ControlError> {
        let join = async {
            let learner = self.raft.add_learner(id, member, true).await;
            learner.map_err(refused)?;
            let promote = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            let voter = self.raft.change_membership(promote, false).await;
            voter.map_err(refused)
        };
        let failure = match within(CATCH_UP_TIMEOUT, join).await {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => error,
            None => too_late(),
        };
        if let Err(error) = self.remove_member(id).await {
            let trace = format_args!("learner {id} stays for now: {error}");
            self.cluster.ground.trace(trace);
        }
        Err(failure)
    }

    async fn change_members(
        &self,
        change: ChangeMembers<RaftId, Member>,
    ) -> Result<(), ControlError> {
        let change = within(WRITE_TIMEOUT, self.raft.change_membership(change, false)).await;
        change.ok_or_else(too_late)?.map(drop).map_err(refused)
    }

    /// Ends a membership, of a voter or of a learner.
    pub(crate) async fn remove_member(&self, id: RaftId) -> Result<(), ControlError> {
        if self.voters().contains_key(&id) {
            let removal = ChangeMembers::RemoveVoters(BTreeSet::from([id]));
            return self.change_members(removal).await;
        }
        if self.members_of_raft().contains_key(&id) {
            let removal = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
            return self.change_members(removal).await;
        }
        Ok(())
    }

    /// Hands the leadership to another voter that is up to date.
    pub(crate) async fn hand_over(&self) -> Option<RaftId> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let last = metrics.last_log_index.unwrap_or(0);
        let replication = metrics.replication?;
        let voters: BTreeSet<RaftId> = metrics.membership_config.voter_ids().collect();
        let target = replication.iter().find_map(|(id, matched)| {
            let lag = last.saturating_sub(matched.as_ref().map_or(0, |log| log.index));
            (*id != self.raft_id && voters.contains(id) && lag < KEEP_ENTRIES).then_some(*id)
        })?;
        self.cluster
            .ground
            .trace(format_args!("hand over {} to {target}", self.raft_id));
        self.raft.trigger().transfer_leader(target).await.ok()?;
        let wait = self.raft.wait(Some(HAND_OVER_TIMEOUT));
        let gone = |metrics: &openraft::RaftMetrics<_>| {
            metrics.current_leader.is_some_and(|id| id != self.raft_id)
        };
        wait.metrics(gone, "another leader").await.ok()?;
        Some(target)
    }

    /// Gives a node that is to be a manager a number (`raft_id` 0), or makes it a voter.
    pub(crate) async fn join(&self, host: HostId, raft_id: RaftId) -> Result<RaftId, ControlError> {
        let joining = self.cluster.host(host);
        if self.leads().is_none() {
            return Err(no_leader());
        }
        self.linearize().await?;
        let wanted = self
            .store
            .read()
            .node(&joining.node_id)
            .map(|node| node.spec.role);
        if wanted != Some(Role::Manager) {
            return Err(refused("this node is not to be a manager"));
        }
        if raft_id == 0 {
            return Ok(self.cluster.ground.below(1 << 48) + 1);
        }
        let _alone = self.members.lock().await;
        let (voters, member) = (self.voters(), joining.as_member());
        let other = voters
            .iter()
            .find(|(id, known)| **id != raft_id && known.node_id == member.node_id);
        if let Some((other, _)) = other {
            self.remove_member(*other).await?;
        }
        if voters.get(&raft_id) != Some(&member) {
            self.add_voter(raft_id, member).await?;
        }
        let status = ManagerStatus {
            raft_id,
            addr: joining.manager_addr(),
            leader: false,
            reachability: Reachability::Reachable,
        };
        let transaction = control::set_manager(
            &self.store.read(),
            &joining.node_id,
            Some(status),
            self.now(),
        )?;
        self.propose(transaction).await?;
        Ok(raft_id)
    }

    /// Randomness for core.
    pub(crate) fn dice(&self) -> Dice<'_> {
        Dice(&self.cluster.ground)
    }
}
