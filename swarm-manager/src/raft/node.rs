//! This manager as a member of Raft: start, the first member, joining and leaving, proposing, who leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use openraft::{
    ChangeMembers, Config, Instant as _, ReadPolicy, SnapshotPolicy,
    async_runtime::watch::WatchReceiver as _,
    errors::{
        ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError,
        RaftError,
    },
};
use swarm_core::{
    control::{Code, ControlError},
    store::Transaction,
};
use swarm_proto::tls;
use tokio::sync::watch;

use super::{
    database::{StateDb, ThisMember},
    log_store::LogStore,
    snapshot::SnapshotDir,
    state_machine::{SharedStore, StateMachine},
    transport::Transport,
    types::{Command, Member, Raft, RaftId, TypeConfig},
};

/// Docker's text for a cluster that cannot decide.
pub(crate) const NO_LEADER: &str = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
/// How the text begins that names a new leader. Nothing was written when it is given.
pub(crate) const LEADER_MOVED: &str = "the leader is now";
/// How long a write may wait for a majority.
const WRITE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a new member may take to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(20);
/// Short ticks: a killed leader is replaced within a second. A follower asks for votes when it has not heard from the leader for
/// the maximum (the leader's lease) and then a random time between both: 450 to 600 ms. The minimum also bounds the round trip
/// of a vote, its sync included.
const HEARTBEAT_MS: u64 = 100;
const ELECTION_MIN_MS: u64 = 150;
const ELECTION_MAX_MS: u64 = 300;
/// A leader without a majority keeps quiet for this long at a time, so that those who hear it but are not heard elect another.
const QUORUM_PROBE_MS: u64 = 700;
/// Without an answer from a majority for this long a leader no longer counts itself as one: others have long elected another.
const QUORUM_SILENCE: Duration = Duration::from_secs(1);
/// How often a leader asks itself whether a majority still answers it.
const QUORUM_CHECK: Duration = Duration::from_millis(250);
/// A leader that was not heard for this long is not asked for anything; the next message of it, or of its successor, is awaited.
const LEADER_SILENCE: Duration = Duration::from_millis(350);
/// How long an heir may take to lead, and how recently it must have answered.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
const HEIR_HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How far behind a manager may be that is to take over the leadership.
const MAX_HEIR_LAG: u64 = 500;

/// Raft could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The state on disk cannot be read.
    #[error("the state on disk cannot be read: {0}")]
    State(#[from] io::Error),
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] openraft::ConfigError),
    /// Refused by openraft.
    #[error("raft: {0}")]
    Raft(String),
}

/// Where the leader is, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// This manager leads, in this term.
    Here { term: u64 },
    /// Another one does.
    Elsewhere(Member),
    /// Nobody, as far as is known here.
    Nobody,
}

/// This manager's consensus. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RaftNode {
    raft: Raft,
    store: SharedStore,
    this: ThisMember,
    db: StateDb,
    snapshots: SnapshotDir,
    heard: Arc<watch::Sender<Option<Heard>>>,
}

/// The last message of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    leader: RaftId,
    at: Instant,
}

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode")
            .field("this", &self.this)
            .finish_non_exhaustive()
    }
}

