//! The replicated state as everyone else in the process reads it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use swarm_core::{ca::RemovedNodes, id::NodeId, store::Store, time::Timestamp};
use tokio::sync::watch;

/// The store and notice of its changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedStore {
    store: Arc<RwLock<Store>>,
    applied: Arc<watch::Sender<u64>>,
    /// Removals that this manager knows of by itself although its store may not, as they are on disk: applied before its restart, or told
    /// when it joined.
    noted: Arc<RwLock<RemovedNodes>>,
    /// Removals that others told of after it was away. One of them may be removed itself, and say so of whomever it likes.
    told: Arc<RwLock<RemovedNodes>>,
}

impl SharedStore {
    pub(crate) fn new(store: Store, noted: RemovedNodes) -> Self {
        let index = store.index();
        Self {
            store: Arc::new(RwLock::new(store)),
            applied: Arc::new(watch::Sender::new(index)),
            noted: Arc::new(RwLock::new(noted)),
            told: Arc::default(),
        }
    }

    /// The store. Hold it briefly and never across an await: applying waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        // A panic while applying is a bug that ends the consensus; what was applied stays readable.
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this manager knows by itself that a node was removed. Once it does, it does so for good: the applied state may fall back
    /// to the last snapshot with a restart, this does not.
    pub fn knows_removed(&self, node: &NodeId) -> bool {
        let noted = self.noted.read().unwrap_or_else(PoisonError::into_inner);
        let store = self.read();
        let applied = store.cluster().map(|cluster| &cluster.removed);
        noted.contains(node) || applied.is_some_and(|removed| removed.contains(node))
    }

    /// Whether a node is not to be listened to: this manager knows that it was removed, or was told so.
    pub fn was_removed(&self, node: &NodeId) -> bool {
        let told = || self.told.read().unwrap_or_else(PoisonError::into_inner);
        self.knows_removed(node) || told().contains(node)
    }

    /// The removed nodes that this manager knows of by itself. Only these are told to others.
    pub fn removed_nodes(&self) -> RemovedNodes {
        let mut all = self
            .noted
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(cluster) = self.read().cluster() {
            all.learn(&cluster.removed);
        }
        all
    }

    /// The removed nodes that others told of.
    pub fn told_removed(&self) -> RemovedNodes {
        self.told
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes over which nodes were removed, as others say; gives whether anything is new.
    pub fn hear_of_removed(&self, removed: &RemovedNodes) -> bool {
        let mut told = self.told.write().unwrap_or_else(PoisonError::into_inner);
        told.learn(removed)
    }

    /// After a removal at `now` was applied: forgets what need not be known any more, and gives whether the rest is to be noted on disk.
    /// It is there already when the log is replayed.
    pub(crate) fn removal_is_news(&self, now: Timestamp) -> bool {
        let mut told = self.told.write().unwrap_or_else(PoisonError::into_inner);
        told.forget_ended(now);
        drop(told);
        let mut noted = self.noted.write().unwrap_or_else(PoisonError::into_inner);
        noted.forget_ended(now);
        let store = self.read();
        store
            .cluster()
            .is_some_and(|cluster| noted.learn(&cluster.removed))
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
