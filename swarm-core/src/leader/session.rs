//! Sessions of agents: who is there, who is late, and which store state each node has programmed.
//!
//! An agent sends a heartbeat every tenth of the cluster's heartbeat period (not more often than every 500 ms); a node
//! that is silent for five of those is down: 2.5 s with Docker's default period of 5 s. A node whose session *closed*
//! still has a living host behind it (its kernel said good-bye) and is probably restarting its agent, which must not
//! cost its tasks: it has three whole periods to come back. So has every node after a change of leader.

use alloc::{borrow::ToOwned as _, collections::BTreeMap, format, string::String, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Leader;
use crate::{
    control::{Code, ControlError},
    id::{NodeId, TaskId},
    model::{Cluster, ClusterSpec, Node, NodeState, TaskState, TaskStatus, transition},
    orchestrator::ENFORCED,
    store::{Draft, Store},
    time::Timestamp,
};

/// Shortest time between heartbeats of one agent.
const MIN_HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// Missed heartbeats after which a silent node is down.
const MISSED_HEARTBEATS: u32 = 5;
/// Heartbeat periods that a node has to come back after its session closed or the leader changed.
const GRACE_PERIODS: u32 = 3;
/// What `node inspect` says after a change of leader (SwarmKit's text).
const LEADERSHIP_CHANGED: &str =
    "Node moved to \"unknown\" state due to leadership change in cluster";

/// Identifies one session of an agent; chosen by the manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

/// The intervals that follow from the cluster's heartbeat period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatTimes {
    /// Between two heartbeats of an agent.
    pub interval: Duration,
    /// Silence after which a node is down.
    pub silence: Duration,
    /// Time to come back after a closed session or a change of leader.
    pub grace: Duration,
}

impl HeartbeatTimes {
    /// The intervals for a cluster.
    pub fn new(spec: &ClusterSpec) -> Self {
        let interval = (spec.heartbeat_period / 10).max(MIN_HEARTBEAT_INTERVAL);
        let silence = interval.saturating_mul(MISSED_HEARTBEATS);
        let grace = spec.heartbeat_period.saturating_mul(GRACE_PERIODS);
        Self {
            interval,
            silence,
            grace: grace.max(silence),
        }
    }

    fn of(cluster: Option<&Cluster>) -> Self {
        match cluster {
            Some(cluster) => Self::new(&cluster.spec),
            None => Self::new(&ClusterSpec::default()),
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The stream broke or the agent stopped; it may come back.
    Closed,
    /// The node left the cluster.
    ForGood,
}

/// All sessions, and nodes that should have one.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// When this manager began to lead.
    began: Timestamp,
    /// Whether nodes that the previous leader knew were moved to Unknown.
    took_over: bool,
    nodes: BTreeMap<NodeId, Session>,
}

#[derive(Debug, Default)]
struct Session {
    /// `None` while the node has no session.
    id: Option<SessionId>,
    /// When the node is late.
    deadline: Timestamp,
    /// Store index that each assignment generation sent to the node reflects.
    sent: BTreeMap<u64, u64>,
    /// Store index the node's kernel reflects; `None` until it acknowledged something.
    programmed: Option<u64>,
}

impl Sessions {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            began: now,
            ..Self::default()
        }
    }

    pub(super) fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// Marks late nodes as down; returns the next moment at which one may be late.
    pub(super) fn detect(&mut self, draft: &mut Draft<'_>) -> Option<Timestamp> {
        let times = HeartbeatTimes::of(draft.cluster());
        let now = draft.now();
        let mut next: Option<Timestamp> = None;
        let mut changed: Vec<Node> = Vec::new();
        for node in draft.nodes() {
            if node.status.state == NodeState::Down {
                continue;
            }
            // Nodes that were there before have their time from the beginning of this leader, new ones from now.
            let known_since = if self.took_over { now } else { self.began };
            let session = self
                .nodes
                .entry(node.id.clone())
                .or_insert_with(|| Session {
                    deadline: known_since + times.grace,
                    ..Session::default()
                });
            if session.deadline <= now {
                let message = match session.id.take() {
                    Some(_) => "heartbeat failure",
                    None => "heartbeat failure for node without a session",
                };
                changed.push(moved(node, NodeState::Down, message, now));
                continue;
            }
            let known = node.status.state != NodeState::Unknown;
            if !self.took_over && session.id.is_none() && known {
                changed.push(moved(node, NodeState::Unknown, LEADERSHIP_CHANGED, now));
            }
            let deadline = session.deadline;
            next = Some(next.map_or(deadline, |next| next.min(deadline)));
        }
        // Repeated until a step had nothing to write, so that a lost race is noticed.
        self.took_over |= changed.is_empty();
        for node in changed {
            draft.put_node(node);
        }
        next
    }

    /// The store index that every node with a session has programmed. Nodes that never acknowledge are not waited for.
    pub(super) fn programmed(&self) -> u64 {
        let present = self.nodes.values().filter(|session| session.id.is_some());
        present
            .filter_map(|session| session.programmed)
            .min()
            .unwrap_or(u64::MAX)
    }
}

