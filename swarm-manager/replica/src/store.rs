//! The replicated state as everyone else in the process reads it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use swarm_core::store::Store;
use tokio::sync::watch;

/// The store and notice of its changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedStore {
    store: Arc<RwLock<Store>>,
    applied: Arc<watch::Sender<u64>>,
}

impl SharedStore {
    pub(crate) fn new(store: Store) -> Self {
        let index = store.index();
        Self {
            store: Arc::new(RwLock::new(store)),
            applied: Arc::new(watch::Sender::new(index)),
        }
    }

    /// The store. Hold it briefly and never across an await: applying waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        // A panic while applying is a bug that ends the consensus; what was applied stays readable.
        self.store.read().unwrap_or_else(PoisonError::into_inner)
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
