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
    database::StateDb,
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
        let (meta, store) = match snapshot::load(&db)? {
            Some((meta, data)) => (meta, data.decode()?),
            None => (SnapshotMeta::default(), Store::new()),
        };
        Ok(Self {
            db,
            shared: SharedStore::new(store),
            last_applied: meta.last_log_id,
            membership: meta.last_membership,
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
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> io::Result<()> {
        let store = data.decode()?;
        snapshot::save(&self.db, meta, &data).await?;
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
        let loaded = snapshot::load(&self.db)?;
        Ok(loaded.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes the state of the moment it was made to disk, while entries go on being applied.
#[derive(Debug)]
pub(crate) struct Builder {
    db: StateDb,
    store: Store,
    meta: SnapshotMeta,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotData>> {
        let data = SnapshotData::encode(&self.store)?;
        snapshot::save(&self.db, &self.meta, &data).await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: data,
        })
    }
}
