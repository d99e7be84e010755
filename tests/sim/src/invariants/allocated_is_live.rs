//! What is allocated is what lives, after the cluster has come to rest: every live task and endpoint has its addresses, and
//! nothing else holds any; and the indexes that say so are those that a restart would build.

use std::collections::BTreeSet;

use swarm_core::{model::TaskState, store::Store};

use super::addresses_are_unique::holders;
use crate::raft::snapshot::SnapshotData;

/// Checks a state at rest.
pub(crate) fn check(store: &Store) -> Result<(), String> {
    for network in store.networks() {
        if network.allocation.is_none() {
            return Err(format!("network {} has no subnet", network.id));
        }
        let live: BTreeSet<_> = holders(store)
            .filter(|(_, held)| held.network == network.id)
            .map(|(_, held)| held.address)
            .collect();
        let allocated: BTreeSet<_> = store
            .address_holders(&network.id)
            .map(|(address, _)| address)
            .collect();
        if live != allocated {
            return Err(format!(
                "network {}: {allocated:?} are allocated, {live:?} are in use",
                network.id
            ));
        }
    }
    for task in store.tasks().filter(|task| task.is_wanted()) {
        let asked = task.spec.networks.len();
        if task.status.state >= TaskState::Pending && task.attachments.len() < asked {
            return Err(format!(
                "task {} has {} of {asked} addresses",
                task.id,
                task.attachments.len()
            ));
        }
    }
    let again = SnapshotData::encode(store).and_then(|snapshot| snapshot.decode());
    let again = again.map_err(|error| format!("the state does not survive a restart: {error}"))?;
    if again != *store {
        return Err("a restart would make another state of the same objects".to_owned());
    }
    Ok(())
}
