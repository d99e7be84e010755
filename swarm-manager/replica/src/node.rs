//! A manager as a member of Raft: who leads, proposing, reading what was committed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::{
    Config, ConfigError, Instant as _, ReadPolicy, SnapshotPolicy, WatchSender as _,
    alias::{InstantOf, WatchReceiverOf, WatchSenderOf},
    async_runtime::watch::WatchReceiver as _,
    errors::Fatal,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse},
    type_config::TypeConfigExt as _,
};
use swarm_core::{
    ca::RemovedNodes,
    control::{Code, ControlError},
    id::NodeId,
    store::Transaction,
    time::Timestamp,
};

use crate::{
    admit::{Hearing, Message},
    platform::{Platform, Raft, SnapshotOf},
    refusal::{refused, too_late, unreadable},
    store::SharedStore,
    timing::{
        AWAY_AFTER, ELECTION_MAX_MS, ELECTION_MIN_MS, HEARTBEAT_MS, LEADER_SILENCE, NEWS_HOLD,
        QUORUM_CHECK, QUORUM_PROBE_MS, QUORUM_SILENCE, STRANGER_SILENCE, WRITE_TIMEOUT,
    },
    types::{Command, Member, Membership, RaftId, Vote},
};

/// How openraft is set up.
pub fn config() -> Result<Arc<Config>, Box<ConfigError>> {
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
    Ok(Arc::new(config.validate()?))
}

/// Where the leader is, seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This manager leads, in this term.
    Here {
        /// See openraft.
        term: u64,
    },
    /// Another one does.
    Elsewhere(Member),
    /// Nobody, as far as is known here.
    Nobody,
}

/// This manager's consensus. Cheap to clone.
pub struct RaftNode<P: Platform> {
    raft: Raft<P>,
    store: SharedStore,
    raft_id: RaftId,
    member: Member,
    platform: P,
    /// One change of the members at a time.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    heard: Arc<Mutex<HeardSender<P>>>,
    silence: Arc<Mutex<Silence<InstantOf<P::Types>>>>,
}

type HeardSender<P> = WatchSenderOf<<P as Platform>::Types, Option<Heard<P>>>;
type HeardReceiver<P> = WatchReceiverOf<<P as Platform>::Types, Option<Heard<P>>>;

/// How long nothing was heard that tells who the members are.
#[derive(Clone, Copy)]
struct Silence<I> {
    /// When a leader spoke that the membership here names, or this manager led itself; the start, if neither was so.
    named_at: I,
    /// Whether one was so.
    named: bool,
    /// When the others were asked who was removed.
    asked_at: Option<I>,
}

impl<I> Silence<I> {
    fn known_at(&mut self, now: I) {
        self.named_at = now;
        self.named = true;
    }
}

/// The last message of a leader.
struct Heard<P: Platform> {
    leader: RaftId,
    at: InstantOf<P::Types>,
}

impl<P: Platform> Clone for RaftNode<P> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            store: self.store.clone(),
            raft_id: self.raft_id,
            member: self.member.clone(),
            platform: self.platform.clone(),
            changing: Arc::clone(&self.changing),
            heard: Arc::clone(&self.heard),
            silence: Arc::clone(&self.silence),
        }
    }
}

