//! What of a state can be used: decided from what was found, before anything is opened for writing.

use crate::raft::{snapshot::Stored, survey::Survey, types::LogId};

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The database itself cannot be read.
    #[error(
        "the database cannot be read, so nothing in it can be repaired. If other managers are alive, remove the state directory and join again"
    )]
    Unreadable,
    /// Entries would be lost.
    #[error(
        "entry {first} of the log is damaged or missing, and no snapshot holds it. --truncate-corrupt-tail drops the log from there on; what was confirmed in it is lost"
    )]
    NeedsConsent { first: u64 },
    /// A snapshot would be lost, and what it alone holds.
    #[error(
        "no readable snapshot and log fit together. --truncate-corrupt-tail --force-new-cluster goes back to entry {base}; what was confirmed behind it is lost"
    )]
    SnapshotLost { base: u64 },
    /// A member must not forget what it confirmed to the others.
    #[error(
        "this manager is one of {managers}: if it forgot what it confirmed, the others would lose it too. Remove the state directory and join again; if the others are lost for good, add --force-new-cluster"
    )]
    OthersKnowMore { managers: usize },
    /// Records are damaged that only a new cluster of one replaces.
    #[error(
        "the member's own records are damaged. Remove the state directory and join again; if the other managers are lost for good, or there are none, add --force-new-cluster"
    )]
    NeedsNewCluster,
    /// Nobody knows where this manager is reached.
    #[error("the address of this manager is not known; give it with --advertise-addr")]
    NoAddress,
}

/// What can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The newest readable snapshot.
    pub(crate) base: Option<Stored>,
    /// The first entry behind it that cannot be used; everything if `u64::MAX`.
    pub(crate) end: u64,
    /// Something confirmed may be lost.
    pub(crate) lossy: bool,
    /// Damaged entries that the snapshot holds too end here.
    pub(crate) purge: Option<LogId>,
    /// Vote, member or other records of this member are damaged.
    pub(crate) needs_new_cluster: bool,
}

/// Decides what can be used; `consent` allows to lose the end of the log.
pub(crate) fn plan(found: &Survey, consent: bool) -> Result<Plan, Refusal> {
    if !found.readable {
        return Err(Refusal::Unreadable);
    }
    let sound = found.snapshots.iter().find(|(_, wrong)| wrong.is_none());
    let base = sound.map(|(stored, _)| stored.clone());
    let covered = base.as_ref().map_or(0, Stored::index);
    // Without a snapshot the log begins with entry 0.
    let next = base.as_ref().map_or(0, |stored| stored.index() + 1);
    let reaches = found.log.is_none_or(|(first, _)| first <= next)
        && found.purged.is_none_or(|purged| purged.index < next);
    if !reaches && !consent {
        return Err(Refusal::SnapshotLost { base: covered });
    }
    let behind = found.bad_entries.iter().copied().filter(|bad| *bad >= next);
    let first_bad = behind.min();
    if let Some(first) = first_bad
        && reaches
        && !consent
    {
        return Err(Refusal::NeedsConsent { first });
    }
    let has_covered = found.bad_entries.iter().any(|bad| *bad < next);
    let own_records = found
        .problems
        .iter()
        .any(|problem| problem.what.starts_with("meta/"));
    Ok(Plan {
        end: match first_bad {
            _ if !reaches => next,
            Some(first) => first,
            None => u64::MAX,
        },
        lossy: first_bad.is_some() || !reaches,
        purge: base
            .as_ref()
            .filter(|_| has_covered)
            .and_then(|stored| stored.meta.last_log_id),
        needs_new_cluster: own_records || !reaches,
        base,
    })
}
