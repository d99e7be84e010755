//! One leader per term. openraft lets candidates of one term be ordered by their number, so Raft's term is here the pair
//! of both: nobody else, and no second life of the same member, may lead under it; and committed entries are in its order.

use std::collections::BTreeMap;

use crate::{history::History, raft::types::RaftId};

/// Who led when.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    /// Term and candidate, to the life of the process that led.
    lives: BTreeMap<(u64, RaftId), (RaftId, u64)>,
}

impl Leaders {
    pub(crate) fn count(&self) -> usize {
        self.lives.len()
    }
}

/// A member says that it leads.
pub(crate) fn note(
    history: &mut History,
    term: (u64, RaftId),
    member: RaftId,
    life: u64,
) -> Result<(), String> {
    let first = history.leaders.lives.entry(term).or_insert((member, life));
    if *first == (member, life) {
        return Ok(());
    }
    Err(format!(
        "term {}-{} has two leaders: member {} in its life {}, and member {member} in its life {life}",
        term.0, term.1, first.0, first.1
    ))
}

/// The last committed entry was not made by an older leader than the one before it.
pub(crate) fn check_entry(history: &History) -> Result<(), String> {
    if let [.., before, last] = history.entries.as_slice()
        && last.id.leader_id < before.id.leader_id
    {
        return Err(format!(
            "{} is committed after {}, which is of a later leader",
            last.id, before.id
        ));
    }
    Ok(())
}
