//! Makes snapshots and forgets old log entries as the cluster's settings say: openraft's own policy is fixed at its start.

use openraft::async_runtime::watch::WatchReceiver as _;
use swarm_core::compaction::{Compaction, LogExtent, compaction};

use crate::{node::RaftNode, platform::Platform};

/// Follows the log and the settings until the consensus ends.
pub async fn run<P: Platform>(raft: RaftNode<P>) {
    let mut log = raft.raft().data_metrics();
    let mut asked = 0;
    loop {
        let extent = {
            let metrics = log.borrow_watched();
            LogExtent {
                applied: metrics.last_applied.as_ref().map_or(0, |id| id.index),
                snapshot: metrics.snapshot.as_ref().map_or(0, |id| id.index),
                purged: metrics.purged.as_ref().map_or(0, |id| id.index),
                asked,
            }
        };
        let spec = raft.store().read().cluster().map(|it| it.spec.clone());
        let next = compaction(extent, &spec.unwrap_or_default());
        let trigger = raft.raft().trigger();
        let done = match next {
            Some(Compaction::Snapshot) => {
                asked = extent.applied;
                tracing::info!(applied = asked, "making a snapshot");
                trigger.snapshot().await
            }
            Some(Compaction::Purge(upto)) => trigger.purge_log(upto).await,
            None => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "the log is no longer compacted");
            return;
        }
        if log.changed().await.is_err() {
            return;
        }
    }
}