impl<P: Platform> std::fmt::Debug for RaftNode<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode")
            .field("raft_id", &self.raft_id)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> RaftNode<P> {
    /// A consensus that was started with [`config`] and a state machine over `store`, as this member.
    pub async fn new(
        platform: P,
        raft: Raft<P>,
        store: SharedStore,
        raft_id: RaftId,
        member: Member,
    ) -> Result<Self, Fatal<P::Types>> {
        // It answers once it has read its state: before, it seems to know no members and would listen to everybody.
        raft.with_raft_state(|_state| ()).await?;
        let (heard, _receiver) = P::Types::watch_channel(None);
        Ok(Self {
            raft,
            store,
            raft_id,
            member,
            platform,
            changing: Arc::default(),
            heard: Arc::new(Mutex::new(heard)),
            silence: Arc::new(Mutex::new(Silence {
                named_at: P::Types::now(),
                named: false,
                asked_at: None,
            })),
        })
    }

    /// Makes this manager the only member of a new cluster.
    pub async fn initialize(&self) -> Result<(), ControlError> {
        let members = BTreeMap::from([(self.raft_id, self.member.clone())]);
        let refused = |error| ControlError::new(Code::FailedPrecondition, format!("raft: {error}"));
        let made = self.raft.initialize(members).await;
        made.map_err(|error| refused(error.to_string()))
    }

    /// openraft's side.
    pub fn raft(&self) -> &Raft<P> {
        &self.raft
    }

    /// The replicated state.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The member that this manager is.
    pub fn raft_id(&self) -> RaftId {
        self.raft_id
    }

    /// The moment, on this host's clock.
    pub fn now(&self) -> Timestamp {
        self.platform.now()
    }

    /// What this manager runs on.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// Who leads, as known here and now. A leader that no majority answers is none.
    pub fn leadership(&self) -> Leadership {
        let metrics = self.raft.server_metrics().borrow_watched().clone();
        let Some(leader) = metrics.current_leader else {
            return Leadership::Nobody;
        };
        if leader == self.raft_id {
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

    fn heard(&self) -> MutexGuard<'_, HeardSender<P>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the leader spoke lately; of this manager itself yes.
    fn heard_lately(&self) -> bool {
        let Some(leader) = self.raft.server_metrics().borrow_watched().current_leader else {
            return false;
        };
        let sender = self.heard();
        let heard = sender.borrow_watched();
        let lately = |last: &Heard<P>| last.leader == leader && last.at.elapsed() < LEADER_SILENCE;
        leader == self.raft_id || heard.as_ref().is_some_and(lately)
    }

    /// Waits until somebody leads; gives the leadership as it is then or at the deadline.
    pub async fn await_leader(&self, limit: Duration) -> Leadership {
        self.await_leader_if(limit, |_leadership| true).await
    }

    /// Waits for a leader that speaks: one that fell silent is about to be replaced, and what it is sent meanwhile may be lost.
    pub async fn await_speaking_leader(&self, limit: Duration) -> Leadership {
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
        good: impl Fn(&Leadership) -> bool + Send + Sync,
    ) -> Leadership {
        let mut metrics = self.raft.metrics();
        let mut heard: HeardReceiver<P> = self.heard().subscribe();
        let wait = async {
            loop {
                let leadership = self.leadership();
                if leadership != Leadership::Nobody && good(&leadership) {
                    return leadership;
                }
                let open = tokio::select! {
                    biased;
                    changed = metrics.changed() => changed.is_ok(),
                    changed = heard.changed() => changed.is_ok(),
                };
                if !open {
                    return Leadership::Nobody;
                }
            }
        };
        P::Types::timeout(limit, wait)
            .await
            .unwrap_or(Leadership::Nobody)
    }

    /// Returns when `leader` is no longer the leader as far as is known here.
    pub async fn until_replaced(&self, leader: &Member) {
        let mut metrics = self.raft.server_metrics();
        let led = Leadership::Elsewhere(leader.clone());
        while self.leadership() == led && metrics.changed().await.is_ok() {}
    }

    /// Returns when this manager no longer leads in `term`, or no majority answers it. Until then it is not away: it knows of every
    /// removal.
    pub async fn until_deposed(&self, term: u64) {
        let mut metrics = self.raft.server_metrics();
        while self.leadership() == (Leadership::Here { term }) {
            self.silence().known_at(P::Types::now());
            tokio::select! {
                biased;
                changed = metrics.changed() => if changed.is_err() { return },
                () = P::Types::sleep(QUORUM_CHECK) => {}
            }
        }
    }

    /// Commits a transaction and applies it. Only the leader can.
    pub async fn propose(&self, transaction: Transaction) -> Result<(), ControlError> {
        self.commit(transaction).await.map(drop)
    }

    /// As [`propose`](Self::propose); gives the entry's index, `None` if there was nothing to write.
    pub async fn commit(&self, transaction: Transaction) -> Result<Option<u64>, ControlError> {
        if transaction.is_empty() {
            return Ok(None);
        }
        let write = self.raft.client_write(Command(transaction));
        match P::Types::timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(written)) => written.data.map(|()| Some(written.log_id.index)),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_elapsed) => Err(too_late()),
        }
    }

    /// Returns once the store here holds everything that was committed before the call. Only on the leader.
    pub async fn linearize(&self) -> Result<(), ControlError> {
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match P::Types::timeout(WRITE_TIMEOUT, read).await {
            Ok(Ok(_log_id)) => Ok(()),
            Ok(Err(error)) => Err(unreadable(&error)),
            Err(_elapsed) => Err(too_late()),
        }
    }

    /// Takes entries or a heartbeat of a leader, and notes that it spoke.
    pub async fn append_entries(
        &self,
        entries: AppendEntriesRequest<P::Types>,
    ) -> Result<AppendEntriesResponse<P::Types>, ControlError> {
        let leader = entries.vote.leader_id.node_id;
        let answer = self.raft.append_entries(entries).await;
        let failed = |error| ControlError::new(Code::Unavailable, format!("raft: {error}"));
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        match answer {
            AppendEntriesResponse::HigherVote(_) => {}
            AppendEntriesResponse::Success
            | AppendEntriesResponse::PartialSuccess(_)
            | AppendEntriesResponse::Conflict => {
                let at = P::Types::now();
                self.heard().send_if_modified(|heard| {
                    *heard = Some(Heard { leader, at });
                    true
                });
                self.note_named(leader);
            }
        }
        Ok(answer)
    }

    /// Takes a leader's whole state.
    pub async fn install_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<P>,
    ) -> Result<SnapshotResponse<P::Types>, ControlError> {
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let failed = |error| ControlError::new(Code::Unavailable, format!("raft: {error}"));
        let installed = installed.map_err(|error| failed(error.to_string()))?;
        self.note_named(vote.leader_id.node_id);
        Ok(installed)
    }

    fn note_named(&self, leader: RaftId) {
        if self.membership().get_node(&leader).is_some() {
            self.silence().known_at(P::Types::now());
        }
    }

    fn silence(&self) -> MutexGuard<'_, Silence<InstantOf<P::Types>>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the others are to be asked who was removed before anybody is listened to or asked for its vote (rule 9): no leader that
    /// this manager knows has spoken since it started, or for a while.
    pub fn wants_news(&self) -> bool {
        let silence = *self.silence();
        let was_away = !silence.named || silence.named_at.elapsed() >= AWAY_AFTER;
        let is_news = |asked: InstantOf<P::Types>| asked.elapsed() < NEWS_HOLD;
        was_away
            && !silence.asked_at.is_some_and(is_news)
            && !matches!(self.leadership(), Leadership::Here { .. })
    }

    /// Takes what the others said of who was removed; gives whether anything of it is new, and to be noted on disk.
    pub fn take_news(&self, removed: &RemovedNodes) -> bool {
        let is_new = self.store.hear_of_removed(removed);
        self.silence().asked_at = Some(P::Types::now());
        is_new
    }

    /// Whether anything this node says may be taken.
    pub fn may_speak(&self, sender: &NodeId) -> bool {
        self.hearing(sender).may_speak(sender)
    }

    /// Whether a message of this node is taken, which speaks as this member.
    pub fn admits(&self, sender: &NodeId, number: RaftId, message: Message) -> bool {
        self.hearing(sender).listens(sender, number, message)
    }

    fn hearing(&self, sender: &NodeId) -> Hearing {
        let membership = self.membership();
        Hearing {
            silence: self.is_silent(&membership),
            removed: self.store.was_removed(sender),
            membership,
        }
    }

    /// Whether no leader that is known here has spoken for long.
    fn is_silent(&self, membership: &Membership) -> bool {
        // Numbers are never used again: memberships without ours are from before we joined, and say nothing about who leads.
        let is_joining = membership.get_node(&self.raft_id).is_none();
        let is_late = self.silence().named_at.elapsed() >= STRANGER_SILENCE;
        is_joining || is_late && !matches!(self.leadership(), Leadership::Here { .. })
    }

    pub(crate) fn membership(&self) -> Membership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().clone()
    }

    /// Returns when Raft ended by itself, with the reason: the disk refused a write, or holds what it must not.
    pub async fn failure(&self) -> String {
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

    /// Stops Raft; the state on disk stays.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
    }
}
