//! When a manager makes a snapshot of its state and which log entries it forgets afterwards (`swarm update
//! --snapshot-interval`). Every manager decides for itself from the replicated settings, so a change takes effect at once.

use crate::model::ClusterSpec;

/// Where a manager's log stands; indexes of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogExtent {
    /// Last applied entry.
    pub applied: u64,
    /// Last entry that the newest snapshot holds; 0 if there is no snapshot.
    pub snapshot: u64,
    /// Last entry that was forgotten; 0 if none was.
    pub purged: u64,
    /// What was applied when the last snapshot was asked for; it may not be finished yet.
    pub asked: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Make a snapshot.
    Snapshot,
    /// Forget the entries up to and including this one.
    Purge(u64),
}

/// The next thing to do, if there is any. Entries are forgotten only once a snapshot holds them.
pub fn compaction(log: LogExtent, spec: &ClusterSpec) -> Option<Compaction> {
    let since = log.applied.saturating_sub(log.snapshot.max(log.asked));
    if since >= spec.snapshot_interval.max(1) {
        return Some(Compaction::Snapshot);
    }
    let upto = log
        .snapshot
        .saturating_sub(spec.log_entries_for_slow_followers);
    (upto > log.purged).then_some(Compaction::Purge(upto))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_follow_the_interval_and_the_log_keeps_what_slow_followers_need() {
        let spec = |interval, kept| ClusterSpec {
            snapshot_interval: interval,
            log_entries_for_slow_followers: kept,
            ..ClusterSpec::default()
        };
        let log = |applied, snapshot, purged, asked| LogExtent {
            applied,
            snapshot,
            purged,
            asked,
        };
        let (snapshot, purge) = (Some(Compaction::Snapshot), Compaction::Purge);
        for (extent, interval, kept, expected) in [
            (log(0, 0, 0, 0), 100, 10, None),
            (log(99, 0, 0, 0), 100, 10, None),
            (log(100, 0, 0, 0), 100, 10, snapshot),
            // One is being made.
            (log(130, 0, 0, 100), 100, 10, None),
            (log(200, 0, 0, 100), 100, 10, snapshot),
            (log(130, 100, 0, 100), 100, 10, Some(purge(90))),
            (log(130, 100, 90, 100), 100, 10, None),
            // The settings were changed meanwhile.
            (log(130, 100, 90, 100), 30, 10, snapshot),
            (log(130, 100, 90, 100), 100, 0, Some(purge(100))),
            (log(130, 100, 90, 100), 100, 500, None),
            // Nothing is asked for every entry by a setting that is no number of entries.
            (log(1, 1, 0, 1), 0, 500, None),
        ] {
            assert_eq!(
                compaction(extent, &spec(interval, kept)),
                expected,
                "{extent:?} {interval} {kept}"
            );
        }
    }
}
