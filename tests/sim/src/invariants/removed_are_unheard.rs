//! No manager takes a Raft message of a node once it knows that the node was removed: because it has applied the removal, in this
//! life or an earlier one, or because the leader told it so when it joined. What was removed is taken from the log itself,
//! not from what managers remember of it.

use std::collections::BTreeMap;

use swarm_core::{
    id::NodeId,
    store::{Change, ObjectId},
};
use swarm_manager_replica::Message;

use crate::{
    history::History,
    raft::types::{Command, RaftId},
};

/// Who was removed where, and how far each member has come.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// The place of the removal in the log.
    removed: BTreeMap<NodeId, u64>,
    /// The member knows of every removal up to this place.
    known: BTreeMap<RaftId, u64>,
}

impl Removals {
    /// A transaction was committed, and not refused.
    pub(crate) fn committed(&mut self, index: u64, command: &Command) {
        for change in &command.0.changes {
            if let Change::Remove {
                id: ObjectId::Node(node),
                ..
            } = change
            {
                self.removed.insert(node.clone(), index);
            }
        }
    }

    /// A member knows of all removals up to a place in the log.
    pub(crate) fn knows(&mut self, member: RaftId, index: u64) {
        let known = self.known.entry(member).or_default();
        *known = index.max(*known);
    }
}

/// A member takes a message.
pub(crate) fn check(
    history: &History,
    member: RaftId,
    sender: &NodeId,
    what: Message,
) -> Result<(), String> {
    let removals = &history.removals;
    let known = removals.known.get(&member).copied().unwrap_or_default();
    match removals.removed.get(sender) {
        Some(index) if *index <= known => Err(format!(
            "member {member} takes {what:?} of node {sender}, which was removed at {index}; it knows everything up to {known}"
        )),
        Some(_) | None => Ok(()),
    }
}
