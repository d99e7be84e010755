//! The clock of this host.

use std::time::{SystemTime, UNIX_EPOCH};

use swarm_core::time::Timestamp;

/// What it says now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
