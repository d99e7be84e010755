//! The state machine: `swarm_core::store::Store` in memory. Entries after the last snapshot are replayed from the log at a
//! start. Readers share the store; whoever waits for changes watches the applied index.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use futures::{Stream, TryStreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine, Snapshot},
};
use swarm_core::{control::ControlError, store::Store};
use tokio::sync::watch;

use super::{
    database::{StateDb, blocking},
    rebuild::Contents,
    snapshot::{self, SnapshotData},
    types::{LogId, SnapshotMeta, StoredMembership, TypeConfig},
};

/// The replicated state as everyone else in the process reads it.
#[derive(Clone, Debug)]
pub(crate) struct SharedStore {
    store: Arc<RwLock<Store>>,
    applied: Arc<watch::Sender<u64>>,
}

impl SharedStore {
    fn new(store: Store) -> Self {
        let index = store.index();
        Self {
            store: Arc::new(RwLock::new(store)),
            applied: Arc::new(watch::Sender::new(index)),
        }
    }

    /// The store. Hold it briefly and never across an await: applying waits for it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Store> {
        // A panic while applying is a bug that ends the consensus; what was applied stays readable.
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified with the index of every applied change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The cluster's setting (`--max-snapshots`): snapshots kept beside the newest.
    fn keep_old_snapshots(&self) -> u64 {
        let store = self.read();
        store
            .cluster()
            .map_or(0, |cluster| cluster.spec.keep_old_snapshots)
    }

    fn write(&self, change: impl FnOnce(&mut Store)) {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut store);
    }
}

/// What openraft drives.
#[derive(Debug)]
pub(crate) struct StateMachine {
    db: StateDb,
    shared: SharedStore,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

impl StateMachine {
    /// From the last snapshot on disk, if there is one.
    pub(crate) fn open(db: StateDb) -> io::Result<Self> {
        let newest = db.snapshots()?.into_iter().next();
        let from = match newest {
            Some(stored) => Contents::of_snapshot(&db, &stored)?,
            None => Contents::default(),
        };
        Ok(Self {
            db,
            shared: SharedStore::new(from.store),
            last_applied: from.last,
            membership: from.membership,
        })
    }

    pub(crate) fn shared(&self) -> SharedStore {
        self.shared.clone()
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let index = entry.log_id.index;
            self.last_applied = Some(entry.log_id);
            let mut reply = Ok(());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(command) => {
                    self.shared.write(|store| {
                        let applied = store.apply(index, command.0);
                        reply = applied.map(drop).map_err(ControlError::from);
                    });
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            self.shared.applied.send_replace(index);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            db: self.db.clone(),
            store: self.shared.read().clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
            },
            keep_old: self.shared.keep_old_snapshots(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        let (db, kept_meta) = (self.db.clone(), meta.clone());
        let keep_old = self.shared.keep_old_snapshots();
        let store = blocking(move || {
            let data = db.snapshot_dir().adopt(data)?;
            let store = snapshot::load_store(&data)?; // as a whole, before anything counts on it
            snapshot::save(&db, &kept_meta, &data, keep_old)?;
            Ok(store)
        })
        .await?;
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.shared.write(|current| *current = store);
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.shared.applied.send_replace(index);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>>> {
        let Some(stored) = self.db.snapshots()?.into_iter().next() else {
            return Ok(None);
        };
        let snapshot = self.db.snapshot_dir().open(&stored.file)?;
        Ok(Some(Snapshot {
            meta: stored.meta,
            snapshot,
        }))
    }
}

/// Writes the state of the moment it was made to disk, while entries go on being applied.
#[derive(Debug)]
pub(crate) struct Builder {
    db: StateDb,
    /// Shares its objects with the store that goes on.
    store: Store,
    meta: SnapshotMeta,
    keep_old: u64,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>> {
        let (db, store, meta) = (self.db.clone(), self.store.clone(), self.meta.clone());
        let keep_old = self.keep_old;
        let snapshot = blocking(move || {
            let data = snapshot::write_file(db.snapshot_dir(), &store)?;
            snapshot::save(&db, &meta, &data, keep_old)?;
            Ok(data)
        })
        .await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot,
        })
    }
}