impl RaftNode {
    /// Starts Raft with what is on disk.
    pub(crate) async fn start(
        db: &StateDb,
        this: ThisMember,
        identity: Arc<tls::Identity>,
    ) -> Result<Self, StartError> {
        let config = Config {
            cluster_name: "swarm".to_owned(),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_MIN_MS,
            election_timeout_max: ELECTION_MAX_MS,
            enable_pre_vote: Some(true),
            quorum_loss_probe_interval: Some(QUORUM_PROBE_MS),
            // A leader that was killed may have been replaced: it asks for votes like everyone else.
            enable_leader_restore: Some(false),
            // Both are the cluster's settings, which change while we run: see `compaction`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        };
        let machine = StateMachine::open(db.clone())?;
        let store = machine.shared();
        let raft = Raft::new(
            this.raft_id,
            Arc::new(config.validate()?),
            Transport::new(identity),
            LogStore::open(db.clone())?,
            machine,
        )
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;
        Ok(Self {
            raft,
            store,
            this,
            heard: Arc::default(),
            db: db.clone(),
            snapshots: db.snapshot_dir().clone(),
        })
    }

    /// Makes this manager the only member of a new cluster.
    pub(crate) async fn initialize(&self) -> Result<(), StartError> {
        let members = BTreeMap::from([(self.this.raft_id, self.this.member.clone())]);
        self.raft
            .initialize(members)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Where arriving snapshots are written.
    pub(crate) fn snapshot_dir(&self) -> &SnapshotDir {
        &self.snapshots
    }

    pub(crate) fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The state on disk.
    pub(crate) fn db(&self) -> &StateDb {
        &self.db
    }

    pub(crate) fn this(&self) -> &ThisMember {
        &self.this
    }

    /// Who leads, as known here and now. A leader that no majority answers is none.
    pub(crate) fn leadership(&self) -> Leadership {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let Some(leader) = metrics.current_leader else {
            return Leadership::Nobody;
        };
        if leader == self.this.raft_id {
            return match metrics.state {
                openraft::ServerState::Leader if self.has_quorum() => Leadership::Here {
                    term: metrics.vote.leader_id.term,
                },
                openraft::ServerState::Leader
                | openraft::ServerState::Learner
                | openraft::ServerState::Follower
                | openraft::ServerState::Candidate
                | openraft::ServerState::Shutdown => Leadership::Nobody,
            };
        }
        let member = metrics.membership_config.membership().get_node(&leader);
        member
            .cloned()
            .map_or(Leadership::Nobody, Leadership::Elsewhere)
    }

    /// Whether a majority answered this leader lately. One that just began has heard nobody yet.
    fn has_quorum(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let alone = metrics.membership_config.voter_ids().count() == 1;
        alone
            || metrics
                .last_quorum_acked
                .is_none_or(|last| last.elapsed() < QUORUM_SILENCE)
    }

    /// Notes a message of the leader.
    pub(crate) fn note_leader(&self, leader: RaftId) {
        let at = Instant::now();
        self.heard.send_replace(Some(Heard { leader, at }));
    }

    /// Whether the leader spoke lately; of this manager itself yes.
    fn heard_lately(&self) -> bool {
        let Some(leader) = self.raft.server_metrics().borrow_watched().current_leader else {
            return false;
        };
        let heard = *self.heard.borrow();
        leader == self.this.raft_id
            || heard.is_some_and(|last| last.leader == leader && last.at.elapsed() < LEADER_SILENCE)
    }

    /// Waits until somebody leads; gives the leadership as it is then or at the deadline.
    pub(crate) async fn await_leader(&self, limit: Duration) -> Leadership {
        self.await_leader_if(limit, |_leadership| true).await
    }

    /// Waits for a leader that speaks: one that fell silent is about to be replaced, and what it is sent meanwhile may be lost.
    pub(crate) async fn await_speaking_leader(&self, limit: Duration) -> Leadership {
        self.await_leader_if(limit, |leadership| match leadership {
            Leadership::Here { .. } => true,
            Leadership::Elsewhere(_) => self.heard_lately(),
            Leadership::Nobody => false,
        })
        .await
    }

    async fn await_leader_if(
        &self,
        limit: Duration,
        good: impl Fn(&Leadership) -> bool,
    ) -> Leadership {
        let mut metrics = self.raft.metrics();
        let mut heard = self.heard.subscribe();
        let wait = async {
            loop {
                let leadership = self.leadership();
                if leadership != Leadership::Nobody && good(&leadership) {
                    return leadership;
                }
                let open = tokio::select! {
                    changed = metrics.changed() => changed.is_ok(),
                    changed = heard.changed() => changed.is_ok(),
                };
                if !open {
                    return Leadership::Nobody;
                }
            }
        };
        tokio::time::timeout(limit, wait)
            .await
            .unwrap_or(Leadership::Nobody)
    }

    /// Returns when `leader` is no longer the leader as far as is known here.
    pub(crate) async fn until_replaced(&self, leader: &Member) {
        let mut metrics = self.raft.server_metrics();
        let led = Leadership::Elsewhere(leader.clone());
        while self.leadership() == led && metrics.changed().await.is_ok() {}
    }

    /// Returns when this manager no longer leads in `term`, or no majority answers it.
    pub(crate) async fn until_deposed(&self, term: u64) {
        let mut metrics = self.raft.server_metrics();
        let mut check = tokio::time::interval(QUORUM_CHECK);
        while self.leadership() == (Leadership::Here { term }) {
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                _ = check.tick() => {}
            }
        }
    }

    /// Commits a transaction and applies it. Only the leader can.
    pub(crate) async fn propose(&self, transaction: Transaction) -> Result<(), ControlError> {
        if transaction.is_empty() {
            return Ok(());
        }
        let write = self.raft.client_write(Command(transaction));
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(written)) => written.data,
            Ok(Err(error)) => Err(refused(&error)),
            Err(_elapsed) => Err(ControlError::new(Code::DeadlineExceeded, NO_LEADER)),
        }
    }

    /// Returns once the store here holds everything that was committed before the call. Only on the leader.
    pub(crate) async fn linearize(&self) -> Result<(), ControlError> {
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match tokio::time::timeout(WRITE_TIMEOUT, read).await {
            Ok(Ok(_log_id)) => Ok(()),
            Ok(Err(error)) => Err(unreadable(&error)),
            Err(_elapsed) => Err(ControlError::new(Code::DeadlineExceeded, NO_LEADER)),
        }
    }

    /// Makes another manager a voter: first a learner that catches up, then a member that counts.
    pub(crate) async fn add_voter(&self, id: RaftId, member: Member) -> Result<(), ControlError> {
        let join = async {
            self.raft.add_learner(id, member, true).await?;
            let promote = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            self.raft.change_membership(promote, false).await?;
            Ok::<(), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>(())
        };
        let failure = match tokio::time::timeout(CATCH_UP_TIMEOUT, join).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => refused(&error),
            Err(_elapsed) => ControlError::new(
                Code::DeadlineExceeded,
                "the joining manager did not catch up in time; can the other managers reach its advertised address?",
            ),
        };
        if let Err(error) = self.remove_member(id).await {
            tracing::warn!(raft_id = id, %error, "a learner that was not admitted stays for now");
        }
        Err(failure)
    }

    /// Writes where a member is reached now.
    pub(crate) async fn set_address(&self, id: RaftId, member: Member) -> Result<(), ControlError> {
        let change = ChangeMembers::SetNodes(BTreeMap::from([(id, member)]));
        self.change_members(change).await
    }

    /// Ends a membership, of a voter or of a learner; nothing happens if there is none.
    pub(crate) async fn remove_member(&self, id: RaftId) -> Result<(), ControlError> {
        if self.voters().contains_key(&id) {
            return self.remove_voter(id).await;
        }
        if self.members().contains_key(&id) {
            let removal = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
            return self.change_members(removal).await;
        }
        Ok(())
    }

    async fn change_members(
        &self,
        change: ChangeMembers<RaftId, Member>,
    ) -> Result<(), ControlError> {
        let change = self.raft.change_membership(change, false);
        match tokio::time::timeout(WRITE_TIMEOUT, change).await {
            Ok(Ok(_written)) => Ok(()),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_elapsed) => Err(ControlError::new(Code::DeadlineExceeded, NO_LEADER)),
        }
    }

    /// Ends a member's membership. A leader that removes itself hands over first.
    pub(crate) async fn remove_voter(&self, id: RaftId) -> Result<(), ControlError> {
        self.change_members(ChangeMembers::RemoveVoters(BTreeSet::from([id])))
            .await
    }

    /// Hands the leadership to another voter that is up to date; `None` if there is none (openraft must not be asked then:
    /// a transfer within a cluster of one blocks writes for good).
    pub(crate) async fn hand_over(&self) -> Option<RaftId> {
        let target = self.heir()?;
        if let Err(error) = self.raft.trigger().transfer_leader(target).await {
            tracing::warn!(%error, "leadership cannot be handed over");
            return None;
        }
        let other = |metrics: &openraft::RaftMetrics<TypeConfig>| {
            metrics
                .current_leader
                .is_some_and(|id| id != self.this.raft_id)
        };
        let wait = self.raft.wait(Some(HAND_OVER_TIMEOUT));
        match wait.metrics(other, "another leader").await {
            Ok(_) => Some(target),
            Err(error) => {
                tracing::warn!(%error, "leadership was not taken over");
                None
            }
        }
    }

    /// Of the voters that answered the last heartbeats, the one that has most of the log: a transfer to one that is silent costs
    /// an election.
    fn heir(&self) -> Option<RaftId> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let last = metrics.last_log_index.unwrap_or(0);
        let (replication, heartbeat) = (metrics.replication?, metrics.heartbeat?);
        let answers = |id: &RaftId| {
            let heard = heartbeat.get(id).copied().flatten();
            heard.is_some_and(|moment| moment.elapsed() < HEIR_HEARD_WITHIN)
        };
        let matched = |id: &RaftId| {
            let matched = replication.get(id).copied().flatten();
            matched.map_or(0, |log| log.index)
        };
        let voters = metrics.membership_config.voter_ids();
        voters
            .filter(|id| *id != self.this.raft_id && answers(id))
            .filter(|id| last.saturating_sub(matched(id)) < MAX_HEIR_LAG)
            .max_by_key(matched)
    }

    /// Returns when Raft ended by itself, with the reason: the disk refused a write, or holds what it must not.
    pub(crate) async fn failure(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            match &metrics.borrow_watched().running_state {
                Err(fatal @ (Fatal::StorageError(_) | Fatal::Panicked)) => {
                    return fatal.to_string();
                }
                Ok(()) | Err(Fatal::Stopped) => {}
            }
            if metrics.changed().await.is_err() {
                return std::future::pending().await; // it was stopped on purpose
            }
        }
    }

    /// The voters with how to reach them.
    pub(crate) fn voters(&self) -> BTreeMap<RaftId, Member> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership().clone();
        membership
            .voter_ids()
            .filter_map(|id| Some((id, membership.get_node(&id)?.clone())))
            .collect()
    }

    /// The voters and the learners with how to reach them.
    pub(crate) fn members(&self) -> BTreeMap<RaftId, Member> {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership().clone();
        let members = membership.nodes().map(|(id, member)| (*id, member.clone()));
        members.collect()
    }

    /// Stops Raft; the state on disk stays.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
    }
}

fn refused(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ControlError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => elsewhere(forward),
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ControlError::new(
            Code::Unavailable,
            "the leader changed while the request was written; look whether it took effect",
        ),
        // Another change is under way: the same request succeeds after it.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            error @ ChangeMembershipError::InProgress(_),
        )) => ControlError::new(Code::Unavailable, error.to_string()),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            ControlError::new(Code::FailedPrecondition, error.to_string())
        }
        RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => {
            ControlError::new(Code::FailedPrecondition, error.to_string())
        }
        RaftError::Fatal(error) => ControlError::new(Code::Unavailable, format!("raft: {error}")),
    }
}

fn unreadable(error: &RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> ControlError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => elsewhere(forward),
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => {
            ControlError::new(Code::Unavailable, NO_LEADER)
        }
        RaftError::Fatal(error) => ControlError::new(Code::Unavailable, format!("raft: {error}")),
    }
}

fn elsewhere(forward: &ForwardToLeader<TypeConfig>) -> ControlError {
    match &forward.leader_node {
        Some(member) => ControlError::new(
            Code::Unavailable,
            format!("{LEADER_MOVED} {} at {}", member.node_id, member.addr),
        ),
        None => ControlError::new(Code::Unavailable, NO_LEADER),
    }
}
