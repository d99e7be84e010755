//! The replicated state as everyone else in the process reads it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use swarm_core::{ca::RemovedNodes, id::NodeId, store::Store, time::Timestamp};
use tokio::sync::watch;

/// The store and notice of its changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedStore {
    store: Arc<RwLock<Store>>,
    applied: Arc<watch::Sender<u64>>,
    /// Removals that this manager knows of although its store may not: from its join, from the others, from before its restart.
    heard_of: Arc<RwLock<RemovedNodes>>,
}

impl SharedStore {
    pub(crate) fn new(store: Store, heard_of: RemovedNodes) -> Self {
        let index = store.index();
        Self {
            store: Arc::new(RwLock::new(store)),
            applied: Arc::new(watch::Sender::new(index)),
            heard_of: Arc::new(RwLock::new(heard_of)),
        }
    }

    /// The store. Hold it briefly and never across an await: applying waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        // A panic while applying is a bug that ends the consensus; what was applied stays readable.
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this manager knows that a node was removed. Once it does, it does so for good: the applied state may fall back to
    /// the last snapshot with a restart, this does not.
    pub fn was_removed(&self, node: &NodeId) -> bool {
        let heard_of = self.heard_of.read().unwrap_or_else(PoisonError::into_inner);
        let store = self.read();
        let applied = store.cluster().map(|cluster| &cluster.removed);
        heard_of.contains(node) || applied.is_some_and(|removed| removed.contains(node))
    }

    /// The removed nodes that this manager knows of.
    pub fn removed_nodes(&self) -> RemovedNodes {
        let mut all = self
            .heard_of
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(cluster) = self.read().cluster() {
            all.learn(&cluster.removed);
        }
        all
    }

    /// Takes over which nodes were removed, as somebody says who is to be believed; gives whether anything is new.
    pub fn hear_of_removed(&self, removed: &RemovedNodes) -> bool {
        let mut heard_of = self
            .heard_of
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        heard_of.learn(removed)
    }

    /// Forgets what need not be known any more, by the time of what is applied.
    pub(crate) fn forget_removed(&self, now: Timestamp) {
        let mut heard_of = self
            .heard_of
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        heard_of.forget_ended(now);
    }

    /// Notified with the index of every applied change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The cluster's setting (`--max-snapshots`): snapshots kept beside the newest.
    pub(crate) fn keep_old_snapshots(&self) -> u64 {
        let store = self.read();
        store
            .cluster()
            .map_or(0, |cluster| cluster.spec.keep_old_snapshots)
    }

    pub(crate) fn write(&self, change: impl FnOnce(&mut Store)) {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut store);
    }

    /// Says that everything up to `index` is applied.
    pub(crate) fn notify(&self, index: u64) {
        self.applied.send_replace(index);
    }
}
