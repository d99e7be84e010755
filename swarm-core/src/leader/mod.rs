//! The leader's controllers as one level-triggered step: read what changed since the last step, decide, and return one
//! transaction. Nothing here must survive: everything that matters is in the store, and a new leader starts from it.
//!
//! ```text
//!  store changes ─► dirty services, nodes, tasks ─► allocator ─► orchestrators ─► allocator ─► scheduler ─► reaper
//!                              ▲                                                                             │
//!                              └────────────── transaction through Raft, applied by every manager ◄──────────┘
//! ```
//!
//! What is dirty stays dirty until a step has nothing to write, so a transaction that loses a race is decided again.

mod reports;
mod session;
mod settle;
mod sync;

use alloc::collections::{BTreeMap, BTreeSet};

pub use reports::{Decided, Pace, Report};
pub use session::{HeartbeatTimes, Left, SessionId};

use crate::{
    ca::{forget_ended, settle_rotation},
    id::{NodeId, Random, ServiceId, TaskId},
    orchestrator::Started,
    scheduler::Placements,
    store::{Draft, Store, Transaction},
    time::Timestamp,
};

/// What a step decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be proposed; `None` when there is nothing to do. Call again after it was applied (or refused).
    pub transaction: Option<Transaction>,
    /// Call again at this moment even if nothing happens.
    pub wake_at: Option<Timestamp>,
}

/// Volatile state of the leading manager: sessions of agents, what has to be looked at, and when.
#[derive(Debug, Default)]
pub struct Leader {
    sessions: session::Sessions,
    /// Store index up to which changes are accounted for; `None` before the first step.
    seen: Option<u64>,
    dirty: Dirty,
    /// Moments at which a service has to be looked at again.
    timers: BTreeMap<ServiceId, Timestamp>,
    /// What runs where, for the scheduler.
    placements: Placements,
    /// Every reporting node's kernel reflects the store at this index.
    barrier: u64,
    /// Services with tasks that wait for the nodes to take them out of traffic.
    draining: BTreeSet<ServiceId>,
    /// When tasks were first seen running.
    started: BTreeMap<TaskId, Started>,
}

/// What has to be looked at.
#[derive(Debug, Default)]
struct Dirty {
    services: BTreeSet<ServiceId>,
    nodes: BTreeSet<NodeId>,
    /// New tasks without addresses.
    unallocated: BTreeSet<TaskId>,
    /// Tasks without a node.
    unplaced: BTreeSet<TaskId>,
    /// Something changed that may make room for unplaced tasks.
    room: bool,
    networks: bool,
}

impl Leader {
    /// The state of a manager that begins to lead.
    pub fn new(now: Timestamp) -> Self {
        Self {
            sessions: session::Sessions::new(now),
            ..Self::default()
        }
    }

    /// Looks at what changed and decides. Call after every commit and at `wake_at`, until no transaction comes back.
    pub fn step(&mut self, store: &Store, now: Timestamp, rng: &mut dyn Random) -> Step {
        self.sync(store);
        self.expire_timers(now);
        self.advance_barrier();
        let mut draft = Draft::new(store, now);
        let late = self.sessions.detect(&mut draft);
        if let Some(cluster) = draft.cluster()
            && let Some(next) = settle_rotation(cluster, draft.nodes(), rng)
        {
            draft.put_cluster(next);
        }
        if let Some(next) = draft.cluster().and_then(|found| forget_ended(found, now)) {
            draft.put_cluster(next);
        }
        self.settle(&mut draft, rng);
        let transaction = Some(draft.into_transaction()).filter(|found| !found.is_empty());
        if transaction.is_none() {
            self.dirty = Dirty {
                unallocated: core::mem::take(&mut self.dirty.unallocated),
                unplaced: core::mem::take(&mut self.dirty.unplaced),
                ..Dirty::default()
            };
        }
        let timer = self.timers.values().min().copied();
        let removed = store.cluster().and_then(|found| found.removed.next_end());
        Step {
            transaction,
            wake_at: [late, timer, removed].into_iter().flatten().min(),
        }
    }

    /// Services that wait for the nodes are looked at again when the last node has caught up a little.
    fn advance_barrier(&mut self) {
        let reached = self.sessions.programmed();
        if reached != self.barrier {
            self.barrier = reached;
            self.dirty.services.append(&mut self.draining);
        }
    }

    /// Services whose moment has come are looked at again.
    fn expire_timers(&mut self, now: Timestamp) {
        let due = self.timers.extract_if(.., |_service, at| *at <= now);
        let due: BTreeSet<ServiceId> = due.map(|(service, _at)| service).collect();
        self.dirty.services.extend(due);
    }
}

#[cfg(test)]
mod tests;
