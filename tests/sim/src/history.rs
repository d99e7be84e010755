//! What really happened, seen from outside of every process: the committed entries, the state they lead to, what clients
//! were told. The invariants are checked against it as it grows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use swarm_core::store::Store;

use crate::{
    ground::{Ground, lock},
    invariants::{
        acknowledged_writes_stay, addresses_are_unique, linearizable, one_leader,
        removed_are_unheard, same_state,
    },
    raft::types::{Command, LogId, RaftId},
};

/// The history as everybody in the simulation reaches it.
#[derive(Debug)]
pub(crate) struct SharedHistory {
    pub(crate) inner: Mutex<History>,
}

/// An entry that some member has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) id: LogId,
    /// `None` if it is one of openraft's own.
    pub(crate) command: Option<Command>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    ground: Arc<Ground>,
    /// By index, without holes from 0.
    pub(crate) entries: Vec<Applied>,
    /// The state after `entries`.
    pub(crate) store: Store,
    /// States at some indexes, as the first member there had them.
    pub(crate) milestones: BTreeMap<u64, Store>,
    pub(crate) leaders: one_leader::Leaders,
    pub(crate) order: linearizable::Order,
    pub(crate) acknowledged: acknowledged_writes_stay::Acknowledged,
    pub(crate) removals: removed_are_unheard::Removals,
    violation: Option<String>,
}

impl SharedHistory {
    pub(crate) fn new(ground: Arc<Ground>) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(History {
                ground,
                entries: Vec::new(),
                store: Store::new(),
                milestones: BTreeMap::new(),
                leaders: one_leader::Leaders::default(),
                order: linearizable::Order::default(),
                acknowledged: acknowledged_writes_stay::Acknowledged::default(),
                removals: removed_are_unheard::Removals::default(),
                violation: None,
            }),
        })
    }

    /// The first invariant that broke, if any.
    pub(crate) fn violation(&self) -> Option<String> {
        lock(&self.inner).violation().cloned()
    }
}

impl History {
    /// The first invariant that broke, if any.
    pub(crate) fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    /// Notes the first violation; later ones follow from it.
    pub(crate) fn judge(&mut self, verdict: Result<(), String>) {
        if let Err(violation) = verdict {
            self.ground.trace(format_args!("VIOLATION {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    /// A member is about to apply an entry.
    pub(crate) fn applied(&mut self, member: RaftId, id: LogId, command: Option<&Command>) {
        let verdict = same_state::check_entry(self, member, id, command);
        self.judge(verdict);
        if id.index != self.entries.len() as u64 {
            return;
        }
        let changes = command.map_or(0, |command| command.0.changes.len());
        self.ground
            .trace(format_args!("committed {} {changes} changes", id.index));
        self.entries.push(Applied {
            id,
            command: command.cloned(),
        });
        let verdict = one_leader::check_entry(self);
        self.judge(verdict);
        if let Some(command) = command {
            // A transaction may be refused; then it is refused everywhere.
            let outcome = self.store.apply(id.index, command.0.clone());
            match outcome {
                Ok(_events) => self.removals.committed(id.index, command),
                Err(refusal) => self
                    .ground
                    .trace(format_args!("refused {} {refusal}", id.index)),
            }
            let verdict = addresses_are_unique::check(&self.store);
            self.judge(verdict);
        }
    }

    /// A member has applied an entry that changes objects.
    pub(crate) fn changed(&mut self, member: RaftId, store: &Store) {
        self.removals.knows(member, store.index());
        let verdict = same_state::check_changes(self, member, store);
        self.judge(verdict);
    }

    /// A member's whole state, when it makes or gets a snapshot.
    pub(crate) fn whole_state(&mut self, member: RaftId, store: &Store) {
        self.removals.knows(member, store.index());
        let verdict = same_state::check_whole(self, member, store);
        self.judge(verdict);
    }
}