pub(super) fn moved(node: &Node, state: NodeState, message: &str, now: Timestamp) -> Node {
    let mut node = node.clone();
    if node.status.state != state {
        node.status.since = now;
    }
    node.status.state = state;
    message.clone_into(&mut node.status.message);
    node
}

impl Leader {
    /// From here on this is the node's session.
    pub(super) fn open_session(
        &mut self,
        cluster: Option<&Cluster>,
        node: &NodeId,
        session: SessionId,
        now: Timestamp,
    ) {
        let times = HeartbeatTimes::of(cluster);
        let entry = self.sessions.nodes.entry(node.clone()).or_default();
        *entry = Session {
            id: Some(session),
            deadline: now + times.silence,
            ..Session::default()
        };
    }

    /// An agent was heard from. Returns whether the session is the current one; if not, the agent must open a new one.
    pub fn heartbeat(
        &mut self,
        store: &Store,
        node: &NodeId,
        session: &SessionId,
        now: Timestamp,
    ) -> bool {
        let times = HeartbeatTimes::of(store.cluster());
        match self.sessions.nodes.get_mut(node) {
            Some(entry) if entry.id.as_ref() == Some(session) => {
                entry.deadline = now + times.silence;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The session ended, and the node's time to come back begins. Returns whether it was the current one, so that
    /// [`Report::Left`](super::Report::Left) is to follow.
    pub fn close_session(
        &mut self,
        store: &Store,
        node: &NodeId,
        session: &SessionId,
        now: Timestamp,
    ) -> bool {
        let times = HeartbeatTimes::of(store.cluster());
        let entry = self.sessions.nodes.get_mut(node);
        let Some(entry) = entry.filter(|entry| entry.id.as_ref() == Some(session)) else {
            return false;
        };
        entry.id = None;
        entry.deadline = now + times.grace;
        true
    }

    /// The current session of a node.
    pub fn session(&self, node: &NodeId) -> Option<&SessionId> {
        self.sessions.nodes.get(node)?.id.as_ref()
    }

    /// Assignments of `generation` were sent to a node; they reflect the store at `index`. Call it again with the same
    /// generation when a later store state needed no new assignments.
    pub fn assignments_sent(&mut self, node: &NodeId, generation: u64, index: u64) {
        if let Some(entry) = self.sessions.nodes.get_mut(node) {
            entry.sent.insert(generation, index);
            let acknowledged = entry.programmed.is_some() && entry.sent.len() == 1;
            if acknowledged {
                entry.programmed = Some(index);
            }
        }
    }

    /// A node has programmed this generation of its assignments into its kernel.
    pub fn programmed(&mut self, node: &NodeId, generation: u64) {
        let Some(entry) = self.sessions.nodes.get_mut(node) else {
            return;
        };
        let newer = entry.sent.split_off(&generation.saturating_add(1));
        let reached = entry
            .sent
            .last_key_value()
            .map(|(last, index)| (*last, *index));
        entry.sent = newer;
        if let Some((last, index)) = reached {
            entry.programmed = entry.programmed.max(Some(index));
            // Kept, so that "nothing new for this node" can move the generation's index on.
            if entry.sent.is_empty() {
                entry.sent.insert(last, index);
            }
        }
    }
}

/// What the report of one node on one task changes. Reports on other nodes' tasks and steps backwards are dropped: an agent that
/// was away may report what the cluster has long given up on.
pub(super) fn take_status(draft: &mut Draft<'_>, node: &NodeId, id: &TaskId, status: TaskStatus) {
    let Some(task) = draft.task(id).filter(|task| task.node == *node) else {
        return;
    };
    let mut task = task.clone();
    let next = merged(&task.status, status);
    let moved = transition::advance(transition::Component::Agent, &mut task.status, next);
    if moved.is_ok() {
        draft.put_task(task);
    }
}

/// A node whose session ended.
pub(super) fn left(node: &Node, why: Left, now: Timestamp) -> Node {
    match why {
        Left::Closed => moved(
            node,
            NodeState::Disconnected,
            "the agent closed its session",
            now,
        ),
        Left::ForGood => moved(node, NodeState::Down, "the node left the swarm", now),
    }
}

/// A task that was taken off its node because of the constraints ends as rejected, with that reason (SwarmKit's view).
fn merged(current: &TaskStatus, mut next: TaskStatus) -> TaskStatus {
    if current.err == ENFORCED {
        ENFORCED.clone_into(&mut next.err);
        if next.state.is_terminal() {
            next.state = TaskState::Rejected;
            "task rejected by constraint enforcer".clone_into(&mut next.message);
        }
    }
    next
}

pub(super) fn find<'a>(stored: Option<&'a Node>, node: &NodeId) -> Result<&'a Node, ControlError> {
    stored.ok_or_else(|| ControlError::new(Code::NotFound, format!("node {node} not found")))
}
