//! The difference between two assignment sets, and applying it: `apply(old, diff(old, new)) == new`.

use alloc::vec::Vec;

use super::{Assignment, AssignmentKey, Assignments, Delta};

/// The key under which an item lives in a set.
pub fn key_of(item: &Assignment) -> AssignmentKey {
    match item {
        Assignment::Task(task) => AssignmentKey::Task(task.id.clone()),
        Assignment::Network(network) => AssignmentKey::Network(network.id.clone()),
        Assignment::Endpoint(endpoint) => {
            AssignmentKey::Endpoint(endpoint.network.clone(), endpoint.address)
        }
        Assignment::Service(service) => AssignmentKey::Service(service.id.clone()),
        Assignment::Peer(peer) => AssignmentKey::Peer(peer.node.clone()),
        Assignment::IngressAddress(_) => AssignmentKey::IngressAddress,
    }
}

/// What turns `old` into `new`.
pub fn diff(old: &Assignments, new: &Assignments, generation: u64) -> Delta {
    let changed = new.iter().filter(|(key, item)| old.get(key) != Some(item));
    let gone = old.keys().filter(|key| !new.contains_key(key));
    Delta {
        generation,
        snapshot: false,
        upserts: changed.map(|(_key, item)| item.clone()).collect(),
        removals: gone.cloned().collect(),
    }
}

/// The whole set, for a session's start.
pub fn snapshot(set: &Assignments, generation: u64) -> Delta {
    Delta {
        generation,
        snapshot: true,
        upserts: set.values().cloned().collect(),
        removals: Vec::new(),
    }
}

/// Changes a set as the delta says.
pub fn apply(set: &mut Assignments, delta: Delta) {
    if delta.snapshot {
        set.clear();
    }
    for key in &delta.removals {
        set.remove(key);
    }
    for item in delta.upserts {
        set.insert(key_of(&item), item);
    }
}
